"""Busy time and frequency of each CPU, and context switches of the machine.

The kernel counts busy time in ticks, 100 per second, so a share over one second is accurate to 1 %.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from sparkray.telemetry import Row
from sparkray.telemetry._base import Base
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


def parse_cpus(text: str) -> list[int]:
    """CPU numbers as cpufreq lists them: `0 1 2`."""
    return [int(word) for word in text.split()]


class _Policy:
    """A cpufreq policy: CPUs that share one clock."""

    def __init__(self, folder: Path) -> None:
        """Open its files.

        Raises:
            OSError: It reports no frequency.
        """
        self.cpus = parse_cpus((folder / "related_cpus").read_text())
        self.file = OpenFile(folder / "scaling_cur_freq")

    def capture(self) -> bytes:
        try:
            return self.file.raw(64)
        except OSError:  # all of its CPUs are offline
            return b""


class Sampler(Base):
    """Busy time and frequency of every CPU, and context switches."""

    name = "cores"
    period_s = 1.0

    def __init__(self, *, proc: Path = PROC, sys: Path = SYS) -> None:
        self._proc, self._sys = proc, sys
        self._stat: OpenFile | None = None
        self._policies: list[_Policy] = []
        self._open = ExitStack()
        self._before: dict[int, CpuTime] = {}

    def __enter__(self) -> Self:
        """Open /proc/stat, and cpufreq where present (a virtual machine has none)."""
        self._before = {}
        self._stat = OpenFile(self._proc / "stat")
        self._open.callback(self._stat.close)
        for folder in sorted((self._sys / "devices/system/cpu/cpufreq").glob("policy*")):
            try:
                policy = _Policy(folder)
            except (OSError, ValueError):
                continue
            self._open.callback(policy.file.close)
            self._policies.append(policy)
        return self

    def __exit__(self, *exc: object) -> None:
        """Close them."""
        self._stat, self._policies = None, []
        self._open.close()

    def capture(self) -> tuple[bytes, list[bytes]] | None:
        """/proc/stat, and the frequency of each policy."""
        return None if self._stat is None else (self._stat.raw(), [policy.capture() for policy in self._policies])

    def rows(self, captured: tuple[bytes, Sequence[bytes]]) -> list[Row]:
        """One row. Busy times are null in the first, since they are differences."""
        text = captured[0].decode()
        now, before = parse_cores(text), self._before
        self._before = now
        switches = _SWITCHES.search(text)
        frequencies = zip(self._policies, captured[1], strict=True)
        mhz = {cpu: int(khz) / _KHZ_PER_MHZ for policy, khz in frequencies if khz for cpu in policy.cpus}
        return [
            {
                "core_busy_pct": by_number({n: busy_pct(before[n], now[n]) if n in before else None for n in now}),
                "core_freq_mhz": by_number(mhz),
                "context_switches": int(switches[1]) if switches else None,
            }
        ]
