"""Ends a run before the host wedges: on unified memory nothing else does.

A GB10 that runs out of memory is not rescued by the kernel's OOM killer, since CUDA memory belongs to no process that it
could kill; the host hangs until its power is cut. So MemAvailable is watched, and the run is ended at a floor.
"""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

from sparkray.telemetry.host import memory_row, parse_meminfo

MEMINFO = Path("/proc/meminfo")
PERIOD_S = 0.5
_PATIENCE_S = 30.0


class Watchdog:
    """Watches MemAvailable from enter to exit.

    Attributes:
        reason: Why it tripped, in words with values; None as long as it has not.
    """

    def __init__(
        self, floor_gib: float, trip: Callable[[str], None], *, meminfo: Path = MEMINFO, period_s: float = PERIOD_S
    ) -> None:
        """Nothing happens before enter.

        Args:
            floor_gib: MemAvailable in GiB below which `trip` is called, once; 0 watches nothing.
            trip: Called on the watching thread with the reason.
            meminfo: A file as /proc/meminfo is; one without MemAvailable never trips.
            period_s: Seconds between readings.
        """
        self._floor_gib, self._trip, self._meminfo, self._period_s = floor_gib, trip, meminfo, period_s
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self.reason: str | None = None

    def __enter__(self) -> Self:
        """Starts watching; the first reading is at once."""
        if self._floor_gib > 0:
            self._thread = threading.Thread(target=self._watch, name="sparkray-watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        """Ends watching; a trip that is under way is let finish."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(_PATIENCE_S)

    def _watch(self) -> None:
        while True:
            available = memory_row(parse_meminfo(self._meminfo.read_text()))["mem_available_gib"]
            if available is not None and available < self._floor_gib:
                self.reason = f"MemAvailable fell to {available:.2f} GiB, below the floor of {self._floor_gib:g}"
                self._trip(self.reason)
                return
            if self._over.wait(self._period_s):
                return
