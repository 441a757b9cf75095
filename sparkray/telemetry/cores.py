"""Busy time and frequency of each CPU, and context switches of the machine.

The kernel counts busy time in ticks, 100 per second, so a share over one second is accurate to 1 %.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

from sparkray.telemetry import Row
from sparkray.telemetry._base import FileSampler
from sparkray.telemetry._proc import PROC, OpenFile
from sparkray.telemetry.host import CpuTime, busy_pct, cpu_time

SYS = Path("/sys")
_CORE = re.compile(r"^cpu(\d+) ([\d ]+)$", re.MULTILINE)
_SWITCHES = re.compile(r"^ctxt (\d+)$", re.MULTILINE)
_KHZ_PER_MHZ = 1000


def parse_cores(text: str) -> dict[int, CpuTime]:
    """Clock ticks since boot of each online CPU, by number, from /proc/stat (proc_stat(5))."""
    return {int(number): cpu_time(fields) for number, fields in _CORE.findall(text)}


def by_number(values: Mapping[int, float | None]) -> list[int | None] | None:
    """Values by CPU number, rounded, null for missing numbers; None when no CPU has a value."""
    known = {number: value for number, value in values.items() if value is not None}
    if not known:
        return None
    return [round(known[number]) if number in known else None for number in range(max(values) + 1)]


class Sampler(FileSampler):
    """Busy time and frequency of every CPU, and context switches."""

    name = "cores"
    period_s = 1.0

    def __init__(self, *, proc: Path = PROC, sys: Path = SYS) -> None:
        super().__init__()
        self._proc, self._sys = proc, sys
        self._before: dict[int, CpuTime] = {}

    def __enter__(self) -> Self:
        """Open /proc/stat and the frequency of each cpufreq policy, which are CPUs that share one clock."""
        self._before = {}
        self._files["stat"] = OpenFile(self._proc / "stat")
        for folder in sorted((self._sys / "devices/system/cpu/cpufreq").glob("policy*")):
            with suppress(OSError, ValueError):  # it reports no frequency
                cpus = tuple(map(int, (folder / "related_cpus").read_text().split()))
                self._files[cpus] = OpenFile(folder / "scaling_cur_freq")
        return self

    def capture(self) -> tuple[bytes, list[tuple[tuple[int, ...], bytes]]] | None:
        """/proc/stat, and CPUs and frequency of each policy with a CPU online."""
        if not self._files:
            return None
        policies = []
        for cpus, file in self._files.items():
            with suppress(OSError):  # all of its CPUs are offline
                policies += [(cpus, file.raw(64))] if cpus != "stat" else []
        return self._files["stat"].raw(), policies

    def rows(self, captured: tuple[bytes, Sequence[tuple[Sequence[int], bytes]]]) -> list[Row]:
        """One row. Busy times are null in the first, since they are differences."""
        text = captured[0].decode()
        now, before = parse_cores(text), self._before
        self._before = now
        switches = _SWITCHES.search(text)
        mhz = {cpu: int(khz) / _KHZ_PER_MHZ for cpus, khz in captured[1] if khz for cpu in cpus}
        return [
            {
                "core_busy_pct": by_number({n: busy_pct(before[n], now[n]) if n in before else None for n in now}),
                "core_freq_mhz": by_number(mhz),
                "context_switches": int(switches[1]) if switches else None,
            }
        ]
