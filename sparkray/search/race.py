"""How many evaluations a configuration deserves. Pure.

Optuna's WilcoxonPruner compares ranks, so that it cannot stop a trial before four common instances whatever is seen (with
three, the least one-sided p is 1/8): a configuration that halves the throughput would cost four runs. Here the noise of
one log ratio is pooled over every configuration that was measured more than once, as the errors of a randomised block
design are, and a trial is stopped by a one-sided t test on paired differences with that pooled deviation: after one run
where the harm is plain, later where it is not. What the two share: instances are paired, and each test has a bounded risk.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy import special

RISK = 0.1
"""Of stopping a configuration that is as good as the leader, at each test; WilcoxonPruner's own default."""
_FIRST_GUESS = 0.02
"""Of the sd of a log ratio while nothing is known: that of runs with a CV of 1.4 %."""
_GUESS_DF = 2.0
_TOLD_DF = 10.0


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one log ratio, with the degrees of freedom it rests on."""

    sd: float
    df: float


def pooled_noise(groups: Sequence[Sequence[float]], told: float | None = None) -> Noise:
    """The deviation within configurations, pooled: s^2 = sum of squares about each mean / sum of (n - 1).

    Args:
        groups: Log ratios of each configuration.
        told: The deviation that another experiment found; counts as `_TOLD_DF` degrees of freedom. Without it a first
            guess counts as `_GUESS_DF`.
    """
    sd, df = (_FIRST_GUESS, _GUESS_DF) if told is None else (told, _TOLD_DF)
    squares = df * sd * sd
    for values in groups:
        mean = math.fsum(values) / len(values) if values else 0.0
        squares += math.fsum((value - mean) ** 2 for value in values)
        df += max(0, len(values) - 1)
    return Noise(math.sqrt(squares / df), df)


def hopeless(
    challenger: Mapping[int, float],
    leader: Mapping[int, float] | None,
    noise: Noise,
    *,
    shared: bool,
    slack: float = 0.0,
) -> str | None:
    """Why a configuration need not be measured further, in words; None while it may still be the better one.

    The difference of two means of log ratios has the noise of the trials' own runs and of their baselines', each of
    variance sd^2 / 2. Where evaluations of one instance share the baseline's run, its noise counts only as far as the two
    weigh that instance differently.

    Args:
        challenger: Log ratios by step, at least one.
        leader: Those of the best other configuration; None is the baseline itself, which is at 0.
        noise: Of one log ratio.
        shared: Whether evaluations of one step are against the same run of the baseline.
        slack: Log ratio by which it may be behind beside that.
    """
    mine = weights_of(challenger)
    others = weights_of(leader or {})
    behind = (mean(leader or {}) or 0.0) - (mean(challenger) or 0.0)
    own = sum(weight**2 for weight in (*mine.values(), *others.values()))
    apart = sum((mine.get(step, 0.0) - others.get(step, 0.0)) ** 2 for step in {*mine, *others}) if shared else own
    error = noise.sd * math.sqrt((own + apart) / 2)
    bound = slack + float(special.stdtrit(noise.df, 1 - RISK)) * error
    if behind <= bound:
        return None
    whom = "the baseline" if leader is None else "the leader"
    return f"{math.expm1(-behind):+.1%} against {whom} after {len(challenger)}, noise alone leaves {math.expm1(-bound):+.1%}"


def weights_of(values: Mapping[int, float]) -> dict[int, float]:
    """What each step weighs in the mean."""
    return dict.fromkeys(values, 1 / len(values)) if values else {}


def mean(values: Mapping[int, float]) -> float | None:
    """Of the log ratios; None without one."""
    return math.fsum(values.values()) / len(values) if values else None
