"""Runs the studies of several stages through one session, which is opened when the first run is due.

Flags that this host refuses are found before the first run of a stage, by starting a container with each; an environment
that works in no block is given up after two, so that a ruinous flag does not cost the whole stage.
"""

import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sparkray.errors import PreflightError
from sparkray.optimize.rows import PATIENCE, Rows, key_of
from sparkray.optimize.runner import InterruptedSweepError, drop_none, never_over
from sparkray.plan import PlannedRun, Study, Treatment, make_plan
from sparkray.progress import Progress, Reporter
from sparkray.store import Dataset, open_dataset
from sparkray.store.documents import read_document
from sparkray.store.writing import write_atomically
from sparkray.timing import Timing
from sparkray.workflows.options import Options
from sparkray.workflows.prerequisites import is_elsewhere, must_fit_here
from sparkray.workflows.stage import Stage

if TYPE_CHECKING:  # it brings Ray, which takes long to import; a finished stage needs none
    from sparkray.optimize.context import OptimizationContext
    from sparkray.optimize.search.machines import Companion, Helper
    from sparkray.optimize.search.types import Crew, Worker
    from sparkray.workflows.session import Session

_EXCLUDED = "struck.json"
# How long the machine is left to another command that waits for it: its runner looks five times a second.
TURN_S = 2.0


@dataclass
class SessionRunner:
    """Runs studies through one session (see `StudyRunner`). `host` stands before messages of a further machine."""

    options: Options
    reporter: Reporter
    stack: ExitStack
    asked: threading.Event = field(default_factory=threading.Event)
    session: "Session | None" = None
    host: str = ""

    def dataset(self, study: Study, definition: str, *, fresh: bool = False) -> Dataset:
        """The dataset of a stage; a new one with `fresh` or `--fresh`."""
        root = self.options.results_dir.absolute()
        return open_dataset(root, study.experiment.name, definition, fresh=fresh or self.options.fresh)

    def say(self, line: str) -> None:
        """A line to the user."""
        self.reporter.say(f"{self.host}: {line}" if self.host else line)

    def turn(self, study: Study, dataset: Dataset) -> "Session":
        """The session, its runner ready for a study.

        Raises:
            SparkrayError: The machine cannot do it.
            InterruptedSweepError: Somebody asked for the end.
        """
        if self.session is None:
            must_fit_here(study, self.options)
        session = self.opened()
        try:
            session.turn(study, dataset)
        finally:
            self.stop_if_asked()
        return session

    def opened(self) -> "Session":
        """The session, whatever its runner is ready for. Raises ClusterError."""
        from sparkray.workflows.session import opened  # noqa: PLC0415 - as above

        if self.session is None:
            self.session = self.stack.enter_context(opened(self.options, self.reporter.progress(0, 0), self.asked))
        return self.session

    def companions(self, context: "OptimizationContext", home: Dataset) -> "Sequence[Companion]":
        """Further machines that may help with a search, whose dataset is `home`. Raises as `turn`."""
        from sparkray.workflows.fleet import companions  # noqa: PLC0415 - it brings Optuna

        return companions(context, self, home)

    def crew(self, find_helpers: "Callable[[], Sequence[Helper[Worker]]]") -> "Crew":
        """This machine and those that `find_helpers` names, to work on one search."""
        from sparkray.workflows.fleet import Fleet  # noqa: PLC0415 - as above

        return Fleet(self.asked, find_helpers)

    def release(self) -> None:
        """Lets go of the machine."""
        if self.session is not None:
            self.session.release()

    def let_go(self) -> None:
        """Leaves the machine for a moment to another command that waits for it. Raises InterruptedSweepError."""
        if self.session is not None:
            self.session.give_way()
        self.asked.wait(TURN_S)
        self.stop_if_asked()

    def stop_if_asked(self) -> None:
        """Raises InterruptedSweepError after a signal."""
        if self.asked.is_set():
            raise InterruptedSweepError

    def able(self, study: Study, dataset: Dataset, candidates: Sequence[Treatment]) -> dict[str, str]:
        """Containers that this host refuses beside the study's own treatments, name to the reason in Docker's words.

        Those that have runs were honoured once, those that were refused once are not asked again; flags that were changed
        under the same name are others. All are tried together, and one after another where that fails.

        Raises:
            SparkrayError: The study itself cannot be made ready.
        """
        path = dataset.path / _EXCLUDED
        known = (
            dict(read_document(path, {str: str}, remedy="Remove it: Docker is asked again")) if path.is_file() else {}
        )
        made = {row["run_id"] for row in dataset.read("runs", ["run_id"])}
        unknown = [t for t in candidates if t.in_container and key_of(t) not in known and not made & ids_of(study, t)]
        for treatment, why in self._refused(study, dataset, unknown):
            known[key_of(treatment)] = why
            write_atomically(path, json.dumps(known, indent=1).encode())
            self.say(f"excluded: {why}")
        return {t.environment: known[key_of(t)] for t in candidates if key_of(t) in known}

    def _refused(
        self, study: Study, dataset: Dataset, candidates: Sequence[Treatment]
    ) -> Iterator[tuple[Treatment, str]]:
        """Those that this host does not honour, with why."""
        if not candidates:
            return
        try:
            self.turn(replace(study, treatments=(*study.treatments, *candidates)), dataset)
        except PreflightError:
            self.turn(study, dataset)
        else:
            return
        kept = study.treatments
        for treatment in candidates:
            try:
                self.turn(replace(study, treatments=(*kept, treatment)), dataset)
                kept = (*kept, treatment)
            except PreflightError as error:
                yield treatment, error.message

    def rounds(
        self,
        study: Study,
        dataset: Dataset,
        *,
        always: Sequence[str],
        drop: Callable[[Rows], Mapping[str, str]] = drop_none,
        over: Callable[[Rows], bool] = never_over,
    ) -> dict[str, str]:
        """Every run of a study that is not done: round by round, or on all machines of a cluster at once.

        Args:
            study: The study.
            dataset: Its own.
            always: Environments that are never given up, and whose failed runs are tried again.
            drop: Asked before each round, on a cluster after each block, for environments that need no further runs, name to
                the reason.
            over: Asked likewise whether no run at all is needed any more.

        Returns:
            Environments that were given up, name to the reason.

        Raises:
            SparkrayError: No further run is possible.
            InterruptedSweepError: Somebody asked for the end.
        """
        stage = Stage(study, dataset, always, drop, over)
        plan = stage.plan
        done = sum(1 for run in plan if run.run_id in dataset.done_run_ids())
        with self.reporter.progress(len(plan), done) as progress:
            if is_elsewhere(self.options):
                self._on_machines(stage, progress)
                return stage.given_up()
            timing = Timing(study, dataset)
            for place, block in enumerate(stage.blocks):
                rows = stage.rows()
                if place == PATIENCE:
                    stage.must_run(rows)
                for name, why in stage.give_up(rows).items():
                    left = [r for r in plan if r.environment == name and r.block >= block]
                    progress.leave_out(sum(1 for r in left if r.run_id not in rows.answered), [f"{name}: {why}"])
                if over(rows):
                    break
                to_make = stage.to_make(rows)
                progress.later_s = sum(timing.total_s(r) for r in to_make if r.block > block)
                self.measure(study, dataset, [r for r in to_make if r.block == block], progress, plan=plan)
        return stage.given_up()

    def _on_machines(self, stage: Stage, progress: Progress) -> None:
        """A stage on every machine of the cluster that may take part, whole blocks on each. Raises as `measure`."""
        rows = stage.rows()
        lines = [f"{name}: {why}" for name, why in stage.give_up(rows).items()]
        to_make = [] if stage.over(rows) else stage.to_make(rows)
        left_out = [r for r in stage.plan if r.environment in stage.gone and r.run_id not in rows.answered]
        progress.leave_out(len(left_out), lines)
        if not to_make:
            return
        from sparkray.workflows.machines import on_machines  # noqa: PLC0415 - as above
        from sparkray.workflows.sweeping import Sweep  # noqa: PLC0415 - as above

        session = self.opened()
        session.release()  # its machine takes part like every other, with a session of its own
        session.progress = progress
        sweep = Sweep(stage.study, stage.dataset, session, Timing(stage.study, stage.dataset), stage.plan)
        sweep.unneeded = stage.unneeded
        try:
            on_machines(sweep, to_make)
        finally:
            self.stop_if_asked()  # what fails after a stop, fails because of it
        if stage.error is not None:
            raise stage.error

    def measure(
        self,
        study: Study,
        dataset: Dataset,
        todo: Sequence[PlannedRun],
        progress: Progress,
        *,
        plan: Sequence[PlannedRun],
    ) -> None:
        """Some runs of a study, those of `plan` that turn out doubtful again.

        Raises:
            SparkrayError: No further run is possible.
            InterruptedSweepError: Somebody asked for the end.
        """
        if not todo:
            return
        from sparkray.workflows.sweeping import Sweep  # noqa: PLC0415 - as above

        session = self.turn(study, dataset)
        session.progress = progress
        try:
            Sweep(study, dataset, session, Timing(study, dataset), plan).carry_out(todo)
        finally:
            self.stop_if_asked()  # what fails after a stop, fails because of it


def ids_of(study: Study, treatment: Treatment) -> set[str]:
    """The ids of all runs that a treatment has in a study, with these very flags."""
    alone = replace(study, treatments=(treatment,), experiment=replace(study.experiment, fold=False))
    return {run.run_id for run in make_plan(alone)}
