"""Speculative decoding in results: how many tokens a step makes, as far as columns tell. Pure.

A step verifies a draft of k tokens and makes one more at the most. Columns tell the mean length that was accepted, else k,
else only that there is a draft.
"""

import re
from collections.abc import Iterator

import polars as pl

_LENGTH = re.compile(r"accept\w*_(len(gth)?|tokens_per_step)|tokens_per_(step|iteration|forward)")
_DRAFTED = re.compile(
    r"(num_)?(spec(ulative)?|draft)_?(num_)?(tokens?|steps|n|max|len(gth)?)$|^n_draft|mtp_?(n|tokens|depth|layers|k)?$|nextn"
)
_RATE = re.compile(r"accept\w*_(rate|ratio|pct|share)|draft_accept")
_METHOD = re.compile(
    r"^(spec(ulative|ulation)?)(_?(decod(ing|e)|method|config|algo(rithm)?|mode|model|type))?$|draft_model|eagle|medusa|mtp|ngram|lookahead"
)
_OFF = ("", "none", "off", "no", "false", "0", "null", "disabled", "n/a")


def tokens_per_step(frame: pl.DataFrame) -> list[float | None]:
    """Most tokens that a sequence gains in a step of each row: 1 without a draft, None where a draft's length is unknown."""
    numbers = [name for name in frame.columns if frame.schema[name].is_numeric()]
    lengths, drafted, rates = (
        [name for name in numbers if one.search(name.casefold())] for one in (_LENGTH, _DRAFTED, _RATE)
    )
    methods = [name for name in frame.columns if frame.schema[name] == pl.String and _METHOD.search(name.casefold())]
    columns = [*lengths, *drafted, *rates, *methods, "speculative"]
    return [
        _tokens(
            _known(row, lengths),
            _known(row, drafted),
            on=any(_is_on(row[name]) for name in (*rates, *methods, "speculative")),
        )
        for row in frame.select(list(dict.fromkeys(columns))).iter_rows(named=True)
    ]


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
