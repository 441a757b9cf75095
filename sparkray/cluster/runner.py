"""The actor that measures on one machine, and the driver's handle of it: calls, messages, and the patience with it.

The actor has two groups of threads, so that a stop can reach it while a run goes on.
"""

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

import ray
from ray.exceptions import ActorDiedError, GetTimeoutError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sparkray.cluster.pulse import Pulse, RayLostError, RunnerLostError, is_stopped
from sparkray.config.site import HOST
from sparkray.docker_engine import Patience
from sparkray.errors import ClusterError, SparkrayError, host_error_of
from sparkray.execute import run_once
from sparkray.execute.history import revalidate_all
from sparkray.execute.leftovers import container_log, end_processes
from sparkray.execute.prepared_host import PreparedHost, adapt_host, prepare_host
from sparkray.execute.recovery import store_interrupted
from sparkray.machine.cpu_isolation import housekeeping_cpus, pin_processes
from sparkray.machine.doctor import must_fit
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.machine.raylet import ray_processes
from sparkray.plan import PlannedRun, Study
from sparkray.records import Outcome
from sparkray.runtimes import Stop
from sparkray.runtimes.linux.owner import process_start
from sparkray.store import Dataset

RESOURCE = "sparkray"
_POLL_S = 0.5
_NEWS_S = 3600.0
_SILENT_S = 10.0
# Once a stop was asked for: what a run may take to be stored, what has nothing to store, and a process that was stopped.
_STOP_S, _DROP_S, _FROZEN_S = 8.0, 4.0, 2.0
_LAST_S, _KILL_POLL_S = 5.0, 0.05
_UNPREPARED = "the runner is not prepared"
LockMode = Literal["wait", "fail"]
Notify = Callable[[str], None]
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
        self.prepared: PreparedHost | None = None
        self.lock: MachineLock | None = None
        self.held = ExitStack()

    def __repr__(self) -> str:
        return f"sparkray runner on {socket.gethostname()}"

    @_group("work")
    def prepare(self, study: Study, dataset: Dataset, mode: LockMode) -> dict[str, Any]:
        """Take the lock, deal with what a dead sweep left, make the machine ready. Returns `PreparedHost.identity`."""
        if not (dataset.path / "dataset.json").is_file():
            raise ClusterError(
                f"{socket.gethostname()} does not see the results folder {dataset.path}",
                "Use a file system that driver and machine share: --results-dir DIR",
            )
        machine = fingerprint()
        if any(treatment.environment != HOST for treatment in study.treatments):
            must_fit(study.site, machine)
        self.lock = MachineLock(machine.lock_keys)
        self.held.enter_context(
            self.lock.held(
                mode, on_wait=lambda who: self._report(f"waiting: {who}"), should_stop=self.stop_signal.is_set
            )
        )
        self.lock.note("", str(dataset.path))
        if study.site.engine_cpus:
            pin_processes(housekeeping_cpus(study.site.engine_cpus), [os.getpid(), *ray_processes()])
        end_processes(self._report)
        store_interrupted(dataset, machine.host, self._report, self._container_log)
        self.prepared = prepare_host(study, machine, dataset, self._report, patience=self.patience)
        revalidate_all(study, self.prepared.history)
        return self.prepared.identity

    @_group("work")
    def adopt(self, study: Study, dataset: Dataset) -> dict[str, Any]:
        """Turn to another study of the same site and models, whose arms may be others. Returns `PreparedHost.identity`."""
        if self.prepared is None or self.lock is None:
            raise ClusterError(_UNPREPARED)
        if dataset != self.prepared.dataset:
            self.lock.note("", str(dataset.path))
            store_interrupted(dataset, self.prepared.machine.host, self._report, self._container_log)
        self.prepared = adapt_host(self.prepared, study, dataset, self._report, patience=self.patience)
        revalidate_all(study, self.prepared.history)
        return self.prepared.identity

    @_group("work")
    def run(self, planned: PlannedRun) -> Outcome:
        """One attempt at a run. Its raw rows are in the dataset already; its row and verdicts come back."""
        if self.prepared is None or self.lock is None:
            raise ClusterError(_UNPREPARED)
        prepared, lock = self.prepared, self.lock

        def note(name: str) -> None:
            lock.note(name, str(prepared.dataset.path))

        outcome = run_once(prepared, planned, self.stop_signal, note, companions=ray_processes)
        return Outcome(row=outcome.row, checks=outcome.checks, refused=outcome.refused)

    @_group("work")
    def release(self) -> None:
        """Let go of the lock."""
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

    @property
    def is_local(self) -> bool:
        """Whether its process is of this machine."""
        return self.host == socket.gethostname()

    def prepare(self, study: Study, dataset: Dataset, mode: LockMode, notify: Notify) -> dict[str, Any]:
        """See the actor. Raises what it raises, and RunnerLostError."""
        return cast(
            "dict[str, Any]", self._await(self.actor.prepare.remote(study, dataset, mode), notify, stop_s=_DROP_S)
        )

    def adopt(self, study: Study, dataset: Dataset, notify: Notify) -> dict[str, Any]:
        """See the actor. Raises what it raises, and RunnerLostError."""
        return cast("dict[str, Any]", self._await(self.actor.adopt.remote(study, dataset), notify, stop_s=_DROP_S))

    def run(self, planned: PlannedRun, notify: Notify) -> Outcome:
        """One attempt. Raises RunnerLostError, HostError."""
        return cast("Outcome", self._await(self.actor.run.remote(planned), notify))

    def stop(self) -> None:
        """Ask for the end of what goes on; never waits."""
        with suppress(RayActorError):
            self.actor.stop.remote()

    def release(self) -> None:
        """Let go of the lock and end the actor; one that does not answer is ended all the same."""
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
    ) -> object:
        """The result of a call; Ray's wrapping of errors is taken off. Waits without spinning, and not for ever."""
        waiting = _Waiting(self, notify, limit_s, stop_s)
        try:
            while not ray.wait([reference], timeout=_POLL_S)[0]:
                waiting.goes_on()
            waiting.ends()
            return ray.get(reference)
        except (RayActorError, ActorDiedError) as error:
            raise RunnerLostError(f"the runner (process {self.pid} on {self.host}) died") from error
        except RayTaskError as error:
            raise _cause_of(error.cause) from error


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
        if self.runner.stopping():
            self.stopped_since = self.stopped_since or now
        if self.frozen_since is not None and now - self.frozen_since > _SILENT_S and not self.is_told:
            pid = self.runner.pid
            self.notify(f"the runner has not answered for {_SILENT_S:g} s: process {pid} is stopped (kill -CONT {pid})")
            self.is_told = True
        if self._is_over(now):
            self.runner.end()
            raise RunnerLostError(
                f"the runner (process {self.runner.pid} on {self.runner.host}) did not stop and was ended"
            )

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
