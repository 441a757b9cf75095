"""How busy this machine is before anything is measured: CPU time of other processes over a second."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import psutil

NOISY_CORES = 0.5
"""From here on a machine is not quiet: runs of an engine that uses every CPU are refused at 0.4 (check `exclusive`)."""
_SHOWN = 3
_SHOWN_CORES = 0.05


@dataclass(frozen=True)
class Load:
    """Cores in use by others than this process, and by which programs most (name with pid, cores)."""

    cpus: int
    others_cores: float
    largest: tuple[tuple[str, float], ...] = ()

    @property
    def is_noisy(self) -> bool:
        """Whether the machine is not quiet."""
        return self.others_cores >= NOISY_CORES

    @property
    def text(self) -> str:
        """`other programs use 1.4 of 2 CPUs (python3 [812] 0.9)`."""
        named = ", ".join(f"{name} {cores:.1f}" for name, cores in self.largest)
        return f"other programs use {self.others_cores:.1f} of {self.cpus} CPUs" + (f" ({named})" if named else "")


class LoadMeter:
    """Measures from its making on; `read` gives the load once a second has passed."""

    def __init__(self, *, seconds: float = 1.0, wait: Callable[[float], None] = time.sleep) -> None:
        self._seconds, self._wait = seconds, wait
        self._began, self._busy_s, self._by_process = time.monotonic(), _busy_s(), _by_process()

    def read(self) -> Load:
        """Waits for the rest of the time, if any is left."""
        self._wait(max(0.0, self._seconds - (time.monotonic() - self._began)))
        took = time.monotonic() - self._began
        used = {
            name: (now - self._by_process.get(name, now)) / took
            for name, now in _by_process().items()
            if name[0] != os.getpid()
        }
        largest = sorted(used.items(), key=lambda item: -item[1])[:_SHOWN]
        return Load(
            psutil.cpu_count() or 1,
            max(0.0, (_busy_s() - self._busy_s) / took),
            tuple((f"{name} [{pid}]", cores) for (pid, name), cores in largest if cores >= _SHOWN_CORES),
        )


def _busy_s() -> float:
    """CPU seconds of all CPUs since boot but for this process's own; those of guests are among those of user."""
    times = psutil.cpu_times()
    every = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
    return float(every) - time.process_time()


def _by_process() -> Mapping[tuple[int, str], float]:
    """CPU seconds by process."""
    found = {}
    for process in psutil.process_iter(["name", "cpu_times"]):
        times = process.info["cpu_times"]
        if times is not None:
            found[process.pid, str(process.info["name"])] = float(times.user + times.system)
    return found
