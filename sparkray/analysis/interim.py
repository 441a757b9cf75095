"""Interim analyses of a sequential experiment, from stored rows alone: a sweep that goes on repeats the same ones.

A pair is a block with both runs ok. Pairs count in the order in which they were completed, so that a run that is measured
later, in place of one that failed, leaves earlier interim analyses as they were. When every planned run of a model and level
was tried, ok or not, no further pair can come, and the last interim analysis is of the pairs that exist. A model (with its
level) needs no further runs when every primary metric of every environment is decided, or has no interim analysis left.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, product
from typing import TYPE_CHECKING, Any

import polars as pl

from sparkray.analysis.arms import Arms, arms_between
from sparkray.analysis.context import Margin, Protocol
from sparkray.analysis.differences import as_ratios, scale_of
from sparkray.analysis.frames import Cell, Frames, frames_of_rows, rank
from sparkray.config.experiment import Experiment, Sequential
from sparkray.stats.differences import Difference

if TYPE_CHECKING:
    from sparkray.plan import PlannedRun
    from sparkray.stats.sequential import Interim

Row = Mapping[str, Any]
# Model and level of the load.
Group = tuple[str, str]
# What `standings` reads of a row, beside the primary metrics.
COLUMNS = ("run_id", "status", "model", "level", "environment", "block", "host", "ended_at")
NO_P = "interim_p"
# Columns of a comparison that take the number of pairs as fixed, by the reason why they have no value.
VOID = {
    NO_P: ("p", "p_paired", "permutation_p", "power_post_hoc"),
    "interim_verdict": ("verdict_without_outliers", "cluster_verdict"),
}


def interim_analyses(arms: Arms, sequential: Sequential, margin: Margin, *, closed: bool) -> "list[Interim]":
    """Every interim analysis of a comparison in turn, up to the one that decided; of differences, as ratios.

    Args:
        arms: What is compared.
        sequential: The experiment's design.
        margin: Its margins, at least one.
        closed: Whether no further pair can come.
    """
    # SciPy's splines, which a fixed design does not need
    from sparkray.stats.sequential import Design, interim_verdicts, pair_logs  # noqa: PLC0415

    scale = scale_of(arms, margin, interim=True)
    relative = margin.relative if scale is None else scale.relative
    design = Design(sequential.looks, relative or 0.0, spending=sequential.spending, difference=scale)
    if scale is not None:
        arms = as_ratios(arms, scale)
    return interim_verdicts(design, pair_logs(*arms.paired)[arms.completed].tolist(), closed=closed)


class InterimAnalyses:
    """The interim analyses of a dataset: none for a metric that the experiment has none for.

    Args:
        frames: The dataset.
        protocol: What was fixed before it.
    """

    def __init__(self, frames: Frames, protocol: Protocol) -> None:
        self.protocol = protocol
        self._closed = _closed_groups(frames, protocol.planned) if protocol.sequential is not None else frozenset()
        self._known: dict[tuple[Cell, str], list[Interim]] = {}

    def of(self, arms: Arms) -> "list[Interim]":
        """Those of one comparison in turn, up to the one that decided; none with a fixed number of pairs."""
        sequential, margin = self.protocol.sequential, self.protocol.margins_of(arms.metric)
        if sequential is None or not margin or arms.metric not in self.protocol.primary:
            return []
        place = (arms.cell, arms.metric)
        if place not in self._known:
            closed = (arms.cell.model, arms.cell.level) in self._closed
            self._known[place] = interim_analyses(arms, sequential, margin, closed=closed)
        return self._known[place]

    def last(self, arms: Arms) -> "Interim | None":
        """The last one, which the verdict rests on."""
        return next(reversed(self.of(arms)), None)


def _closed_groups(frames: Frames, planned: int | None) -> frozenset[Group]:
    """Models with their levels that get no further pairs: each environment of theirs was tried in every planned block."""
    if planned is None:
        return frozenset()
    tried = frames.attempts.group_by("model", "level").agg(
        pl.struct("block", "environment").n_unique().alias("places"), pl.col("environment").n_unique().alias("arms")
    )
    whole = tried.filter(pl.col("places") >= planned * pl.col("arms"))
    return frozenset((str(model), str(level)) for model, level in whole.select("model", "level").iter_rows())


@dataclass(frozen=True)
class Standing:
    """The last interim analysis of one primary metric of one environment against the reference; of its differences, how."""

    model: str
    level: str
    environment: str
    against: str
    metric: str
    interim: "Interim"
    difference: Difference | None = None

    @property
    def group(self) -> Group:
        """Model and level."""
        return self.model, self.level


def standings(
    experiment: Experiment, runs: "Sequence[PlannedRun]", rows: Sequence[Row], *, whole: bool = True
) -> list[Standing]:
    """Every comparison of a plan's models; none when the experiment is not sequential.

    Args:
        experiment: With interim analyses, and a margin for each primary metric.
        runs: The plan.
        rows: Of `runs`, with `COLUMNS` and the primary metrics.
        whole: Whether `runs` are all that are planned. Then a model all of whose runs are stored, ok or not, gets no
            further pairs, and its last interim analysis is of those that it has.
    """
    if experiment.sequential is None:
        return []
    stored = {row["run_id"] for row in rows}
    frames = frames_of_rows(rows, {run.run_id for run in runs})
    places = list(dict.fromkeys((run.model, run.level) for run in runs))
    by_group = groupby(sorted(runs, key=lambda run: places.index(_group(run))), key=_group)
    found: list[Standing] = []
    for group, planned in ((group, list(mine)) for group, mine in by_group):
        against, *others = sorted({run.environment for run in planned}, key=rank)
        closed = whole and all(run.run_id in stored for run in planned)
        for environment, metric in product(others, experiment.primary_metrics):
            arms = arms_between(frames, Cell(*group, environment), Cell(*group, against), metric)
            margin = Margin(experiment.margins.get(metric), experiment.difference_margins.get(metric))
            taken = interim_analyses(arms, experiment.sequential, margin, closed=closed)
            scale = scale_of(arms, margin, interim=True)
            found.append(Standing(*group, environment, against, metric, taken[-1], scale))
    return found


def _group(run: "PlannedRun") -> Group:
    return run.model, run.level


def settled(found: Iterable[Standing]) -> set[Group]:
    """The models that need no further runs."""
    every = list(found)
    return {standing.group for standing in every} - {standing.group for standing in every if not standing.interim.stop}


def not_needed(runs: "Sequence[PlannedRun]", found: Iterable[Standing], stored: Collection[str]) -> set[str]:
    """Run ids of settled models that were never tried. One that was tried and failed stays to be done."""
    over = settled(found)
    return {run.run_id for run in runs if _group(run) in over and run.run_id not in stored}
