"""Does one run stand apart from all the others? Seen late: only many runs show what is usual.

Inside each block the log ratio of two environments is taken, which what troubles both alike does not move. A block whose
ratio is more than 25 % off the median ratio holds a run that may stand apart: the one of the two that is further from the
median of its own environment, if that is more than 25 % as well. It does where the ratio is an outlier among the ratios by
the modified z score of Iglewicz & Hoaglin (1993, How to Detect and Handle Outliers),

    |0.6745 (x - median) / MAD| > 3.5,

or where the run is one among those of its environment, and 50 % off: a ratio carries the noise of two runs, and at 10 % of
noise a run that is twice as slow is missed three times in ten by ratios alone, and less than once with both. The floors
are needed since the MAD of few runs, or of very even ones, is close to nothing. With one environment alone the logs
themselves are taken.

The noise of a shared machine is skewed: a neighbour makes runs slower and none faster. In a ratio of two runs the skew
cancels, a single run has it, and a spread over both sides knows nothing of the long one. Among single runs the MAD is
therefore that of the other values on the run's own side of the median, where that is the wider one. It is the
semi-interquartile range of that side, by which Kimber (1990, Applied Statistics 39:21) sets the fences of skewed samples. A
quarter of the runs may be wild before it breaks down, in place of a half.

The policy is to warn. A measurement is not wrong for being far off, and to leave out what is far off makes every interval
too narrow; the reader is told, and the reports can show the result without it.
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
class Apart:
    """A run that stands apart: how, by how much on the log scale."""

    row: Row
    metric: str
    off: float
    z: float
    usual: float
    runs: int

    @property
    def slow(self) -> bool:
        """Whether it is on the bad side."""
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
    remedy = "See what the machine did during these runs; to keep them: --set 'experiment.checks={outliers: warn}'"

    def revalidate(self, study: Study, rows: Sequence[Row]) -> Sequence[Late]:
        """See `checks.Review`. Nothing with fewer than 5 complete pairs."""
        chosen = [name for name in study.experiment.primary_metrics if name in BY_NAME and name.startswith(_FAMILIES)]
        found: dict[tuple[str, int], list[Apart]] = {}
        for metric in chosen or _DEFAULT:
            for apart in _standing_apart(study, rows, metric):
                told = found.setdefault((apart.row["run_id"], apart.row["attempt"]), [])
                if metric not in {known.metric for known in told}:
                    told.append(apart)
        return [Late(*key, self._verdict(told, _only_first(found, rows))) for key, told in found.items()]

    def _verdict(self, told: Sequence[Apart], only_first: bool) -> Verdict:  # noqa: FBT001 - private
        said = "; ".join(map(str, told))
        cold = "; only the first run is slow: was something cold that later runs found warm?"
        return Verdict(self.name, "invalid", said + (cold if only_first and told[0].slow else ""))


def _only_first(found: dict[tuple[str, int], list[Apart]], rows: Sequence[Row]) -> bool:
    return list(found) == [(rows[0]["run_id"], rows[0]["attempt"])]


def modified_z(values: Sequence[float], value: float) -> float:
    """The modified z score of a value among values, without its sign; 99.9 at the most."""
    return _z(abs(value - median(values)), robust_sd(values))


def sided_z(values: Sequence[float], value: float) -> float:
    """`modified_z` of one of the values by the spread of the others on its side of the median, where that is wider."""
    middle = median(values)
    others = [*values]
    others.remove(value)
    beyond = [abs(each - middle) for each in others if (each - middle) * (value - middle) >= 0]
    sd = SIGMA_PER_MAD * median(beyond) if beyond else 0.0
    return _z(abs(value - middle), max(sd, robust_sd(values)))


def _z(off: float, sd: float) -> float:
    return min(_ENDLESS, off / sd) if sd > 0 else (_ENDLESS if off > 0 else 0.0)


def _standing_apart(study: Study, rows: Sequence[Row], metric: str) -> Iterator[Apart]:
    arms = _arms(study, rows, metric)
    if len(arms) == 1:
        yield from _alone(next(iter(arms.values())), metric)
    names = list(arms)
    for index, name in enumerate(names):
        for other in names[index + 1 :]:
            yield from _paired(arms[name], arms[other], metric)


Arm = dict[object, tuple[Row, float]]
"""Of one environment: each block's row and the log of its metric."""


def _arms(study: Study, rows: Sequence[Row], metric: str) -> dict[str, Arm]:
    arms: dict[str, Arm] = {}
    for row in rows:
        value = number(row, metric)
        if value is not None and value > 0:
            arms.setdefault(row["environment"], {})[row.get("block")] = (row, math.log(value))
    order = [name for name in study.experiment.environments if name in arms]
    return {name: arms[name] for name in (*order, *sorted(set(arms) - set(order)))}


def _alone(arm: Arm, metric: str) -> Iterator[Apart]:
    values = _logs(arm)
    if len(values) < FEWEST:
        return
    for row, value in arm.values():
        off, z = value - median(values), sided_z(values, value)
        if _far(off) and z > MOST_Z:
            yield Apart(row, metric, off, z, math.exp(median(values)), len(values))


def _paired(one: Arm, other: Arm, metric: str) -> Iterator[Apart]:
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
            yield Apart(row, metric, off, z, math.exp(value - off), len(arm))


def _logs(arm: Arm) -> list[float]:
    return [value for _, value in arm.values()]


def _off(arm: Arm, block: object) -> float:
    return arm[block][1] - median(_logs(arm))


def _far(off: float, floor: float = FLOOR) -> bool:
    return abs(off) > math.log(floor)
