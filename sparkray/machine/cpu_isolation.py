"""CPU isolation: keeps sparkray and Ray off the engine's CPUs, and the load generator on its own."""

import os
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

from sparkray.config.cpu_list import cpu_list, cpu_numbers
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


def usable_cpus() -> frozenset[int]:
    """CPUs that a process started here can be pinned to: those that are online and in this process's cgroup.

    A thread of its own asks the kernel, since this process may be pinned to fewer.
    """

    def widest() -> frozenset[int]:
        os.sched_setaffinity(0, range(os.sysconf("SC_NPROCESSORS_CONF")))  # 0 is the calling thread
        return frozenset(os.sched_getaffinity(0))

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(widest).result()


def must_have_client_cpus(client_cpus: str, usable: Iterable[int]) -> None:
    """Refuses a site's `client_cpus` that the load generator cannot be pinned to.

    Raises:
        ConfigError: It names a CPU that cannot be used.
    """
    every = frozenset(usable)
    if missing := cpu_numbers(client_cpus) - every:
        raise ConfigError(
            f"site.client_cpus {client_cpus!r} names CPU {cpu_list(missing)}, which this machine does not have, or which is "
            "offline or not in this process's cgroup",
            f"CPUs that can be used: {cpu_list(every)}. Without pinning: --set site.client_cpus=\"''\"",
        )


def client_overlaps(client_cpus: str, cpusets: Mapping[str, str | None]) -> list[str]:
    """Which engines get CPUs of the load generator, in words.

    Args:
        client_cpus: The site's; empty where the load generator is not pinned.
        cpusets: `--cpuset-cpus` by environment; None where it has none.
    """
    own = cpu_numbers(client_cpus)
    shared = {name: own & cpu_numbers(cpus) for name, cpus in cpusets.items() if cpus}
    return [
        f"{name} pins the engine to CPU {cpu_list(both)} of the load generator (--cpuset-cpus={cpusets[name]}, "
        f"site.client_cpus={client_cpus}): they take time from each other"
        for name, both in shared.items()
        if both
    ]
