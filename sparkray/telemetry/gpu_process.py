"""GPU memory of the engine's process tree, and of all other processes. On unified memory NVML reports no other.

The driver lists the processes that compute on a GPU; those outside the tree are foreign. An empty list is unknown, not
zero: inside a PID namespace it is always empty. A list with a process that is not visible here is unknown, too.
"""

import os
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from sparkray.telemetry import Row, Target, Value
from sparkray.telemetry._base import Follower
from sparkray.telemetry._proc import PROC
from sparkray.telemetry.nvml import DeviceSampler, Nvml, ask
from sparkray.units import gib


class Sampler(DeviceSampler):
    """GPU memory of the target's tree and of other processes, seen from the host's PID namespace."""

    name = "gpu_process"
    period_s = 1.0

    def __init__(self, *, nvml: Nvml | None = None, proc: Path = PROC) -> None:
        super().__init__(nvml=nvml)
        self._proc = proc
        self._follower = Follower(proc)
        self._pids: frozenset[int] = frozenset()

    def attach(self, target: Target) -> None:
        """Follow the tree of the target's process."""
        self._follower.follow(target)

    def __exit__(self, *exc: object) -> None:
        """Close NVML and stop following."""
        self._follower.close()
        super().__exit__(*exc)

    def capture(self) -> Sequence[Row]:
        """One row per GPU in use, while the tree exists."""
        tree = self._follower.tree
        if tree is None or not self._handles:
            return []
        self._pids = frozenset(pid for pid, _ in tree.texts())
        return super().capture() if self._pids else []

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The columns of one GPU; null when the tree is not listed."""
        processes = ask(self.nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
        own = [entry.usedGpuMemory for entry in processes if entry.pid in self._pids]
        foreign = {entry.pid: entry.usedGpuMemory for entry in processes if entry.pid not in self._pids}
        visible = bool(processes) and all(os.path.exists(f"{self._proc}/{pid}") for pid in foreign)  # noqa: PTH110 - as cheap as it gets
        return {
            "gpu_process_gib": _total_gib(own, of_none=None),
            "gpu_foreign_gib": _total_gib(foreign.values(), of_none=0.0) if visible else None,
            "gpu_foreign_processes": len(foreign) if visible else None,
        }


def _total_gib(sizes: Collection[int | None], *, of_none: float | None) -> float | None:
    """Sum of the known sizes; null where there are sizes and all are unknown."""
    known = [size for size in sizes if size is not None]
    return gib(sum(known)) if known else None if sizes else of_none
