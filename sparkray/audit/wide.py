"""Wide tables as one row a run: columns of arms (`Native (tok/s)`, `docker_ttft_ms`) or of tests (`pp512`). Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from sparkray.audit import statuses, values
from sparkray.audit.names import known_as, plain
from sparkray.audit.roles import is_state
from sparkray.metrics import BY_NAME

Row = Mapping[str, Any]
# A column of values of which nothing but the arm is known.
VALUE = "value"
_ARM = re.compile(
    r"(?<![a-z])(bare[ _-]?metal|bare|native(?:ly)?|host|chroot|(?:in |with |inside |without |no[ _-])?docker|podman|nerdctl"
    r"|containerd|lx[cd]|nspawn"
    r"|enroot"
    r"|container(?:i[sz]ed)?|apptainer|singularity|kubernetes|k8s|wsl2?|vm|baseline|optimi[sz]ed|tuned|before|after|control"
    r"|treatment)(?![a-z])",
    re.IGNORECASE,
)
# Words that are as well those of one run's own beginning and end.
_MOMENTS = ("before", "after")
# What tables derive from two arms.
_OF_BOTH = re.compile(
    r"(?<![a-z])(delta|diff(erence)?|ratio|overhead|slowdown|speed-?up|change|loss|gain|vs|p-?value)(?![a-z])|[Δ∆]|^%$",
    re.IGNORECASE,
)
_TEST = re.compile(
    r"(?P<test>(?:pp|tg)\s?\d+(?:\s?@\s?d\d+)?)\s*[\[(]?\s*(?:t/s|tok/s|tokens/s)?\s*[\])]?", re.IGNORECASE
)
_MOSTLY = 0.5


def by_arm(
    rows: Sequence[Row], columns: Sequence[str], mapped: Mapping[str, str]
) -> tuple[list[Row], list[str]] | None:
    """A row an arm, and the columns that were left out as derived from several arms; None where no columns are arms.

    Columns are arms where their names are the same but for the word of an arm, and hold numbers. A known metric in a column
    without such a word is one run's, so that the words are no arms. `before` and `after` are arms of metrics only.

    Args:
        rows: Of the wide table.
        columns: Their names.
        mapped: Columns by sparkray's names, as far as the user gives them.
    """
    groups: dict[str, dict[str, str]] = {}
    for name in columns:
        arms = _ARM.findall(name)
        if len(arms) == 1 and not _OF_BOTH.search(_ARM.sub("", name)) and _numeric(rows, name):
            groups.setdefault(_rest(name), {})[_arm(arms[0])] = name
    groups = {rest: arms for rest, arms in groups.items() if len(arms) > 1 and _may_be_arms(rows, rest, arms)}
    if not groups:
        return None
    groups |= _settings(rows, columns, {arm for arms in groups.values() for arm in arms})
    wide = {name for arms in groups.values() for name in arms.values()}
    derived = [name for name in columns if name not in wide and _OF_BOTH.search(name) and _numeric(rows, name)]
    theirs = {name for ours, name in mapped.items() if is_metric(ours)}
    if any(name in theirs or _measures(rows, name, name) for name in columns if name not in (*wide, *derived)):
        return None
    arms = list(dict.fromkeys(arm for group in groups.values() for arm in group))
    long = [
        {name: cell for name, cell in row.items() if name not in wide and name not in derived}
        | {rest: row.get(group[arm]) for rest, group in groups.items() if arm in group}
        | {"environment": arm}
        for row in rows
        for arm in arms
    ]
    return [row for row in long if any(not values.missing(row.get(rest)) for rest in groups)], derived


def _settings(rows: Sequence[Row], columns: Sequence[str], arms: set[str]) -> dict[str, dict[str, str]]:
    """Columns of text that are alike but for the words of the arms: `Backend native`, `Backend docker`."""
    groups: dict[str, dict[str, str]] = {}
    for name in columns:
        words = _ARM.findall(name)
        if len(words) == 1 and _rest(name) != VALUE and not _OF_BOTH.search(name) and not _numeric(rows, name):
            groups.setdefault(_rest(name), {})[_arm(words[0])] = name
    return {rest: named for rest, named in groups.items() if len(named) > 1 and set(named) <= arms}


def by_test(rows: Sequence[Row], columns: Sequence[str]) -> list[Row] | None:
    """A row a test under `test` and `t/s`, as llama-bench prints them; None where no column is named as a test."""
    tests = {
        name: match["test"] for name in columns if (match := _TEST.fullmatch(name.strip())) and _numeric(rows, name)
    }
    if not tests:
        return None
    return [
        {key: cell for key, cell in row.items() if key not in tests} | {"test": test.casefold(), "t/s": row.get(name)}
        for row in rows
        for name, test in tests.items()
        if not values.missing(row.get(name))
    ]


def _may_be_arms(rows: Sequence[Row], rest: str, arms: Mapping[str, str]) -> bool:
    """Whether two columns that differ by the words of arms can be of arms: states before and after a run are not."""
    if not set(arms) <= {*_MOMENTS}:
        return True
    return not is_state(rest) and (rest == VALUE or all(_measures(rows, rest, name) for name in arms.values()))


def _measures(rows: Sequence[Row], header: str, name: str) -> bool:
    """Whether a column would be a metric under a header."""
    ours = known_as(header, [row.get(name) for row in rows])
    return is_metric(header) or (ours is not None and is_metric(ours))


def is_metric(ours: str) -> bool:
    """Whether a name is that of a metric of sparkray's."""
    return ours in BY_NAME or ours.endswith(("_throughput_tok_s", "_throughput_req_s"))


def named_arm(header: str) -> str | None:
    """The arm that a header names, and no other word with it; else None."""
    arms = _ARM.findall(header)
    return _arm(arms[0]) if len(arms) == 1 and _rest(header) == VALUE else None


def has_arm(text: str) -> bool:
    """Whether a text has the word of an arm."""
    return _ARM.search(text) is not None


def of_both(header: str) -> bool:
    """Whether a column is derived from two arms."""
    return _OF_BOTH.search(header) is not None


def _rest(name: str) -> str:
    """A name without its arm: `Native (tok/s)` is `(tok/s)`, and a bare arm is only a value."""
    rest = re.sub(r"\s{2,}", " ", _ARM.sub(" ", name)).strip(" _-/:")
    rest = rest.strip("()[] ") if re.fullmatch(r"[(\[].*[)\]]", rest) else rest
    return rest if plain(rest) else VALUE


def _arm(word: str) -> str:
    return plain(re.sub(r"^(in|with|inside) ", "", word.casefold()))


def _numeric(rows: Sequence[Row], name: str) -> bool:
    given = (cell for row in rows if not values.missing(cell := row.get(name)))
    cells = [cell for cell in given if not (isinstance(cell, str) and statuses.is_failure(cell))]
    hits = sum(
        isinstance(cell, int | float) or (isinstance(cell, str) and cell.lstrip("+-~≈ ")[:1].isdigit())
        for cell in cells
    )
    return bool(cells) and hits > _MOSTLY * len(cells)
