"""How likely a test detects an effect, before the data; and the protocol's power after them.

Power of the equivalence verdict is `sparkray.stats.paired.tost_power`.
"""

import math
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from sparkray.stats import NotEstimable, noncentral, special
from sparkray.stats.samples import Vector, least_n, too_few

_LEAST = 2
_LARGEST_LOG = 50.0


def two_sample_power(d: float, n_a: int, n_b: int | None = None, *, alpha: float = 0.05) -> float:
    """Power of the two-sided, two-sample t test (Cohen 1988, chapter 2), by the noncentral t distribution.

    Args:
        d: The true difference in standard deviations of a run.
        n_a: Runs of the reference arm, at least 2.
        n_b: Runs of the other arm; as many by default.
        alpha: Level of the test.

    Raises:
        ValueError: Fewer than 2 runs.
    """
    other = n_a if n_b is None else n_b
    if min(n_a, other) < _LEAST:
        raise ValueError(f"n_a {n_a}, n_b {other}: at least {_LEAST}")
    return float(two_sided_power(d * math.sqrt(n_a * other / (n_a + other)), n_a + other - 2, alpha))


def paired_power(ratio: float, sd_log: float, n: int, *, alpha: float = 0.05) -> float:
    """Power of the two-sided paired t test on log ratios to exclude 1.

    Args:
        ratio: The true ratio, above 0.
        sd_log: Standard deviation of the log ratios, above 0; sqrt(2) times the CV of a run where blocks do nothing.
        n: Pairs, at least 2.
        alpha: Level of the test.

    Raises:
        ValueError: Fewer than 2 pairs, a ratio or a deviation not above 0.
    """
    if n < _LEAST or ratio <= 0 or sd_log <= 0:
        raise ValueError(f"n {n}, ratio {ratio}, sd_log {sd_log}: n at least {_LEAST}, others above 0")
    return float(two_sided_power(math.log(ratio) / sd_log * math.sqrt(n), n - 1, alpha))


def two_sample_runs(d: float, *, power: float = 0.80, alpha: float = 0.05) -> int | None:
    """The least number of runs an arm with that power to see d; None beyond 100,000."""
    return least_n(lambda n: two_sample_power(d, n, alpha=alpha) >= power)


def paired_runs(ratio: float, sd_log: float, *, power: float = 0.80, alpha: float = 0.05) -> int | None:
    """The least number of pairs with that power to exclude 1; None beyond 100,000."""
    return least_n(lambda n: paired_power(ratio, sd_log, n, alpha=alpha) >= power)


def minimum_detectable(n: int, sd_log: float, *, power: float = 0.80, alpha: float = 0.05) -> float | NotEstimable:
    """The least increase, ratio - 1, that n pairs detect with that power; a decrease to 1 / (1 + it) is detected as well.

    Args:
        n: Pairs.
        sd_log: Standard deviation of the log ratios.
        power: Asked for.
        alpha: Level of the test.

    Returns:
        ratio - 1 (0.004 is 0.4 %), or why there is none (fewer than 2 pairs, no noise, an absurd one).
    """
    if n < _LEAST:
        return too_few(n, _LEAST, "pair")
    if not 0 < sd_log < math.inf:
        return NotEstimable("logs_alike")
    log = _noncentrality_for(power, n - 1, alpha) * sd_log / math.sqrt(n)
    return math.expm1(log) if log < _LARGEST_LOG else NotEstimable("too_noisy")


def two_sided_power(noncentrality: ArrayLike, df: int, alpha: float = 0.05) -> Vector:
    """Power of a two-sided t test by its noncentrality, of any shape."""
    critical = float(special.stdtrit(df, 1 - alpha / 2))
    centres = np.asarray(noncentrality, dtype=np.float64)
    below_high, below_low = noncentral.cdf(
        np.multiply.outer([critical, -critical], np.ones(centres.shape)), df, centres
    )
    return np.asarray(np.minimum(1.0, 1.0 - below_high + below_low))


@lru_cache(maxsize=256)
def _noncentrality_for(power: float, df: int, alpha: float) -> float:
    """The noncentrality at which the two-sided t test has that power."""
    near = float(special.stdtrit(df, 1 - alpha / 2) + special.ndtri(power))
    return float(noncentral.root(lambda place: two_sided_power(place, df, alpha), power, near, near + 0.1))
