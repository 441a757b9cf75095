"""How many blocks a configuration deserves. Pure.

Optuna's WilcoxonPruner compares ranks, so that it cannot stop a trial before four common instances whatever the values (with
three, the least one-sided p is 1/8): a configuration that halves the throughput would cost four runs on every model. Here
the noise of one log ratio is pooled, model by model, over every configuration that was measured more than once, as the
errors of a randomised block design are, and a trial is stopped by a one-sided t test on paired differences with that
pooled deviation: before the next model where the harm is plain, later where it is not. What the two share: blocks are
paired, and the risk is bounded. The risk is shared out over all tests of one configuration.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sparkray.optimize.search.types import Place
from sparkray.stats import special

# Of stopping a configuration that is as good as the leader, over all tests of it; WilcoxonPruner's default is for each.
RISK = 0.1
# Of the sd of a log ratio while nothing is known: that of runs with a CV of 1.4 %.
FIRST_GUESS = 0.02
_GUESS_DF = 2.0
_KNOWN_DF = 10.0
Values = Mapping[Place, float]


@dataclass(frozen=True)
class Noise:
    """Standard deviation of one log ratio, with the degrees of freedom it rests on."""

    sd: float
    df: float


def pooled_noise(groups: Sequence[Sequence[float]], known: float | None = None) -> Noise:
    """The deviation within configurations, pooled: s^2 = sum of squares about each mean / sum of (n - 1).

    Args:
        groups: Log ratios of each configuration on one model.
        known: The deviation that another experiment found; counts as `_KNOWN_DF` degrees of freedom. Without it a first
            guess counts as `_GUESS_DF`.
    """
    sd, df = (FIRST_GUESS, _GUESS_DF) if known is None else (known, _KNOWN_DF)
    squares = df * sd * sd
    for values in groups:
        centre = math.fsum(values) / len(values) if values else 0.0
        squares += math.fsum((value - centre) ** 2 for value in values)
        df += max(0, len(values) - 1)
    return Noise(math.sqrt(squares / df), df)


def hopeless(
    challenger: Values, leader: Values | None, noise: Mapping[str, Noise], *, tests: int, slack: float = 0.0
) -> str | None:
    """Why a configuration need not be measured further, in words; None while it may still be the better one.

    The difference of two means of log ratios has the noise of the trials' own runs and of their baselines', each of
    variance sd^2 / 2. Those of one block share the baseline's run, whose noise counts only as far as the two weigh that
    block differently.

    Args:
        challenger: Its log ratios, at least one.
        leader: Those of the best other configuration; None is the baseline itself, which is at 0.
        noise: Of one log ratio, by model.
        tests: How often one configuration is tested at most.
        slack: Log ratio by which it may be behind beside that.
    """
    models = {model for model, _ in challenger}
    others = {place: value for place, value in (leader or {}).items() if place[0] in models}
    if {model for model, _ in others} != models:
        others = {}
    behind = (mean(others) or 0.0) - (mean(challenger) or 0.0)
    mine, theirs = weights_of(challenger), weights_of(others)
    variance, df = 0.0, math.inf
    for place in {*mine, *theirs}:
        known = noise[place[0]]
        a, b = mine.get(place, 0.0), theirs.get(place, 0.0)
        variance += (a * a + b * b + (a - b) ** 2) * known.sd**2 / 2
        df = min(df, known.df)
    bound = slack + float(special.stdtrit(df, 1 - RISK / tests)) * math.sqrt(variance)
    if behind <= bound:
        return None
    whom = "the leader" if others else "the baseline"
    return f"{math.expm1(-behind):+.1%} against {whom} after {len(challenger)}, noise alone leaves {math.expm1(-bound):+.1%}"


def weights_of(values: Values) -> dict[Place, float]:
    """What each block weighs in the mean: models count alike, and so do the blocks of one."""
    counts: dict[str, int] = {}
    for model, _ in values:
        counts[model] = counts.get(model, 0) + 1
    return {place: 1 / (len(counts) * counts[place[0]]) for place in values}


def mean(values: Values) -> float | None:
    """Of the log ratios; None without one."""
    return math.fsum(weight * values[place] for place, weight in weights_of(values).items()) if values else None
