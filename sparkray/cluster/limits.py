"""Limits of this process under which no Ray of our own can start: it would time out, hang or abort without naming them."""

import resource
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

from sparkray.errors import ClusterError
from sparkray.runtimes.linux.cgroup import limits, parse_mounts
from sparkray.units import GIB, MIB

# Tried on real sweeps: with 32 files no GCS starts, with 64 no run does, with 128 all goes well; in 1.5 GB of addresses
# Ray's libraries abort; with 120 processes and threads in a cgroup they do too, with 200 all goes well; in 300 MiB of
# memory the kernel ends the driver.
_LEAST_FILES, _LEAST_ADDRESSES, _LEAST_TASKS, _LEAST_MEMORY = 100, 2 * GIB, 150, 400 * MIB


def must_have_limits(store_bytes: int, *, group: Callable[[], Mapping[str, int]] | None = None) -> None:
    """Refuse limits that are too low.

    Args:
        store_bytes: Size of Ray's object store, which is one file.
        group: What the control group allows, as `runtimes.linux.cgroup.limits` has it; tests give their own.

    Raises:
        ClusterError: One is too low.
    """
    for kind, option, least, what in (
        (resource.RLIMIT_NOFILE, "-n", _LEAST_FILES, "files may be open at once"),
        (resource.RLIMIT_FSIZE, "-f", store_bytes, "bytes may be in a file"),
        (resource.RLIMIT_AS, "-v", _LEAST_ADDRESSES, "bytes of addresses may be in use"),
    ):
        soft, hard = resource.getrlimit(kind)
        limit = hard if kind == resource.RLIMIT_NOFILE else soft  # of that one Ray raises the soft limit itself
        if limit != resource.RLIM_INFINITY and limit < least:
            raise ClusterError(
                f"Ray cannot be started: {limit} {what} (`ulimit {option}`), it needs {least}",
                f"Raise the limit: `ulimit {option} unlimited`, or a number, in the shell that starts sparkray",
            )
    allowed = (group or _group)()
    for name, least, what, remedy in (
        ("pids", _LEAST_TASKS, "processes and threads", "pids.max, as with `docker run --pids-limit` or TasksMax="),
        ("memory_bytes", _LEAST_MEMORY, "bytes of memory", "its memory, as with `docker run --memory` or MemoryMax="),
    ):
        if 0 <= (most := allowed.get(name, -1)) < least:
            why = f"the control group may have {most} {what}, it needs {least}"
            raise ClusterError(f"Ray cannot be started: {why}", f"Raise {remedy} of a systemd unit")


def _group() -> Mapping[str, int]:
    with suppress(OSError):
        membership, mounts = (Path(f"/proc/self/{name}").read_text() for name in ("cgroup", "mountinfo"))
        return limits(membership, parse_mounts(mounts))
    return {}
