"""One machine's sweep: run after run through its session, resumable and stoppable."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from functools import cached_property
from itertools import chain
from typing import Any

from sparkray.checks import policies_of, repeating
from sparkray.cluster import RunnerLostError
from sparkray.cluster.meters import Meters
from sparkray.config.secrets import masked
from sparkray.plan import PlannedRun, Study, make_plan, measured
from sparkray.records import Outcome, Verdict
from sparkray.runtimes.linux.owner import this_process
from sparkray.store import Dataset
from sparkray.timing import Timing
from sparkray.workflows.blocks import Blocks
from sparkray.workflows.breaker import Breaker, refusals_of
from sparkray.workflows.interim import left_out
from sparkray.workflows.queue import Queue
from sparkray.workflows.session import Session

# Ids of those of some runs that are needed no more, and why, in lines; the second are those that machines have taken.
Unneeded = Callable[[Sequence[PlannedRun], Sequence[PlannedRun]], tuple[set[str], list[str]]]
_REPEATED = ("invalid", "interrupted")
# What a block that must end within `--seconds` is given besides: storing, analysing, ending.
_AROUND_S = 8.0
# Names of runs for Ray, which takes some 20 KiB of the driver's memory for each and never frees them.
_NAMES = 100


def name_of(done: int, total: int, arms: int = 1) -> str:
    """What a run is called on Ray's dashboard; of a long plan several have one name, since Ray's metrics keep every name.

    Args:
        done: Runs before it.
        total: Runs of the plan.
        arms: Pairs of model and environment in it, which Ray's name has besides.
    """
    step = 1 if total <= _NAMES else -(-total * arms // _NAMES)
    return f"run {done + 1} of {total}" if step <= 1 else f"run {done - done % step + 1}+ of {total}"


@dataclass
class Sweep:
    """A sweep under way.

    Attributes:
        plan: All runs of the study where they are not those of `make_plan`.
        until: When the last run must have ended, s on the monotonic clock; None sets no limit.
    """

    study: Study
    dataset: Dataset
    session: Session
    timing: Timing
    plan: Sequence[PlannedRun] | None = None
    breaker: Breaker = field(default_factory=Breaker)
    until: float | None = None
    refused: dict[tuple[str, str], frozenset[Verdict]] = field(default_factory=dict)
    """The lasting reason for which an arm's last run was refused, by model and environment."""
    blocks: Blocks | None = None
    """Where several machines measure: what is left for this one to take."""
    queue: Queue = field(default_factory=lambda: Queue([], 1))
    """What this machine has taken and not begun."""
    current: PlannedRun | None = None
    """The run that goes on."""
    unneeded: Unneeded | None = None
    """Asked before and after each block which runs need not be made, and why; None: what a sequential experiment says."""

    def carry_out(self, todo: Sequence[PlannedRun]) -> None:
        """All runs of `todo`, one after another. Raises as `prepare` and `measure`."""
        self.prepare(todo)
        self.measure()

    def prepare(self, todo: Sequence[PlannedRun]) -> None:
        """Make the machine ready, and queue the runs that are left. Raises SparkrayError."""
        document = {
            "experiment": asdict(self.study.experiment),
            "cards": [asdict(card) for card in self.study.cards],
            "site": asdict(self.study.site),
            "environments": [treatment.environment for treatment in measured(self.study)],
            "engine_options": dict(self.study.engine_options),
            "policies": policies_of(self.study),
        }
        self.dataset.describe_study(masked(document))
        self.dataset.check_space()
        before = self._done()
        self.session.turn(self.study, self.dataset)
        progress = self.session.progress
        # another sweep into this dataset may have had its turn while we waited, and a dead one may not have looked back
        done = self._done()
        gone = before - done
        lost = [run for run in self._planned() if run.run_id in gone] if gone else []
        left = lost + [planned for planned in todo if planned.run_id not in done]
        progress.count(len(todo) - len(left))
        self.queue = Queue(left, self.study.experiment.max_attempts)
        if self.blocks is not None and left:
            self.blocks.hold(self.session.host, left)
        self._leave_out(self.queue)

    def measure(self) -> None:
        """Run after run; a lost runner is replaced, an invalid run measured again.

        Raises:
            RefusedError: One check refuses run after run.
            SparkrayError: No further run is possible.
        """
        queue, progress = self.queue, self.session.progress
        while self._has_more(queue) and not self.session.asked.is_set() and self._fits(queue.waiting):
            self._begin_again(queue.waiting[0])
            planned = self.current = queue.take()
            try:
                outcome = self._one(planned, queue.waiting, again=queue.tries[planned.run_id] < queue.most)
                doubtful = dict(outcome.refused)
                if outcome.status in _REPEATED:
                    doubtful[planned.run_id] = outcome.status
                    self._give_up_alike(queue, planned, outcome)
                elif outcome.status == "ok":
                    self.refused.pop((planned.model, planned.environment), None)
                    self.breaker.stands(planned)
            except RunnerLostError as error:
                before = self._done()
                self.session.replace(error, self.study, self.dataset)
                progress.count(1)
                ok = self._done()  # it may have died after it had stored the run, or found fault with others
                doubtful = dict.fromkeys({planned.run_id, *before} - ok, "interrupted")
            self._again(queue, doubtful)
            self._leave_out(queue, planned)
            self.current = None

    def _done(self) -> set[str]:
        """Ids of runs that need no further attempt; where several machines measure, of this one's."""
        return self.dataset.done_run_ids(self.session.host if self.blocks is not None else None)

    def _has_more(self, queue: Queue) -> bool:
        """Whether there is a run to make; takes another block where there is none left of the last."""
        while not queue.waiting and self.blocks is not None:
            queue.waiting[:] = self.blocks.take(self.session.host, self.session.asked.is_set)
            if not queue.waiting:
                break
            self._leave_out(queue)
        return bool(queue.waiting)

    def _begin_again(self, planned: PlannedRun) -> None:
        """Runs of the block that another machine did not complete count no more, now that its first run is made here."""
        if self.blocks is not None and (count := self.blocks.begin(self.session.host, planned)):
            self.session.progress.count(-count)
            self.session.progress.say(
                f"measures block {planned.block} of {planned.model} again: begun on another machine"
            )

    def _fits(self, waiting: Sequence[PlannedRun]) -> bool:
        """Whether what is left of the next block ends in time: the runs of a pair are made one after the other."""
        if self.until is None:
            return True
        first = waiting[0]
        block = [run for run in waiting if (run.model, run.level, run.block) == (first.model, first.level, first.block)]
        needed_s = sum(map(self.timing.at_most_s, block)) + self.timing.warm_ups_s(first) + _AROUND_S
        left_s = self.until - time.monotonic()
        if needed_s > left_s:
            self.session.progress.say(
                f"time is up: the next block needs about {needed_s:.0f} s, {max(0.0, left_s):.0f} s are left; "
                f"{len(waiting)} runs remain. The same command goes on"
            )
        return needed_s <= left_s

    def _give_up_alike(self, queue: Queue, planned: PlannedRun, outcome: Outcome) -> None:
        """Give up a run that is invalid for the reason that its arm's last attempt had, if the arm is the cause."""
        if outcome.status != "invalid":
            return
        arm = planned.model, planned.environment
        before, self.refused[arm] = self.refused.get(arm, frozenset()), repeating(outcome.checks)
        alike = before & self.refused[arm]
        if alike and queue.give_up(planned):
            checks = ", ".join(sorted(verdict.check for verdict in alike))
            self.session.progress.say(
                f"    {planned.environment} of block {planned.block} is not measured again: {checks} refused the attempt "
                "before it for the same reason"
            )

    def _planned(self) -> Sequence[PlannedRun]:
        return make_plan(self.study) if self.plan is None else self.plan

    def _again(self, queue: Queue, doubtful: Mapping[str, str]) -> None:
        """Runs that do not stand, by id with why, are measured next, in the order of the plan. Raises RefusedError."""
        planned = [run for run in self._planned() if run.run_id in doubtful] if doubtful else []
        again = queue.again(planned)
        for run in again:
            self.breaker.doubted(run)
            if not self.session.asked.is_set():
                self.session.progress.again(run, doubtful[run.run_id])
        for run in planned:
            if run not in again and doubtful[run.run_id] != "interrupted":
                self.breaker.gave_up(run, refusals_of(self.dataset, run))

    def _leave_out(self, queue: Queue, after: PlannedRun | None = None) -> None:
        """Runs that are needed no more leave the queue; asked before the first block, and when one is taken or over."""
        unneeded_of = self.unneeded
        if unneeded_of is None:
            if self.study.experiment.sequential is None:
                return
            unneeded_of = self._left_out
        if after is not None and any((run.model, run.block) == (after.model, after.block) for run in queue.waiting):
            return
        with (
            self.blocks.guard if self.blocks is not None else nullcontext()
        ):  # two machines must not count the same runs
            others = self.blocks.runs if self.blocks is not None else []
            taken = [] if self.blocks is None else [*chain.from_iterable(self.blocks.under_way.values())]
            unneeded, lines = unneeded_of([*queue.waiting, *others], taken)
            if self.blocks is not None and unneeded:
                self.blocks.drop(unneeded)
        queue.waiting[:] = [run for run in queue.waiting if run.run_id not in unneeded]
        self.session.progress.leave_out(len(unneeded), lines)

    def _one(self, planned: PlannedRun, after: Sequence[PlannedRun], *, again: bool) -> Outcome:
        """One attempt. For the time left: `after` are the runs that come then, `again` whether it may be repeated."""
        progress = self.session.progress
        progress.expect(sum(self.timing.total_s(run) for run in (planned, *after)))
        progress.begin(planned)
        self._write_progress(planned)
        self._show(len(after))
        outcome = self.session.run(planned, name_of(progress.done, progress.total, self._arms))
        self.timing.learn(planned, outcome.row)
        left = [planned, *after] if again and outcome.status in _REPEATED else after
        progress.expect(sum(self.timing.total_s(run) for run in left))
        progress.end(planned, outcome.row)
        self._show(len(after))
        with suppress(Exception):  # as in `_show`
            self._meters.attempt(self.session.host, planned.environment, outcome.row)
        return outcome

    def _left_out(self, runs: Sequence[PlannedRun], _: Sequence[PlannedRun]) -> tuple[set[str], list[str]]:
        return left_out(self.study, self.dataset, runs)

    @cached_property
    def _arms(self) -> int:
        return len({(run.model, run.environment) for run in self._planned()})

    @cached_property
    def _owner(self) -> str:
        return this_process().text

    @cached_property
    def _meters(self) -> Meters:
        return Meters(self.study.experiment.name)

    def _show(self, waiting: int) -> None:
        """To Prometheus, where that is listening."""
        progress = self.session.progress
        with suppress(Exception):  # what is only shown must not end a sweep
            self._meters.sweep(done=progress.done, planned=progress.total, eta_s=progress.left_s)
            self._meters.queue(self.session.host, waiting)

    def hide(self) -> None:
        """This machine is lost: what Prometheus was shown of it holds no more."""
        with suppress(Exception):  # as in `_show`
            self._meters.lose(self.session.host)

    def _write_progress(self, planned: PlannedRun) -> None:
        progress = self.session.progress
        state: Mapping[str, Any] = {
            "run": progress.done + 1,
            "of": progress.total,
            "run_id": planned.run_id,
            "environment": planned.environment,
            "model": planned.model,
            "since": time.time(),
            "eta_s": progress.left_s,
            "owner": self._owner,
        }
        self.dataset.write_progress(state, self.session.host if self.blocks is not None else "")
