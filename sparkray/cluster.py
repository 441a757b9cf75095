"""The only room that knows Ray: one `BenchmarkRunner` actor on a machine that measures, and the driver's side of it.

Ray is used for what it is good at (placing work on a machine of a cluster, surviving the loss of it, a dashboard), and
kept from what it would spoil: its memory monitor is off, since it takes page cache for pressure and kills the benchmark;
its object store is small; nothing of the actor's state (nice 15, OMP_NUM_THREADS=1) reaches an engine.

The actor has two groups of threads, so that a stop can reach it while a run goes on.
"""

import json
import os
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar, cast
from uuid import uuid4

os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
TOKEN = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
if TOKEN.is_file():
    # Ray 2.60 sends the token that it made itself only when this is set before it is imported: without it, a cluster
    # at an explicit address refuses us for minutes. A cluster that asks for none ignores it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import ray
from ray._private.state import available_resources_per_node  # the public API has only the whole cluster
from ray.exceptions import ActorDiedError, RayActorError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from sparkray.config.site import HOST
from sparkray.config.space import Space
from sparkray.errors import ClusterError, LockHeldError, SparkrayError
from sparkray.execute import run_once, store_interrupted
from sparkray.execute.history import revalidate_all
from sparkray.execute.leftovers import container_log, end_processes
from sparkray.execute.prepared_host import PreparedHost, adapt_host, prepare_host
from sparkray.machine.capabilities import About, about
from sparkray.machine.cpu_isolation import housekeeping_cpus, pin_processes
from sparkray.machine.doctor import must_fit
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.machine.raylet import ray_processes
from sparkray.plan import PlannedRun, Study
from sparkray.records import Outcome
from sparkray.runtimes import Stop
from sparkray.store import Dataset

RESOURCE = "sparkray"
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
_POLL_S = 0.5
_START_S = 120.0
# Until Ray has taken note of an actor that ended.
_SETTLE_S = 5.0
_UNPREPARED = "the runner is not prepared"
LockMode = Literal["wait", "fail"]
Notify = Callable[[str], None]
Method = TypeVar("Method", bound=Callable[..., object])


class RunnerLostError(ClusterError):
    """The actor died while it worked: killed, or its node is gone."""


def _group(name: str) -> Callable[[Method], Method]:
    """Which of the actor's thread groups a method belongs to."""
    return cast("Callable[[Method], Method]", ray.method(concurrency_group=name))


class BenchmarkRunner:
    """Everything that must happen on the measuring machine, one thing at a time, under the machine's lock."""

    def __init__(self) -> None:
        self.stop_signal = Stop()
        self.lines: list[str] = []
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
        store_interrupted(dataset, machine.host, self._report, container_log)
        self.prepared = prepare_host(study, machine, dataset, self._report)
        revalidate_all(study, self.prepared.history)
        return self.prepared.identity

    @_group("work")
    def adopt(self, study: Study, dataset: Dataset) -> dict[str, Any]:
        """Turn to another study of the same site and models, whose arms may be others. Returns `PreparedHost.identity`."""
        if self.prepared is None or self.lock is None:
            raise ClusterError(_UNPREPARED)
        if dataset != self.prepared.dataset:
            self.lock.note("", str(dataset.path))
            store_interrupted(dataset, self.prepared.machine.host, self._report, container_log)
        self.prepared = adapt_host(self.prepared, study, dataset, self._report)
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
    def messages(self) -> list[str]:
        """Lines reported since the last call."""
        lines, self.lines = self.lines, []
        return lines

    @_group("control")
    def identity(self) -> tuple[int, str]:
        """Process id and machine of the actor."""
        return os.getpid(), socket.gethostname()

    def _report(self, line: str) -> None:
        self.lines.append(line)


_ACTOR: Any = ray.remote(
    num_cpus=0, resources={RESOURCE: 1}, max_restarts=0, concurrency_groups={"work": 1, "control": 2}
)(BenchmarkRunner)
_ABOUT: Any = ray.remote(num_cpus=0, max_retries=0)(about)


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

    def prepare(self, study: Study, dataset: Dataset, mode: LockMode, notify: Notify) -> dict[str, Any]:
        """See the actor. Raises what it raises, and RunnerLostError."""
        return cast("dict[str, Any]", self._await(self.actor.prepare.remote(study, dataset, mode), notify))

    def adopt(self, study: Study, dataset: Dataset, notify: Notify) -> dict[str, Any]:
        """See the actor. Raises what it raises, and RunnerLostError."""
        return cast("dict[str, Any]", self._await(self.actor.adopt.remote(study, dataset), notify))

    def run(self, planned: PlannedRun, notify: Notify) -> Outcome:
        """One attempt. The actor is left alone while it measures. Raises RunnerLostError, HostError."""
        return cast("Outcome", self._await(self.actor.run.remote(planned), notify, listening=False))

    def stop(self) -> None:
        """Ask for the end of what goes on; never waits."""
        with suppress(RayActorError):
            self.actor.stop.remote()

    def release(self) -> None:
        """Let go of the lock and end the actor."""
        with suppress(RayActorError, SparkrayError):
            self._await(self.actor.release.remote(), lambda _: None)
        with suppress(RayActorError):
            ray.kill(self.actor)

    def _await(self, reference: Any, notify: Notify, *, listening: bool = True) -> object:  # noqa: ANN401
        """The result of a call; Ray's wrapping of errors is taken off. Waits without spinning."""
        try:
            while not ray.wait([reference], timeout=_POLL_S)[0]:
                if listening:
                    self._pass_on(notify)
            self._pass_on(notify)
            return ray.get(reference)
        except (RayActorError, ActorDiedError) as error:
            raise RunnerLostError(f"the runner (process {self.pid} on {self.host}) died") from error
        except RayTaskError as error:
            if isinstance(error.cause, SparkrayError):
                raise error.cause from None
            raise ClusterError(f"the runner failed: {type(error.cause).__name__}: {error.cause}") from error

    def _pass_on(self, notify: Notify) -> None:
        for line in cast("list[str]", ray.get(self.actor.messages.remote())):
            notify(line)


@dataclass(frozen=True)
class Cluster:
    """A Ray that we are connected to. `dashboard` is its URL, or None; `own` when we started it."""

    dashboard: str | None
    own: bool
    address: str

    def nodes(self) -> list[Node]:
        """Those that may measure, this machine's first.

        Raises:
            ClusterError: None may.
        """
        able = [node for node in ray.nodes() if node["Alive"] and node["Resources"].get(RESOURCE, 0) >= 1]
        if not able:
            command = f"ray start --address={self.address} --resources='{json.dumps({RESOURCE: 1})}'"
            raise ClusterError(
                f"no node of the Ray cluster at {self.address} has the resource {RESOURCE!r}",
                f"On each machine that may measure: RAY_memory_monitor_refresh_ms=0 {command}",
            )
        here = ray.get_runtime_context().get_node_id()
        able.sort(key=lambda node: bool(node["NodeID"] != here))
        return [Node(node["NodeID"], node["NodeManagerHostname"]) for node in able]

    def about(self, nodes: Sequence[Node], space: Space, folder: Path) -> list[About | str]:
        """What the machines of nodes are (`machine.capabilities.about`), asked at once; of one that does not answer, why."""
        asked = [_ABOUT.options(scheduling_strategy=node.only).remote(space, folder) for node in nodes]
        ray.wait(asked, num_returns=len(asked), timeout=_START_S)
        return [_answer(reference) for reference in asked]

    def runner(
        self, wanted: Node | None, experiment: str, mode: LockMode, notify: Notify, should_stop: Callable[[], bool]
    ) -> Runner:
        """An actor on a node; None: on this machine, else on the first that may.

        Raises:
            ClusterError: None can be started there.
            LockHeldError: Another sweep of this cluster has the node, and `mode` is `fail`.
        """
        node = wanted or self.nodes()[0]
        _await_node(node, mode, notify, should_stop)
        actor = _ACTOR.options(
            # the last part, since Ray frees the name of a runner that died only after a while
            name=f"sparkray {experiment} on {node.host} (driver {os.getpid()}, {uuid4().hex[:4]})",
            scheduling_strategy=node.only,
        ).remote()
        try:
            pid, host = ray.get(actor.identity.remote(), timeout=_START_S)
        except (RayActorError, RayTaskError, ray.exceptions.GetTimeoutError) as error:
            remedy = "Install sparkray there, in the Python that Ray runs"
            raise ClusterError(f"no runner could be started on {node.host}: {error}", remedy) from None
        return Runner(actor, pid, host, node)


def _answer(reference: Any) -> About | str:  # noqa: ANN401 - Ray is untyped
    try:
        return cast("About", ray.get(reference, timeout=_POLL_S))
    except ray.exceptions.GetTimeoutError:
        ray.cancel(reference)
        return f"no answer for {_START_S:g} s"
    except ray.exceptions.RayError as error:
        return f"Ray failed: {' '.join(str(error).split())[:300]}"


def _await_node(node: Node, mode: LockMode, notify: Notify, should_stop: Callable[[], bool]) -> None:
    """Wait until no other sweep of this cluster measures on a node: an actor must never be left pending unreported.

    Ray counts a runner that we have just released for a moment longer. Raises as `Cluster.runner`.
    """
    busy = f"another sweep of this Ray cluster is measuring on {node.host}"
    reported, began = False, time.monotonic()
    while not _is_free(node):
        lasting = time.monotonic() - began > _SETTLE_S
        if should_stop() or (lasting and mode == "fail"):
            raise LockHeldError(busy, "Wait for it: --lock wait")
        if lasting and not reported:
            notify(f"waiting: {busy}")
            reported = True
        time.sleep(_POLL_S)


def _is_free(node: Node) -> bool:
    """Whether nobody has a node's resource; one of which Ray has not heard yet is free. Raises ClusterError."""
    if not any(known["NodeID"] == node.id and known["Alive"] for known in ray.nodes()):
        raise ClusterError(f"{node.host} has left the Ray cluster")
    free = available_resources_per_node().get(node.id)
    return free is None or bool(free.get(RESOURCE, 0) >= 1)


@contextmanager
def connected(address: str | None, *, dashboard: bool = True) -> Iterator[Cluster]:
    """A Ray of our own, gone at the end, or the one at an address (`auto`, `host:port`), which stays.

    Without its dashboard a Ray of our own idles at less (about a third less CPU time).

    Raises:
        ClusterError: None can be started or reached.
    """
    wanted = address or os.environ.get("RAY_ADDRESS") or "local"
    own = wanted == "local"
    settings: dict[str, Any] = {"address": wanted, "log_to_driver": False, "logging_level": "ERROR"}
    if own:
        settings.update(
            num_cpus=0,
            resources={RESOURCE: 1},
            include_dashboard=dashboard,
            dashboard_host="127.0.0.1",
            object_store_memory=_OBJECT_STORE_BYTES,
            namespace="sparkray",
        )
    origin = "--address" if address else "RAY_ADDRESS" if os.environ.get("RAY_ADDRESS") else ""
    context = start(lambda: ray.init(**settings), address=wanted, origin=origin)
    try:
        url = context.dashboard_url
        yield Cluster(f"http://{url}" if url else None, own, str(context.address_info["address"]))
    finally:
        ray.shutdown()


def start(init: Callable[[], Any], *, address: str, origin: str, again: bool = True) -> Any:  # noqa: ANN401 - untyped
    """Call `ray.init`; once more where the start of a Ray of our own timed out, as it does on a busy machine.

    Args:
        init: Starts or reaches Ray.
        address: What it starts or reaches.
        origin: The option or variable that the address comes from; empty where sparkray starts a Ray of its own.
        again: Whether a second try is allowed.

    Raises:
        ClusterError: Ray cannot be started or reached.
    """
    try:
        return init()
    except Exception as error:  # noqa: BLE001 - Ray raises a bare Exception where its node does not start in time
        if origin or not again or not _timed_out(error):
            raise _start_error(error, address, origin) from None
    ray.shutdown()
    return start(init, address=address, origin=origin, again=False)


def _timed_out(error: Exception) -> bool:
    return "timed out" in str(error)


def _start_error(error: Exception, address: str, origin: str) -> Exception:
    """What Ray's error means to a user; an error that Ray is not known to raise stays itself."""
    known = isinstance(error, (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError))
    if not known and not _timed_out(error):
        return error
    busy = f"This machine is busy (load {os.getloadavg()[0]:.1f}): end other programs, then repeat the command"
    remedy = f"Check {origin}" if origin else busy if _timed_out(error) else ""
    reason = " ".join(str(error).split())[:300]
    return ClusterError(f"Ray cannot be {'reached' if origin else 'started'} ({address}): {reason}", remedy)


def login_hint() -> str | None:
    """How to log in to the dashboard, where this Ray asks for a token; None when it does not."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token":
        return None
    return f"log in with the token in {TOKEN}" if TOKEN.is_file() else None
