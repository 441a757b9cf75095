"""A runtime with what it needs to run Python, for the contract of runtimes."""

import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import psutil
import pytest

from sparkray.config.docker import DockerOptions
from sparkray.images.rootfs import Image
from sparkray.runtimes import INSIDE, Exit, Launch, Runtime, Stop, await_end
from sparkray.runtimes.linux.process import marked

PATIENCE_S = 30.0
IDLE = "import time; time.sleep(60)"
ISOLATED = "isolated"
"""The chroot with every layer of isolation that this machine can add: the same holds for it."""
# Starts as a Ray actor does, and worse; then starts the launch that lies in the file, and reports what became of it.
HOSTILE = """
import importlib, json, os, pickle, resource, signal, sys
os.setpriority(os.PRIO_PROCESS, 0, 15)
open("/proc/self/oom_score_adj", "w").write("1000")
os.umask(0o077)
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
resource.setrlimit(resource.RLIMIT_NOFILE, (256, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGCHLD}:
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.set_inheritable(os.open("/dev/null", os.O_RDONLY), True)
os.chdir("/proc")
from sparkray.runtimes import Stop, await_end
from sparkray.runtimes.linux.readback import effective_state
name, launch = sys.argv[1], pickle.load(open(sys.argv[2], "rb"))
with importlib.import_module("sparkray.runtimes." + name).Runtime().start(launch) as running:
    state = effective_state(running.pid)
    await_end(running.pid, 30, Stop())
    code = running.finish().code
print(json.dumps({"code": code, "state": state}))
"""
REPORT = """
import json, os, resource, sys
umask = os.umask(0)
json.dump({
    "environment": dict(os.environ), "cwd": os.getcwd(), "umask": umask, "stdin": sys.stdin.read(),
    "descriptors": sorted(int(n) for n in os.listdir("/proc/self/fd")), "leader": os.getsid(0) == os.getpid(),
    "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
}, open(sys.argv[1] + "/report.json", "w"))
"""
ORPHAN = """
import os, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        time.sleep(60)
    os._exit(0)
os.wait()
"""


@dataclass(frozen=True)
class Arm:
    """A runtime with what it needs to run Python; `isolation` are layers that its launches add."""

    name: str
    runtime: Runtime
    python: str
    environment: Mapping[str, str]
    image: Image
    rootfs: Path
    folder: Path
    isolation: tuple[str, ...] = ()

    def at(self, place: str) -> str:
        """A place below the folder as the process sees it."""
        return str(self.folder / place) if self.name == "host" else f"{INSIDE}/{place}"

    def argv(self, code: str, *words: str) -> tuple[str, ...]:
        return (self.python, "-c", code, *words)

    def launch(self, *argv: str, **changes: Any) -> Launch:
        scratch = self.folder / "scratch"
        scratch.mkdir(exist_ok=True)
        values: dict[str, Any] = {
            "name": f"contract-{uuid4().hex[:12]}",
            "argv": argv,
            "environment": {} if self.name == "container" else self.environment,
            "log": self.folder / "log",
            "scratch": scratch,
            "python": sys.executable,
            "rootfs": self.rootfs if self.name == "native" else None,
            "image": self.image.reference,
            "options": DockerOptions(network="none"),
            "isolation": self.isolation,
        }
        return Launch(**values | changes)

    def run(self, launch: Launch) -> Exit:
        with self.runtime.start(launch) as running:
            assert await_end(running.pid, PATIENCE_S, Stop()) == "ended"
            return running.finish()

    def report(self, **changes: Any) -> dict[str, Any]:
        """What the process says of itself."""
        (self.folder / "out").mkdir(exist_ok=True)
        binds = ((str(self.folder / "out"), f"{INSIDE}/out", False),)
        launch = self.launch(*self.argv(REPORT, self.at("out")), **{"binds": binds} | changes)
        assert self.run(launch) == Exit(0), launch.log.read_text()
        return json.loads((self.folder / "out" / "report.json").read_text())


def await_true(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


def is_alive(pid: int) -> bool:
    """A zombie is not: it waits for whoever adopted it."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def only(*names: str) -> pytest.MarkDecorator:
    """Of these runtimes alone."""
    return pytest.mark.parametrize("arm", names, indirect=True)


def there(client: docker.DockerClient) -> set[str]:
    """What carries our marker, or a name of these tests."""
    names = {str(container.name) for container in client.containers.list(all=True, ignore_removed=True)}
    return {name for name in names if name.startswith("contract-")} | {f"process {pid}" for pid in marked()}


def orphans(name: str, leader: int) -> list[int]:
    """The grandchildren of `ORPHAN`: they are in a session whose leader, the process between, is no more."""
    return [
        pid for pid in marked(name) if pid not in (leader, session_of(pid)) and session_of(pid) != session_of(leader)
    ]


def session_of(pid: int) -> int | None:
    try:
        return os.getsid(pid)
    except ProcessLookupError:
        return None
