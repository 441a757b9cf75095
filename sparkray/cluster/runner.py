"""The actor that measures on one machine. It has two groups of threads, so that a stop can reach it while a run goes on."""

import os
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast

import ray

from sparkray.catalog.weights import cache_folder
from sparkray.config.site import HOST
from sparkray.docker_engine import Patience
from sparkray.errors import ClusterError
from sparkray.execute.history import revalidate_all
from sparkray.execute.leftovers import container_log, end_processes
from sparkray.execute.prepared_host import PreparedHost, adapt_host, prepare_host
from sparkray.execute.recovery import store_interrupted
from sparkray.execute.run import run_once
from sparkray.files import give_to_owner
from sparkray.machine.cpu_isolation import housekeeping_cpus, pin_processes
from sparkray.machine.doctor import must_fit
from sparkray.machine.fingerprint import Machine, fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.machine.raylet import ray_processes
from sparkray.plan import PlannedRun, Study
from sparkray.records import Outcome
from sparkray.runtimes import Stop
from sparkray.store import Dataset
from sparkray.store.parcel import Origin, Outbox, Parcel, Vouched, vouched

_NEWS_S = 3600.0
_UNPREPARED = "the runner is not prepared"
_NODE_DATASETS = "measured"
Place = Dataset | Origin


@dataclass(frozen=True)
class Sent:
    """What a run sends to the driver, in one message.

    Attributes:
        outcome: Its row and verdicts.
        parcel: What the driver must store and acknowledge.
        lines: Reported since the last call.
        has_more: Whether more has to be stored than one parcel holds.
        sound: Files of the parcel that this machine has judged.
    """

    outcome: Outcome
    parcel: Parcel
    lines: Sequence[str]
    has_more: bool = False
    sound: Mapping[str, Vouched] = field(default_factory=dict)


LockMode = Literal["wait", "fail"]
Method = TypeVar("Method", bound=Callable[..., object])


def _group(name: str) -> Callable[[Method], Method]:
    """Which of the actor's thread groups a method belongs to."""
    return cast("Callable[[Method], Method]", ray.method(concurrency_group=name))


class BenchmarkRunner:
    """Everything that must happen on the measuring machine, one thing at a time, under the machine's lock."""

    def __init__(self) -> None:
        self.stop_signal = Stop()
        self.lines: list[str] = []
        self.reported = threading.Event()
        self.patience = Patience(self._report, self.stop_signal.is_set)
        self.machine: Machine | None = None
        self.dataset: Dataset | None = None
        self.outbox: Outbox | None = None
        self.earlier: dict[str, int] = {}
        self.prepared: PreparedHost | None = None
        self.lock: MachineLock | None = None
        self.held = ExitStack()

    def __repr__(self) -> str:
        return f"sparkray runner on {socket.gethostname()}"

    @_group("work")
    def hold(self, study: Study, place: Place, mode: LockMode) -> None:
        """Take the lock, and deal with what a dead sweep left."""
        self.machine = fingerprint()
        if any(treatment.environment != HOST for treatment in study.treatments):
            must_fit(study.site, self.machine)
        self.lock = MachineLock(self.machine.lock_keys)
        self.held.enter_context(
            self.lock.held(
                mode, on_wait=lambda who: self._report(f"waiting: {who}"), should_stop=self.stop_signal.is_set
            )
        )
        if study.site.engine_cpus:
            pin_processes(housekeeping_cpus(study.site.engine_cpus), [os.getpid(), *ray_processes()])
        end_processes(self._report)
        self.enter(place)

    @_group("work")
    def enter(self, place: Place) -> None:
        """Turn to a dataset: the driver's where it is on this machine, else one of our own that is sent to it."""
        if self.lock is None or self.machine is None:
            raise ClusterError(_UNPREPARED)
        if self.outbox is not None:
            self.outbox.close()
        if isinstance(place, Origin):
            self.earlier = {}
            self.dataset = place.opened(cache_folder() / _NODE_DATASETS, self.earlier)
            self.outbox = Outbox(self.dataset)
        else:
            self.dataset, self.outbox = place, None
        self.lock.note("", str(self.dataset.path))
        store_interrupted(self.dataset, self.machine.host, self._report, self._container_log)

    @_group("work")
    def prepare(self, study: Study, seed: Mapping[str, bytes]) -> dict[str, Any]:
        """Make the machine ready. Returns `PreparedHost.identity`.

        Args:
            study: The study; one after the first must be of the same site and models, its arms may be others.
            seed: What the driver has of this machine's earlier runs, by file, where the dataset is our own.
        """
        if self.machine is None or self.dataset is None:
            raise ClusterError(_UNPREPARED)
        if self.outbox is not None:
            self.outbox.seed(seed)
        if self.prepared is None:
            self.prepared = prepare_host(study, self.machine, self.dataset, self._report, patience=self.patience)
        else:
            self.prepared = adapt_host(self.prepared, study, self.dataset, self._report, patience=self.patience)
        revalidate_all(study, self.prepared.history)
        return self.prepared.identity

    @_group("work")
    def parcel(self, stored: Sequence[str] = (), refused: Sequence[str] = ()) -> Parcel:
        """Files that the driver has not acknowledged; empty when there are none.

        Args:
            stored: Files of the last parcel, all of which the driver has.
            refused: Those of them that it set aside.
        """
        if self.outbox is None:
            return {}
        self.outbox.acknowledge(stored, refused)
        return self.outbox.parcel()

    @_group("work")
    def run(
        self, planned: PlannedRun, earlier: int = 0, stored: Sequence[str] = (), refused: Sequence[str] = ()
    ) -> Sent:
        """One attempt at a run. Its row and verdicts come back; its raw rows are in the dataset, or come too.

        Args:
            planned: The run.
            earlier: Attempts at it that the driver has, of any machine.
            stored: As of `parcel`.
            refused: As of `parcel`.
        """
        if self.prepared is None or self.lock is None:
            raise ClusterError(_UNPREPARED)
        if self.outbox is not None:
            self.outbox.acknowledge(stored, refused)  # before the attempt is numbered
        self.earlier[planned.run_id] = earlier
        prepared, lock = self.prepared, self.lock

        def note(name: str) -> None:
            lock.note(name, str(prepared.dataset.path))

        outcome = run_once(prepared, planned, self.stop_signal, note, companions=ray_processes)
        outcome = Outcome(row=outcome.row, checks=outcome.checks, refused=outcome.refused)
        if self.outbox is None:
            return Sent(outcome, {}, self._taken())
        parcel = self.outbox.parcel(every=False)
        return Sent(outcome, parcel, self._taken(), self.outbox.has_more, vouched(parcel))

    @_group("work")
    def release(self) -> None:
        """Let go of the lock; a dataset of our own is removed once the driver has all of it."""
        if self.outbox is not None:
            self.outbox.close()
        elif self.dataset is not None:
            give_to_owner(self.dataset.path)
        self.held.close()

    @_group("control")
    def stop(self) -> None:
        """End the run that goes on, and every wait."""
        self.stop_signal.set()

    @_group("control")
    def news(self) -> list[str]:
        """Lines reported since the last call; waited for, so that an actor that measures is not asked again and again."""
        self.reported.wait(_NEWS_S)
        self.reported.clear()
        return self._taken()

    @_group("control")
    def messages(self) -> list[str]:
        """Lines reported since the last call, at once; who waits for news gets none."""
        lines = self._taken()
        self.reported.set()
        return lines

    @_group("control")
    def identity(self) -> tuple[int, str]:
        """Process id and machine of the actor."""
        return os.getpid(), socket.gethostname()

    def _taken(self) -> list[str]:
        lines, self.lines = self.lines, []
        return lines

    def _report(self, line: str) -> None:
        self.lines.append(line)
        self.reported.set()

    def _container_log(self, name: str) -> bytes | None:
        return container_log(name, self.patience)
