"""Speculative decoding in results: how many tokens a step makes, as far as columns tell. Pure.

A step verifies a draft of k tokens and makes one more at the most. Columns tell the mean length that was accepted, else k,
else only that there is a draft.
"""

import re
from collections.abc import Iterator

import polars as pl

from sparkray.audit.names import plain

_LENGTH = re.compile(
    r"accept\w*_(len(gth)?|tokens|tokens_per_step)$|tokens_per_(step|iteration|forward)|^(avg|mean)_accept(ed)?$"
)
_DRAFTED = re.compile(
    r"(num_)?(spec(ulative)?|draft)_?(num_)?(tokens?|steps|n|max|len(gth)?)$|^n_draft|mtp_?(n|tokens|depth|layers|k)?$|nextn"
    r"|^lookahead(_(k|n|tokens|slots))?$|^(gamma|draft_k)$|_draft_(len(gth)?|tokens)$"
)
# Other columns of numbers about a draft: above 0 there is one.
_HINT = re.compile(r"accept\w*_(rate|ratio|pct|share|count)|(^|_)(draft|speculat|spec_|eagle|medusa)")
# What a method is called, as a value or as a column of yes and no.
_NAMED = re.compile(
    r"(?<!non-)(?<!no )(?<!no-)(?<!without )(?<![a-z])"
    r"(speculat(ive|ion)|eagle-?[23]?|medusa|mtp|n-?gram|lookahead|draft)(?![a-z])"
)
_METHOD = re.compile(r"^(spec(ulative|ulation)?|mtp|eagle|medusa|ngram)(_|$)|draft_model|lookahead")
_NEVER = ("row", "model_path", "model_sha256", "status", "level", "stated_level")
_OFF = ("", "none", "off", "no", "false", "0", "null", "disabled", "n/a", "-", "without", "{}", "baseline")


def tokens_per_step(frame: pl.DataFrame) -> list[float | None]:
    """Most tokens that a sequence gains in a step of each row: 1 without a draft, None where a draft's length is unknown."""
    numbers = [name for name in frame.columns if frame.schema[name].is_numeric()]
    lengths, drafted, hints = (
        [name for name in numbers if one.search(plain(name))] for one in (_LENGTH, _DRAFTED, _HINT)
    )
    texts = [name for name in frame.columns if frame.schema[name] == pl.String and name not in _NEVER]
    methods = [name for name in texts if _METHOD.search(plain(name))]
    named = [name for name in texts if name not in methods and _any_named(frame[name])]
    columns = dict.fromkeys([*lengths, *drafted, *hints, *methods, *named, "speculative"])
    return [
        _tokens(
            _known(row, lengths),
            _known(row, drafted),
            on=any(_is_on(row[name]) for name in (*hints, *methods, "speculative"))
            or any(_NAMED.search(str(row[name]).casefold()) for name in named),
        )
        for row in frame.select(list(columns)).iter_rows(named=True)
    ]


def _any_named(column: pl.Series) -> bool:
    return any(_NAMED.search(str(value).casefold()) for value in column.unique())


def _known(row: dict[str, object], names: list[str]) -> Iterator[float]:
    return (float(value) for name in names if isinstance(value := row[name], int | float) and value > 0)


def _tokens(lengths: Iterator[float], drafted: Iterator[float], *, on: bool) -> float | None:
    longest, most = max(lengths, default=None), max(drafted, default=None)
    if longest is not None and longest > 1:
        return longest
    return most + 1 if most is not None else None if on else 1.0


def _is_on(value: object) -> bool:
    if isinstance(value, str):
        return value.strip().casefold() not in _OFF
    return isinstance(value, int | float) and value > 0
