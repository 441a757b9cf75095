"""Whole host, sampled rarely: counters since boot, of which only differences mean something.

Pressure stall information (PSI, Documentation/accounting/psi.rst of the kernel) is recorded as totals: its averages
still include the run before. `full` is undefined for the CPUs of a whole machine. Swap and disk traffic are those of
the whole machine.
"""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Self

from sparkray.telemetry import Row
from sparkray.telemetry._base import FileSampler
from sparkray.telemetry._proc import PROC, OpenFile
from sparkray.telemetry.cores import SYS
from sparkray.units import gib

_US_PER_S = 1_000_000
# Of /proc/diskstats, whatever the disk's own are (Documentation/admin-guide/iostats.rst).
_SECTOR_BYTES = 512
_PSI = re.compile(r"^(some|full) .*\btotal=(\d+)$", re.MULTILINE)
_VMSTAT = re.compile(r"^(pgfault|pgmajfault|pswpin|pswpout) (\d+)$", re.MULTILINE)
_PRESSURES = ("cpu", "memory", "io")
_STALLS = (("cpu", "some"), ("memory", "some"), ("memory", "full"), ("io", "some"), ("io", "full"))


def parse_psi(text: str) -> dict[str, float]:
    """Seconds since boot by `some` and `full`, from a file of /proc/pressure."""
    return {kind: int(total) / _US_PER_S for kind, total in _PSI.findall(text)}


def parse_vmstat(text: str) -> dict[str, int]:
    """The counters of /proc/vmstat that `paging_row` uses."""
    return {name: int(value) for name, value in _VMSTAT.findall(text)}


def paging_row(counters: dict[str, int], page_bytes: int) -> dict[str, float | int | None]:
    """Page faults, and swap in GiB, from the counters of `parse_vmstat`. What the kernel lacks is None."""

    def size(name: str) -> float | None:
        return gib(counters[name] * page_bytes) if name in counters else None

    return {
        "page_faults": counters.get("pgfault"),
        "page_faults_major": counters.get("pgmajfault"),
        "swap_in_gib": size("pswpin"),
        "swap_out_gib": size("pswpout"),
    }


def disk_row(text: str, disks: frozenset[str]) -> dict[str, float | None]:
    """Disk traffic, GiB, from /proc/diskstats; None without a disk.

    Args:
        text: Of the file.
        disks: Names of whole disks; partitions, stacked devices and RAM disks would be counted twice or wrongly.
    """
    lines = [fields for line in text.splitlines() if len(fields := line.split()) > 9 and fields[2] in disks]  # noqa: PLR2004
    if not lines:
        return {"disk_read_gib": None, "disk_written_gib": None}
    return {
        "disk_read_gib": gib(sum(int(fields[5]) for fields in lines) * _SECTOR_BYTES),
        "disk_written_gib": gib(sum(int(fields[9]) for fields in lines) * _SECTOR_BYTES),
    }


def whole_disks(sys: Path = SYS) -> frozenset[str]:
    """Block devices backed by hardware: no loops, RAM disks, volumes or arrays."""
    return frozenset(path.parent.name for path in (sys / "block").glob("*/device"))


class Sampler(FileSampler):
    """Pressure, page faults, swap and disk traffic of the whole machine."""

    name = "host_slow"
    period_s = 1.0

    def __init__(self, *, proc: Path = PROC, sys: Path = SYS) -> None:
        super().__init__()
        self._proc, self._sys = proc, sys
        self._disks: frozenset[str] = frozenset()
        self._page_bytes = os.sysconf("SC_PAGE_SIZE")

    def __enter__(self) -> Self:
        """Open the files that exist: a kernel may be built or booted without PSI."""
        self._disks = whole_disks(self._sys)
        for name in ("vmstat", "diskstats", *(f"pressure/{name}" for name in _PRESSURES)):
            with suppress(OSError):
                self._files[name] = OpenFile(self._proc / name)
        return self

    def capture(self) -> dict[str, bytes] | None:
        """Contents by file name, without unreadable ones (PSI switched off)."""
        captured = {}
        for name, file in self._files.items():
            with suppress(OSError):
                captured[name] = file.raw()
        return captured or None

    def rows(self, captured: dict[str, bytes]) -> list[Row]:
        """One row."""
        texts = {name: text.decode() for name, text in captured.items()}
        stalls = {name: parse_psi(texts.get(f"pressure/{name}", "")) for name in _PRESSURES}
        return [
            {
                **paging_row(parse_vmstat(texts.get("vmstat", "")), self._page_bytes),
                **disk_row(texts.get("diskstats", ""), self._disks),
                **{f"psi_{name}_{kind}_s": stalls[name].get(kind) for name, kind in _STALLS},
            }
        ]
