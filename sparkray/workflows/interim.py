"""Sequential experiments in a sweep: which runs are no longer needed, and why."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sparkray.analysis.interim import COLUMNS, Standing, not_needed, settled, standings
from sparkray.config.boundary import parse, read_json
from sparkray.config.experiment import Experiment
from sparkray.errors import SparkrayError
from sparkray.metrics import BY_NAME
from sparkray.plan import PlannedRun, Study, make_plan
from sparkray.store import Dataset


def _rows(experiment: Experiment, dataset: Dataset) -> list[dict[str, Any]]:
    """The stored rows that interim analyses read; nothing is read when the experiment is not sequential."""
    if experiment.sequential is None:
        return []
    return dataset.read("runs", [*COLUMNS, *experiment.primary_metrics])


def text_of(standing: Standing) -> str:
    """The outcome of an interim analysis in a line."""
    interim = standing.interim
    model = f"{standing.model} {standing.level}".strip()
    outcome = "can't tell yet" if interim.verdict == "undecided" else interim.verdict
    scale = standing.difference
    ratio = "" if interim.ratio is None else f", ratio {interim.ratio:.4f}"
    if interim.ratio is not None and scale is not None:
        ratio = f", difference {scale.back(interim.ratio):+.3g} {BY_NAME[standing.metric].column.unit}"
    arms = f"{standing.environment} vs {standing.against}"
    return f"{model}, {standing.metric}: {arms}: {outcome} after {interim.n} pairs{ratio}"


def left_out(study: Study, dataset: Dataset, runs: Sequence[PlannedRun]) -> tuple[set[str], list[str]]:
    """Ids of those of `runs` that are no longer needed, and why, in lines."""
    rows = _rows(study.experiment, dataset)
    if not rows:
        return set(), []
    found = standings(study.experiment, make_plan(study), rows)
    unneeded = not_needed(runs, found, {row["run_id"] for row in rows})
    lines: list[str] = []
    for group in sorted(settled(found)):
        count = sum(run.run_id in unneeded for run in runs if (run.model, run.level) == group)
        if count:
            lines.append(f"{' '.join(group).strip()} needs no further runs ({count} left out)")
            lines += [f"  {text_of(one)}" for one in found if one.group == group and one.interim.ratio is not None]
    return unneeded, lines


def count_decided(
    counts: dict[str, int], found: Sequence[Standing], runs: Sequence[PlannedRun], stored: set[str]
) -> None:
    """Adds the runs that were not needed to the counts of a sweep, when there were interim analyses."""
    if found:
        counts["decided"] = len(not_needed(runs, found, stored))


def standing_document(standing: Standing) -> dict[str, Any]:
    """Plain values for JSON; of differences, numbers are in the metric's unit and their names say so."""
    document = {key: value for key, value in asdict(standing).items() if key not in ("interim", "difference")}
    document |= asdict(standing.interim)
    scale, interim = standing.difference, standing.interim
    if scale is None:
        return document
    for name in ("ratio", "ci90", "ci95", "sd_log"):
        del document[name]
    ends = {"difference_ci90": interim.ci90, "difference_ci95": interim.ci95}
    return {
        **document,
        "difference": None if interim.ratio is None else scale.back(interim.ratio),
        **{name: None if pair is None else [scale.back(end) for end in pair] for name, pair in ends.items()},
        "difference_margin": scale.margin,
    }


def decided_in(dataset: Dataset) -> list[str]:
    """What the interim analyses of a dataset have decided, a line a comparison, from `experiment.json` and its rows.

    Nothing for a dataset without that file, or of another version's experiment.
    """
    try:
        document = read_json(dataset.path / "experiment.json")
        experiment = parse(Experiment, document["experiment"], "experiment.json")
    except (OSError, ValueError, LookupError, TypeError, SparkrayError):
        return []
    rows = _rows(experiment, dataset)
    runs = [
        PlannedRun(row["run_id"], row["block"], 0, row["model"], row["environment"], 1, row["level"] or "")
        for row in rows
        if row["environment"] in experiment.environments
    ]
    found = standings(experiment, runs, rows, whole=False)
    return [text_of(one) for one in found if one.interim.stop and one.interim.ratio is not None]
