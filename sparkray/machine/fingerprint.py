"""What this machine is, for every row and for recognising the site."""

import os
import platform
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from sparkray import __version__
from sparkray.units import gib

_GB10 = "GB10"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Machine:
    """A machine's fingerprint. `facts` are what is stored with every run."""

    host: str
    gpus: tuple[str, ...]
    gpu_uuids: tuple[str, ...]
    facts: Mapping[str, Any]

    @property
    def site(self) -> str:
        """The site that fits: `dgx-spark`, `discrete-gpu` or `cpu`."""
        return site_for(self.gpus)

    def running(self, versions: Mapping[str, str]) -> "Machine":
        """The same machine with versions of software that it was asked about later."""
        return replace(self, facts={**self.facts, **versions})

    @property
    def lock_keys(self) -> tuple[str, ...]:
        """What must be locked so that no other benchmark disturbs: every GPU, else the machine."""
        return self.gpu_uuids or ("machine",)


def site_for(gpus: tuple[str, ...]) -> str:
    """The site of a machine with these GPUs, by name."""
    if any(_GB10 in name for name in gpus):
        return "dgx-spark"
    return "discrete-gpu" if gpus else "cpu"


def fingerprint() -> Machine:
    """Look at this machine; what cannot be seen is left out."""
    gpus, uuids, driver, gpu_memory = _gpus()
    virtual = psutil.virtual_memory()
    facts = {
        "kernel": platform.release(),
        "os": _os_name(),
        "architecture": platform.machine(),
        "cpu": _cpu_name(),
        "cpus": os.cpu_count(),
        "memory_gib": round(gib(virtual.total), 2),
        "gpus": list(gpus),
        "gpu_memory_gib": list(gpu_memory),
        "driver": driver,
        "cgroup_version": 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        "python": platform.python_version(),
        "sparkray": __version__,
    }
    return Machine(socket.gethostname(), gpus, uuids, facts)


def boot_id() -> str:
    """The kernel's own id of this boot of the machine; empty where it tells none."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else ""


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


def _gpus() -> tuple[tuple[str, ...], tuple[str, ...], str | None, tuple[float | None, ...]]:
    """Names, UUIDs, driver and memory of the NVIDIA GPUs; nothing where NVML is not there.

    Memory in GiB, None where the GPU has none of its own (GB10).
    """
    import pynvml  # noqa: PLC0415 - the library is looked for only when asked

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return (), (), None, ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        names = tuple(str(pynvml.nvmlDeviceGetName(h)) for h in handles)
        uuids = tuple(str(pynvml.nvmlDeviceGetUUID(h)) for h in handles)
        return names, uuids, str(pynvml.nvmlSystemGetDriverVersion()), tuple(map(_memory_gib, handles))
    except pynvml.NVMLError:
        return (), (), None, ()
    finally:
        with suppress(pynvml.NVMLError):
            pynvml.nvmlShutdown()


def _memory_gib(handle: object) -> float | None:
    """Memory of one GPU; None where its driver tells none."""
    import pynvml  # noqa: PLC0415 - as above

    try:
        return round(gib(pynvml.nvmlDeviceGetMemoryInfo(handle).total), 2)
    except pynvml.NVMLError:
        return None
