"""The engine's process tree: RSS, CPU seconds, threads.

RSS counts a page shared by two processes twice and is kept by the kernel per CPU, so that it can be off by some dozens
of pages a CPU; it is cheap, which is why it is the one that is read often. PSS (`pss`) is exact and dear.
"""

import os
from pathlib import Path

from sparkray.telemetry import Row, Target
from sparkray.telemetry._base import TreeSampler
from sparkray.telemetry._proc import PROC
from sparkray.units import gib


class Sampler(TreeSampler):
    """RSS, CPU time and threads summed over the tree of the target."""

    name = "process"
    period_s = 0.1

    def __init__(self, *, proc: Path = PROC) -> None:
        super().__init__(proc=proc)
        self._page_bytes, self._ticks_per_s = os.sysconf("SC_PAGE_SIZE"), os.sysconf("SC_CLK_TCK")
        self._most_ticks = 0

    def attach(self, target: Target) -> None:
        """Follows the tree of the target's process, its CPU time counted from nothing."""
        super().attach(target)
        self._most_ticks = 0

    def sample(self) -> list[Row]:
        """One row; none before a target is attached or when its tree is gone.

        CPU time holds children that ended, through the parents that waited for them. It never runs backwards: what a
        parent has not yet been credited with when a child ends is held until it is.
        """
        stats, tree = self.follower.read(), self.follower.tree
        if not stats or tree is None:
            return []
        self._most_ticks = max(self._most_ticks, tree.lost_ticks + sum(stat.ticks for stat in stats))
        alive = [stat for stat in stats if stat.alive]
        return [
            {
                "process_rss_gib": gib(sum(stat.rss for stat in alive) * self._page_bytes) if alive else None,
                "process_cpu_s": self._most_ticks / self._ticks_per_s,
                "process_threads": sum(stat.threads for stat in alive) if alive else None,
            }
        ]
