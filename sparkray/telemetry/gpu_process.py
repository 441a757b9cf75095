"""GPU memory of the engine's process tree, and of everybody else. On unified memory NVML tells no other.

The driver lists the processes that compute on a GPU. What is not of the tree is foreign; the list is asked for anyhow, so
that costs a few lookups in /proc. A list that names nobody says nothing, since in a PID namespace it names nobody ever;
neither does one of processes that are not to be seen here.
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
    """Memory that the target's tree holds on every GPU, and that others hold, seen from the host's PID namespace."""

    name = "gpu_process"
    period_s = 1.0

    def __init__(self, *, nvml: Nvml | None = None, proc: Path = PROC) -> None:
        super().__init__(nvml=nvml)
        self._proc = proc
        self._follower = Follower(proc)
        self._pids: frozenset[int] = frozenset()

    def attach(self, target: Target) -> None:
        """Follows the tree of the target's process."""
        self._follower.follow(target)

    def __exit__(self, *exc: object) -> None:
        """Closes NVML and follows nothing from then on."""
        self._follower.close()
        super().__exit__(*exc)

    def capture(self) -> Sequence[Row]:
        """One row a GPU that anybody uses, as long as there is a tree."""
        tree = self._follower.tree
        if tree is None or not self._handles:
            return []
        self._pids = frozenset(pid for pid, _ in tree.texts())
        return super().capture() if self._pids else []

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The columns of one GPU. A tree that is not listed is null."""
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
    """The sum of those that are told; null where there are some and none is."""
    known = [size for size in sizes if size is not None]
    return gib(sum(known)) if known else None if sizes else of_none
