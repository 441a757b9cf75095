"""Whole host: memory from /proc/meminfo, busy time from /proc/stat.

Both MemAvailable and MemFree are kept: CUDA on unified memory takes MemFree as free memory, while page cache can be
reclaimed, so only the two together separate an allocation from a file read.
"""

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sparkray.telemetry import Row
from sparkray.telemetry._base import FileSampler
from sparkray.telemetry._proc import CPU_PERIOD_S, EARLY, PROC, OpenFile
from sparkray.units import KIB, gib

_MEMINFO = re.compile(r"^(MemFree|MemAvailable|Cached|SwapTotal|SwapFree): +(\d+) kB$", re.MULTILINE)

# The fields in use lie in the first half of these.
_MEMINFO_BYTES, _STAT_BYTES = 1024, 256


def parse_meminfo(text: str) -> dict[str, int]:
    """Bytes of the fields of /proc/meminfo that `memory_row` uses."""
    return {name: int(value) * KIB for name, value in _MEMINFO.findall(text)}


def memory_row(fields: dict[str, int]) -> dict[str, float | None]:
    """The memory columns, GiB, from the fields of `parse_meminfo`. A field that the kernel lacks is None."""

    def column(name: str) -> float | None:
        return gib(fields[name]) if name in fields else None

    total, free = fields.get("SwapTotal"), fields.get("SwapFree")
    return {
        "mem_free_gib": column("MemFree"),
        "mem_available_gib": column("MemAvailable"),
        "page_cache_gib": column("Cached"),
        "swap_used_gib": None if total is None or free is None else gib(total - free),
    }


@dataclass(frozen=True)
class CpuTime:
    """Clock ticks since boot, of one CPU or of all."""

    total: int
    idle: int


def cpu_time(fields: str) -> CpuTime:
    """Parse the numbers of a line of /proc/stat (proc_stat(5)). Guest time is left out: user time includes it."""
    ticks = [int(field) for field in fields.split()[:8]]
    return CpuTime(total=sum(ticks), idle=ticks[3] + ticks[4])


def parse_cpu(text: str) -> CpuTime:
    """The first line of /proc/stat, the sum over all CPUs.

    Raises:
        ValueError: The text does not begin with that line.
    """
    name, _, fields = text.partition("\n")[0].partition(" ")
    if name != "cpu":
        raise ValueError(f"/proc/stat begins with {name!r}, not with the sum over all CPUs")
    return cpu_time(fields)


def busy_pct(before: CpuTime, after: CpuTime) -> float | None:
    """Share of time neither idle nor waiting for I/O, 100 = all CPUs; None when no tick passed.

    Clamped, because idle and I/O wait can run backwards by a tick (proc_stat(5)).
    """
    total = after.total - before.total
    if total <= 0:
        return None
    return min(100.0, max(0.0, 100.0 * (1 - (after.idle - before.idle) / total)))


class Sampler(FileSampler):
    """Memory and busy time of the whole machine."""

    name = "host"
    period_s = 0.1

    def __init__(
        self, *, proc: Path = PROC, cpu_period_s: float = CPU_PERIOD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes where the files are, and how often the CPU time is read.

        Args:
            proc: Root of /proc.
            cpu_period_s: Time between two readings of CPU time, s.
            clock: Monotonic s.
        """
        super().__init__()
        self._proc = proc
        self._cpu_period_s, self._clock = cpu_period_s, clock
        self._cpu_due = 0.0
        self._before: CpuTime | None = None

    def __enter__(self) -> Self:
        """Open both files."""
        self._before, self._cpu_due = None, 0.0
        self._files = {name: OpenFile(self._proc / name) for name in ("meminfo", "stat")}
        return self

    def capture(self) -> tuple[bytes, bytes | None] | None:
        """The beginnings of /proc/meminfo and, where it is due, of /proc/stat: the kernel makes all of it, for every CPU."""
        files, stat = self._files, None
        if not files:
            return None
        if (now := self._clock()) >= self._cpu_due:
            self._cpu_due = now + self._cpu_period_s * EARLY
            stat = files["stat"].raw(_STAT_BYTES)
        return files["meminfo"].raw(_MEMINFO_BYTES), stat

    def rows(self, captured: tuple[bytes, bytes | None]) -> list[Row]:
        """One row. Busy time is null in the first, since it is a difference, and where it was not due."""
        meminfo, stat = captured
        busy = None
        if stat is not None:
            now = parse_cpu(stat.decode())
            busy = None if self._before is None else busy_pct(self._before, now)
            self._before = now
        return [{**memory_row(parse_meminfo(meminfo.decode())), "cpu_busy_pct": busy}]
