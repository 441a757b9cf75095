"""Is a run an outlier among all others? A review: only many runs show what is usual.

For each block, the log ratio of two environments is taken, which cancels what affects both. Where a block's ratio is
more than 25 % off the median ratio, the candidate is the run further from the median of its environment, if that is
more than 25 % too. It is an outlier where the ratio is one among the ratios by the modified z score of Iglewicz &
Hoaglin (1993, How to Detect and Handle Outliers),

    |0.6745 (x - median) / MAD| > 3.5,

or where the run is one within its environment and 50 % off: a ratio carries the noise of two runs, so at 10 % noise
ratios alone miss a run twice as slow 3 times in 10, and both rules together less than once. The floors are needed
because the MAD of few or very even runs is close to 0. With one environment, the logs themselves are used.

The noise of a shared machine is skewed: a neighbour only slows runs down. Ratios cancel the skew, single runs do not.
For single runs the MAD is that of the other values on the run's side of the median, where that is wider: the
semi-interquartile range of that side, as in Kimber's fences for skewed samples (1990, Applied Statistics 39:21). Its
breakdown point is a quarter, not a half.

The policy is to warn: a distant value is not wrong, and removing such values makes every interval too narrow. Reports
show the result with and without them.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Late, Row
from sparkray.checks._finding import SIGMA_PER_MAD, median, number, robust_sd
from sparkray.metrics import BY_NAME
from sparkray.plan import Study
from sparkray.records import Verdict

FEWEST = 5
MOST_Z = 3.5
FLOOR, FLOOR_OF_ARM = 1.25, 1.5
_FAMILIES = ("output_throughput", "request_throughput", "latency", "ttft", "itl")
_DEFAULT = ("output_throughput_tok_s",)
_ENDLESS = 99.9


@dataclass(frozen=True)
class Outlier:
    """An outlying run: its metric and its deviation on the log scale."""

    row: Row
    metric: str
    off: float
    z: float
    usual: float
    runs: int

    @property
    def slow(self) -> bool:
        """Whether it deviates to the worse side."""
        return (self.off < 0) == (BY_NAME[self.metric].better == "higher")

    def __str__(self) -> str:
        factor = math.exp(self.off)
        usual = f"{factor:.3g} times the median {self.usual:.4g} of {self.runs} {self.row['environment']} runs"
        return f"{self.metric} is {self.usual * factor:.4g}, {usual}; modified z {self.z:.1f}, limit {MOST_Z:g}"


class Check(BaseCheck):
    """See the module."""

    name = "outliers"
    policy = "warn"
    remedy = "Find what the machine did during these runs; to keep them: --set 'experiment.checks={outliers: warn}'"

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """See `BaseCheck`. No verdict with fewer than 5 complete pairs."""
        chosen = [name for name in study.experiment.primary_metrics if name in BY_NAME and name.startswith(_FAMILIES)]
        by_run: dict[tuple[str, int], dict[str, Outlier]] = {}
        for metric in chosen or _DEFAULT:
            for outlier in _outliers(study, rows, metric):
                by_run.setdefault((outlier.row["run_id"], outlier.row["attempt"]), {}).setdefault(metric, outlier)
        only_first = list(by_run) == [(row["run_id"], row["attempt"]) for row in rows[:1]]
        return [Late(*key, self._verdict([*outliers.values()], only_first)) for key, outliers in by_run.items()]

    def _verdict(self, outliers: Sequence[Outlier], only_first: bool) -> Verdict:  # noqa: FBT001 - private
        cold = "; only the first run is slow: a cold start?" if only_first and outliers[0].slow else ""
        return Verdict(self.name, "invalid", "; ".join(map(str, outliers)) + cold)


def modified_z(values: Sequence[float], value: float) -> float:
    """Absolute modified z score of a value among values, at most 99.9."""
    return _z(abs(value - median(values)), robust_sd(values))


def sided_z(values: Sequence[float], value: float) -> float:
    """`modified_z` with the spread of the other values on the value's side of the median, where that is wider."""
    middle = median(values)
    others = [*values]
    others.remove(value)
    beyond = [abs(each - middle) for each in others if (each - middle) * (value - middle) >= 0]
    sd = SIGMA_PER_MAD * median(beyond) if beyond else 0.0
    return _z(abs(value - middle), max(sd, robust_sd(values)))


def _z(off: float, sd: float) -> float:
    return min(_ENDLESS, off / sd) if sd > 0 else (_ENDLESS if off > 0 else 0.0)


def _outliers(study: Study, rows: Sequence[Row], metric: str) -> Iterator[Outlier]:
    arms = _arms(study, rows, metric)
    if len(arms) == 1:
        yield from _alone(next(iter(arms.values())), metric)
    names = list(arms)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            yield from _paired(arms[name], arms[other], metric)


# Row and log of its metric by block, of one environment.
Arm = dict[object, tuple[Row, float]]


def _arms(study: Study, rows: Sequence[Row], metric: str) -> dict[str, Arm]:
    arms: dict[str, Arm] = {}
    for row in rows:
        value = number(row, metric)
        if value is not None and value > 0:
            arms.setdefault(row["environment"], {})[row.get("block")] = (row, math.log(value))
    order = [name for name in study.experiment.environments if name in arms]
    return {name: arms[name] for name in (*order, *sorted(set(arms) - set(order)))}


def _alone(arm: Arm, metric: str) -> Iterator[Outlier]:
    values = _logs(arm)
    if len(values) < FEWEST:
        return
    middle = median(values)
    for row, value in arm.values():
        if _far(value - middle) and (z := sided_z(values, value)) > MOST_Z:
            yield Outlier(row, metric, value - middle, z, math.exp(middle), len(values))


def _paired(one: Arm, other: Arm, metric: str) -> Iterator[Outlier]:
    blocks = [block for block in one if block in other]
    if len(blocks) < FEWEST:
        return
    ratios = [other[block][1] - one[block][1] for block in blocks]
    middle, arms = median(ratios), [(arm, median(_logs(arm))) for arm in (one, other)]
    for block, ratio in zip(blocks, ratios, strict=True):
        arm, usual = max(arms, key=lambda pair: abs(pair[0][block][1] - pair[1]))
        row, value = arm[block]
        if not (_far(ratio - middle) and _far(value - usual)):
            continue
        z = modified_z(ratios, ratio)
        if _far(value - usual, FLOOR_OF_ARM):
            z = max(z, sided_z(_logs(arm), value))
        if z > MOST_Z:
            yield Outlier(row, metric, value - usual, z, math.exp(usual), len(arm))


def _logs(arm: Arm) -> list[float]:
    return [value for _, value in arm.values()]


def _far(off: float, floor: float = FLOOR) -> bool:
    return abs(off) > math.log(floor)
