"""One metric of an environment beside its reference: values, the pairs that blocks make of them, and their order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sparkray.analysis.frames import Cell, Frames
from sparkray.stats.samples import Vector

if TYPE_CHECKING:
    from sparkray.stats.sequential import Interim

Places = NDArray[np.int64]


@dataclass(frozen=True)
class Arms:
    """One metric of an environment beside its reference.

    Attributes:
        cell: The environment.
        against: The reference.
        metric: Which metric.
        blocks: The blocks that have both, shape (n,), ascending.
        paired: Values of the reference and of the environment in these blocks, shape (n,) each.
        completed: The same pairs' places in the order in which they were completed.
        clusters: What each of these blocks nests in.
        a: Every value of the reference, paired or not.
        b: Every value of the environment.
    """

    cell: Cell
    against: Cell
    metric: str
    blocks: Places
    paired: tuple[Vector, Vector]
    completed: Places
    clusters: Sequence[str]
    a: Vector
    b: Vector

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.blocks)

    @property
    def logs_in_time(self) -> Vector:
        """Log ratios of the pairs in the order in which they were completed; values above 0."""
        a, b = self.paired
        return np.asarray((np.log(b) - np.log(a))[self.completed])

    def first(self, n: int) -> "Arms":
        """The pairs of the first n blocks."""
        return self._of(np.arange(min(n, self.n)), self.completed[self.completed < n])

    def completed_first(self, n: int) -> "Arms":
        """The n pairs that were completed first, in order of block."""
        return self._of(np.sort(self.completed[:n]), self.completed[:n])

    def used(self, interim: "Interim") -> "Arms":
        """The pairs that an interim analysis rests on; all where it has none yet."""
        return self.completed_first(interim.n) if interim.n else self

    def _of(self, places: Places, completed: Places) -> "Arms":
        """Some of the pairs, by ascending places, and the same places in the order in which they were completed."""
        return replace(
            self,
            blocks=self.blocks[places],
            paired=(self.paired[0][places], self.paired[1][places]),
            completed=np.searchsorted(places, completed),
            clusters=[self.clusters[place] for place in places],
        )


def arms_of(frames: Frames, metrics: Sequence[str], primary: Sequence[str]) -> list[Arms]:
    """What there is to compare, in order of cell, then metric.

    A metric that an arm with ok runs does not have (the cgroup of a native run) is left out unless it is primary.
    """
    found: list[Arms] = []
    for cell in frames.cells:
        against = frames.reference_of(cell)
        if against is not None:
            candidates = (arms_between(frames, cell, against, metric) for metric in metrics)
            found += [arms for arms in candidates if arms.metric in primary or _worth_telling(frames, arms)]
    return found


def _worth_telling(frames: Frames, arms: Arms) -> bool:
    """Whether each arm has values, or has none because it has no ok run at all."""
    sides = ((arms.against, arms.a), (arms.cell, arms.b))
    return all(len(values) or not len(frames.runs_of(cell)) for cell, values in sides)


def arms_between(frames: Frames, cell: Cell, against: Cell, metric: str) -> Arms:
    """A cell beside another, of the same model and level. A block that two machines share gives no pair."""
    first, second = frames.runs_of(against), frames.runs_of(cell)
    a, b = first.column(metric), second.column(metric)
    here, there = ~np.isnan(a), ~np.isnan(b)
    blocks, left, right = np.intersect1d(
        first.block[here], second.block[there], assume_unique=True, return_indices=True
    )
    same = first.machine[here][left] == second.machine[there][right]
    blocks, left, right = blocks[same], left[same], right[same]
    a, b, clusters = a[here], b[there], first.cluster[here][left]
    completed = np.argsort(np.maximum(first.ended[here][left], second.ended[there][right]), kind="stable")
    return Arms(cell, against, metric, blocks, (a[left], b[right]), completed, clusters.tolist(), a, b)
