"""What the checks of this room share: several things found, one verdict; and numbers out of rows."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sparkray.checks import Row
from sparkray.records import Verdict

Word: TypeAlias = Literal["pass", "warn", "invalid"]
_GRAVITY: tuple[Word, ...] = ("pass", "warn", "invalid")
SIGMA_PER_MAD = 1.4826
"""Of normal values."""


@dataclass(frozen=True)
class Finding:
    """One thing that a check looked at: what it means, and what was seen, in words with values and units."""

    word: Word
    said: str


def combined(name: str, findings: Iterable[Finding]) -> Verdict | None:
    """The verdict on all findings: the gravest word, with what was said in its favour; None where there are none.

    Args:
        name: The check's.
        findings: In the order in which they are told, the gravest first.
    """
    found = list(findings)
    if not found:
        return None
    word = max((finding.word for finding in found), key=_GRAVITY.index)
    told = found if word == "pass" else [finding for finding in found if finding.word != "pass"]
    ordered = sorted(told, key=lambda finding: -_GRAVITY.index(finding.word))
    return Verdict(name, word, "; ".join(finding.said for finding in ordered))


def number(row: Row, name: str) -> float | None:
    """A row's number; None for what is absent, null, not finite or no number."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(rows: Iterable[Row], name: str) -> list[float]:
    """The numbers of a column, in the order of the rows; what is missing is left out."""
    return [value for row in rows if (value := number(row, name)) is not None]


def median(values: Sequence[float]) -> float:
    """The median of at least one value."""
    return float(np.median(values))


def robust_sd(values: Sequence[float]) -> float:
    """1.4826 times the median absolute deviation from the median, in the unit of the values; 0 for none.

    It estimates the standard deviation of normal values and bears up to half of them being wild (Rousseeuw & Croux
    1993, JASA 88:1273).
    """
    if not len(values):
        return 0.0
    array = np.asarray(values, dtype=np.float64)
    return SIGMA_PER_MAD * float(np.median(np.abs(array - np.median(array))))
