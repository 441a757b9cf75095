"""Host capabilities for a space of Docker flags: CPUs by kind, GPU, container runtimes, missing capabilities.

Read, never tried. What cannot be read is None, and excludes no level.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from sparkray.config.cpu_list import cpu_list
from sparkray.config.gpu_access import NVIDIA_KIND
from sparkray.config.privilege import CAPABILITIES, capability_names
from sparkray.config.space import HostFacts, Space
from sparkray.docker_engine import connect, docker_errors
from sparkray.errors import DockerError
from sparkray.machine.cores import machine_performance_cores, parts_of
from sparkray.machine.fingerprint import Machine, fingerprint
from sparkray.runtimes.linux.gpu_routes import cdi_devices
from sparkray.runtimes.linux.owner import boot_id
from sparkray.units import gib

_ENGINE = "dockerd"
# Of any kernel that Docker runs on: those up to AUDIT_READ. Newer ones a kernel may not have are not missed.
_LEAST_CAPABILITIES = 38


@dataclass(frozen=True)
class About:
    """A machine as a driver on another one asks for it.

    Attributes:
        machine: Its fingerprint.
        boot: The id of its boot.
        facts: What it can honour of a space; None where none was named.
    """

    machine: Machine
    boot: str
    facts: HostFacts | None


def about(space: Space | None) -> About:
    """What this machine is; `space` as for `host_facts`."""
    machine = fingerprint()
    return About(machine, boot_id(), host_facts(space, machine, engine_info()) if space else None)


def engine_info() -> Mapping[str, Any] | None:
    """`docker info` of the local Docker engine; None where none answers."""
    try:
        client = connect()
        with docker_errors("docker info"):
            info: Mapping[str, Any] = client.info()
        client.close()
    except DockerError:
        return None
    return info


def host_facts(
    space: Space, machine: Machine, info: Mapping[str, Any] | None = None, *, root: Path = Path("/")
) -> HostFacts:
    """The facts by which levels of a space are feasible or excluded.

    Args:
        space: Names the devices.
        machine: The fingerprint of this machine.
        info: `docker info`; None where none answers.
        root: Where /proc, /sys and /dev lie.
    """
    every = parts_of((root / "proc/cpuinfo").read_text())
    named = {name for factor in space.factors for level in factor.levels.values() for name in level.get("device") or ()}
    reported = info or {}
    return HostFacts(
        cpus=cpu_list(every) or None,
        performance_cpus=cpu_list(machine_performance_cores(root)) or None,
        has_gpu=True if machine.gpus else None if machine.gpu_problem else False,
        memory_gib=round(gib(psutil.virtual_memory().total), 2),
        runtimes=tuple(sorted(reported["Runtimes"])) if reported.get("Runtimes") else None,
        security=security_of(reported) if info is not None else None,
        devices=tuple(sorted(name for name in named if _has_device(name, reported, root))),
        log_driver=reported.get("LoggingDriver") or None,
        runtime=reported.get("DefaultRuntime") or None,
        lacks=lacking(_enginebounding_set(root)),
    )


def _has_device(name: str, info: Mapping[str, Any], root: Path) -> bool:
    """Whether a device file exists, or a CDI device is described."""
    if name.startswith("/"):
        return (root / name.lstrip("/")).exists()
    kind, _, device = name.partition("=")
    return kind == NVIDIA_KIND and device in cdi_devices(info.get("CDISpecDirs") or (), root)


def security_of(info: Mapping[str, Any]) -> tuple[str, ...]:
    """Names of the engine's security options: `name=seccomp,profile=default` is seccomp."""
    words = (text.split(",")[0].removeprefix("name=") for text in info.get("SecurityOptions") or ())
    return tuple(sorted(words))


def lacking(mask: str | None) -> tuple[str, ...]:
    """Capabilities that a process with this bounding set (`CapBnd`, hexadecimal) can give to nobody."""
    if mask is None:
        return ()
    has = capability_names(mask)
    return tuple(name for name in CAPABILITIES[:_LEAST_CAPABILITIES] if name not in has)


def _enginebounding_set(root: Path) -> str | None:
    """The bounding set of the Docker engine's process, else of our own, which is its parent's more often than not."""
    for comm in root.glob("proc/[0-9]*/comm"):
        try:
            if comm.read_text().strip() == _ENGINE:
                return bounding_set(comm.with_name("status"))
        except OSError:
            continue
    return bounding_set(root / "proc/self/status")


def bounding_set(status: Path) -> str | None:
    """The bounding set of capabilities in a /proc/PID/status, hexadecimal; None where it cannot be read."""
    try:
        lines = status.read_text().splitlines()
    except OSError:
        return None
    return next((line.split()[1] for line in lines if line.startswith("CapBnd")), None)
