"""The only room that knows Ray: one `BenchmarkRunner` actor on a machine that measures, and the driver's side of it.

Ray is used for what it is good at (placing work on a machine of a cluster, surviving the loss of it, a dashboard), and
kept from what it would spoil: its memory monitor is off, since it takes page cache for pressure and kills the benchmark;
its object store is small; nothing of the actor's state (nice 15, OMP_NUM_THREADS=1) reaches an engine.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast
from uuid import uuid4

os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
TOKEN = Path(os.environ.get("RAY_AUTH_TOKEN_PATH", "~/.ray/auth_token")).expanduser()
if TOKEN.is_file():
    # Ray 2.60 sends the token that it made itself only when this is set before it is imported: without it, a cluster
    # at an explicit address refuses us for minutes. A cluster that asks for none ignores it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")

import psutil
import ray
from ray._private import worker  # the processes of a Ray of our own are named nowhere else
from ray._private.state import available_resources_per_node  # the public API has only the whole cluster
from ray.exceptions import RayActorError, RayTaskError

from sparkray.cluster.handle import RESOURCE, Node, Notify, Runner, Store
from sparkray.cluster.limits import must_have_limits
from sparkray.cluster.pulse import Pulse, RayLostError, RunnerLostError, connection
from sparkray.cluster.runner import BenchmarkRunner, LockMode
from sparkray.cluster.start import leave, must_answer, only_needed, private_ray, silent, start
from sparkray.config.site import Environment
from sparkray.config.space import Space
from sparkray.errors import ClusterError, LockHeldError
from sparkray.execute.examination import examine_machine
from sparkray.machine.capabilities import About, about
from sparkray.machine.finding import Finding
from sparkray.machine.ray_folder import token_in
from sparkray.plan import Study
from sparkray.runtimes.linux.owner import VARIABLE, this_process
from sparkray.runtimes.linux.process import owner_of
from sparkray.runtimes.linux.root_part import python_as_root

__all__ = [
    "RESOURCE",
    "Cluster",
    "LockMode",
    "Node",
    "RayLostError",
    "Runner",
    "RunnerLostError",
    "Store",
    "connected",
    "login_hint",
    "start",
]
_OBJECT_STORE_BYTES = 80 * 1024 * 1024
_POLL_S = 0.5
_START_S, _SILENT_S = 120.0, 10.0
# Until Ray has taken note of an actor that ended.
_SETTLE_S = 5.0
_ACTOR: Any = ray.remote(
    num_cpus=0, resources={RESOURCE: 1}, max_restarts=0, concurrency_groups={"work": 1, "control": 3}
)(BenchmarkRunner)
_ABOUT: Any = ray.remote(num_cpus=0, max_retries=0)(about)
_EXAMINE: Any = ray.remote(num_cpus=0, max_retries=0)(examine_machine)


@dataclass(frozen=True)
class Cluster:
    """A Ray that we are connected to. `dashboard` is its URL, or None; `own` when we started it; `token` logs in to it.

    `origin` is the option or variable that the address of one that is not our own comes from.
    """

    dashboard: str | None
    own: bool
    address: str
    token: Path | None = None
    origin: str = ""
    pulse: Pulse = field(default_factory=Pulse)

    def must_answer(self) -> None:
        """Raises ClusterError where its head does not: Ray's own questions to it would wait without a limit."""
        self.pulse.check()
        if not self.own:
            must_answer(self.address, self.origin)

    @connection()
    def nodes(self) -> list[Node]:
        """Those that may measure, this machine's first.

        Raises:
            ClusterError: None may.
            RayLostError: It died.
        """
        self.must_answer()
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

    def about(self, nodes: Sequence[Node], space: Space | None) -> list[About | str]:
        """What the machines of nodes are (`machine.capabilities.about`), asked at once; of one that does not answer, why."""
        return cast("list[About | str]", _ask(nodes, _ABOUT, space))

    def examine(
        self, nodes: Sequence[Node], study: Study, harmless: Mapping[str, Environment] | None
    ) -> list[list[Finding] | str]:
        """What `doctor` finds on the machines of nodes, asked at once; of one that does not answer, why."""
        return cast("list[list[Finding] | str]", _ask(nodes, _EXAMINE, study, harmless))

    @connection()
    def runner(
        self,
        wanted: Node | None,
        experiment: str,
        mode: LockMode,
        notify: Notify,
        should_stop: Callable[[], bool],
        *,
        store: Store | None = None,
    ) -> Runner:
        """An actor on a node; None: on this machine, else on the first that may.

        `store` stores what it sends, where it does not write into the driver's dataset itself.

        Raises:
            ClusterError: None can be started there.
            RunnerLostError: It died as it started: killed, for all that is known.
            LockHeldError: Another sweep of this cluster has the node, and `mode` is `fail`.
        """
        self.must_answer()
        node = wanted or self.nodes()[0]
        _await_node(node, mode, notify, should_stop)
        actor = _ACTOR.options(
            # the last part, since Ray frees the name of a runner that died only after a while
            name=f"sparkray {experiment} on {node.host} (driver {os.getpid()}, {uuid4().hex[:4]})",
            scheduling_strategy=node.only,
            runtime_env=self._runtime_env(),
        ).remote()
        try:
            pid, host = ray.get(self._first(actor.identity.remote(), node, notify, should_stop), timeout=_POLL_S)
        except (RayActorError, RayTaskError) as error:
            if isinstance(error, RayActorError) and not error.actor_init_failed:
                raise RunnerLostError(f"the runner on {node.host} died as it started") from error
            remedy = "Install sparkray there, in the Python that Ray runs"
            raise ClusterError(f"no runner could be started on {node.host}: {error}", remedy) from None
        return Runner(actor, pid, host, node, should_stop, self.pulse, store)

    def _runtime_env(self) -> dict[str, str]:
        """What the runner of a Ray of our own is started with: Ray itself need not be root's where that must be."""
        command = python_as_root() if self.own else None
        return {"py_executable": command} if command else {}

    def _first(self, reference: Any, node: Node, notify: Notify, should_stop: Callable[[], bool]) -> Any:  # noqa: ANN401
        """The first answer of an actor, once it is there. Raises ClusterError where it does not come, or after a stop."""
        began, reported = time.monotonic(), False
        while not ray.wait([reference], timeout=_POLL_S)[0]:
            self.pulse.check()
            waited = time.monotonic() - began
            if waited > _SILENT_S and not reported:
                notify(f"Ray has not started a runner on {node.host} for {_SILENT_S:g} s")
                reported = True
            if should_stop() or waited > _START_S:
                why = "stopped" if should_stop() else f"no answer for {_START_S:g} s"
                raise ClusterError(f"no runner was started on {node.host}: {why}")
        return reference


@connection()
def _ask(nodes: Sequence[Node], task: Any, *arguments: object) -> list[object]:  # noqa: ANN401 - Ray is untyped
    """A task's results on nodes."""
    asked = [task.options(scheduling_strategy=node.only).remote(*arguments) for node in nodes]
    ray.wait(asked, num_returns=len(asked), timeout=_START_S)
    return [_answer(reference) for reference in asked]


def _answer(reference: Any) -> object:  # noqa: ANN401 - Ray is untyped
    try:
        return ray.get(reference, timeout=_POLL_S)
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
            notify(f"waiting: {busy}, or Ray has not yet freed it of a runner that was lost")
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

    Without its dashboard a Ray of our own starts sooner and idles at less.

    Raises:
        ClusterError: None can be started or reached.
    """
    wanted = address or os.environ.get("RAY_ADDRESS") or "local"
    settings: dict[str, Any] = {"address": wanted, "log_to_driver": False, "logging_level": "ERROR"}
    if wanted == "local":
        with private_ray() as folder, _own(settings, folder, dashboard=dashboard) as context:
            pulse = Pulse.of_node(worker._global_node)  # noqa: SLF001 - as above
            yield replace(_cluster(context, token_in(folder), own=True), pulse=pulse)
        return
    origin = "--address" if address else "RAY_ADDRESS"
    must_answer(wanted, origin)
    silent()
    context = start(lambda: ray.init(**settings), address=wanted, origin=origin)
    try:
        yield replace(_cluster(context, TOKEN if TOKEN.is_file() else None, own=False), origin=origin)
    finally:
        leave()


@contextmanager
def _own(settings: Mapping[str, Any], folder: Path, *, dashboard: bool) -> Iterator[Any]:
    """A Ray of our own, whose processes are gone at the end. Raises ClusterError."""
    must_have_limits(_OBJECT_STORE_BYTES)
    own = {
        "num_cpus": 0,
        "resources": {RESOURCE: 1},
        "include_dashboard": dashboard,
        "dashboard_host": "127.0.0.1",
        "object_store_memory": _OBJECT_STORE_BYTES,
        "namespace": "sparkray",
        "_temp_dir": str(folder),
    }
    before = os.environ.get(VARIABLE)
    try:
        os.environ[VARIABLE] = this_process().text  # so that the next start finds what outlives this one
        silent()
        with only_needed(dashboard=dashboard):
            context = start(lambda: ray.init(**settings, **own), address=str(settings["address"]), origin="")
        yield context
    finally:
        if worker._global_node is not None:  # noqa: SLF001 - as above
            Pulse.of_node(worker._global_node).end_where_lost()  # noqa: SLF001 - as above
        ray.shutdown()
        _end_processes_of(str(folder))
        if before is None:
            os.environ.pop(VARIABLE, None)


def _cluster(context: Any, token: Path | None, *, own: bool) -> Cluster:  # noqa: ANN401 - Ray is untyped
    url = context.dashboard_url
    return Cluster(f"http://{url}" if url else None, own, str(context.address_info["address"]), token)


def _end_processes_of(folder: str) -> None:
    """End what outlives a Ray of our own: its agents, after the death of its GCS, and helpers of its dashboard."""
    me = this_process()
    for process in psutil.process_iter(["cmdline"]):
        named = any(folder in word for word in process.info["cmdline"] or ())
        if process.pid != me.pid and (named or owner_of(process.pid) == me):
            with suppress(psutil.Error):
                process.kill()


def login_hint(cluster: Cluster) -> str | None:
    """How to log in to the dashboard, where this Ray asks for a token; None when it does not."""
    if os.environ.get("RAY_AUTH_MODE", "token") != "token" or cluster.token is None:
        return None
    return f"log in with the token in {cluster.token}"
