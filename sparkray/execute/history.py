"""Earlier runs of a dataset on this machine: a new run is compared with them, and they are re-validated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from sparkray.checks import Late, late_verdicts
from sparkray.plan import PlannedRun, Study, make_plan, run_id_of
from sparkray.records import Verdict
from sparkray.store import Dataset
from sparkray.store.tables import TABLES

_TEXTS = frozenset({"machine", "start_state", "engine_command", "docker_command", "deviations"})
"""Long, and nothing that a run is compared by."""
Row = Mapping[str, Any]


@cache
def _columns() -> list[str]:
    return [column.name for column in TABLES["runs"] if column.name not in _TEXTS]


@dataclass
class History:
    """Rows of the ok runs of one machine, oldest first, read once and kept: a sweep of 600 runs has 600 files."""

    dataset: Dataset
    host: str
    rows: list[Row] = field(default_factory=list)
    loaded: bool = False
    _planned: tuple[Study, frozenset[str]] | None = field(default=None, init=False, repr=False)

    def planned(self, study: Study) -> frozenset[str]:
        """Ids of the runs that a study plans, made once: after every run a plan of 10,000 would take half a second."""
        if self._planned is None or self._planned[0] is not study:
            self._planned = study, frozenset(run.run_id for run in make_plan(study))
        return self._planned[1]

    @property
    def every(self) -> list[Row]:
        """Those of every model and level."""
        return list(self._all())

    def of(self, planned: PlannedRun) -> list[Row]:
        """Those of a planned run's model and level."""
        return [row for row in self._all() if _kind(row) == (planned.model, planned.level)]

    def add(self, row: Row) -> None:
        """A run that has just ended well, as it will be read when the sweep is resumed."""
        self._all().append({name: row.get(name) for name in _columns()})

    def drop(self, run_id: str) -> None:
        """A run that counts no more."""
        self.rows = [row for row in self._all() if row["run_id"] != run_id]

    def _all(self) -> list[Row]:
        if not self.loaded:
            rows = self.dataset.read("runs", _columns())
            mine = [row for row in rows if row["status"] == "ok" and row["host"] == self.host]
            self.rows = sorted(mine, key=lambda row: row["started_at"])
            self.loaded = True
        return self.rows


def _kind(row: Row) -> tuple[str, str]:
    return row["model"], row.get("level") or ""


def revalidate(
    study: Study, history: History, planned: PlannedRun, reviews: Callable[..., Sequence[Late]] = late_verdicts
) -> dict[str, str]:
    """Every review over the runs of a planned run's kind; what they say now replaces what they said before.

    A warning stands as long as the runs bear it out. A run that is found invalid is stored so, and counts no more. Runs of
    the dataset that the study does not plan (of other flags, or of arms left out) are let be: nobody would measure them
    again. Of a run in a block beyond the plan, as a search makes them one by one, the whole block is at stake, and the
    study's runs in other such blocks only tell what is usual.

    Returns:
        Why, by run id, for the runs that count no more.

    Raises:
        StorageError: It could not be written.
    """
    rows, at_stake = _rows_of(study, history, planned)
    dataset = history.dataset
    found: dict[tuple[str, int], list[Verdict]] = {}
    for late in reviews(study, rows):
        found.setdefault((late.run_id, late.attempt), []).append(late.verdict)
    refused: dict[str, str] = {}
    for row in at_stake:
        key = row["run_id"], row["attempt"]
        verdicts = found.get(key, [])
        if wrong := [verdict for verdict in verdicts if verdict.verdict == "invalid"]:
            # the row first: if this dies in between, the run is measured again, and its reason says why
            refused[row["run_id"]] = reason_of(wrong)
            dataset.revise(*key, status="invalid", reason=refused[row["run_id"]])
            history.drop(row["run_id"])
        dataset.write_late(*key, verdicts)
    return refused


def _rows_of(study: Study, history: History, planned: PlannedRun) -> tuple[list[Row], list[Row]]:
    """What reviews see of a planned run's kind, and which of it their verdicts may reach."""
    every, in_plan = history.of(planned), history.planned(study)
    if planned.run_id in in_plan:
        rows = [row for row in every if row["run_id"] in in_plan]
        return rows, rows
    known = {treatment.environment for treatment in study.treatments}
    rows = [row for row in every if row["environment"] in known and _is_of(study, planned, row)]
    return rows, [row for row in rows if row["block"] == planned.block]


def _is_of(study: Study, planned: PlannedRun, row: Row) -> bool:
    """Whether a run has the very flags, load and seed that the study would give it in its block."""
    levels = study.experiment.levels
    treatment, round_ = study.treatment(row["environment"]), row["block"] // len(levels)
    card, level = study.card(planned.model), study.level(planned)
    return bool(run_id_of(study, card, treatment, block=round_, level=level) == row["run_id"])


def revalidate_all(
    study: Study, history: History, reviews: Callable[..., Sequence[Late]] = late_verdicts
) -> dict[str, str]:
    """`revalidate` once for every kind of runs: what a sweep that died had not come to. Raises StorageError."""
    kinds = {(run.model, run.level): run for run in make_plan(study)}
    refused: dict[str, str] = {}
    for planned in kinds.values():
        refused.update(revalidate(study, history, planned, reviews))
    return refused


def reason_of(verdicts: Sequence[Verdict]) -> str:
    """Why a run is invalid, in words."""
    return "; ".join(f"{verdict.check}: {verdict.evidence}" for verdict in verdicts)
