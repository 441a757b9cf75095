"""What verdicts are worth when the log ratios misbehave, before and after their assumptions are checked.

Each study has 30 pairs whose log ratios follow a law with a known mean, skewed to the right where it is skewed. Its true
ratio lies on the upper margin, the side on which means of such samples err more. `err` is how often `equivalent` is said all
the same (5 % is promised), `covers` how often the 95 % interval holds the truth, `says` how often an assumption is said to
fail. "Before" is Student's t alone. The last table is what normal pairs pay for it: how much of their power is kept.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from sparkray.stats._crossing import critical_values
from sparkray.stats.assumptions import ALPHA, checked, decide_checked, dependence
from sparkray.stats.normality import shapiro_p
from sparkray.stats.operating import ends_of
from sparkray.stats.paired import decide, ratio_of_logs
from sparkray.stats.sequential import Design, alpha_spent

Array = NDArray[np.float64]
PAIRS, MARGIN, SD = 30, 0.01, 0.001
LOOKS = (4, 6, 8, 10, 12, 15, 20, 25, 30)
SLOW_SHARE, SLOW_BY = 0.05, 10.0
MOST_ERROR, LEAST_COVER, MOST_LOST = 0.06, 0.93, 0.055
Draw = Callable[[np.random.Generator, tuple[int, int]], Array]


def _lognormal(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    values = np.exp(0.8 * rng.standard_normal(shape)) - math.exp(0.32)
    return np.asarray(values / math.sqrt((math.exp(0.64) - 1) * math.exp(0.64)))


def _slow(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
    values = rng.standard_normal(shape) + SLOW_BY * (rng.random(shape) < SLOW_SHARE) - SLOW_BY * SLOW_SHARE
    return np.asarray(values / math.sqrt(1 + SLOW_BY**2 * SLOW_SHARE * (1 - SLOW_SHARE)))


def _autoregressive(share: float) -> Draw:
    def draw(rng: np.random.Generator, shape: tuple[int, int]) -> Array:
        values = rng.standard_normal(shape)
        for column in range(1, shape[1]):
            values[:, column] = share * values[:, column - 1] + math.sqrt(1 - share**2) * values[:, column]
        return values

    return draw


LAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "lognormal (0.8)": _lognormal,
    "5 % of pairs slow by 10 sd": _slow,
    "AR(1) 0.5": _autoregressive(0.5),
    "AR(1) 0.3": _autoregressive(0.3),
    "gamma, skewness 1": lambda rng, shape: (rng.gamma(4, size=shape) - 4) / 2,
    "t with 3 df": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
}
# Those that have to keep the bounds. Slow pairs cannot: see the last line of the table.
GOALS = ("exponential", "lognormal (0.8)", "AR(1) 0.5")


@dataclass(frozen=True)
class Outcome:
    """Shares of studies; `either` covers the truth or says that the pairs are not independent."""

    error: float
    covers: float
    says: float = 0.0
    either: float = 0.0


def of_students_t(logs: Array) -> Outcome:
    """Verdicts by Student's t alone, of log ratios on the margin."""
    found = [ratio_of_logs(row) for row in logs]
    truth = 1 + MARGIN
    error = np.mean([decide(one, MARGIN).verdict == "equivalent" for one in found])
    return Outcome(float(error), float(np.mean([one.ci95[0] <= truth <= one.ci95[1] for one in found])))


def of_checked(logs: Array) -> Outcome:
    """Verdicts of the analysis, of log ratios on the margin."""
    truth, equivalent, covers, says, either = 1 + MARGIN, 0, 0, 0, 0
    for row in logs:
        found = checked(ratio_of_logs(row), row, beside=False)
        equivalent += decide_checked(found, MARGIN)[0].verdict == "equivalent"
        inside = found.ratio.ci95[0] <= truth <= found.ratio.ci95[1]
        covers += inside
        either += inside or not found.assumptions.independent
        says += not (found.assumptions.normal and found.assumptions.independent)
    return Outcome(equivalent / len(logs), covers / len(logs), says / len(logs), either / len(logs))


def sequential_error(logs: Array) -> tuple[float, float]:
    """How often interim analyses say `equivalent` of log ratios on the margin: by t alone, and by the analysis."""
    spent = tuple(alpha_spent("linear", 0.05, n / LOOKS[-1]) for n in LOOKS)
    said = np.zeros(len(logs), dtype=bool)
    for n, critical in zip(LOOKS, critical_values(LOOKS, spent), strict=True):
        values = logs[:, :n]
        half = critical * np.std(values, axis=1, ddof=1) / math.sqrt(n)
        said |= np.abs(np.mean(values, axis=1)) + half <= math.log1p(MARGIN)
    return float(said.mean()), ends_of(Design(LOOKS, MARGIN), logs).rates.equivalent


def show_table(studies: int, seed: int = 11) -> list[str]:
    """The table; returns the goals that are missed."""
    print(
        f"\n{PAIRS} pairs, the true ratio on the margin; {studies} studies a line, seed {seed}; goals: err at most 6 %, "
    )
    print("covers at least 93 % (a study that says 'not independent' counts), interim analyses err at most 6 %")
    print(f"{'':30}{'before':^16}{'after':^32}{'interim analyses, err':^24}")
    head = f"{'err':>8}{'covers':>8}"
    print(f"{'log ratios':<30}{head}{head}{'says':>8}{'or says':>8}{'before':>12}{'after':>12}")
    missed: list[str] = []
    for number, (name, draw) in enumerate(LAWS.items()):
        values = draw(np.random.default_rng([seed, number]), (studies, PAIRS))
        logs = math.log1p(MARGIN) + SD * values
        before, after = of_students_t(logs), of_checked(logs)
        first, last = sequential_error(logs)
        print(
            f"{name:<30}{before.error:>8.3f}{before.covers:>8.3f}{after.error:>8.3f}{after.covers:>8.3f}"
            f"{after.says:>8.3f}{after.either:>8.3f}{first:>12.3f}{last:>12.3f}"
        )
        if name in GOALS:
            noise = 2 * math.sqrt(MOST_ERROR * (1 - MOST_ERROR) / studies)
            missed += [
                f"{name}, {what}: {value:.3f} where {bound:.2f} is the goal"
                for what, value, bound, bad in (
                    ("error", after.error, MOST_ERROR, after.error > MOST_ERROR + noise),
                    ("coverage", after.either, LEAST_COVER, after.either < LEAST_COVER - noise),
                    ("error of interim analyses", last, MOST_ERROR, last > MOST_ERROR + noise),
                )
                if bad
            ]
    unseen = (1 - SLOW_SHARE) ** PAIRS
    inside = float(stats.nct.sf(stats.t.ppf(0.95, PAIRS - 1), PAIRS - 1, SLOW_BY * SLOW_SHARE * math.sqrt(PAIRS)))
    apart, power = SLOW_BY * SLOW_SHARE, MOST_ERROR / unseen
    print(
        f"in {unseen:.1%} of studies with 5 % of slow pairs none of {PAIRS} is slow: samples of a normal law whose mean lies"
    )
    print(
        f"{apart:g} sd inside the margin. t calls such ones equivalent in {inside:.1%}: with its power no procedure errs in"
    )
    print(
        f"fewer than {unseen * inside:.1%}, and with an error of {MOST_ERROR:.0%} none has more power than {power:.0%}"
    )
    return missed


def show_power(studies: int, seed: int = 12) -> list[str]:
    """Power of `equivalent` at a ratio of 1, normal log ratios; returns where more than 5.5 % of it is lost."""
    print(f"\npower of 'equivalent' at a ratio of 1, normal log ratios; {studies} studies a line, seed {seed}")
    print(f"{'margin in sd':>14}{'Student t':>12}{'checked':>12}{'of it':>8}")
    values = np.random.default_rng(seed).standard_normal((studies, PAIRS))
    doubtful = (shapiro_p(values) < ALPHA) | (dependence(values)[0] < ALPHA)
    missed: list[str] = []
    for width in (0.55, 0.65, 0.8, 1.2):
        logs = values * math.log1p(MARGIN) / width
        before = np.array([decide(ratio_of_logs(row), MARGIN).verdict == "equivalent" for row in logs])
        after = before.copy()
        for place in np.flatnonzero(doubtful & before):
            found = checked(ratio_of_logs(logs[place]), logs[place], beside=False)
            after[place] = decide_checked(found, MARGIN)[0].verdict == "equivalent"
        kept = after.mean() / before.mean()
        print(f"{width:>14}{before.mean():>12.3f}{after.mean():>12.3f}{kept:>8.1%}")
        if kept < 1 - MOST_LOST - 2 * math.sqrt(MOST_LOST * (1 - MOST_LOST) / studies):
            missed.append(f"normal, margin {width} sd: {kept:.1%} of the power is kept")
    return missed
