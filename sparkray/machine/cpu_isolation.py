"""CPU isolation: keeps sparkray and Ray off the CPUs that a site reserves for the engine."""

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

from sparkray.config.cpu_list import cpu_numbers
from sparkray.errors import ConfigError
from sparkray.machine.cores import machine_performance_cores

PERFORMANCE = "performance"


def housekeeping_of(engine_cpus: str, all_cpus: Iterable[int], fast: Callable[[], Iterable[int]]) -> frozenset[int]:
    """CPUs left for sparkray and Ray; all of them where the engine reserves none, or every one.

    Args:
        engine_cpus: A CPU list such as `5-9,15-19`, `performance` for the fastest kind, empty for none.
        all_cpus: The machine's.
        fast: Finds the fastest kind.

    Raises:
        ConfigError: It is not a CPU list, or names a CPU that does not exist.
    """
    every = frozenset(all_cpus)
    if not engine_cpus:
        return every
    try:
        engine = frozenset(fast()) if engine_cpus == PERFORMANCE else cpu_numbers(engine_cpus)
    except ValueError:
        raise ConfigError(
            f"site.engine_cpus {engine_cpus!r} is no CPU list", "Write 5-9,15-19 or performance"
        ) from None
    if missing := engine - every:
        raise ConfigError(
            f"site.engine_cpus {engine_cpus!r} names CPU {min(missing)}, which this machine does not have",
            f"It has {min(every)} to {max(every)}; or write --set site.engine_cpus={PERFORMANCE}",
        )
    return (every - engine) or every


def pin_processes(cpus: frozenset[int], pids: Iterable[int], proc: Path = Path("/proc")) -> None:
    """Pin every thread of these processes to these CPUs; children inherit it. Best effort."""
    for pid in pids:
        with suppress(OSError):
            for task in (proc / str(pid) / "task").iterdir():
                with suppress(OSError):
                    os.sched_setaffinity(int(task.name), cpus)


def housekeeping_cpus(engine_cpus: str) -> frozenset[int]:
    """`housekeeping_of` on this machine. Raises ConfigError."""
    return housekeeping_of(engine_cpus, range(os.sysconf("SC_NPROCESSORS_CONF")), machine_performance_cores)
