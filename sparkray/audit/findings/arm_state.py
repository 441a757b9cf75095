"""A machine that was hotter, or had less free memory, in one arm than in the other."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from sparkray.audit.case import Case, labels, numbers, reference_first
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.results import STATE
from sparkray.stats.independent import welch_p
from sparkray.stats.samples import varies

_LEVEL = 0.01
_LEAST = {"gpu": 1.0, "mem": 0.5, "page": 0.5, "swap": 0.1}


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Differences of state between arms, model by model pooled: at least 1 °C or 0.5 GiB, and clear at 1 %.

    Grave for what held before the start; a note for temperatures at the end, which may be an effect of the arm.
    """
    told = [column for column in STATE if numbers(case.ok, column).size]
    if not any(column.startswith("gpu_temp") for column in told):
        yield NotJudged("arm_state", "no temperatures")
    if not any(column.startswith(("mem", "page")) for column in told):
        yield NotJudged(
            "arm_state", "no state of memory or page cache before the runs: whether caches were alike is open"
        )
    arms = reference_first(case.ok["environment"].unique().to_list())
    for column in told:
        for other in arms[1:]:
            found = _difference(case, column, arms[0], other)
            if found is None or abs(found[0]) < _LEAST[column.split("_")[0]] or found[1] * len(told) >= _LEVEL:
                continue
            yield _finding(case, column, (arms[0], other), found)


def _difference(case: Case, column: str, reference: str, other: str) -> tuple[float, float] | None:
    """Difference of means and Welch's p, each model's own mean taken off; None when no model has both arms."""
    a, b = [], []
    for _, frame in case.by_model():
        pair = [numbers(frame.filter(pl.col("environment") == arm), column) for arm in (reference, other)]
        if all(len(values) for values in pair):
            middle = (float(pair[0].mean()) + float(pair[1].mean())) / 2
            a.append(pair[0] - middle)
            b.append(pair[1] - middle)
    if not a:
        return None
    first, second = np.concatenate(a), np.concatenate(b)
    difference = float(second.mean() - first.mean())
    p = welch_p(first, second)
    if p is None:
        p = 0.0 if min(len(first), len(second)) > 1 and not varies(first) and difference else 1.0
    return difference, p


def _finding(case: Case, column: str, arms: tuple[str, str], found: tuple[float, float]) -> Finding:
    unit = "°C" if column.endswith("_c") else "GiB"
    after = column in ("gpu_temp_end_c", "gpu_temp_max_c")
    means = [numbers(case.ok.filter(pl.col("environment") == arm), column).mean() for arm in arms]
    return Finding(
        "thermal_state" if unit == "°C" else "memory_state",
        "note" if after else "grave",
        f"{STATE[column]} differs by arm: the arms did not run on the same machine state"
        + (", or one did more work; clocks and power follow it" if after else ", and its effect counts as the arm's"),
        f"{column}: {means[0]:.2f} {unit} in {arms[0]}, {means[1]:.2f} {unit} in {arms[1]}; within models "
        f"{found[0]:+.2f} {unit} (p = {found[1]:.1g})",
        labels(case.ok.filter(pl.col("environment").is_in(list(arms)) & pl.col(column).is_not_null())),
    )
