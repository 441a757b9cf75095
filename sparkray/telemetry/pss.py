"""The engine's process tree: PSS, exact and dear.

The kernel walks every page table to answer, 11 to 18 ms per GiB, and stalls the process meanwhile. So it is asked
seldom, and alike in every arm.
"""

import re
from pathlib import Path

from sparkray.telemetry import Row, Target
from sparkray.telemetry._base import Base
from sparkray.telemetry._proc import PROC, Tree, read_small
from sparkray.units import KIB, gib

_PSS = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)


def parse_pss(text: str) -> int | None:
    """Bytes of PSS in /proc/PID/smaps_rollup; None when it has none (a kernel thread, a zombie)."""
    match = _PSS.search(text)
    return None if match is None else int(match[1]) * KIB


class Sampler(Base):
    """PSS summed over the tree of the target."""

    name = "pss"
    period_s = 10.0

    def __init__(self, *, proc: Path = PROC) -> None:
        self._proc = proc
        self._tree: Tree | None = None

    def attach(self, target: Target) -> None:
        """Follows the tree of the target's process."""
        self._tree = None if target.pid is None else Tree(target.pid, proc=self._proc)

    def sample(self) -> list[Row]:
        """One row, or none: a sum that lacks a process which may not be read would be too small, so it is not made."""
        stats = [] if self._tree is None else self._tree.read()
        try:
            found = [self._pss(stat.pid) for stat in stats if stat.alive]
        except PermissionError as error:
            self.unavailable = f"PSS of the engine's processes may not be read ({error}); root may"
            return []
        sizes = [size for size in found if size is not None]
        return [{"process_pss_gib": gib(sum(sizes))}] if sizes else []

    def _pss(self, pid: int) -> int | None:
        try:
            return parse_pss(read_small(f"{self._proc}/{pid}/smaps_rollup", 4096))
        except (FileNotFoundError, ProcessLookupError):
            return None
