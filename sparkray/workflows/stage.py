"""One stage of an optimisation under way: which of its runs are still to make, judged by the rows that are stored.

The same rules hold on one machine, which asks between two blocks, and on those of a cluster, each of which asks before and
after each of its blocks.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from sparkray.errors import SparkrayError
from sparkray.optimize.rows import PATIENCE, Rows, must_run, rows_of
from sparkray.plan import PlannedRun, Study, make_plan
from sparkray.store import Dataset


@dataclass
class Stage:
    """The runs of a stage.

    Attributes:
        study: The study.
        dataset: Its own.
        always: Environments that are never given up, and whose failed runs are tried again.
        drop: Names environments that need no further runs, with the reason.
        over: Whether no run at all is needed any more.
        gone: Environments that were given up, name to the reason.
        error: Why the stage must end early, where it must (`unneeded`).
    """

    study: Study
    dataset: Dataset
    always: Sequence[str]
    drop: Callable[[Rows], Mapping[str, str]]
    over: Callable[[Rows], bool]
    gone: dict[str, str] = field(default_factory=dict)
    error: SparkrayError | None = None

    def __post_init__(self) -> None:
        self.plan = make_plan(self.study)
        self.blocks = sorted({run.block for run in self.plan})
        self.others = [t.environment for t in self.study.treatments if t.environment not in self.always]

    def rows(self) -> Rows:
        """What is stored now."""
        return rows_of(self.dataset, self.plan)

    def must_run(self, rows: Rows) -> None:
        """Raises HostError where an environment that everything is compared with does not run."""
        for name in self.always:
            must_run(rows, name, self.dataset.path, [card.name for card in self.study.cards])

    def give_up(self, rows: Rows) -> dict[str, str]:
        """Give up environments that are needed no more. Returns those that were not before, name to the reason."""
        failing = {name: why for name in self.others if (why := rows.failing(name)) is not None}
        found = {name: why for name, why in {**failing, **self.drop(rows)}.items() if name not in self.gone}
        self.gone.update(found)
        return found

    def to_make(self, rows: Rows) -> list[PlannedRun]:
        """Runs that need a further attempt, block by block."""
        left = [run for run in self.plan if run.environment not in self.gone and not self._is_settled(run, rows)]
        return sorted(left, key=lambda run: run.block)

    def _is_settled(self, run: PlannedRun, rows: Rows) -> bool:
        if run.environment in self.always:
            return any(row["run_id"] == run.run_id for row in rows.ok)
        return run.run_id in rows.answered

    def unneeded(self, runs: Sequence[PlannedRun], taken: Sequence[PlannedRun]) -> tuple[set[str], list[str]]:
        """Ids of those of `runs` that are needed no more, and why, in lines. One thread at a time.

        Where nothing can be compared, all of them: `error` says so. That is not known while what must run is still to be
        made, for the first time or again: it is among `runs`, or in a block that a machine has `taken`.
        """
        rows = self.rows()
        lines = [f"{name}: {why}" for name, why in self.give_up(rows).items()]
        if self._has_tried_first_blocks(rows, {run.run_id for run in (*runs, *taken)}):
            try:
                self.must_run(rows)
            except SparkrayError as error:
                self.error = error
        if self.error is not None or self.over(rows):
            return {run.run_id for run in runs}, lines
        return {run.run_id for run in runs if run.environment in self.gone}, lines

    def _has_tried_first_blocks(self, rows: Rows, open_ids: Collection[str]) -> bool:
        """Whether what must run had as many blocks as an environment is given, of every model, and no attempt is due."""
        tried = {row["run_id"] for row in rows.rows}.difference(open_ids)
        first = self.blocks[:PATIENCE]
        return all(run.run_id in tried for run in self.plan if run.block in first and run.environment in self.always)

    def given_up(self) -> dict[str, str]:
        """Environments of which nothing is known at the end, name to the reason."""
        rows = self.rows()
        return {**{name: why for name in self.others if (why := rows.failing(name, 1)) is not None}, **self.gone}
