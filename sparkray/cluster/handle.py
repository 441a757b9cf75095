"""The driver's handle of the actor that measures on one machine: calls, messages, and the patience with it."""

import os
import signal
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol, cast

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sparkray.cluster.pulse import Pulse, RayLostError, RunnerLostError, connection, is_stopped
from sparkray.cluster.runner import LockMode, Place, Sent
from sparkray.errors import ClusterError, HostError, SparkrayError, StorageError, host_error_of
from sparkray.plan import PlannedRun, Study
from sparkray.records import Outcome
from sparkray.runtimes.linux.owner import process_start
from sparkray.runtimes.linux.root_part import kill as kill_as_root
from sparkray.runtimes.linux.root_part import python_as_root
from sparkray.store import Dataset
from sparkray.store.parcel import Parcel, Vouched, origin_of, seeds_of

RESOURCE = "sparkray"
_POLL_S, _LONG_POLL_S, _SILENT_S = 0.5, 1.0, 10.0
# Once a stop was asked for: what a run may take to be stored, what has nothing to store, and a process that was stopped.
_STOP_S, _DROP_S, _FROZEN_S = 8.0, 4.0, 2.0
_LAST_S, _KILL_POLL_S = 5.0, 0.05
_SIGN_S, _GONE_S = 10.0, 120.0
Notify = Callable[[str], None]


class Store(Protocol):
    """Stores files that a machine sent into a dataset; returns those that were set aside (`store.parcel.receive`)."""

    def __call__(
        self,
        dataset: Dataset,
        parcel: Parcel,
        host: str,
        *,
        late: bool,
        notify: Notify,
        sound: Mapping[str, Vouched] | None = None,
    ) -> list[str]:
        """Raises StorageError."""
        ...


@dataclass(frozen=True)
class Node:
    """A node of a cluster that may measure: Ray's id of it, and its machine's name."""

    id: str
    host: str

    @property
    def only(self) -> NodeAffinitySchedulingStrategy:
        """Nowhere else."""
        return NodeAffinitySchedulingStrategy(self.id, soft=False)


@dataclass
class Runner:
    """The driver's handle of one actor, and the node that it is on."""

    actor: Any
    pid: int
    host: str
    node: Node | None = None
    stopping: Callable[[], bool] = lambda: False
    """Whether somebody asked for the end."""
    pulse: Pulse = field(default_factory=Pulse)
    store: Store | None = None
    """Stores what its machine sends; None where that writes into the driver's dataset itself."""
    dataset: Dataset | None = None
    pending: tuple[list[str], list[str]] = field(default_factory=lambda: ([], []))
    """What the next call acknowledges."""
    sign_s: float = _SIGN_S
    """How often one on another machine is asked for a sign of life, s."""
    gone_s: float = _GONE_S
    """After how long without one it is ended, s."""

    @property
    def is_local(self) -> bool:
        """Whether its process is of this machine."""
        return self.host == socket.gethostname()

    def prepare(self, study: Study, dataset: Dataset, mode: LockMode, notify: Notify) -> dict[str, Any]:
        """Lock the machine and make it ready. Raises what the actor raises, and RunnerLostError."""
        self._call("hold", notify, study, self._place(dataset), mode)
        return self._ready(study, dataset, notify)

    def adopt(self, study: Study, dataset: Dataset, notify: Notify) -> dict[str, Any]:
        """Turn to another study of the same site and models. Raises what the actor raises, and RunnerLostError."""
        self._collect(notify)  # what was stored of the last run is acknowledged, or would be sent again
        if dataset != self.dataset:
            self._call("enter", notify, self._place(dataset))
        return self._ready(study, dataset, notify)

    def _place(self, dataset: Dataset) -> Place:
        return dataset if self.store is None else origin_of(dataset)

    def _ready(self, study: Study, dataset: Dataset, notify: Notify) -> dict[str, Any]:
        """The machine is made ready for a study; what an earlier sweep of it left is stored first."""
        if dataset != self.dataset:
            self.dataset = dataset
            self._collect(notify, late=True)
        seed = {} if self.store is None else seeds_of(dataset, self.host)
        identity = self._call("prepare", notify, study, seed)
        self._collect(notify)
        return cast("dict[str, Any]", identity)

    def run(self, planned: PlannedRun, notify: Notify, name: str = "run") -> Outcome:
        """One attempt, stored; `name` is its task's on Ray's dashboard. Raises RunnerLostError, HostError."""
        earlier = 0 if self.store is None or self.dataset is None else self.dataset.attempts(planned.run_id)
        try:
            task = self.actor.run.options(name=f"{name}: {planned.model} {planned.environment}")
            sent = cast(
                "Sent", self._await(task.remote(planned, earlier, *self._acknowledged()), notify, is_silent=True)
            )
        except RunnerLostError:
            raise
        except SparkrayError:
            self._pass_on(notify)
            self._collect(notify)  # the attempt that broke is stored too
            raise
        for line in sent.lines:
            notify(line)
        refused = self._stored(sent.parcel, notify, sound=sent.sound)
        if sent.has_more:
            refused |= self._collect(notify)
        return _as_stored(sent.outcome, refused)

    def _call(self, method: str, notify: Notify, *arguments: object) -> object:
        return self._await(getattr(self.actor, method).remote(*arguments), notify, stop_s=_DROP_S)

    def _collect(self, notify: Notify, *, late: bool = False) -> set[str]:
        """Store what the machine has measured, and acknowledge it. Raises RunnerLostError, StorageError.

        Returns:
            Files that were set aside.
        """
        every: set[str] = set()
        if self.store is None or self.dataset is None:
            return every
        while parcel := cast(
            "Parcel", self._await(self.actor.parcel.remote(*self._acknowledged()), notify, is_silent=True)
        ):
            every |= self._stored(parcel, notify, late=late)
        return every

    def _stored(
        self, parcel: Parcel, notify: Notify, *, late: bool = False, sound: Mapping[str, Vouched] | None = None
    ) -> set[str]:
        """Store a parcel, which the next call of the actor acknowledges: until then it is kept there, too.

        Returns:
            Files that were set aside.

        Raises:
            StorageError: It could not be written, and is not acknowledged.
        """
        if self.store is None or self.dataset is None or not parcel:
            return set()
        refused = self.store(self.dataset, parcel, self.host, late=late, notify=notify, sound=sound)
        self.pending = list(parcel), refused
        return set(refused)

    def _acknowledged(self) -> tuple[list[str], list[str]]:
        """Files of the last parcel, all of which are stored, and those of them that were set aside; each once."""
        pending, self.pending = self.pending, ([], [])
        return pending

    def _pass_on(self, notify: Notify) -> None:
        """What the actor reported, after a call that failed."""
        with suppress(GetTimeoutError, RayActorError):
            for line in ray.get(self.actor.messages.remote(), timeout=_LAST_S):
                notify(line)

    def stop(self) -> None:
        """Ask for the end of what goes on; never waits."""
        with suppress(RayActorError):
            self.actor.stop.remote()

    def release(self) -> None:
        """Let go of the lock and end the actor; one that does not answer is ended all the same."""
        with suppress(RayActorError, SparkrayError):
            self._collect(lambda _: None)
        try:
            self._await(self.actor.release.remote(), lambda _: None, limit_s=_LAST_S)
        except RayLostError:
            self.kill()
            return
        except (RayActorError, SparkrayError):
            pass
        with suppress(RayActorError):
            ray.kill(self.actor)

    def end(self) -> None:
        """End the actor's process, whatever state it is in; through Ray first, which else reports it as lost."""
        if not self.is_frozen():
            with suppress(RayActorError):
                ray.kill(self.actor)
            time.sleep(_POLL_S)
        self.kill()

    def kill(self) -> None:
        """End its process without Ray, where it is of this machine, and wait until it is gone."""
        if not self.is_local or "ray::" not in _title(self.pid):
            return
        with suppress(OSError):
            if python_as_root() is not None:
                kill_as_root(self.pid)
            else:
                os.kill(self.pid, signal.SIGKILL)
            until = time.monotonic() + _FROZEN_S
            while process_start(self.pid) and time.monotonic() < until:
                time.sleep(_KILL_POLL_S)

    def is_frozen(self) -> bool:
        """Whether its process was stopped (SIGSTOP, a debugger), where that can be seen."""
        return self.is_local and is_stopped(self.pid)

    def _await(
        self,
        reference: Any,  # noqa: ANN401 - Ray is untyped
        notify: Notify,
        *,
        limit_s: float | None = None,
        stop_s: float = _STOP_S,
        is_silent: bool = False,
    ) -> object:
        """The result of a call; Ray's wrapping of errors is taken off. Waits without spinning, and not for ever.

        Of one that `is_silent`, no message is asked for at its end.
        """
        waiting = _Waiting(self, notify, limit_s, stop_s)
        try:
            with connection():
                # the first time without news, which a run that is over at once need not be asked for
                while reference not in ray.wait([reference, *waiting.asked], timeout=waiting.poll_s)[0]:
                    waiting.goes_on()
                if waiting.news is not None or not is_silent:
                    waiting.ends()
                return ray.get(reference)
        except (RayActorError, ActorDiedError) as error:
            raise RunnerLostError(f"the runner (process {self.pid} on {self.host}) died") from error
        except RayTaskError as error:
            cause = _cause_of(error.cause)
            if isinstance(cause, StorageError) and self.store is not None:
                cause = HostError(cause.message, cause.remedy)  # its own disk, not the driver's
            raise cause from error


def _as_stored(outcome: Outcome, refused: set[str]) -> Outcome:
    """An attempt as the dataset has it: one whose row was set aside does not exist there, and is made again."""
    row = outcome.row
    if f"runs/{row['run_id']}-{row['attempt']}.parquet" not in refused:
        return outcome
    lost = {**row, "status": "interrupted", "reason": "what its machine sent was set aside"}
    return replace(outcome, row=lost)


def _cause_of(cause: Any) -> SparkrayError:  # noqa: ANN401 - Ray is untyped
    """What the runner raised, as an error of ours."""
    if isinstance(cause, SparkrayError):
        return cause
    known = host_error_of(cause)
    return known or ClusterError(f"the runner failed: {type(cause).__name__}: {cause}")


def _title(pid: int) -> str:
    """How a process calls itself: a number that was used again is another's."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
    return ""


@dataclass
class _Waiting:
    """The wait for one call of an actor: passes on what it reports, names one that is silent, and ends after a stop."""

    runner: Runner
    notify: Notify
    limit_s: float | None
    stop_s: float
    news: Any = None
    began: float = field(default_factory=time.monotonic)
    frozen_since: float | None = None
    stopped_since: float | None = None
    is_told: bool = False
    sign: Any = None
    sign_asked: float = field(default_factory=time.monotonic)

    @property
    def asked(self) -> list[Any]:
        """What else ends a wait: the next lines that are reported."""
        return [] if self.news is None else [self.news]

    @property
    def poll_s(self) -> float:
        """After how long to see to a stop, to Ray and to a process that was stopped: more rarely in a long run."""
        return _POLL_S if self.news is None or self.stopped_since is not None else _LONG_POLL_S

    def goes_on(self) -> None:
        """The call has not ended yet. Raises RunnerLostError once that is not waited for any longer."""
        self.runner.pulse.check()
        if self.news is None:
            self.news = self.runner.actor.news.remote()
        if ray.wait([self.news], timeout=0)[0]:
            lines, self.news = ray.get(self.news), None
            self._pass_on(lines)
        now = time.monotonic()
        self.frozen_since = (self.frozen_since or now) if self.runner.is_frozen() else None
        if self.stopped_since is None and self.runner.stopping():
            self.stopped_since = now
            self.runner.stop()
        if self.frozen_since is not None and now - self.frozen_since > _SILENT_S and not self.is_told:
            pid = self.runner.pid
            self.notify(f"the runner has not answered for {_SILENT_S:g} s: process {pid} is stopped (kill -CONT {pid})")
            self.is_told = True
        silent_s = 0.0 if self.runner.is_local else self._silent_s(now)
        gone_s = self.runner.gone_s
        reported_s = min(_SILENT_S, gone_s)
        if silent_s > reported_s and not self.is_told:
            self.notify(f"the runner has not answered for {reported_s:g} s; another is started after {gone_s:g} s")
            self.is_told = True
        if silent_s > gone_s or self._is_over(now):
            self.runner.end()
            why = f"has not answered for {gone_s:g} s" if silent_s > gone_s else "did not stop"
            raise RunnerLostError(f"the runner (process {self.runner.pid} on {self.runner.host}) {why} and was ended")

    def _silent_s(self, now: float) -> float:
        """For how long a runner on another machine owes a sign of life, s. Whether its process is stopped cannot be seen."""
        if self.sign is not None and ray.wait([self.sign], timeout=0)[0]:
            self.sign, self.sign_asked, self.is_told = None, now, False
        elif self.sign is None and now - self.sign_asked > self.runner.sign_s:
            self.sign, self.sign_asked = self.runner.actor.identity.remote(), now
        return now - self.sign_asked if self.sign is not None else 0.0

    def _is_over(self, now: float) -> bool:
        if self.limit_s is not None and now - self.began > self.limit_s:
            return True
        if self.stopped_since is None:
            return False
        return now - self.stopped_since > (_FROZEN_S if self.frozen_since is not None else self.stop_s)

    def ends(self) -> None:
        """The call has ended: what was reported before comes first."""
        last = self.runner.actor.messages.remote()
        for reference in (self.news, last):
            if reference is not None:
                with suppress(GetTimeoutError):
                    self._pass_on(ray.get(reference, timeout=_LAST_S))

    def _pass_on(self, lines: object) -> None:
        for line in cast("list[str]", lines):
            self.notify(line)
