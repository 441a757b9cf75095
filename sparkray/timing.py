"""Run-time estimates of a study: the median of measured attempts, ok or not, else the roofline of the model card."""

import math
from bisect import insort
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sparkray.engines import Caching, load_engine
from sparkray.plan import PlannedRun, Study, cooldown_s, definition_sha256, estimated_s, measured, refused
from sparkray.store import Dataset, description, existing

Key = tuple[str, str]


_WHOLE = ("ok", "saturated", "timeout", "invalid")
# By how much the first start of vLLM, which compiles, was longer on an H200: 30 s (8B) to 54 s (1.5B).
_COMPILE_S = 54.0
# Gates, control probes and storage, between the end of one run and the start of the next.
_BETWEEN_S = 1.8
# A run may take this much longer than the median, or than the estimate; with so many measured, what they took is known.
_MARGIN, _ENOUGH = 1.15, 3


class Timing:
    """Estimates for the runs of one study. Without a dataset nothing was measured yet."""

    def __init__(self, study: Study, dataset: Dataset | None) -> None:
        self.study = study
        rows = dataset.read("runs", ["model", "level", "status", "duration_s", "replicate"]) if dataset else []
        self.durations: dict[Key, list[float]] = {}  # ascending
        self._totals: dict[tuple[str, str, str], float] = {}
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
        if row.get("duration_s") is not None and row["status"] in _WHOLE and row.get("replicate") != 0:
            insort(self.durations.setdefault(key, []), row["duration_s"])
            self._totals.clear()

    def run_s(self, planned: PlannedRun) -> float:
        """Seconds of a run, cooldown apart."""
        found = self.durations.get((planned.model, planned.level))
        return (
            (found[(len(found) - 1) // 2] + found[len(found) // 2]) / 2 if found else estimated_s(self.study, planned)
        )

    def warm_ups_s(self, planned: PlannedRun) -> float:
        """Seconds of the uncounted starts before the first counted run of a model and level; 0 once one was measured."""
        kept = (
            isinstance(load_engine(self.study.engine), Caching) and self.study.experiment.protocol.warm_start != "none"
        )
        if not kept or (planned.model, planned.level) in self.durations:
            return 0.0
        starts = len(measured(self.study))
        compiling = 1 if self.study.experiment.protocol.warm_start == "shared" else starts
        return starts * self.run_s(planned) + compiling * _COMPILE_S

    def at_most_s(self, planned: PlannedRun) -> float:
        """Seconds within which a run, with what is around it, should end: as the longest one so far, within a margin."""
        found = self.durations.get((planned.model, planned.level), [])
        longer_s = found[-1] - self.run_s(planned) if len(found) >= _ENOUGH else math.inf
        return self.total_s(planned) + min(longer_s, (_MARGIN - 1) * self.run_s(planned))

    def total_s(self, planned: PlannedRun, cooldown: str | None = None) -> float:
        """Seconds with what is around a run, and the cooldown of the protocol or of another kind (`fixed`, `adaptive`)."""
        kind = cooldown or self.study.experiment.protocol.cooldown
        key = planned.model, planned.level, kind  # of which a plan of 100,000 runs has a few
        if (total_s := self._totals.get(key)) is None:
            is_refused = refused(self.study, planned) is not None
            total_s = 0.0 if is_refused else self.run_s(planned) + _BETWEEN_S + cooldown_s(self.study, kind)
            self._totals[key] = total_s
        return total_s


def known_dataset(study: Study, results_dir: Path, definition: str | None = None) -> Dataset | None:
    """The stored dataset that a sweep of this study would continue, or None. `definition` stands in for the study's hash."""
    wanted = definition or definition_sha256(study)
    for dataset in reversed(existing(results_dir.absolute(), study.experiment.name)):
        if description(dataset).get("definition_sha256") == wanted:
            return dataset
    return None
