"""A sweep on the machines of a cluster: which take part, a session for each, and the blocks of the plan between them."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, Self

from sparkray.cluster import Node
from sparkray.errors import ClusterError, HostError, SparkrayError, StorageError
from sparkray.machine.capabilities import About
from sparkray.optimize.search.machines import Helper
from sparkray.plan import PlannedRun, make_plan
from sparkray.progress import Progress
from sparkray.store import Dataset
from sparkray.store.parcel import Parcel, Vouched, receive
from sparkray.store.progress import end_progress
from sparkray.workflows.blocks import Blocks
from sparkray.workflows.fleet import Fleet, unlike
from sparkray.workflows.session import Session, same_files
from sparkray.workflows.sweeping import Sweep


@dataclass
class Together:
    """What the machines of a sweep share.

    Attributes:
        progress: Of the whole sweep.
        blocks: What is left.
        guard: Held while progress is shown. Who holds that of `blocks` may take it, never the other way round.
        left_s: Estimated time of what each machine has taken, s.
        identity: That of the first machine that was ready: the files that all must run.
        errors: Why machines left.
    """

    progress: Progress
    blocks: Blocks
    rest_s: Callable[[], float]
    guard: threading.RLock = field(default_factory=threading.RLock)
    left_s: dict[str, float] = field(default_factory=dict)
    identity: Mapping[str, Any] | None = None
    errors: list[SparkrayError] = field(default_factory=list)


class Share:
    """One machine's part in the progress of a sweep (see `Progress`); messages carry its name."""

    later_s = 0.0

    def __init__(self, together: Together, host: str) -> None:
        self.together, self.host = together, host

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """The whole one ends by itself."""

    @property
    def done(self) -> int:
        """Runs of the whole sweep that have ended."""
        return self.together.progress.done

    @done.setter
    def done(self, number: int) -> None:
        self.together.progress.done = number

    @property
    def total(self) -> int:
        """Runs of the whole sweep."""
        return self.together.progress.total

    @total.setter
    def total(self, number: int) -> None:
        self.together.progress.total = number

    @property
    def left_s(self) -> float:
        """Estimated time until the last run of the whole sweep ends, s."""
        return self.together.progress.left_s

    @left_s.setter
    def left_s(self, seconds: float) -> None:
        self.together.progress.left_s = seconds

    def say(self, line: str) -> None:
        """Shows a message."""
        with self.together.guard:
            self.together.progress.say(f"{self.host}: {line}")

    def expect(self, left_s: float) -> None:
        """What this machine has taken takes so long; the rest is divided between all."""
        rest_s = self.together.rest_s()  # it takes the guard of the blocks, which must never be taken inside ours
        with self.together.guard:
            self.together.left_s[self.host] = left_s
            members = tuple(self.together.blocks.members)  # what a machine that left had taken is in the rest again
            whole = sum(self.together.left_s.get(host, 0.0) for host in members) + rest_s
            self.together.progress.expect(whole / max(1, len(members)))

    def begin(self, planned: PlannedRun) -> None:
        """A run starts."""
        with self.together.guard:
            self.together.progress.begin(self._named(planned))

    def end(self, planned: PlannedRun, row: Mapping[str, Any]) -> None:
        """An attempt at a run has ended."""
        with self.together.guard:
            self.together.progress.end(self._named(planned), row)

    def again(self, planned: PlannedRun, why: str) -> None:
        """A run will be measured again."""
        with self.together.guard:
            self.together.progress.again(self._named(planned), why)

    def count(self, number: int) -> None:
        """So many more runs have ended, or no longer count."""
        with self.together.guard:
            self.together.progress.count(number)

    def leave_out(self, count: int, lines: Sequence[str]) -> None:
        """Runs that are not needed any more, and why."""
        with self.together.guard:
            self.together.progress.leave_out(count, lines)

    def _named(self, planned: PlannedRun) -> PlannedRun:
        return replace(planned, environment=f"{planned.environment} on {self.host}")


@dataclass
class Machine:
    """One machine of a sweep."""

    host: str
    sweep: Sweep
    together: Together
    asked: threading.Event

    def say(self, line: str) -> None:
        """Shows a message."""
        self.sweep.session.progress.say(line)

    def release(self) -> None:
        """Frees the machine."""
        end_progress(self.sweep.dataset.path, self.host)
        self.sweep.session.release()

    def ready(self) -> None:
        """Make it ready, with the files that the others run. Raises SparkrayError; then it takes no part."""
        try:
            self.sweep.prepare([])
            identity = self.sweep.session.identity
            with self.together.guard:
                self.together.identity = self.together.identity or identity
                same_files(self.together.identity, identity)
        except BaseException as error:
            self._leave(error)
            raise

    def work(self) -> None:
        """Block after block. Raises ClusterError where the machine can do no more, and what ends the whole sweep."""
        try:
            self.sweep.measure()
        except SparkrayError as error:
            self._leave(error)
            if isinstance(error, StorageError) or not isinstance(error, HostError):
                raise
            raise ClusterError(error.message, error.remedy) from error
        except BaseException as error:
            self._leave(error)
            raise
        self.together.blocks.leave(self.host)

    def _leave(self, error: BaseException) -> None:
        if isinstance(error, SparkrayError):
            self.together.errors.append(error)
        self.sweep.hide()
        left = [*self.sweep.queue.waiting, *([self.sweep.current] if self.sweep.current else [])]
        with suppress(StorageError):  # which every other machine meets too
            self.together.blocks.leave(self.host, left, lost=not self.asked.is_set())

    def store(
        self,
        dataset: Dataset,
        parcel: Parcel,
        host: str,
        *,
        late: bool,
        notify: Callable[[str], None],
        sound: Mapping[str, Vouched] | None = None,
    ) -> list[str]:
        """Store what the machine sends (`store.parcel.receive`); blocks of which something came late are its own."""
        if not late:
            return receive(dataset, parcel, host, late=False, notify=notify, sound=sound)
        blocks = self.together.blocks
        with blocks.guard:
            begun = blocks.begun_elsewhere(host)
            refused = receive(dataset, parcel, host, late=True, notify=notify, begun=begun)
            self.sweep.session.progress.count(blocks.refresh())
        return refused


def on_machines(sweep: Sweep, todo: Sequence[PlannedRun]) -> None:
    """Carry a plan out on every machine of the cluster that may take part.

    Args:
        sweep: Of the session that connects to the cluster.
        todo: Runs to make.

    Raises:
        SparkrayError: No machine is left that could measure, or the results cannot be stored.
    """
    session, dataset = sweep.session, sweep.dataset
    dataset.make_folders()
    found = _machines(session)
    blocks = Blocks(dataset, sweep.plan or make_plan(sweep.study), todo, [node.host for node in found])
    together = Together(session.progress, blocks, partial(blocks.expected_s, sweep.timing.total_s))
    machines = [_machine(sweep, together, node) for node in found]
    helpers = [Helper(one, one, one.ready) for one in machines]
    # not `session.asked`: that is the user's, and makes of every end an interruption
    failed = threading.Event()
    fleet = Fleet(session.asked, lambda: helpers, "sweep", end=failed.set)
    fleet.work_beside(partial(blocks.wait, lambda: session.asked.is_set() or failed.is_set()), Machine.work)
    if blocks.waiting and together.errors and not session.asked.is_set():
        raise together.errors[-1]


def _machine(sweep: Sweep, together: Together, node: Node) -> Machine:
    asked = threading.Event()
    session = Session(sweep.session.cluster, sweep.session.options, Share(together, node.host), asked, node=node)
    own = Sweep(
        sweep.study,
        sweep.dataset,
        session,
        sweep.timing,
        together.blocks.plan,  # to make one of 100,000 runs takes seconds
        until=sweep.until,
        blocks=together.blocks,
    )
    own.unneeded = sweep.unneeded
    machine = Machine(node.host, own, together, asked)
    session.store = machine.store
    return machine


def _machines(session: Session) -> list[Node]:
    """The machines of the cluster that may take part, by their own names; a line says why others may not.

    Raises:
        ClusterError: None may.
    """
    nodes = session.cluster.nodes()
    known: list[About] = []
    found: list[Node] = []
    for node, about in zip(nodes, session.cluster.about(nodes, None), strict=True):
        why = about if isinstance(about, str) else unlike(about, known) if known else None
        if why is not None or isinstance(about, str):
            session.progress.say(f"{node.host} is left out of the sweep: {why}")
        else:
            known.append(about)
            found.append(replace(node, host=about.machine.host))  # rows carry this name, which Ray's may differ from
    if not found:
        raise ClusterError(f"no machine of the Ray cluster at {session.cluster.address} can take part")
    return found
