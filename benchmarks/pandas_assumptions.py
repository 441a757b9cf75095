# ruff: noqa: PLR2004 - statistics are full of numbers
"""The checks of pairs for `pandas_analysis.py`: normal and independent log ratios, and the intervals where they are not.

The rules are those of `sparkray.stats.assumptions`, written with NumPy and SciPy alone.
"""

import math
from functools import lru_cache

import numpy as np
from pandas_statistics import ALPHA, RESAMPLES, effective_n, pairs_needed, verdict
from scipy import special, stats

Ends = tuple[float, float]
BESIDE = ("skewness_low", "skewness_high", "paired_bca_low", "paired_bca_high", "hl_ratio", "hl_low", "hl_high")


def checked(in_time: np.ndarray, margin: float, *, beside: bool) -> dict[str, object]:
    """Intervals and verdict of log ratios in the order in which pairs were completed, shape (n,).

    `resampled` says that the intervals are the widest of several, of which one is a bootstrap's.
    """
    n, mean, sd = len(in_time), in_time.mean(), in_time.std(ddof=1)
    ends = [student(in_time, level) for level in (0.95, 0.90)]
    shapiro = stats.shapiro(in_time).pvalue if n >= 8 else np.nan
    lag1_p, worth = independence(in_time)
    normal, independent = not shapiro < ALPHA, not lag1_p < ALPHA
    by_t = verdict(*np.exp(ends).ravel(), margin)
    row: dict[str, object] = {"ratio_shapiro_p": shapiro, "ratio_lag1_p": lag1_p}
    row |= {"t_low": math.exp(ends[0][0]), "t_high": math.exp(ends[0][1])}
    if beside or not normal:
        others = [skewness(in_time), bca(in_time), hodges_lehmann(in_time)]
        row |= dict(
            zip(BESIDE, np.exp([*others[0], *others[1], others[2][1], others[2][0], others[2][2]]), strict=True)
        )
        if not normal:
            every = [ends[0], others[0], others[1], (others[2][0], others[2][2])]
            ends = [(min(low for low, _ in every), max(high for _, high in every))] * 2
    if not independent:
        wider = [
            math.sqrt(n / worth) * special.stdtrit(max(worth - 1, 1), q) / special.stdtrit(n - 1, q)
            for q in (0.975, 0.95)
        ]
        ends = [tuple(mean + by * (np.array(end) - mean)) for by, end in zip(wider, ends, strict=True)]
    found = "undecided" if worth < n / 3 else verdict(*np.exp(ends).ravel(), margin)
    known = found == by_t == "undecided" and independent
    row |= dict(zip(("low", "high", "low90", "high90"), np.exp(ends).ravel(), strict=True))
    return row | {
        "verdict": found,
        "pairs_needed": pairs_needed(sd, margin) if known else None,
        "resampled": not normal,
    }


def student(logs: np.ndarray, level: float) -> Ends:
    half = special.stdtrit(len(logs) - 1, 0.5 + level / 2) * logs.std(ddof=1) / math.sqrt(len(logs))
    return logs.mean() - half, logs.mean() + half


def independence(in_time: np.ndarray) -> tuple[float, float]:
    """One-sided p of lag 1 (Moran 1948), and how many independent values they are worth where it is below 5 %."""
    n, centred = len(in_time), in_time - in_time.mean()
    if n < 10:
        return np.nan, n
    lag1 = centred[1:] @ centred[:-1] / (centred @ centred)
    p = special.ndtr(-(lag1 + 1 / n) / math.sqrt((n - 2) ** 2 / (n**2 * (n - 1))))
    return p, effective_n(n, lag1) if p < ALPHA else n


def skewness(logs: np.ndarray) -> Ends:
    """Hall (1992): t corrected for skewness."""
    n, centred = len(logs), logs - logs.mean()
    variance = (centred**2).mean()
    share = (centred**3).mean() / variance**1.5 * math.sqrt(n * (n - 1)) / (n - 2) / math.sqrt(n)
    critical, error = special.stdtrit(n - 1, 0.975), math.sqrt(variance / (n - 1))
    low, high = (3 / share * (np.cbrt(1 + share * (t - share / 6)) - 1) for t in (critical, -critical))
    return logs.mean() - low * error, logs.mean() - high * error


def bca(logs: np.ndarray) -> Ends:
    """BCa of the mean."""
    found = stats.bootstrap((logs,), np.mean, n_resamples=RESAMPLES, method="BCa", rng=np.random.default_rng(0))
    return found.confidence_interval.low, found.confidence_interval.high


def hodges_lehmann(logs: np.ndarray) -> tuple[float, float, float]:
    """Lower end, median of the means of any two values, upper end."""
    first, second = np.triu_indices(len(logs))
    means = np.sort((logs[first] + logs[second]) / 2)
    cut = int(np.searchsorted(rank_sums(len(logs)), 0.025, "right")) - 1
    return (means[cut], np.median(means), means[-1 - cut]) if cut >= 0 else (np.nan, np.median(means), np.nan)


@lru_cache
def rank_sums(n: int) -> np.ndarray:
    """The distribution function of Wilcoxon's signed-rank sum."""
    chances = np.ones(1)
    for rank in range(1, n + 1):
        chances = np.convolve(chances, np.r_[0.5, np.zeros(rank - 1), 0.5])
    return chances.cumsum()
