"""How a run ended, from the words that people use for it (`statuses.yaml`). Pure."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Any

from sparkray.audit import values
from sparkray.audit.wordlists import word_list

OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
# Statuses of sparkray's own rows beside those in the table.
_OWN = ("warmup",)
_HTTP, _HTTP_OK = range(100, 600), range(200, 300)
# Marks of footnotes and of markup around a word, and what is said behind it: `OOM (24 GB)`, `failed: no memory`.
_MARKS = " *_`~()[]<>!.†‡§¹²³⁴"
_REMARK = re.compile(r"\s*[(\[].*|\s*[:;,]\s.*|\s+[-–—]\s.*", re.DOTALL)


def kind_of(column: str) -> str | None:
    """What a column of that name holds (`columns` in the table); None where it is no status."""
    name = _plain(column)
    before, _, rest = name.partition("_")
    columns: Mapping[str, str] = _table()["columns"]
    return columns.get(name) or (columns.get(rest) if before in _table()["before"] else None)


def status_of(value: Any, kind: str = "words") -> str | None:  # noqa: ANN401 - whatever a file held
    """`ok`, or the word that stands for a failure or is unknown; None where the value states nothing.

    A number from 100 to 599 is an HTTP status where `kind` is `words` or `http`, so where the column is named a status.
    """
    if kind == "errors":
        return OK if values.missing(value) or value in (False, 0, "0", "False", "false", {}, []) else FAILED
    if values.missing(value):
        return None
    is_good = _is_good(value, kind)
    if is_good is not None:
        return OK if is_good else FAILED
    word = str(value).casefold() if isinstance(value, bool) else values.text(value)
    return OK if kind != "codes" and word is not None and _plain(word) in _table()["ok"] else word


def _is_good(value: Any, kind: str) -> bool | None:  # noqa: ANN401
    """What a code or a flag means; None for a word."""
    number = values.integer(value)
    if kind == "codes":
        return None if number is None else number == 0
    if kind == "http" or (kind == "words" and number in _HTTP):
        return number in _HTTP_OK
    given = values.flag(value) if kind in ("flags", "inverse") else None
    return None if given is None else given == (kind == "flags")


def is_known(status: str) -> bool:
    """Whether the meaning of a status is in the table."""
    return status in (OK, FAILED, UNKNOWN, *_OWN) or any(
        _plain(status) in _table()[meaning] for meaning in (OK, FAILED)
    )


def failure_in(cell: str) -> str | None:
    """The word of a run that failed in a cell, without marks and remarks: `OOM`, `OOM*`, `timeout (600 s)`; else None."""
    if cell[:1].isdigit():
        return None
    word = cell.strip()
    if _plain(word) in _table()[FAILED]:
        return word
    bare = _REMARK.sub("", word.strip(_MARKS)).strip(_MARKS)
    return bare if bare and _plain(bare) in _table()[FAILED] else None


def is_failure(cell: str) -> bool:
    """Whether a cell has the word of a run that failed."""
    return failure_in(cell) is not None


def _plain(word: str) -> str:
    return "_".join(word.casefold().replace("-", " ").split())


@cache
def _table() -> Mapping[str, Any]:
    source = word_list("statuses.yaml")
    return {
        OK: frozenset(source["ok"]),
        FAILED: frozenset(source["failed"]),
        "before": frozenset(source["before"]),
        "columns": {name: kind for kind, names in source["columns"].items() for name in names},
    }
