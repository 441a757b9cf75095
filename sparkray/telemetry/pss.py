"""PSS of the engine's process tree: exact and expensive.

The kernel walks every page table, 11 to 18 ms per GiB, and stalls the process meanwhile. So it is sampled rarely, and
alike in every arm.
"""

import re

from sparkray.telemetry import Row
from sparkray.telemetry._base import TreeSampler
from sparkray.telemetry._proc import read_small
from sparkray.units import KIB, gib

_PSS = re.compile(r"^Pss: +(\d+) kB$", re.MULTILINE)


def parse_pss(text: str) -> int | None:
    """Bytes of PSS in /proc/PID/smaps_rollup; None for a kernel thread or a zombie."""
    match = _PSS.search(text)
    return None if match is None else int(match[1]) * KIB


class Sampler(TreeSampler):
    """PSS summed over the tree of the target."""

    name = "pss"
    period_s = 10.0

    def capture(self) -> list[Row]:
        """One row; none when a process of the tree is unreadable, since the sum would be too small."""
        try:
            each = [self._pss(stat.pid) for stat in self.follower.read() if stat.alive]
        except PermissionError as error:
            self.unavailable = f"PSS of the engine's processes may not be read ({error}); root may"
            return []
        sizes = [size for size in each if size is not None]
        return [{"process_pss_gib": gib(sum(sizes))}] if sizes else []

    def _pss(self, pid: int) -> int | None:
        try:
            return parse_pss(read_small(f"{self.follower.proc}/{pid}/smaps_rollup", 4096))
        except (FileNotFoundError, ProcessLookupError):
            return None
