"""GPU state from NVML; each query fails independently: a value that cannot be read is None, with the reason.

Without the NVML library the machine has no NVIDIA driver. If NVML exists but fails, the GPUs are unknown.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import pynvml

from sparkray.telemetry.nvml import FAULTS, Nvml, ask, fault_text
from sparkray.units import gib

P = ParamSpec("P")
T = TypeVar("T")

_CONTROL_DEVICE = "dev/nvidiactl"
_ELSE = "Cause unknown: `nvidia-smi` and `dmesg | grep -i -e nvrm -e xid` may show it"
_REMEDIES = {
    pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "Kernel driver and libraries differ in version, after an update: reboot",
    pynvml.NVML_ERROR_DRIVER_NOT_LOADED: "sudo modprobe nvidia; where that fails, `dmesg | grep -i nvrm` shows why",
    pynvml.NVML_ERROR_NO_PERMISSION: "Let this user open the GPU's device files: ls -l /dev/nvidia*",
}


@dataclass(frozen=True)
class Gpu:
    """Current state of one GPU; unknown values are None. Memory in GiB; `reasons` is the clock event bit mask.

    `processes` are pid and memory of each compute process: empty when NVML lists none, None when listing failed.
    `faults` are the failed queries that a healthy GPU answers; `unusable`: it must be reset first.
    """

    uuid: str
    name: str
    temp_c: float | None
    sm_clock_mhz: float | None
    util_pct: float | None
    reasons: int | None
    memory_gib: float | None
    processes: tuple[tuple[int, float | None], ...] | None = ()
    faults: tuple[str, ...] = ()
    unusable: bool = False


@dataclass(frozen=True)
class Gpus:
    """What NVML reported. `unavailable`: why there are no devices.

    `problem`: why GPUs are unknown (NVML fails, for all or some of them). `remedy`: what to do about it.
    """

    devices: tuple[Gpu, ...] = ()
    driver: str | None = None
    unavailable: str | None = None
    problem: str | None = None
    remedy: str = ""


class _Asking:
    """Queries one GPU and collects failures."""

    def __init__(self) -> None:
        self.failed: dict[str, list[str]] = {}
        self.unusable = False

    def __call__(self, what: str, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return ask(call, *args, **kwargs)
        except FAULTS as error:
            self.failed.setdefault(fault_text(error), []).append(what)
            code = error.value if isinstance(error, pynvml.NVMLError) else None
            self.unusable |= code in (pynvml.NVML_ERROR_GPU_IS_LOST, pynvml.NVML_ERROR_RESET_REQUIRED)
            return None

    def faults(self) -> tuple[str, ...]:
        return tuple(f"{', '.join(asked)}: {why}" for why, asked in self.failed.items())


def read_gpus(nvml: Nvml | None = None, *, root: Path = Path("/")) -> Gpus:
    """Current state of every GPU that NVML sees. Raises nothing.

    Args:
        nvml: Replaces NVML.
        root: Parent of /dev.
    """
    library = pynvml if nvml is None else nvml
    try:
        library.nvmlInit()
    except FAULTS as error:
        return _without(error, root)
    try:
        return _read(library)
    finally:
        with suppress(*FAULTS):
            library.nvmlShutdown()


def _without(error: Exception, root: Path) -> Gpus:
    """NVML cannot be opened: it is missing, or it fails."""
    text = fault_text(error)
    if not isinstance(error, pynvml.NVMLError) or error.value != pynvml.NVML_ERROR_LIBRARY_NOT_FOUND:
        return Gpus(unavailable=text, problem=text, remedy=_remedy(error))
    if not (root / _CONTROL_DEVICE).exists():
        return Gpus(unavailable=text)
    problem = f"/{_CONTROL_DEVICE} exists, but libnvidia-ml.so.1 cannot be loaded"
    remedy = "Install the driver's libraries so that `ldconfig -p | grep nvidia-ml` lists them"
    return Gpus(unavailable=problem, problem=problem, remedy=remedy)


def _read(nvml: Nvml) -> Gpus:
    version: str | None = None
    with suppress(*FAULTS):
        version = nvml.nvmlSystemGetDriverVersion() or None
    try:
        count = nvml.nvmlDeviceGetCount()
    except FAULTS as error:
        text = fault_text(error)
        return Gpus((), version, text, text, _remedy(error))
    devices: list[Gpu] = []
    problems: dict[str, str] = {}
    refused = 0
    for index in range(count):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except FAULTS as error:
            if isinstance(error, pynvml.NVMLError) and error.value == pynvml.NVML_ERROR_NO_PERMISSION:
                refused += 1  # of another user of this host
            else:
                problems[f"GPU {index}: {fault_text(error)}"] = _remedy(error)
            continue
        try:
            devices.append(_gpu(nvml, handle))
        except FAULTS as error:
            problems[f"GPU {index}: {fault_text(error)}"] = _remedy(error)
    if refused and not devices:
        problems[f"this user may use none of {count} GPUs"] = _REMEDIES[pynvml.NVML_ERROR_NO_PERMISSION]
    problem = "; ".join(problems) or None
    unavailable = None if devices else problem or "NVML sees no GPU"
    return Gpus(tuple(devices), version, unavailable, problem, "; ".join(dict.fromkeys(problems.values())))


def _remedy(error: Exception) -> str:
    return _REMEDIES.get(error.value, _ELSE) if isinstance(error, pynvml.NVMLError) else _ELSE


def _gpu(nvml: Nvml, handle: Any) -> Gpu:  # noqa: ANN401 - an opaque pointer
    """One GPU. Raises one of `FAULTS` when UUID or name are unavailable."""
    uuid, name = nvml.nvmlDeviceGetUUID(handle), nvml.nvmlDeviceGetName(handle)
    asking = _Asking()
    load = asking("load", nvml.nvmlDeviceGetUtilizationRates, handle)
    memory = asking("memory", nvml.nvmlDeviceGetMemoryInfo, handle)
    reasons = asking("throttling", nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    if reasons is None:
        reasons = asking("throttling", nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
    listed = asking("processes", nvml.nvmlDeviceGetComputeRunningProcesses, handle)
    return Gpu(
        uuid=uuid,
        name=name,
        temp_c=asking("temperature", nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        sm_clock_mhz=asking("SM clock", nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        util_pct=None if load is None else load.gpu,
        reasons=reasons,
        memory_gib=None if memory is None else gib(memory.total),
        processes=None
        if listed is None
        else tuple((p.pid, None if p.usedGpuMemory is None else gib(p.usedGpuMemory)) for p in listed),
        faults=asking.faults(),
        unusable=asking.unusable,
    )
