"""What a chroot with layers of isolation needs from outside, and what becomes of it: control groups, an overlay's folder.

A process cannot make its own group and leave none behind: who starts it makes the group, below the root of each hierarchy
as Docker's lie, and removes it when nothing of the run is left. A group of a sweep that died is empty and goes at the next
chance; the kernel refuses to remove one that is not.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sparkray.config.isolation import BY_NAME, KernelFacts
from sparkray.config.layer_effect import GROUP_PARENT, shm_bytes
from sparkray.config.privilege import CAPABILITIES, capabilities_of
from sparkray.errors import RunUnreadyError
from sparkray.runtimes import Launch
from sparkray.runtimes.linux.cgroup import Mount, parse_mounts
from sparkray.runtimes.linux.privilege import need_root
from sparkray.runtimes.linux.root_part import ask, python_as_root

# cpuacct is a controller of version 1 alone.
CONTROLLERS = ("memory", "cpu", "cpuacct", "pids")
_TRIER = Path(__file__).with_name("_isolate.py")
_TRY_PATIENCE_S = 60.0
_REFUSED = """
import json
from sparkray.runtimes.linux.isolation import refused_layers
print(json.dumps(refused_layers()))
"""
_EMPTY_PATIENCE_S = 5.0


@contextmanager
def isolated(launch: Launch) -> Iterator[dict[str, Any]]:
    """What the launcher needs for a launch's layers; what was made for them is gone afterwards.

    Raises:
        RunUnreadyError: There is no such layer, or no control group could be made.
    """
    unknown = [layer for layer in launch.isolation if layer not in BY_NAME]
    if unknown:
        raise RunUnreadyError(f"unknown layer of isolation {unknown[0]!r}: known are {', '.join(BY_NAME)}")
    upper = launch.scratch.with_name(f"{launch.scratch.name}-upper")
    groups: list[Path] = []
    try:
        if "cgroup" in launch.isolation:
            clear_groups()
            groups += make_groups(launch.name)
        yield {
            "name": launch.name,
            "isolation": launch.isolation,
            "cgroups": [str(group) for group in groups],
            "upper": str(upper),
            "shm_bytes": shm_bytes(launch.options),
            "capabilities": _mask(launch),
        }
    finally:
        for group in groups:
            _remove(group)
        if "overlay" in launch.isolation:
            shutil.rmtree(upper, ignore_errors=True)


def _mask(launch: Launch) -> int:
    """Those that a container with the launch's options has."""
    kept = capabilities_of(launch.options)
    return sum(1 << bit for bit, name in enumerate(CAPABILITIES) if name in kept)


def make_groups(name: str, mountinfo: str | None = None) -> list[Path]:
    """A group of that name in every hierarchy that has memory, CPU or pids controllers, without limits.

    Args:
        name: Of the run.
        mountinfo: Text of /proc/self/mountinfo, which is read where none is given.

    Raises:
        RunUnreadyError: This machine shows no such hierarchy, or lets nobody make groups in it.
    """
    text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
    places = hierarchies(parse_mounts(text))
    if not places:
        raise RunUnreadyError("no control group can be made: no memory controller is mounted")
    made: list[Path] = []
    try:
        for mount in places:
            parent = Path(mount.point, GROUP_PARENT)
            _prepare(mount, parent)
            group = parent / name
            group.mkdir(exist_ok=True)
            made.append(group)
    except OSError as error:
        for group in made:
            _remove(group)
        raise RunUnreadyError(f"no control group can be made: {error}") from None
    return made


def clear_groups() -> None:
    """Remove the empty groups of runs that are gone. Whoever calls holds the machine's lock: no other run is starting."""
    for mount in hierarchies(parse_mounts(Path("/proc/self/mountinfo").read_text())):
        parent = Path(mount.point, GROUP_PARENT)
        for left in [path for path in parent.glob("*") if path.is_dir()]:
            with suppress(OSError):  # not empty: of a run that lives
                left.rmdir()
        with suppress(OSError):
            parent.rmdir()


def hierarchies(mounts: Sequence[Mount]) -> list[Mount]:
    """The hierarchies that account memory, CPU time and processes: those of version 1 if there are any, else version 2."""
    first = [mount for mount in mounts if mount.version == 1 and mount.controllers & set(CONTROLLERS)]
    places = {mount.point: mount for mount in first or [mount for mount in mounts if mount.version != 1]}
    return list(places.values())


def _prepare(mount: Mount, parent: Path) -> None:
    """The parent of all groups; under version 2 with its controllers on, as Docker turns them on for its containers."""
    parent.mkdir(exist_ok=True)
    if mount.version == 1:
        return
    for folder in (Path(mount.point), parent):
        there = (folder / "cgroup.controllers").read_text().split()
        if CONTROLLERS[0] not in there:
            raise OSError(f"{folder} has no {CONTROLLERS[0]} controller")
        wanted = [f"+{name}" for name in CONTROLLERS if name in there]
        (folder / "cgroup.subtree_control").write_text(" ".join(wanted))


def _remove(group: Path) -> None:
    """Remove a group and, if it was the last, the one above; a process that just died may keep it for a moment."""
    deadline = time.monotonic() + _EMPTY_PATIENCE_S
    while group.exists():
        with suppress(OSError):
            group.rmdir()
            break
        if time.monotonic() > deadline:
            return
        time.sleep(0.01)
    with suppress(OSError):
        group.parent.rmdir()


def kernel_facts(info: Mapping[str, Any] | None = None, python: str = sys.executable) -> KernelFacts:
    """What this machine makes of each layer, found by trying: a process takes it on, and ends.

    Args:
        info: `docker info`, where a Docker engine answers.
        python: An interpreter.

    Raises:
        PrivilegeError: Root is needed.
    """
    reported = info or {}
    refused = json.loads(ask(_REFUSED)) if python_as_root() is not None else refused_layers(python)
    version = 2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1
    return KernelFacts(
        cgroup_version=int(reported["CgroupVersion"]) if reported.get("CgroupVersion") else version,
        storage_driver=reported.get("Driver"),
        refused=refused,
    )


def refused_layers(python: str = sys.executable) -> dict[str, str]:
    """The layers that this machine refuses, with why. Raises PrivilegeError."""
    need_root()
    return {**_tried(python), **_group_refused()}


def _tried(python: str) -> dict[str, str]:
    with tempfile.TemporaryDirectory(prefix="sparkray-try-") as folder:
        command = [python, "-I", "-S", str(_TRIER), folder]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TRY_PATIENCE_S)
    if done.returncode != 0:
        return {}
    errors: dict[str, str | None] = json.loads(done.stdout)
    return {layer: f"this machine refuses it: {reason}" for layer, reason in errors.items() if reason is not None}


def _group_refused() -> dict[str, str]:
    try:
        groups = make_groups("try")
    except RunUnreadyError as error:
        return {"cgroup": error.message}
    for group in groups:
        _remove(group)
    return {}
