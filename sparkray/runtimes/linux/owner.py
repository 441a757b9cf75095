"""Who started a process or a container: recorded in both, so that a leftover can be distinguished from what lives.

An owner is the process that runs benchmarks (pid and start time), under one boot. What a dead owner left is a leftover.
"""

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Self

VARIABLE, LABEL = "SPARKRAY_OWNER", "io.sparkray.owner"
PROBE, DOCTOR = "io.sparkray.probe", "doctor"
"""The label of a container that only asks something, and its value where `doctor` asks, which holds no lock."""
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# PROC_PID_INIT_INO of the kernel: the initial PID namespace, which sees every process.
_INITIAL = 0xEFFFFFFC


@dataclass(frozen=True)
class Owner:
    """A process: number, start time in clock ticks since boot, the kernel's id of that boot, inode of its PID namespace."""

    pid: int
    started: int
    boot: str
    namespace: int

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """An owner from its text; None where it is none."""
        with suppress(ValueError):
            boot, namespace, pid, started = text.split("/")
            return cls(int(pid), int(started), boot, int(namespace))
        return None

    @property
    def text(self) -> str:
        """What is recorded."""
        return f"{self.boot}/{self.namespace}/{self.pid}/{self.started}"

    def is_alive(self) -> bool | None:
        """Whether the process still runs; None where this process cannot see it (another PID namespace)."""
        if self.boot != boot_id():
            return False
        if self.namespace == _namespace("self"):
            return process_start(self.pid) == self.started
        return self._is_elsewhere()

    def _is_elsewhere(self) -> bool | None:
        """Whether it runs in another PID namespace: seen from the initial one, where all have a second number."""
        complete = _namespace("self") == _INITIAL
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if _namespace(folder.name) != self.namespace or process_start(int(folder.name)) != self.started:
                    continue
                numbers = next(
                    line for line in (folder / "status").read_text().splitlines() if line.startswith("NSpid")
                )
            except PermissionError:
                complete = False
            except (OSError, StopIteration):
                continue
            else:
                if int(numbers.split()[-1]) == self.pid:
                    return True
        return False if complete else None


def this_process() -> Owner:
    """The owner of what this process starts."""
    # by its own link: /proc may be that of another PID namespace, where the number is somebody else's
    return Owner(os.getpid(), process_start("self"), boot_id(), _namespace("self"))


def process_start(pid: int | str) -> int:
    """Start time of a process in clock ticks since boot; 0 when it does not exist, or has ended as a zombie."""
    with suppress(OSError, IndexError, ValueError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return 0 if fields[0] in "ZX" else int(fields[19])
    return 0


@cache
def boot_id() -> str:
    """The kernel's id of this boot; empty where it has none."""
    return _BOOT_ID.read_text().strip() if _BOOT_ID.is_file() else ""


def _namespace(pid: str) -> int:
    """Inode of a process's PID namespace. Raises OSError."""
    return Path(f"/proc/{pid}/ns/pid").stat().st_ino
