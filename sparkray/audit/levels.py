"""Differences of levels between arms: the mean of each model on each occasion is subtracted. Pure."""

import numpy as np
import polars as pl

from sparkray.audit.case import Case, numbers, of_arm
from sparkray.stats.independent import welch_p
from sparkray.stats.samples import varies


def difference(case: Case, column: str, reference: str, other: str) -> tuple[float, float]:
    """Difference of means and Welch's p, the mean of each model and occasion subtracted; (0, 1) if none has both arms."""
    a, b = [], []
    for _, frame in compared(case, (reference, other)).group_by("model", "study_number", maintain_order=True):
        pair = [numbers(of_arm(frame, arm), column) for arm in (reference, other)]
        if all(len(values) for values in pair):
            middle = (float(pair[0].mean()) + float(pair[1].mean())) / 2
            a.append(pair[0] - middle)
            b.append(pair[1] - middle)
    if not a:
        return 0.0, 1.0
    first, second = np.concatenate(a), np.concatenate(b)
    apart = float(second.mean() - first.mean())
    p = welch_p(first, second)
    if p is None:
        p = 0.0 if min(len(first), len(second)) > 1 and not varies(first) and apart else 1.0
    return apart, p


def compared(case: Case, arms: tuple[str, str]) -> pl.DataFrame:
    """Rows of two arms, of the models and occasions that have both: a machine that ran one arm alone compares nothing.

    Where none has both, all rows, as if of one occasion: then arms and machines differ together, which a finding says.
    """
    rows = case.ok.filter(pl.col("environment").is_in(list(arms)))
    both = rows.filter(pl.col("environment").n_unique().over("model", "study_number") == len(arms))
    return rows.with_columns(study_number=pl.lit(None, pl.Int64)) if both.is_empty() else both
