"""Run-time estimates of a study: the median of measured attempts, ok or not, else the roofline of the model card."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from sparkray.plan import PlannedRun, Study, cooldown_s, definition_sha256, estimated_s, refused
from sparkray.store import Dataset, description, existing

Key = tuple[str, str]


_WHOLE = ("ok", "saturated", "timeout", "invalid")


class Timing:
    """Estimates for the runs of one study. Without a dataset nothing was measured yet."""

    def __init__(self, study: Study, dataset: Dataset | None) -> None:
        self.study = study
        rows = dataset.read("runs", ["model", "level", "status", "duration_s"]) if dataset else []
        self.durations: dict[Key, list[float]] = {}
        for row in rows:
            self._take((row["model"], row["level"] or ""), row)

    @property
    def measured(self) -> bool:
        """Whether any run was."""
        return bool(self.durations)

    def learn(self, planned: PlannedRun, row: Mapping[str, Any]) -> None:
        """What a run that has just ended tells."""
        self._take((planned.model, planned.level), row)

    def _take(self, key: Key, row: Mapping[str, Any]) -> None:
        """Whole runs count, timed out and refused ones too; one that failed early would make the others look short."""
        if row.get("duration_s") is not None and row["status"] in _WHOLE:
            self.durations.setdefault(key, []).append(row["duration_s"])

    def run_s(self, planned: PlannedRun) -> float:
        """Seconds of a run, cooldown apart."""
        measured = self.durations.get((planned.model, planned.level))
        return median(measured) if measured else estimated_s(self.study, planned)

    def total_s(self, planned: PlannedRun, cooldown: str | None = None) -> float:
        """Seconds with the cooldown of the protocol, or of another kind (`fixed`, `adaptive`)."""
        if refused(self.study, planned) is not None:
            return 0.0
        return self.run_s(planned) + cooldown_s(self.study, cooldown or self.study.experiment.protocol.cooldown)


def known_dataset(study: Study, results_dir: Path, definition: str | None = None) -> Dataset | None:
    """The stored dataset that a sweep of this study would continue, or None. `definition` stands in for the study's hash."""
    wanted = definition or definition_sha256(study)
    for dataset in reversed(existing(results_dir.absolute(), study.experiment.name)):
        if description(dataset).get("definition_sha256") == wanted:
            return dataset
    return None
