"""Measuring for several stages through one session: opened when the first run is due, resumable, stoppable.

Flags that this host refuses are found before the first run of a stage, by starting a container with each; an environment
that works in no block is given up after two, so that a ruinous flag does not cost the whole stage.
"""

import json
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from sparkray.errors import HostError, PreflightError
from sparkray.metrics import BY_NAME
from sparkray.plan import PlannedRun, Study, Treatment, make_plan
from sparkray.spec.folding import apart_in, state_signature
from sparkray.store import Dataset, open_dataset, write_atomically
from sparkray.sweep.options import Options
from sparkray.sweep.show import Display
from sparkray.sweep.timing import Timing

if TYPE_CHECKING:  # it brings Ray, which takes long to import; a finished stage needs none
    from sparkray.sweep.session import Session

Row = Mapping[str, Any]
Pair = tuple[str, int]
"""(model, block)."""
_KEPT = ("run_id", "attempt", "status", "reason", "environment", "model", "block", "position", "effective_state")
_COLUMNS = [*_KEPT, "docker_command", "simulated", "host", "started_at", "duration_s", *BY_NAME]
_FAILED = ("failed", "oom", "timeout", "unready")
"""An answer, where flags are what is asked about; `invalid` and `interrupted` are none, and are tried again."""
_PATIENCE = 2
"""Blocks in which an environment may fail before it is given up, when none has succeeded."""
_STRUCK = "struck.json"


class InterruptedSweepError(Exception):
    """Somebody asked for the end; what was measured is stored."""


@dataclass(frozen=True)
class Rows:
    """What a dataset holds, an attempt that is ok standing for its run."""

    rows: Sequence[Row]

    @cached_property
    def ok(self) -> list[Row]:
        """Runs that count, each once."""
        return list({row["run_id"]: row for row in self.rows if row["status"] == "ok"}.values())

    def of(self, environment: str) -> dict[Pair, Row]:
        """Ok runs of an environment by block."""
        return {(row["model"], row["block"]): row for row in self.ok if row["environment"] == environment}

    def values(self, environment: str, metric: str) -> dict[Pair, float]:
        """A metric of an environment by block, where there is a value."""
        return {pair: float(row[metric]) for pair, row in self.of(environment).items() if row[metric] is not None}

    def last(self, run_id: str) -> Row | None:
        """The ok attempt at a run, else the last one."""
        mine = [row for row in self.rows if row["run_id"] == run_id]
        return max(mine, key=lambda row: (row["status"] == "ok", row["attempt"]), default=None)

    @property
    def answered(self) -> set[str]:
        """Run ids that are ok, or that failed in a way that another try would not mend."""
        return {row["run_id"] for row in self.rows if row["status"] in ("ok", *_FAILED)}

    def failing(self, environment: str, patience: int = _PATIENCE) -> str | None:
        """Why an environment is given up: none of its runs in so many blocks is ok; None while it may still work."""
        mine = [row for row in self.rows if row["environment"] == environment and row["status"] != "interrupted"]
        bad = {(row["model"], row["block"]) for row in mine if row["status"] != "ok"}
        if len(bad) < patience or any(row["status"] == "ok" for row in mine):
            return None
        last = max(mine, key=lambda row: (row["block"], row["attempt"]))
        return f"none of its {len(bad)} runs was ok; the last: {last['status']}, {last['reason']}"

    def same_state(self, treatment: Treatment, baseline: Treatment) -> bool | None:
        """Whether a process of the treatment gets what the baseline's gets in the same block; None where it is not told."""
        mine, base = self.of(treatment.environment), self.of(baseline.environment)
        for pair, row in mine.items():
            other = base.get(pair)
            if other is not None and row["effective_state"] and other["effective_state"]:
                one = state_signature(treatment.options, json.loads(row["effective_state"]))
                return not apart_in(one, state_signature(baseline.options, json.loads(other["effective_state"])))
        return None


def rows_of(dataset: Dataset) -> Rows:
    """What a dataset holds now."""
    return Rows(dataset.read("runs", _COLUMNS))


class StageDisplay(Display):
    """A display that also knows of runs which come after those that the driver was given, for the time that is left."""

    later_s: float = 0.0

    def expect(self, left_s: float) -> None:
        """Seconds that the driver reckons with, and those after it."""
        super().expect(left_s + self.later_s)


@dataclass
class Measuring:
    """The session of an optimisation, and what is said meanwhile."""

    options: Options
    out: Console
    stack: ExitStack
    asked: threading.Event = field(default_factory=threading.Event)
    session: "Session | None" = None

    def dataset(self, study: Study, definition: str, *, fresh: bool = False) -> Dataset:
        """The dataset of a stage."""
        root = self.options.results_dir.absolute()
        return open_dataset(root, study.experiment.name, definition, fresh=fresh)

    def say(self, line: str) -> None:
        """A line to the user."""
        self.out.print(line, markup=False, soft_wrap=True)

    def turn(self, study: Study, dataset: Dataset) -> "Session":
        """The session, its runner ready for a study.

        Raises:
            SparkrayError: The machine cannot do it.
            InterruptedSweepError: Somebody asked for the end.
        """
        from sparkray.sweep.session import opened  # noqa: PLC0415 - as above

        if self.session is None:
            self.session = self.stack.enter_context(opened(self.options, Display(self.out, 0, 0), self.asked))
        self.session.turn(study, dataset)
        self.stop_if_asked()
        return self.session

    def stop_if_asked(self) -> None:
        """Raises InterruptedSweepError after a signal."""
        if self.asked.is_set():
            raise InterruptedSweepError

    def able(self, study: Study, dataset: Dataset, candidates: Sequence[Treatment]) -> dict[str, str]:
        """Containers that this host refuses beside the study's own treatments, name to the reason in Docker's words.

        Those that have runs were honoured once, those that were refused once are not asked again.

        Raises:
            SparkrayError: The study itself cannot be made ready.
        """
        path = dataset.path / _STRUCK
        known: dict[str, str] = json.loads(path.read_text()) if path.is_file() else {}
        tried = {row["environment"] for row in dataset.read("runs", ["environment"])} | set(known)
        unknown = [t for t in candidates if t.in_container and t.environment not in tried]
        kept = study.treatments
        if unknown:
            self.turn(study, dataset)
        for treatment in unknown:
            try:
                self.turn(replace(study, treatments=(*kept, treatment)), dataset)
                kept = (*kept, treatment)
            except PreflightError as error:
                known[treatment.environment] = error.message
                write_atomically(path, json.dumps(known, indent=1).encode())
                self.say(f"struck out: {error.message}")
        names = {treatment.environment for treatment in candidates}
        return {name: reason for name, reason in known.items() if name in names}

    def rounds(
        self,
        study: Study,
        dataset: Dataset,
        *,
        always: Sequence[str],
        drop: Callable[[Rows], Mapping[str, str]] = lambda _: {},
    ) -> dict[str, str]:
        """Every run of a study that is not done, round by round.

        Args:
            study: The study.
            dataset: Its own.
            always: Environments that are never given up, and whose failed runs are tried again.
            drop: Asked before each round for environments that need no further runs, name to the reason.

        Returns:
            Environments that were given up, name to the reason.

        Raises:
            SparkrayError: No further run is possible.
            InterruptedSweepError: Somebody asked for the end.
        """
        plan = make_plan(study)
        timing = Timing(study, dataset)
        done = dataset.ok_run_ids()
        gone: dict[str, str] = {}
        with StageDisplay(self.out, len(plan), sum(1 for run in plan if run.run_id in done)) as display:
            for place, block in enumerate(sorted({run.block for run in plan})):
                rows = rows_of(dataset)
                for name in always if place == _PATIENCE else ():
                    must_run(rows, name, dataset.path)
                others = [t.environment for t in study.treatments if t.environment not in always]
                failing = {name: why for name in others if (why := rows.failing(name)) is not None}
                for name, why in {**failing, **drop(rows)}.items():
                    if name not in gone:
                        gone[name] = why
                        left = [r for r in plan if r.environment == name and r.block >= block]
                        display.leave_out(sum(1 for r in left if r.run_id not in rows.answered), [f"{name}: {why}"])
                open_runs = [r for r in plan if r.environment not in gone and not _settled(r, rows, always)]
                display.later_s = sum(timing.total_s(r) for r in open_runs if r.block > block)
                self.measure(study, dataset, [r for r in open_runs if r.block == block], display, plan=plan)
        rows = rows_of(dataset)
        last = {
            t.environment: why
            for t in study.treatments
            if t.environment not in always and (why := rows.failing(t.environment, 1)) is not None
        }
        return {**last, **gone}

    def measure(
        self,
        study: Study,
        dataset: Dataset,
        todo: Sequence[PlannedRun],
        display: Display,
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
        from sparkray.sweep.drive import Sweep  # noqa: PLC0415 - as above

        session = self.turn(study, dataset)
        session.display = display
        Sweep(study, dataset, session, Timing(study, dataset), plan).carry_out(todo)
        self.stop_if_asked()


def _settled(run: PlannedRun, rows: Rows, always: Sequence[str]) -> bool:
    """Whether a run needs no further attempt."""
    if run.environment in always:
        return any(row["run_id"] == run.run_id for row in rows.ok)
    return run.run_id in rows.answered


def must_run(rows: Rows, environment: str, path: Path) -> None:
    """Refuses to go on without an arm that everything is compared with.

    Raises:
        HostError: No run of it is ok.
    """
    if rows.of(environment):
        return
    mine = [row for row in rows.rows if row["environment"] == environment]
    why = f"{mine[-1]['status']}, {mine[-1]['reason']}" if mine else "none was made"
    raise HostError(f"no run of {environment} is ok ({why}): there is nothing to compare with", f"Look into {path}")
