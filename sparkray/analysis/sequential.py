"""Where each model stands in a sequential experiment, from stored rows alone: a sweep that goes on finds the same again.

A pair is a block with both runs ok. Pairs count in the order in which they were completed, so that a run that is measured
later, in place of one that failed, leaves the looks before it as they were. A model (with its level of the load) needs no
further runs when every primary metric of every environment against the reference is decided, or has no look left.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkray.analysis.frames import rank
from sparkray.config.experiment import Experiment
from sparkray.plan import PlannedRun
from sparkray.stats.sequential import Design, Look, look, pair_logs

Row = Mapping[str, Any]
Group = tuple[str, str]
"""Model and level of the load."""
COLUMNS = ("run_id", "status", "model", "level", "environment", "block", "ended_at")
"""What is asked of rows, beside the primary metrics."""


@dataclass(frozen=True)
class Standing:
    """One primary metric of one environment against the reference, as far as the looks have come."""

    model: str
    level: str
    environment: str
    against: str
    metric: str
    look: Look

    @property
    def group(self) -> Group:
        """Whose it is."""
        return self.model, self.level

    def __str__(self) -> str:
        model = f"{self.model} {self.level}".strip()
        return f"{model}, {self.metric}: {self.environment} against {self.against} {self.look.reason}"


def standings(
    experiment: Experiment, runs: Sequence[PlannedRun], rows: Sequence[Row], *, whole: bool = True
) -> list[Standing]:
    """Every comparison of a plan's models; none when the experiment is not sequential.

    Args:
        experiment: With looks, and a margin for each primary metric.
        runs: The plan.
        rows: Of `runs`, with `COLUMNS` and the primary metrics.
        whole: Whether `runs` are all that are planned. Then a model all of whose runs are stored, ok or not, gets no
            further pairs, and its last look is at those that it has.
    """
    if experiment.sequential is None:
        return []
    stored = {row["run_id"] for row in rows}
    ok = _ok_rows(rows, {run.run_id for run in runs})
    found: list[Standing] = []
    for group in dict.fromkeys((run.model, run.level) for run in runs):
        planned = [run for run in runs if (run.model, run.level) == group]
        arms = sorted({run.environment for run in planned}, key=rank)
        closed = whole and all(run.run_id in stored for run in planned)
        for environment in arms[1:]:
            for metric in experiment.primary_metrics:
                ratios = _log_ratios(ok.get(group, {}), arms[0], environment, metric)
                design = Design(
                    experiment.sequential.looks, experiment.margins[metric], spending=experiment.sequential.spending
                )
                seen = look(design, ratios, closed=closed)
                found.append(Standing(*group, environment, arms[0], metric, seen))
    return found


def settled(found: Iterable[Standing]) -> set[Group]:
    """The models that need no further runs."""
    groups: dict[Group, bool] = {}
    for standing in found:
        groups[standing.group] = groups.get(standing.group, True) and standing.look.stop
    return {group for group, stopped in groups.items() if stopped}


def not_needed(runs: Sequence[PlannedRun], found: Iterable[Standing], stored: Collection[str]) -> set[str]:
    """Run ids of settled models that were never tried. One that was tried and failed stays to be done."""
    over = settled(found)
    return {run.run_id for run in runs if (run.model, run.level) in over and run.run_id not in stored}


def _ok_rows(rows: Sequence[Row], run_ids: set[str]) -> dict[Group, dict[tuple[int, str], Row]]:
    """Ok rows by group, block and environment."""
    found: dict[Group, dict[tuple[int, str], Row]] = {}
    for row in rows:
        if row["status"] == "ok" and row["run_id"] in run_ids:
            group = found.setdefault((row["model"], row.get("level") or ""), {})
            group.setdefault((row["block"], row["environment"]), row)
    return found


def _log_ratios(ok: Mapping[tuple[int, str], Row], against: str, environment: str, metric: str) -> list[float]:
    """log(b/a) of the complete pairs, in order of completion; NaN where a value has no logarithm."""
    pairs: list[tuple[str, int, float, float]] = []
    for (block, name), other in ok.items():
        reference = ok.get((block, against))
        if name != environment or reference is None:
            continue
        a, b = reference.get(metric), other.get(metric)
        if a is not None and b is not None:
            pairs.append((max(str(reference["ended_at"]), str(other["ended_at"])), block, a, b))
    in_time = sorted(pairs)
    return list(map(float, pair_logs([a for *_, a, _ in in_time], [b for *_, b in in_time])))
