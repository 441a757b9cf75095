"""The looks of a sequential experiment, taken again from stored runs: the same that its sweep took.

A sweep knows its plan; a dataset knows the number of blocks that were planned and which places of them were tried. When
every place of a model and level was tried, ok or not, no further pair can come, and the last look is at those that are
there (`sparkray.analysis.sequential`).
"""

from typing import TYPE_CHECKING

import polars as pl

from sparkray.analysis.arms import Arms
from sparkray.analysis.context import Protocol
from sparkray.analysis.frames import Frames

if TYPE_CHECKING:
    from sparkray.stats.sequential import Look

NO_P = "looks were taken: a p of a fixed number of pairs does not hold"
NO_VERDICT = "looks were taken: what a fixed number of pairs would be called is no verdict beside theirs"
VOID = {
    NO_P: ("p", "p_paired", "permutation_p", "power_post_hoc"),
    NO_VERDICT: ("verdict_without_outliers", "cluster_verdict"),
}
"""Columns of a comparison under looks that say nothing, by the reason: they take the number of pairs as fixed."""


def closed_groups(frames: Frames, planned: int | None) -> frozenset[tuple[str, str]]:
    """Models with their levels that get no further pairs: each environment of theirs was tried in every planned block."""
    if planned is None:
        return frozenset()
    tried = frames.attempts.group_by("model", "level").agg(
        pl.struct("block", "environment").n_unique().alias("places"), pl.col("environment").n_unique().alias("arms")
    )
    whole = tried.filter(pl.col("places") >= planned * pl.col("arms"))
    return frozenset((str(model), str(level)) for model, level in whole.select("model", "level").iter_rows())


class Looks:
    """The looks of a study: none for a metric that the experiment does not look at.

    Args:
        frames: The dataset.
        protocol: What was fixed before it.
    """

    def __init__(self, frames: Frames, protocol: Protocol) -> None:
        self.protocol = protocol
        self._closed = closed_groups(frames, protocol.planned) if protocol.sequential is not None else frozenset()
        self._taken: dict[tuple[str, str], list[Look]] = {}

    def of(self, arms: Arms) -> "list[Look]":
        """The looks at one comparison, in turn, up to the one that decided; none under a fixed number of pairs."""
        sequential, margin = self.protocol.sequential, self.protocol.margin(arms.metric)
        if sequential is None or margin is None or arms.metric not in self.protocol.primary:
            return []
        key = (arms.cell.key, arms.metric)
        if key not in self._taken:
            # SciPy's splines, which a fixed design does not need
            from sparkray.stats.sequential import Design, looks_taken, pair_logs  # noqa: PLC0415

            design = Design(sequential.looks, margin, spending=sequential.spending)
            in_time = pair_logs(*arms.paired)[arms.completed].tolist()
            closed = (arms.cell.model, arms.cell.level) in self._closed
            self._taken[key] = looks_taken(design, in_time, closed=closed)
        return self._taken[key]

    def used(self, arms: Arms) -> Arms:
        """The pairs that the verdict on a comparison rests on: all, or those of its last look."""
        taken = self.of(arms)
        return arms.completed_first(taken[-1].n) if taken and taken[-1].n else arms
