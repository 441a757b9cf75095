"""What sparkray itself costs while a run goes on: its own process here, and those that Ray keeps beside it."""

import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from sparkray.units import gib


class Observer:
    """Measures CPU time and memory of sparkray and Ray over the engine's life.

    Args:
        companions: Processes of Ray's own on this machine; asked once, at the beginning.
    """

    def __init__(self, companions: Callable[[], Iterable[int]]) -> None:
        self._companions = companions
        self._others: list[psutil.Process] = []
        self._cpu_s = self._others_cpu_s = 0.0

    def begin(self) -> None:
        """Record the starting values."""
        self._others = []
        for pid in self._companions():
            with suppress(psutil.Error):
                self._others.append(psutil.Process(pid))
        self._others_cpu_s = _cpu_s(self._others)
        self._cpu_s = time.process_time()

    def end(self) -> dict[str, float | None]:
        """Columns of the run's row; those of companions are null where there are none."""
        own_s = time.process_time() - self._cpu_s
        companions: dict[str, float | None] = {"ray_cpu_s": None, "ray_memory_gib": None}
        if self._others:
            companions = {
                "ray_cpu_s": max(0.0, _cpu_s(self._others) - self._others_cpu_s),
                "ray_memory_gib": gib(sum(map(_rss, self._others))),
            }
        return {"observer_cpu_s": own_s, "observer_memory_gib": gib(_rss(psutil.Process())), **companions}


def _cpu_s(processes: Iterable[psutil.Process]) -> float:
    total = 0.0
    for process in processes:
        with suppress(psutil.Error):
            times = process.cpu_times()
            total += times.user + times.system
    return total


def _rss(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0
