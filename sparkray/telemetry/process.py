"""The engine's process tree: RSS often, CPU seconds and threads less often.

RSS counts shared pages once per process and lags by some dozens of pages a CPU, but is cheap. PSS (`pss`) is exact and
expensive. RSS comes from `statm`, a single kernel structure; `stat` sums every thread under a lock that the process
needs too, so it is read less often.
"""

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sparkray.telemetry import Row, Target, Value
from sparkray.telemetry._base import TreeSampler
from sparkray.telemetry._proc import CPU_PERIOD_S, EARLY, PROC, Stat, parse_stat
from sparkray.units import gib


def resident_pages(statm: bytes) -> int:
    """Resident pages in /proc/PID/statm (proc_pid_statm(5)); 0 for a zombie."""
    return int(statm.split(maxsplit=2)[1])


class _Clock:
    """CPU time of one target; monotonic.

    When a child ends before its parent is credited with its time, the last total is kept.
    """

    def __init__(self) -> None:
        self._most_ticks = 0
        self._ticks_per_s = os.sysconf("SC_CLK_TCK")

    def columns(self, stats: Sequence[Stat], lost_ticks: int) -> Row:
        """CPU time includes ended children, through the parents that waited for them."""
        self._most_ticks = max(self._most_ticks, lost_ticks + sum(stat.ticks for stat in stats))
        alive = [stat for stat in stats if stat.alive]
        return {
            "process_cpu_s": self._most_ticks / self._ticks_per_s,
            "process_threads": sum(stat.threads for stat in alive) if alive else None,
        }


@dataclass(frozen=True)
class Capture:
    """`statm` of every process; where due, also `stat`, the ticks of ended processes, and the clock."""

    sizes: Sequence[bytes]
    stats: Sequence[tuple[int, bytes]] | None
    lost_ticks: int
    clock: _Clock


class Sampler(TreeSampler):
    """RSS, CPU time and threads summed over the tree of the target."""

    name = "process"
    period_s = 0.1

    def __init__(
        self, *, proc: Path = PROC, cpu_period_s: float = CPU_PERIOD_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """Takes where processes are found, and how often their CPU time is asked for.

        Args:
            proc: Root of /proc.
            cpu_period_s: Time between two readings of CPU time and threads, s.
            clock: Monotonic s.
        """
        super().__init__(proc=proc)
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")
        self._cpu_period_s, self._clock = cpu_period_s, clock
        self._cpu_due = 0.0
        self._cpu = _Clock()

    def attach(self, target: Target) -> None:
        """Follow the tree of the target's process and reset its CPU time."""
        super().attach(target)
        self._cpu, self._cpu_due = _Clock(), 0.0

    def capture(self) -> Capture | None:
        """None without a tree, or when it has ended."""
        tree = self.follower.tree
        if tree is None:
            return None
        stats = None
        if (now := self._clock()) >= self._cpu_due:
            self._cpu_due = now + self._cpu_period_s * EARLY
            stats = tree.texts()
        sizes = tree.sizes()
        return Capture(sizes, stats, tree.lost_ticks, self._cpu) if sizes else None

    def rows(self, captured: Capture) -> list[Row]:
        """One row; RSS is null for a tree of zombies, CPU time and threads where they were not due."""
        pages = sum(map(resident_pages, captured.sizes))
        row: dict[str, Value] = {"process_rss_gib": gib(pages * self._page_bytes) if pages else None}
        if captured.stats is not None:
            stats = [parse_stat(pid, text.decode("utf-8", "replace")) for pid, text in captured.stats]
            row.update(captured.clock.columns(stats, captured.lost_ticks))
        return [row] if any(value is not None for value in row.values()) else []
