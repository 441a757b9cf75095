"""Shared by the checks: combining findings into one verdict, and reading numbers from rows."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from sparkray.checks import Row
from sparkray.records import Verdict

Severity: TypeAlias = Literal["pass", "warn", "invalid"]
_SEVERITIES: tuple[Severity, ...] = ("pass", "warn", "invalid")
# Of normal values.
SIGMA_PER_MAD = 1.4826


@dataclass(frozen=True)
class Finding:
    """One observation of a check: its severity, and a text with values and units."""

    severity: Severity
    text: str


def combined(name: str, findings: Iterable[Finding]) -> Verdict | None:
    """One verdict from several findings: the highest severity, with the texts at fault; None without findings.

    Args:
        name: The check's name.
        findings: In the order of their texts within one severity.
    """
    found = list(findings)
    if not found:
        return None
    severity = max((finding.severity for finding in found), key=_SEVERITIES.index)
    shown = dict.fromkeys(finding for finding in found if severity == "pass" or finding.severity != "pass")
    ordered = sorted(shown, key=lambda finding: -_SEVERITIES.index(finding.severity))
    return Verdict(name, severity, "; ".join(finding.text for finding in ordered))


def limited(text: str, value: float, limit: float, *, shown: str = "") -> Finding:
    """Invalid where a value exceeds its limit; the text then has the limit, as it is shown."""
    return Finding("invalid", f"{text}, limit {shown or f'{limit:g}'}") if value > limit else Finding("pass", text)


def number(row: Row, name: str) -> float | None:
    """A row's finite number, else None."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return float(value)


def numbers(rows: Iterable[Row], name: str) -> list[float]:
    """The finite numbers of a column, in row order."""
    return [value for row in rows if (value := number(row, name)) is not None]


def by_device(samples: Sequence[Row]) -> Iterator[tuple[object, list[Row]]]:
    """(GPU, its samples in time order) of every GPU."""
    for device in dict.fromkeys(sample.get("device") for sample in samples):
        yield device, [sample for sample in samples if sample.get("device") == device]


def median(values: Sequence[float]) -> float:
    """The median of at least one value."""
    return float(np.median(values))


def robust_sd(values: Sequence[float]) -> float:
    """1.4826 times the median absolute deviation from the median, in the unit of the values; 0 without values.

    It estimates the standard deviation of normal values and tolerates up to half of them being outliers (Rousseeuw & Croux
    1993, JASA 88:1273).
    """
    if not len(values):
        return 0.0
    array = np.asarray(values, dtype=np.float64)
    return SIGMA_PER_MAD * float(np.median(np.abs(array - np.median(array))))
