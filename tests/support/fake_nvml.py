"""Simulated NVML: GPUs with configurable values, unsupported queries and faults. It needs no driver."""

# ruff: noqa: N802 (the names are NVML's)

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pynvml

from sparkray.units import GIB

MEMORY_INFO, MEMORY_CLOCK, SM_CLOCK, POWER_LIMIT = "memory_info", "memory_clock", "sm_clock", "power_limit"
UTILIZATION, TEMPERATURE, POWER, ENERGY = "utilization", "temperature", "power", "energy"
EVENT_REASONS, THROTTLE_REASONS, PROCESSES = "event_reasons", "throttle_reasons", "processes"
ECC, EVENTS, HANDLE = "ecc", "events", "handle"


@dataclass
class FakeDevice:
    """One GPU. Change it between samples; `errors` maps a query (the constants above) to an NVML error code.

    `lost` makes every query but the handle's fail as for a GPU that fell off the bus. `xids` are codes of events not
    yet read.
    """

    uuid: str
    name: str
    gpu_pct: int = 0
    memory_pct: int = 0
    temp_c: int = 40
    power_mw: int = 10_000
    instant_power_mw: int | None = None
    power_limit_mw: int = 100_000
    energy_mj: int = 0
    sm_mhz: int = 2000
    memory_mhz: int = 2000
    reasons: int = 0
    total_bytes: int = 80 * GIB
    used_bytes: int = 0
    ecc_corrected: int = 0
    ecc_uncorrected: int = 0
    xids: list[int] = field(default_factory=list)
    processes: Mapping[int, int | None] = field(default_factory=dict)
    errors: dict[str, int] = field(default_factory=dict)
    lost: bool = False


def gb10(**changes: Any) -> FakeDevice:
    """The GPU of a DGX Spark: unified memory, so no memory info, memory clock, power limit or ECC."""
    absent = dict.fromkeys((MEMORY_INFO, MEMORY_CLOCK, POWER_LIMIT, ECC), pynvml.NVML_ERROR_NOT_SUPPORTED)
    values = {"uuid": "GPU-00000000-0000-0000-0000-000000000010", "sm_mhz": 2418, "errors": absent}
    return FakeDevice(**{"name": "NVIDIA GB10", **values, **changes})


def h100(**changes: Any) -> FakeDevice:
    """A discrete GPU that supports every query."""
    values = {"power_limit_mw": 700_000, "sm_mhz": 1980, "memory_mhz": 2619, "memory_pct": 3}
    uuid = "GPU-00000000-0000-0000-0000-000000000100"
    return FakeDevice(**{"uuid": uuid, "name": "NVIDIA H100 80GB HBM3", **values, **changes})


class FakeNvml:
    """The functions of pynvml that sparkray uses. `init_error` makes opening fail: no library, no driver."""

    def __init__(self, devices: Sequence[FakeDevice] = (), *, init_error: int | None = None) -> None:
        self.devices = list(devices)
        self.init_error = init_error
        self.opened = 0
        self.watched: list[list[FakeDevice]] = []

    def _answering(self, handle: FakeDevice, question: str) -> FakeDevice:
        """The device, or the NVML error of this query."""
        if self.opened < 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        if handle.lost:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_GPU_IS_LOST)
        if question in handle.errors:
            raise pynvml.NVMLError(handle.errors[question])
        return handle

    def nvmlInit(self) -> None:
        if self.init_error is not None:
            raise pynvml.NVMLError(self.init_error)
        self.opened += 1

    def nvmlShutdown(self) -> None:
        if self.opened < 1:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_UNINITIALIZED)
        self.opened -= 1

    def nvmlSystemGetDriverVersion(self) -> str:
        return "580.95.05"

    def nvmlDeviceGetCount(self) -> int:
        return len(self.devices)

    def nvmlDeviceGetHandleByIndex(self, index: int) -> FakeDevice:
        device = self.devices[index]
        if HANDLE in device.errors:
            raise pynvml.NVMLError(device.errors[HANDLE])
        return device

    def nvmlDeviceGetUUID(self, handle: FakeDevice) -> str:
        return self._answering(handle, "uuid").uuid

    def nvmlDeviceGetName(self, handle: FakeDevice) -> str:
        return self._answering(handle, "name").name

    def nvmlDeviceGetUtilizationRates(self, handle: FakeDevice) -> SimpleNamespace:
        device = self._answering(handle, UTILIZATION)
        return SimpleNamespace(gpu=device.gpu_pct, memory=device.memory_pct)

    def nvmlDeviceGetTemperature(self, handle: FakeDevice, sensor: int) -> int:
        if sensor != pynvml.NVML_TEMPERATURE_GPU:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        return self._answering(handle, TEMPERATURE).temp_c

    def nvmlDeviceGetPowerUsage(self, handle: FakeDevice) -> int:
        return self._answering(handle, POWER).power_mw

    def nvmlDeviceGetFieldValues(self, handle: FakeDevice, fields: list[int]) -> list[SimpleNamespace]:
        device = self._answering(handle, POWER)
        known = device.instant_power_mw if fields == [pynvml.NVML_FI_DEV_POWER_INSTANT] else None
        code = pynvml.NVML_ERROR_NOT_SUPPORTED if known is None else pynvml.NVML_SUCCESS
        return [SimpleNamespace(nvmlReturn=code, value=SimpleNamespace(uiVal=known or 0))]

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: FakeDevice) -> int:
        return self._answering(handle, POWER_LIMIT).power_limit_mw

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: FakeDevice) -> int:
        return self._answering(handle, ENERGY).energy_mj

    def nvmlDeviceGetClockInfo(self, handle: FakeDevice, clock: int) -> int:
        if clock == pynvml.NVML_CLOCK_SM:
            return self._answering(handle, SM_CLOCK).sm_mhz
        if clock == pynvml.NVML_CLOCK_MEM:
            return self._answering(handle, MEMORY_CLOCK).memory_mhz
        raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: FakeDevice) -> int:
        return self._answering(handle, EVENT_REASONS).reasons

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: FakeDevice) -> int:
        return self._answering(handle, THROTTLE_REASONS).reasons

    def nvmlDeviceGetMemoryInfo(self, handle: FakeDevice) -> SimpleNamespace:
        device = self._answering(handle, MEMORY_INFO)
        free = device.total_bytes - device.used_bytes
        return SimpleNamespace(total=device.total_bytes, free=free, used=device.used_bytes)

    def nvmlDeviceGetComputeRunningProcesses(self, handle: FakeDevice) -> list[SimpleNamespace]:
        held = self._answering(handle, PROCESSES).processes
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in held.items()]

    def nvmlDeviceGetTotalEccErrors(self, handle: FakeDevice, kind: int, counter: int) -> int:
        device = self._answering(handle, ECC)
        if counter != pynvml.NVML_VOLATILE_ECC:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        corrected = kind == pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED
        return device.ecc_corrected if corrected else device.ecc_uncorrected

    def nvmlEventSetCreate(self) -> list[FakeDevice]:
        self.watched.append([])
        return self.watched[-1]

    def nvmlDeviceRegisterEvents(self, handle: FakeDevice, types: int, events: list[FakeDevice]) -> None:
        if types != pynvml.nvmlEventTypeXidCriticalError:
            raise pynvml.NVMLError(pynvml.NVML_ERROR_INVALID_ARGUMENT)
        events.append(self._answering(handle, EVENTS))

    def nvmlEventSetWait(self, events: list[FakeDevice], timeout_ms: int) -> SimpleNamespace:
        device = next((device for device in events if device.xids), None)
        if device is None:
            code = pynvml.NVML_ERROR_TIMEOUT if timeout_ms == 0 else pynvml.NVML_ERROR_INVALID_ARGUMENT
            raise pynvml.NVMLError(code)
        return SimpleNamespace(device=device, eventData=device.xids.pop(0))

    def nvmlEventSetFree(self, events: list[FakeDevice]) -> None:
        self.watched = [watched for watched in self.watched if watched is not events]
