"""Differences of levels between arms: each model's own mean is subtracted, then the arms are compared. Pure."""

import numpy as np

from sparkray.audit.case import Case, numbers, of_arm
from sparkray.stats.independent import welch_p
from sparkray.stats.samples import varies


def difference(case: Case, column: str, reference: str, other: str) -> tuple[float, float]:
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
    apart = float(second.mean() - first.mean())
    p = welch_p(first, second)
    if p is None:
        p = 0.0 if min(len(first), len(second)) > 1 and not varies(first) and apart else 1.0
    return apart, p
