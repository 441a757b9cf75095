"""`doctor`: each thing a sweep needs of a machine, its state, why it matters, and what to do."""

import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import psutil

from sparkray.errors import DockerError
from sparkray.machine.fingerprint import Machine, fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.runtimes._docker import connect
from sparkray.units import GIB, gib

State = Literal["good", "warn", "stop", "info"]
_LEAST_FREE_GIB = 2.0
_MARKS = {"good": "ok  ", "warn": "WARN", "stop": "STOP", "info": "    "}
_CAP_SYS_RESOURCE = 24


@dataclass(frozen=True)
class Finding:
    """One line. `remedy` is empty when there is nothing to do."""

    name: str
    state: State
    value: str
    why: str
    remedy: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        line = f"{_MARKS[self.state]}  {self.name}: {self.value}"
        if self.state in ("warn", "stop"):
            line += f"\n        why: {self.why}"
        return line + (f"\n        do:  {self.remedy}" if self.remedy and self.state != "good" else "")


def examine(site: str | None = None) -> list[Finding]:
    """Every finding for a site (the recognised one when None)."""
    machine = fingerprint()
    wanted = site or machine.site
    checks: tuple[Callable[[Machine, str], Finding], ...] = (
        _hardware,
        _site,
        _root,
        _docker,
        _cgroups,
        _limits,
        _memory,
        _swap,
        _disk,
        _lock,
    )
    return [check(machine, wanted) for check in checks]


def _hardware(machine: Machine, _: str) -> Finding:
    facts = machine.facts
    gpus = ", ".join(machine.gpus) or "no NVIDIA GPU"
    value = (
        f"{machine.host}: {facts['cpus']} x {facts['cpu']}, {facts['memory_gib']} GiB, {gpus}; {facts['os']}, "
        f"kernel {facts['kernel']}"
    )
    return Finding("machine", "info", value, "stands in every row")


def _site(machine: Machine, wanted: str) -> Finding:
    why = "the site decides engine, image and flags"
    if wanted in ("dgx-spark", "discrete-gpu") and wanted != machine.site:
        return Finding(
            "site", "stop", f"{wanted} asked for, this machine is {machine.site}", why, f"--site {machine.site}"
        )
    return Finding("site", "good", wanted, why)


def _root(_: Machine, __: str) -> Finding:
    why = "the native arm is a chroot, and start states are set for every process"
    if os.geteuid() == 0:
        return Finding("root", "good", "yes", why)
    if shutil.which("sudo"):
        return Finding("root", "warn", "no, sudo is there", why, "`sudo -n true` must work without a password")
    return Finding("root", "stop", "no, and no sudo", why, "Run as root, or with passwordless sudo")


def _docker(_: Machine, __: str) -> Finding:
    why = "the container arms run in it, and the native arm's files are exported from its image"
    try:
        version = connect().version()
    except DockerError as error:
        return Finding("docker", "stop", error.message, why, error.remedy)
    return Finding("docker", "good", f"{version.get('Version')} (API {version.get('ApiVersion')})", why)


def _cgroups(machine: Machine, _: str) -> Finding:
    version = machine.facts["cgroup_version"]
    return Finding("cgroups", "info", f"version {version}", "where the container's memory is read")


def _limits(_: Machine, __: str) -> Finding:
    why = "without CAP_SYS_RESOURCE no limit can be raised: --ulimit memlock=-1 and --privileged cannot start"
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd"):
            if int(line.split()[1], 16) >> _CAP_SYS_RESOURCE & 1:
                return Finding("capabilities", "good", "CAP_SYS_RESOURCE is there", why)
            return Finding(
                "capabilities",
                "warn",
                "CAP_SYS_RESOURCE is missing",
                why,
                "The site `cpu` leaves such flags out and records it; asked for explicitly, they stop a sweep",
            )
    return Finding("capabilities", "warn", "cannot be read", why)


def _memory(_: Machine, __: str) -> Finding:
    memory = psutil.virtual_memory()
    value = f"{gib(memory.available):.1f} of {gib(memory.total):.1f} GiB available"
    return Finding("memory", "info", value, "what a model may take")


def _swap(_: Machine, __: str) -> Finding:
    swap = psutil.swap_memory()
    why = "a run that swaps measures the disk"
    if swap.used:
        return Finding(
            "swap", "warn", f"{gib(swap.used):.2f} GiB in use", why, "swapoff -a && swapon -a, once memory is free"
        )
    return Finding("swap", "good", "none in use", why)


def _disk(_: Machine, __: str) -> Finding:
    free = shutil.disk_usage(Path.cwd()).free
    why = "every run's samples and logs are kept"
    state: State = "good" if free > _LEAST_FREE_GIB * GIB else "stop"
    return Finding("disk", state, f"{free / GIB:.1f} GiB free here", why, "Free some space")


def _lock(machine: Machine, _: str) -> Finding:
    why = "one benchmark at a time"
    holder = MachineLock(machine.lock_keys).holder()
    if holder is not None and holder.is_alive():
        return Finding(
            "lock", "warn", f"held by process {holder.pid} (user id {holder.user})", why, "--lock wait, or wait"
        )
    return Finding("lock", "good", "free", why)
