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

from sparkray.checks import Late, Row
from sparkray.checks._finding import SIGMA_PER_MAD, median, number, robust_sd
from sparkray.config.experiment import Policy
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
        value = f"{self.metric} is {self.usual * math.exp(self.off):.4g}"
        times = (
            f"{math.exp(self.off):.3g} times the median {self.usual:.4g} of {self.runs} {self.row['environment']} runs"
        )
        return f"{value}, {times}; modified z {self.z:.1f}, limit {MOST_Z:g}"


class Review:
    """See the module."""

    name = "outliers"
    policy: Policy = "warn"
    remedy = "Find what the machine did during these runs; to keep them: --set 'experiment.checks={outliers: warn}'"

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """See `checks.Review`. No verdict with fewer than 5 complete pairs."""
        chosen = [name for name in study.experiment.primary_metrics if name in BY_NAME and name.startswith(_FAMILIES)]
        found: dict[tuple[str, int], list[Outlier]] = {}
        for metric in chosen or _DEFAULT:
            for outlier in _outliers(study, rows, metric):
                outliers = found.setdefault((outlier.row["run_id"], outlier.row["attempt"]), [])
                if metric not in {known.metric for known in outliers}:
                    outliers.append(outlier)
        return [Late(*key, self._verdict(outliers, _only_first(found, rows))) for key, outliers in found.items()]

    def _verdict(self, outliers: Sequence[Outlier], only_first: bool) -> Verdict:  # noqa: FBT001 - private
        text = "; ".join(map(str, outliers))
        cold = "; only the first run is slow: a cold start?"
        return Verdict(self.name, "invalid", text + (cold if only_first and outliers[0].slow else ""))


def _only_first(found: dict[tuple[str, int], list[Outlier]], rows: Sequence[Row]) -> bool:
    return list(found) == [(rows[0]["run_id"], rows[0]["attempt"])]


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


Arm = dict[object, tuple[Row, float]]
"""Row and log of its metric by block, of one environment."""


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
    for row, value in arm.values():
        off, z = value - median(values), sided_z(values, value)
        if _far(off) and z > MOST_Z:
            yield Outlier(row, metric, off, z, math.exp(median(values)), len(values))


def _paired(one: Arm, other: Arm, metric: str) -> Iterator[Outlier]:
    blocks = [block for block in one if block in other]
    if len(blocks) < FEWEST:
        return
    ratios = [other[block][1] - one[block][1] for block in blocks]
    for block, ratio in zip(blocks, ratios, strict=True):
        off, arm = max(((_off(arm, block), arm) for arm in (one, other)), key=lambda found: abs(found[0]))
        if not (_far(ratio - median(ratios)) and _far(off)):
            continue
        row, value = arm[block]
        z = modified_z(ratios, ratio)
        if _far(off, FLOOR_OF_ARM):
            z = max(z, sided_z(_logs(arm), value))
        if z > MOST_Z:
            yield Outlier(row, metric, off, z, math.exp(value - off), len(arm))


def _logs(arm: Arm) -> list[float]:
    return [value for _, value in arm.values()]


def _off(arm: Arm, block: object) -> float:
    return arm[block][1] - median(_logs(arm))


def _far(off: float, floor: float = FLOOR) -> bool:
    return abs(off) > math.log(floor)
