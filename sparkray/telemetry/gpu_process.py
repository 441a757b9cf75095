"""GPU memory of the engine's process tree. On unified memory it is the only GPU memory that NVML tells."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sparkray.telemetry import Row, Target, Value
from sparkray.telemetry._base import Follower
from sparkray.telemetry._proc import PROC
from sparkray.telemetry.nvml import DeviceSampler, Nvml, ask
from sparkray.units import gib


class Sampler(DeviceSampler):
    """Memory that the target's tree holds on every GPU, seen from the host's PID namespace."""

    name = "gpu_process"
    period_s = 1.0

    def __init__(self, *, nvml: Nvml | None = None, proc: Path = PROC) -> None:
        super().__init__(nvml=nvml)
        self._follower = Follower(proc)
        self._pids: frozenset[int] = frozenset()

    def attach(self, target: Target) -> None:
        """Follows the tree of the target's process."""
        self._follower.turn(target)

    def __exit__(self, *exc: object) -> None:
        """Closes NVML and follows nothing from then on."""
        self._follower.close()
        super().__exit__(*exc)

    def look(self) -> Sequence[Row]:
        """One row a GPU that the tree uses; none for the others."""
        tree = self._follower.tree
        if tree is None or not self._handles:
            return []
        self._pids = frozenset(pid for pid, _ in tree.texts())
        return super().look() if self._pids else []

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The column of one GPU. A tree that is not listed is null: in a PID namespace NVML lists nobody."""
        listed = ask(self.nvml.nvmlDeviceGetComputeRunningProcesses, handle) or []
        sizes = [entry.usedGpuMemory for entry in listed if entry.pid in self._pids]
        known = [size for size in sizes if size is not None]
        return {"gpu_process_gib": gib(sum(known)) if known else None}
