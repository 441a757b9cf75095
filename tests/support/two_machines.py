"""Machines of a Ray cluster on one host: each a raylet in namespaces of its own (network, processes, mounts, host name).

Each has an address, a boot id, a lock folder, a cache (so a store of its own for what it measured), a folder of Ray's and a
Docker engine, so that none sees the others. The head, which the driver connects to, measures nothing. Needs root.
"""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil

from sparkray.catalog.weights import cache_folder

_RAY = Path(sys.executable).with_name("ray")
_NODE = """set -e
hostname "$1"
mkdir -p "$2/lock" "$2/ray" "$2/run"
chmod 1777 "$2/lock"
cat /proc/sys/kernel/random/uuid > "$2/boot_id"
mount --bind "$2/boot_id" /proc/sys/kernel/random/boot_id
mount --bind "$2/lock" /run/lock
mount --bind "$2/ray" "$3"
dockerd --data-root "$2/docker" --exec-root "$2/run" --pidfile "$2/run/docker.pid" --host "unix://$2/docker.sock" \\
    --bridge=none --iptables=false > "$2/dockerd.log" 2>&1 &
export LOG="$2/ray.log"
shift 3
"""
_STARTED = "Ray runtime started."
_AGAIN = f'while ! grep -q "{_STARTED}" "$LOG"; do "$@" || true; done'
"""Ray gives up a start after 30 s, which a busy machine may take."""
_PATIENCE_S = 600.0
_NUMBERS = count()
"""The kernel removes a network some time after its last process: the next cluster has another."""


@dataclass
class Machines:
    """A cluster under way. `address` is that of its head; `folders` are the machines' own, by name."""

    address: str
    folder: Path
    number: int
    folders: dict[str, Path] = field(default_factory=dict)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    logs: dict[str, Path] = field(default_factory=dict)

    def environment(self, name: str = "") -> dict[str, str]:
        """Variables of a machine's processes, or of the driver's."""
        folder = self.folders[name] if name else None
        own = {"XDG_CACHE_HOME": f"{folder}/cache", "DOCKER_HOST": f"unix://{folder}/docker.sock"} if name else {}
        return {
            **os.environ,
            **own,
            "RAY_memory_monitor_refresh_ms": "0",
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
        }

    def start(self, name: str) -> None:
        """Add a machine, or one that was lost."""
        if name not in self.folders:
            _network(self.number, len(self.folders) + 2)
            self.folders[name] = self.folder / name
        place = list(self.folders).index(name) + 2
        arguments = [f"--address={self.address}", f"--node-ip-address=10.{self.number}.0.{place}", "--num-cpus=0"]
        words = [str(_RAY), "start", *arguments, f"--resources={json.dumps({'sparkray': 1})}", "--block"]
        inside = [
            "unshare",
            "--mount",
            "--uts",
            "--pid",
            "--fork",
            "--mount-proc",
            "bash",
            "-c",
            _NODE + _AGAIN,
            "node",
            name,
            str(self.folders[name]),
        ]
        models = self.folders[name] / "cache" / "sparkray" / "models"
        if not models.exists():
            models.parent.mkdir(parents=True)
            models.symlink_to(cache_folder() / "models")
        with (self.folders[name] / "ray.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [
                    "nsenter",
                    f"--net=/run/netns/{_namespace(self.number, place)}",
                    *inside,
                    str(self.folder / "head"),
                    *words,
                ],
                env=self.environment(name),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.logs[name] = self.folders[name] / "ray.log"

    def await_start(self, *names: str) -> None:
        """Wait until these are there."""
        until = time.monotonic() + _PATIENCE_S
        for name in names:
            while _STARTED not in self.logs[name].read_text():
                if time.monotonic() > until or self.processes[name].poll() is not None:
                    raise TimeoutError(f"no Ray on {name}: {self.logs[name].read_text()[-500:]}")
                time.sleep(0.1)

    def kill(self, name: str) -> None:
        """End everything of a machine at once, as a power cut does: its processes go with the first of their namespace."""
        process = self.processes[name]
        with suppress(psutil.Error):
            for child in psutil.Process(process.pid).children(recursive=name == "head"):
                child.kill()
        process.kill()
        process.wait(10)


def _namespace(number: int, place: int) -> str:
    return f"sr-{number}-{place}"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


def _network(number: int, place: int) -> None:
    name, veth = _namespace(number, place), f"sr{number}v{place}"
    _ip("netns", "add", name)
    _ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
    _ip("link", "set", veth, "master", f"sr{number}", "up")
    _ip("-n", name, "addr", "add", f"10.{number}.0.{place}/24", "dev", "eth0")
    for link in ("eth0", "lo"):
        _ip("-n", name, "link", "set", link, "up")
    _ip("-n", name, "route", "add", "default", "via", f"10.{number}.0.1")


@contextmanager
def machines(folder: Path, names: Sequence[str] = ("spark-a", "spark-b")) -> Iterator[Machines]:
    """A cluster of these machines, gone at the end. `folder` should have a short path: Ray's sockets lie in it."""
    number = 64 + (os.getpid() + next(_NUMBERS)) % 128
    _ip("link", "add", f"sr{number}", "type", "bridge")
    made = Machines(f"10.{number}.0.1:6399", folder, number)
    head = None
    try:
        _ip("addr", "add", f"10.{number}.0.1/24", "dev", f"sr{number}")
        _ip("link", "set", f"sr{number}", "up")
        (folder / "head").mkdir(parents=True)
        address = [f"--node-ip-address=10.{number}.0.1", "--port=6399", f"--temp-dir={folder / 'head'}"]
        words = ["start", "--head", *address, "--num-cpus=0", "--include-dashboard=false", "--block"]
        with (folder / "head.log").open("ab") as log:
            again = ["bash", "-c", _AGAIN, "head", str(_RAY), *words]
            environment = {**made.environment(), "LOG": log.name}
            head = subprocess.Popen(again, env=environment, stdout=log, stderr=log, start_new_session=True)
        made.processes["head"], made.logs["head"] = head, folder / "head.log"
        made.await_start("head")
        for name in names:
            made.start(name)
        made.await_start(*names)
        yield made
    finally:
        for name in [name for name in made.processes if name != "head"] + (["head"] if head else []):
            made.kill(name)
        for place in range(2, len(made.folders) + 2):
            with suppress(subprocess.CalledProcessError):
                _ip("netns", "del", _namespace(number, place))
        _ip("link", "del", f"sr{number}")
        shutil.rmtree(folder / "head", ignore_errors=True)
