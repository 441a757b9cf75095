"""Fingerprint of this machine: stored in every row, and used to recognise the site."""

import hashlib
import os
import platform
import re
import shutil
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from sparkray import __version__
from sparkray.errors import HostError
from sparkray.machine._nvml import Gpus, read_gpus
from sparkray.machine.lock import MACHINE
from sparkray.units import gib

DISCRETE = "discrete-gpu"
_MACHINE_IDS = ("etc/machine-id", "var/lib/dbus/machine-id")
_GB10 = re.compile(r"\bGB10\b")
_UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class Machine:
    """A machine's fingerprint. `facts` are stored with every run.

    `gpu_problem`: why GPUs are unknown (NVML exists but fails). `gpu_remedy`: what to do about it.
    """

    host: str
    gpus: tuple[str, ...]
    gpu_uuids: tuple[str, ...]
    facts: Mapping[str, Any]
    gpu_problem: str | None = None
    gpu_remedy: str = ""

    @property
    def site(self) -> str | None:
        """The matching site: `dgx-spark`, `discrete-gpu` or `cpu`; None where it has GPUs that cannot be read."""
        return None if self.gpu_problem and not self.gpus else site_for(self.gpus)

    def running(self, versions: Mapping[str, str]) -> "Machine":
        """The same machine with further software versions."""
        return replace(self, facts={**self.facts, **versions})

    @property
    def lock_keys(self) -> tuple[str, ...]:
        """Keys to lock against other benchmarks: every GPU, else the machine; both if some are unknown."""
        return (MACHINE, *self.gpu_uuids) if self.gpu_problem else self.gpu_uuids or (MACHINE,)


def site_for(gpus: tuple[str, ...]) -> str:
    """The site of a machine with these GPUs, by name."""
    if any(_GB10.search(name) for name in gpus):
        return "dgx-spark"
    return DISCRETE if gpus else "cpu"


def recognised_site(machine: Machine, which: Callable[[str], str | None] = shutil.which) -> str:
    """The site of a machine: `discrete-gpu-vllm` where a discrete GPU has vLLM installed beside it.

    Args:
        machine: The machine.
        which: Where a program is on PATH.

    Raises:
        HostError: Its GPUs cannot be read, so the site is unknown.
    """
    if machine.site is None:
        raise HostError(
            f"this machine's site cannot be recognised: its NVIDIA GPUs cannot be read ({machine.gpu_problem})",
            f"{machine.gpu_remedy}. To do without them, name a site: --site cpu",
        )
    return f"{machine.site}-vllm" if machine.site == DISCRETE and which("vllm") else machine.site


def fingerprint(gpus: Gpus | None = None, *, root: Path = Path("/")) -> Machine:
    """Fingerprint of this machine; what cannot be read is None.

    Args:
        gpus: NVML's report, if already read.
        root: Parent of /proc and /dev, for its GPUs.
    """
    reported = read_gpus(root=root) if gpus is None else gpus
    names = tuple(device.name for device in reported.devices)
    uuids = tuple(device.uuid for device in reported.devices)
    if reported.problem:
        uuids = tuple(dict.fromkeys((*uuids, *_kernel_uuids(root))))
    unknown = bool(reported.problem) and not names
    sizes = [device.memory_gib for device in reported.devices]
    virtual = psutil.virtual_memory()
    facts = {
        "machine_id": machine_id(uuids, root),
        "kernel": platform.release(),
        "os": _os_name(),
        "architecture": platform.machine(),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "memory_gib": round(gib(virtual.total), 2),
        "gpus": None if unknown else list(names),
        "gpu_memory_gib": None if unknown else [None if size is None else round(size, 2) for size in sizes],
        "driver": reported.driver,
        "cgroup_version": 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        "python": platform.python_version(),
        "sparkray": __version__,
    }
    if reported.problem:
        facts["gpu_problem"] = reported.problem
    return Machine(socket.gethostname(), names, uuids, facts, reported.problem, reported.remedy)


def machine_id(gpu_uuids: Iterable[str] = (), root: Path = Path("/")) -> str | None:
    """The identity of a machine, since names repeat: a hash of its installation's id and its GPUs. None: neither is known.

    A hash, since systemd asks to keep the id of an installation (`/etc/machine-id`) to the machine.
    """
    installed = ""
    for path in _MACHINE_IDS:
        with suppress(OSError):
            installed = installed or (root / path).read_text(encoding="ascii", errors="replace").strip()
    known = [part for part in (installed, *sorted(gpu_uuids)) if part]
    return hashlib.sha256("\0".join(("sparkray", *known)).encode()).hexdigest()[:16] if known else None


def _os_name() -> str | None:
    with suppress(OSError):
        return platform.freedesktop_os_release().get("PRETTY_NAME")
    return None


def _cpu_name() -> str | None:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _kernel_uuids(root: Path) -> tuple[str, ...]:
    """GPU UUIDs from the kernel driver, also where NVML fails; it shows question marks until first use."""
    uuids = []
    for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        with suppress(OSError):
            uuids += [match for match in _UUID.findall(path.read_text(errors="replace")) if "?" not in match]
    return tuple(uuids)
