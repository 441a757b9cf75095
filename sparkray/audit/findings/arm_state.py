"""A machine that was hotter, or had less free memory, in one arm than in the other."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from sparkray.audit.case import Case, labels, numbers, of_arm, reference_first
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
    columns = [column for column in STATE if numbers(case.ok, column).size]
    if not any(column.startswith("gpu_temp") for column in columns):
        yield NotJudged("arm_state/temperature")
    if not any(column.startswith(("mem", "page")) for column in columns):
        yield NotJudged("arm_state/memory")
    reference, *others = reference_first(case.ok["environment"].unique().to_list())
    for column in columns:
        for other in others:
            difference, p = _difference(case, column, reference, other)
            if abs(difference) >= _LEAST[column.split("_")[0]] and p * len(columns) < _LEVEL:
                yield _finding(case, column, (reference, other), (difference, p))


def _difference(case: Case, column: str, reference: str, other: str) -> tuple[float, float]:
    """Difference of means and Welch's p, after subtraction of each model's own mean; (0, 1) if no model has both arms."""
    a, b = [], []
    for _, frame in case.by_model():
        pair = [numbers(of_arm(frame, arm), column) for arm in (reference, other)]
        if all(len(values) for values in pair):
            middle = (float(pair[0].mean()) + float(pair[1].mean())) / 2
            a.append(pair[0] - middle)
            b.append(pair[1] - middle)
    if not a:
        return 0.0, 1.0
    first, second = np.concatenate(a), np.concatenate(b)
    difference = float(second.mean() - first.mean())
    p = welch_p(first, second)
    if p is None:
        p = 0.0 if min(len(first), len(second)) > 1 and not varies(first) and difference else 1.0
    return difference, p


def _finding(case: Case, column: str, arms: tuple[str, str], test: tuple[float, float]) -> Finding:
    is_temperature, after = column.endswith("_c"), column in ("gpu_temp_end_c", "gpu_temp_max_c")
    values = {
        "what": STATE[column],
        "column": column,
        "unit": "°C" if is_temperature else "GiB",
        "after": after,
        "arms": arms,
        "means": [float(numbers(of_arm(case.ok, arm), column).mean()) for arm in arms],
        "difference": test[0],
        "p": test[1],
    }
    rows = labels(case.ok.filter(pl.col("environment").is_in(list(arms)) & pl.col(column).is_not_null()))
    return Finding("thermal_state" if is_temperature else "memory_state", values, "note" if after else "grave", rows)
