"""The paired ratio of two arms, and the verdict on it against a margin that was fixed before.

A ratio is the exponential of the mean of log ratios inside blocks; its interval is Student's t on the log scale, so it is
the same whichever arm is called the first. The verdict follows the two one-sided tests of Schuirmann (1987), with the
margin on the log scale: `equivalent` if the 90 % interval lies inside [1/(1+m), 1+m], `different` if the 95 % interval
lies wholly outside it, else `undecided`. Whether the 95 % interval excludes 1 is told apart: an effect can be real and
negligible, and an interval that holds 1 shows no equality.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy import stats

from sparkray.stats import NotEstimable

VerdictWord = Literal["equivalent", "different", "undecided"]
_LEAST_PAIRS = 2
_MOST_PAIRS = 100_000
_CERTAIN = 25.0
"""A noncentrality that leaves a tail below 1e-7 where it is 5.5 critical values too; SciPy's own gives NaN from 36 on."""


@dataclass(frozen=True)
class Ratio:
    """A paired ratio b/a. Intervals are (low, high); `sd_log` is the sd of the log ratios."""

    n: int
    ratio: float
    ci95: tuple[float, float]
    ci90: tuple[float, float]
    sd_log: float

    @property
    def excludes_one(self) -> bool:
        """Whether the 95 % interval excludes 1."""
        return not self.ci95[0] <= 1.0 <= self.ci95[1]


@dataclass(frozen=True)
class Decision:
    """A verdict against a relative margin. `pairs_needed` would decide if the true ratio is 1; None when decided."""

    verdict: VerdictWord
    margin: float
    pairs_needed: int | None


def paired_ratio(a: Sequence[float], b: Sequence[float]) -> Ratio | NotEstimable:
    """The ratio b/a over pairs.

    Args:
        a: Values of the reference arm, one a block, above 0.
        b: Values of the other arm in the same blocks.

    Returns:
        The ratio with its intervals, or why there is none (fewer than 2 pairs, a value not above 0).
    """
    if len(a) != len(b):
        raise ValueError(f"{len(a)} values against {len(b)}: pairs are needed")
    if len(a) < _LEAST_PAIRS:
        return NotEstimable(
            f"{len(a)} complete pair{'s' if len(a) != 1 else ''}: an interval needs at least {_LEAST_PAIRS}"
        )
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if not all(np.all(np.isfinite(arm) & (arm > 0)) for arm in (first, second)):
        return NotEstimable("a value is not a finite number above 0: no ratio")
    logs = np.log(second) - np.log(first)
    mean, sd = float(np.mean(logs)), float(np.std(logs, ddof=1))
    error = sd / math.sqrt(len(logs))

    def interval(level: float) -> tuple[float, float]:
        half = float(stats.t.ppf(0.5 + level / 2, len(logs) - 1)) * error
        return math.exp(mean - half), math.exp(mean + half)

    return Ratio(len(logs), math.exp(mean), interval(0.95), interval(0.90), sd)


def decide(ratio: Ratio, margin: float) -> Decision:
    """The verdict on a ratio against a relative margin above 0."""
    low, high = 1 / (1 + margin), 1 + margin
    if low <= ratio.ci90[0] and ratio.ci90[1] <= high:
        return Decision("equivalent", margin, None)
    if ratio.ci95[1] < low or ratio.ci95[0] > high:
        return Decision("different", margin, None)
    return Decision("undecided", margin, pairs_needed(ratio.sd_log, margin))


def tost_power(n: int, sd_log: float, margin: float, alpha: float = 0.05) -> float:
    """Power of the two one-sided tests at true ratio 1, by noncentral t (Phillips 1990; error below 0.01 at 80 %)."""
    width = math.log1p(margin) * math.sqrt(n)
    critical = float(stats.t.ppf(1 - alpha, n - 1))
    if width > max(_CERTAIN, 5.5 * critical) * sd_log:
        return 1.0
    bound = width / sd_log
    upper = float(stats.nct.cdf(-critical, n - 1, -bound))
    lower = float(stats.nct.cdf(critical, n - 1, bound))
    return max(0.0, upper - lower)


def pairs_needed(sd_log: float, margin: float, power: float = 0.80) -> int | None:
    """The least number of pairs with that power to call arms equivalent when they are; None beyond 100,000."""
    low, high = _LEAST_PAIRS - 1, _LEAST_PAIRS
    while tost_power(high, sd_log, margin) < power:
        low, high = high, high * 2
        if high > _MOST_PAIRS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if tost_power(middle, sd_log, margin) >= power else (middle, high)
    return high
