"""Every layer of isolation on this very machine: added to the chroot it acts, taken from the container it is gone."""

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest
import small_bench
from real_machine import require_root

from sparkray.config.docker import DockerOptions
from sparkray.config.isolation import BY_NAME, AttributionSteps, KernelFacts, attribution_steps, without_layer
from sparkray.config.layer_effect import NAMESPACES, WITHOUT_TRACE, missing, own_namespaces
from sparkray.config.privilege import DEFAULT_CAPABILITIES, capability_names
from sparkray.config.site import Environment
from sparkray.config.space import HostFacts
from sparkray.errors import RunUnreadyError
from sparkray.execute.leftovers import Leftovers
from sparkray.images import venv
from sparkray.images.rootfs import Image
from sparkray.plan import treatments_of
from sparkray.runtimes import Exit, Launch, Runtime, Stop, await_end
from sparkray.runtimes.container import Runtime as Container
from sparkray.runtimes.host import Runtime as Host
from sparkray.runtimes.linux.isolation import kernel_facts, make_groups
from sparkray.runtimes.linux.process import marked
from sparkray.runtimes.linux.readback import effective_state, parse_mountinfo
from sparkray.runtimes.native import Runtime as Native

pytestmark = [pytest.mark.slow, pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock")]

IDLE = "import time; time.sleep(60)"
CALLS = """
import ctypes, errno, json, os, socket, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
def call(name, *arguments):
    ctypes.set_errno(0)
    return "ok" if getattr(libc, name)(*arguments) >= 0 else errno.errorcode[ctypes.get_errno()]
def written(place):
    try:
        open(place, "a").close()
        return "ok"
    except OSError as error:
        return errno.errorcode[error.errno]
said = {
    "unshare": call("unshare", 0x04000000), "newest": call("syscall", 9999), "clone3": call("syscall", 435, None, 0),
    "chown": call("chown", b"/tmp", 0, 0), "getpid": call("getpid"), "pid": os.getpid(), "host": socket.gethostname(),
    "sysctl": written("/proc/sys/kernel/hostname"), "sys": written("/sys/kernel/mm/ksm/run"),
    "irq": len(open("/proc/interrupts").read()), "interfaces": [name for _, name in socket.if_nameindex()],
    "processes": len([name for name in os.listdir("/proc") if name.isdigit()]),
}
thread = threading.Thread(target=said.update, args=({"thread": True},))
thread.start(); thread.join()
server = socket.create_server(("127.0.0.1", 0))
socket.create_connection(server.getsockname()).close()
json.dump(said, sys.stdout)
"""


@pytest.fixture(scope="module")
def kernel(client: docker.DockerClient) -> KernelFacts:
    require_root("native")
    return kernel_facts(client.info())


@pytest.fixture(scope="module")
def arms(client: docker.DockerClient, kernel: KernelFacts) -> AttributionSteps:
    """The attribution steps of a container with every layer that Docker gives by default."""
    said = [text.split(",")[0].removeprefix("name=") for text in client.info()["SecurityOptions"]]
    return attribution_steps(Environment(DockerOptions()), host_facts(tuple(said)), kernel)


def host_facts(security: tuple[str, ...] | None = None) -> HostFacts:
    held = capability_names(effective_state(os.getpid())["capabilities_bounding"])
    return HostFacts(security=security, lacks=() if "SYS_RESOURCE" in held else ("SYS_RESOURCE",))


@pytest.fixture
def start(image: Image, rootfs: Path, tmp_path: Path) -> Any:
    """Makes the launch of a Python program in the chroot, or in a container."""

    def launch(code: str, *isolation: str, **changes: Any) -> Launch:
        scratch = tmp_path / "scratch"
        scratch.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "name": f"contract-{uuid4().hex[:12]}",
            "argv": (venv.PYTHON, "-c", code),
            "environment": image.environment,
            "log": tmp_path / "log",
            "scratch": scratch,
            "python": sys.executable,
            "rootfs": rootfs,
            "image": image.reference,
            "isolation": isolation,
        }
        return Launch(**values | changes)

    return launch


def state_of(launch: Launch, runtime: Runtime | None = None) -> Mapping[str, Any]:
    with (runtime or Native()).start(launch) as running:
        state = effective_state(running.engine_pid)
        state["mounts"] = [m.place for m in parse_mountinfo(Path(f"/proc/{running.pid}/mountinfo").read_text())]
        state["groups"] = groups_of(launch.name)
        running.kill()
    return state


def said_by(launch: Launch, runtime: Runtime | None = None) -> Mapping[str, Any]:
    with (runtime or Native()).start(launch) as running:
        assert await_end(running.pid, 60, Stop()) == "ended"
        assert running.finish() == Exit(0), launch.log.read_text()
    told: Mapping[str, Any] = json.loads(launch.log.read_text())
    return told


def groups_of(name: str) -> list[Path]:
    return sorted(Path("/sys/fs/cgroup").glob(f"**/sparkray/{name}"))


def skip_if_refused(layer: str, kernel: KernelFacts) -> None:
    if layer in kernel.refused:
        pytest.skip(kernel.refused[layer])


@contextmanager
def nothing_left(launch: Launch) -> Iterator[None]:
    before = Path("/proc/self/mountinfo").read_text()
    yield
    assert Path("/proc/self/mountinfo").read_text() == before
    assert marked(launch.name) == []
    assert groups_of(launch.name) == []
    assert sorted(path.name for path in launch.scratch.parent.iterdir()) == ["log", "scratch"]


def test_a_bare_chroot_has_no_layer_that_leaves_a_trace(start: Any) -> None:
    state = state_of(start(IDLE))
    traced = [layer for layer in BY_NAME if layer not in WITHOUT_TRACE]
    for layer in traced:
        if layer != "apparmor" or "apparmor" in state:
            assert list(missing((layer,), DockerOptions(), state)), layer
    assert {kind for kind, whose in state["namespaces"].items() if whose == "own"} == {"mnt"}


@pytest.mark.parametrize("layer", [*BY_NAME])
def test_a_layer_acts_alone_and_leaves_nothing(start: Any, kernel: KernelFacts, layer: str) -> None:
    skip_if_refused(layer, kernel)
    launch = start(IDLE, layer)
    with nothing_left(launch):
        state = state_of(launch)
    assert list(missing((layer,), DockerOptions(), state)) == []
    others = [name for name in BY_NAME if name not in (layer, *WITHOUT_TRACE)]
    for other in others:
        if other != "apparmor" or "apparmor" in state:
            assert list(missing((other,), DockerOptions(), state)), f"{other} acts too"
    assert {kind for kind, whose in state["namespaces"].items() if whose == "own"} == own_namespaces((layer,))
    assert state["root_read_only"] is True
    assert (state["pid_inside"] == 1) == (layer == "pid")
    assert (state["interfaces"] == ["lo"]) == (layer == "network")
    assert ("/proc/sys" in state["mounts"]) == (layer == "masked-paths")


def test_all_layers_at_once(start: Any, kernel: KernelFacts) -> None:
    layers = tuple(layer for layer in BY_NAME if layer not in kernel.refused)
    launch = start(IDLE, *layers)
    with nothing_left(launch):
        state = state_of(launch)
    assert list(missing(layers, DockerOptions(), state)) == []
    assert {kind for kind, whose in state["namespaces"].items() if whose == "own"} == own_namespaces(layers)


def test_what_a_program_meets(start: Any, kernel: KernelFacts) -> None:
    bare = said_by(start(CALLS))
    assert (bare["unshare"], bare["sysctl"], bare["clone3"]) == ("ok", "ok", "EINVAL")
    layers = tuple(layer for layer in BY_NAME if layer not in kernel.refused)
    inside = said_by(start(CALLS, *layers, name="contract-met"))
    assert (inside["unshare"], inside["newest"], inside["clone3"]) == ("EPERM", "ENOSYS", "ENOSYS")
    assert (inside["chown"], inside["getpid"], inside["thread"]) == ("ok", "ok", True)
    assert (inside["pid"], inside["processes"], inside["host"]) == (1, 1, "contract-met")
    assert (inside["sysctl"], inside["sys"], inside["irq"]) == ("EROFS", "EROFS", 0)
    assert inside["interfaces"] == ["lo"]
    assert socket.gethostname() == bare["host"] != "contract-met"


def test_a_filtered_chroot_answers_as_a_container_does(start: Any, kernel: KernelFacts) -> None:
    """The filter and the capabilities are not Docker's own, and must not be told from them by what they are for."""
    for layer in ("seccomp", "capabilities"):
        skip_if_refused(layer, kernel)
    told = ("unshare", "newest", "clone3", "chown", "getpid", "thread")
    ours = said_by(start(CALLS, "seccomp", "capabilities"))
    docker_own = said_by(start(CALLS), Container())
    assert {name: ours[name] for name in told} == {name: docker_own[name] for name in told}
    fields = ("capabilities", "capabilities_bounding", "seccomp", "no_new_privs")
    ours, docker_own = state_of(start(IDLE, "seccomp", "capabilities")), state_of(start(IDLE), Container())
    assert {name: ours[name] for name in fields} == {name: docker_own[name] for name in fields}
    assert capability_names(ours["capabilities"]) == DEFAULT_CAPABILITIES


def test_what_a_container_hides_is_hidden(start: Any, kernel: KernelFacts) -> None:
    skip_if_refused("masked-paths", kernel)
    hidden = [
        {place for place in state["mounts"] if place.startswith(("/proc/", "/sys/firmware"))}
        for state in (state_of(start(IDLE), Container()), state_of(start(IDLE, "masked-paths")))
    ]
    assert hidden[0]
    assert hidden[0] <= hidden[1]


def test_settings_of_the_baseline_are_those_of_the_layer(start: Any, kernel: KernelFacts) -> None:
    for layer in ("ipc", "capabilities"):
        skip_if_refused(layer, kernel)
    options = DockerOptions(shm_size="8m", cap_drop=("ALL",), cap_add=("CHOWN",))
    state = state_of(start(IDLE, "ipc", "capabilities", options=options))
    assert state["shm_bytes"] == 8 << 20
    assert capability_names(state["capabilities"]) == {"CHOWN"}


def test_a_group_of_its_own_accounts_and_limits_nothing(start: Any, kernel: KernelFacts) -> None:
    skip_if_refused("cgroup", kernel)
    eager = "block = bytes(range(256)) * 200_000; import time; time.sleep(60)"
    launch = start(eager, "cgroup")
    with nothing_left(launch), Native().start(launch) as running:
        groups = groups_of(launch.name)
        assert groups
        assert all(str(running.pid) in (group / "cgroup.procs").read_text().split() for group in groups)
        usage = next(p for g in groups for n in ("memory.usage_in_bytes", "memory.current") if (p := g / n).exists())
        assert soon(lambda: int(usage.read_text()) > 40 << 20)
        state = effective_state(running.pid)
        running.kill()
    assert state["cgroup_limits"].get("memory_bytes", -1) == -1
    assert state["cgroup_limits"].get("cpus", -1) == -1


def soon(what: Any) -> bool:
    stop = Stop()
    return any(what() or await_end(os.getpid(), 0.05, stop) == "ended" for _ in range(400))


def test_a_container_lacks_the_layer_that_was_taken_from_it(start: Any, arms: AttributionSteps) -> None:
    baseline = state_of(start(IDLE, options=DockerOptions()), Container())
    left = [arm for arm in arms.arms if arm.environment.startswith("container:less-")]
    assert {arm.layer for arm in left} >= {"pid", "ipc", "network", "uts", "seccomp", "capabilities"}
    for arm in left:
        layer = str(arm.layer)
        state = state_of(start(IDLE, options=arm.options, labels={"io.sparkray.probe": "1"}), Container())
        assert list(missing((layer,), DockerOptions(), state)), f"{layer} still acts"
        assert list(missing((layer,), DockerOptions(), baseline)) == [], f"{layer} never did"
        if layer in NAMESPACES:
            changed = {
                kind for kind in state["namespaces"] if state["namespaces"][kind] != baseline["namespaces"][kind]
            }
            assert changed == {NAMESPACES[layer]}


def test_what_is_excluded_here_is_excluded_for_a_reason_that_holds(
    client: docker.DockerClient, start: Any, arms: AttributionSteps, kernel: KernelFacts
) -> None:
    excluded = {(each.layer, each.direction): each.reason for each in arms.excluded}
    assert excluded["overlay", "leave"] == "Docker has no flag for it: the storage driver is a setting of the daemon"
    state = state_of(start(IDLE, options=DockerOptions()), Container())
    assert (("cgroupns", "add") in excluded) == (state["namespaces"]["cgroup"] == "host")
    if ("apparmor", "add") in excluded and "apparmor" not in kernel.refused:
        assert not any("apparmor" in text for text in client.info()["SecurityOptions"])


def test_the_engine_cannot_give_a_capability_that_it_lacks(start: Any) -> None:
    if not host_facts().lacks:
        pytest.skip("this machine lacks no capability")
    launch = start(IDLE, options=DockerOptions(cap_add=("ALL",)))
    with pytest.raises(RunUnreadyError, match="caps"), Container().start(launch):
        pass
    options = without_layer("capabilities", DockerOptions(), host_facts())
    assert "SYS_ADMIN" in capability_names(state_of(start(IDLE, options=options), Container())["capabilities"])


def test_a_layer_that_there_is_not_is_unready(start: Any) -> None:
    with (
        pytest.raises(RunUnreadyError, match="no layer of isolation is called 'moat'"),
        Native().start(start(IDLE, "moat")),
    ):
        pass
    launch = start(IDLE, "pid", rootfs=None)
    with pytest.raises(RunUnreadyError, match="takes on no layers"), Host().start(launch):
        pass


def test_what_a_killed_sweep_left_is_found(start: Any, tmp_path: Path, kernel: KernelFacts) -> None:
    """The engine in its namespaces, and its groups."""
    layers = tuple(layer for layer in ("pid", "cgroup", "overlay", "network") if layer not in kernel.refused)
    launch = start(IDLE, *layers)
    code = """
import os, signal, pickle, sys
from sparkray.runtimes.native import Runtime
with Runtime().start(pickle.load(open(sys.argv[1], "rb"))):
    os.kill(os.getpid(), signal.SIGKILL)
"""
    (tmp_path / "launch").write_bytes(pickle.dumps(launch))
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path / "launch")], check=False, timeout=60)
    assert done.returncode == -signal.SIGKILL
    assert len(marked(launch.name)) == 1
    assert bool(groups_of(launch.name)) == ("cgroup" in layers)
    told: list[str] = []
    assert Leftovers(None).clear(told.append) == [launch.name]
    assert marked(launch.name) == []
    assert soon(lambda: not _clear_again(launch.name))


def _clear_again(name: str) -> list[Path]:
    """The kernel gives a dead process's group free a moment later; a sweep looks again before every run with a group."""
    Leftovers(None).clear(lambda _: None)
    return groups_of(name)


def test_groups_of_runs_that_live_are_left_alone(kernel: KernelFacts) -> None:
    skip_if_refused("cgroup", kernel)
    groups = make_groups("contract-lives")
    child = subprocess.Popen([sys.executable, "-c", IDLE])
    try:
        for group in groups:
            (group / "cgroup.procs").write_text(str(child.pid))
        Leftovers(None).clear(lambda _: None)
        assert groups_of("contract-lives") == sorted(groups)
    finally:
        child.kill()
        child.wait()
    assert soon(lambda: not _clear_again("contract-lives"))


def test_a_whole_run_on_attribution_arms_of_both_directions(
    tmp_path: Path, cache: Path, arms: AttributionSteps, image: Image
) -> None:
    wanted = ("native", "native:plus-all", "container:less-pid")
    treatments = tuple(t for t in treatments_of(arms) if t.environment in wanted)
    assert len(treatments) == len(wanted)
    study = small_bench.study_of(small_bench.model_of(tmp_path), environments=wanted, treatments=treatments)
    prepared = small_bench.bench_of(study, tmp_path / "results", cache)
    for environment in wanted:
        outcome = small_bench.run(prepared, environment)
        assert outcome.row["status"] == "ok", outcome.row["reason"]
        state = json.loads(outcome.row["effective_state"])
        own = {kind for kind, whose in state["namespaces"].items() if whose == "own"}
        assert ("pid" in own) == (environment == "native:plus-all")
        assert state["environment"]["SPARKRAY_RUN"].endswith(outcome.row["run_id"])
        assert state["model_filesystem"] is not None
