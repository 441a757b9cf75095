"""Are the values of a sequence independent? Lag-1 autocorrelation, trend, effective sample size. Arrays in. Pure."""

import math

import numpy as np
from scipy import stats

_LEAST = 5
_CONSTANT = 1e-12


def varies(values: np.ndarray) -> bool:
    """Whether there is variation to speak of, beyond rounding of the floating point."""
    if len(values) < 2:  # noqa: PLR2004 - one value varies not
        return False
    return float(np.ptp(values)) > _CONSTANT * max(1.0, float(np.max(np.abs(values))))


def lag1(values: np.ndarray) -> float | None:
    """Lag-1 autocorrelation r1; None for fewer than 5 values, or for a constant."""
    if len(values) < _LEAST or not varies(values):
        return None
    centred = values - values.mean()
    centred = centred / np.max(np.abs(centred))
    return float(np.sum(centred[:-1] * centred[1:]) / np.sum(centred**2))


def lag1_if_independent(n: int) -> tuple[float, float]:
    """Mean and variance of r1 over n independent normal values (Moran 1948)."""
    return -1 / n, (n - 2) ** 2 / (n**2 * (n - 1))


def pooled_lag1_p(sequences: list[np.ndarray]) -> tuple[float, float] | None:
    """Mean r1 over sequences and the one-sided p that it is so high by chance; None when no sequence can tell."""
    found = [(r, *lag1_if_independent(len(values))) for values in sequences if (r := lag1(values)) is not None]
    if not found:
        return None
    z = sum(r - mean for r, mean, _ in found) / math.sqrt(sum(variance for _, _, variance in found))
    return sum(r for r, _, _ in found) / len(found), float(stats.norm.sf(z))


def effective_n(n: int, r1: float) -> float:
    """How many independent values would tell as much about the mean: n (1 - r) / (1 + r) (Bartlett 1946).

    r is r1 of sequences of n >= 5 freed of its bias, -(1 + 4 r) / n (Marriott & Pope 1954), never taken below 0.
    """
    r = min(0.95, max(0.0, (n * r1 + 1) / (n - 4)))
    return max(1.0, n * (1 - r) / (1 + r))


def trend_p(values: np.ndarray) -> float | None:
    """Two-sided p of Kendall's tau between order and value; None for fewer than 5 values, or for a constant."""
    if len(values) < _LEAST or not varies(values):
        return None
    p = float(stats.kendalltau(np.arange(len(values)), values).pvalue)
    return p if math.isfinite(p) else None


def welch_p(a: np.ndarray, b: np.ndarray) -> float | None:
    """Two-sided p of Welch's t test; None when a sample has fewer than 2 values or neither varies."""
    if min(len(a), len(b)) < 2 or not (varies(a) or varies(b)):  # noqa: PLR2004
        return None
    va, vb = float(np.var(a, ddof=1)) / len(a), float(np.var(b, ddof=1)) / len(b)
    scale = va + vb
    if not scale > 0:
        return None
    t = float(np.mean(a) - np.mean(b)) / math.sqrt(scale)
    va, vb = va / scale, vb / scale
    freedom = 1 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    return 2 * float(stats.t.sf(abs(t), freedom))
