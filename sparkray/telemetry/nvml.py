"""NVML for the samplers: the functions of `pynvml` in use, and the base class of GPU samplers.

`Nvml` uses pynvml's own names, so pynvml itself implements it and no untested layer lies between sampler and driver;
`_fake_nvml.FakeNvml` replaces it where there is no GPU. Both raise `FAULTS`.
"""

# ruff: noqa: N802 (the names are NVML's)

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, Protocol, Self, TypeVar, cast

import pynvml

from sparkray.telemetry import Row, Value
from sparkray.telemetry._base import Base

P = ParamSpec("P")
T = TypeVar("T")

FAULTS = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError, UnicodeDecodeError)
"""Errors of pynvml calls. The second is not an NVMLError: the driver is older than the call. The third: a name is not
text."""
ABSENT = frozenset(
    {
        pynvml.NVML_ERROR_NOT_SUPPORTED,
        pynvml.NVML_ERROR_NO_PERMISSION,
        pynvml.NVML_ERROR_NOT_FOUND,
        pynvml.NVML_ERROR_INSUFFICIENT_SIZE,  # the list of processes grew between two calls
        pynvml.NVML_ERROR_TIMEOUT,
        pynvml.NVML_ERROR_FUNCTION_NOT_FOUND,
        pynvml.NVML_ERROR_IN_USE,
        pynvml.NVML_ERROR_NO_DATA,
        pynvml.NVML_ERROR_VGPU_ECC_NOT_SUPPORTED,
        pynvml.NVML_ERROR_ARGUMENT_VERSION_MISMATCH,
        pynvml.NVML_ERROR_DEPRECATED,
        pynvml.NVML_ERROR_NOT_READY,
    }
)
"""Errors that mean "no answer, or none now": null. All others are faults of the device or the driver."""


class Nvml(Protocol):
    """The part of pynvml in use. A handle is whatever `nvmlDeviceGetHandleByIndex` returned."""

    def nvmlInit(self) -> None:
        """Reference-counted, like nvmlShutdown: samplers need not know of one another."""

    def nvmlShutdown(self) -> None:
        """Undo one nvmlInit."""

    def nvmlSystemGetDriverVersion(self) -> str:
        """Such as `580.95.05`."""
        ...

    def nvmlDeviceGetCount(self) -> int:
        """Number of visible GPUs."""
        ...

    def nvmlDeviceGetHandleByIndex(self, index: int, /) -> Any:  # noqa: ANN401 - an opaque pointer
        """One GPU."""
        ...

    def nvmlDeviceGetUUID(self, handle: Any, /) -> str:  # noqa: ANN401
        """Such as `GPU-7c6a...`."""
        ...

    def nvmlDeviceGetName(self, handle: Any, /) -> str:  # noqa: ANN401
        """Such as `NVIDIA GB10`."""
        ...

    def nvmlDeviceGetUtilizationRates(self, handle: Any, /) -> Any:  # noqa: ANN401
        """`gpu` and `memory`, per cent of time."""
        ...

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: int, /) -> int:  # noqa: ANN401
        """Degrees Celsius."""
        ...

    def nvmlDeviceGetPowerUsage(self, handle: Any, /) -> int:  # noqa: ANN401
        """Milliwatts."""
        ...

    def nvmlDeviceGetEnforcedPowerLimit(self, handle: Any, /) -> int:  # noqa: ANN401
        """Milliwatts."""
        ...

    def nvmlDeviceGetTotalEnergyConsumption(self, handle: Any, /) -> int:  # noqa: ANN401
        """Millijoules since the driver was loaded."""
        ...

    def nvmlDeviceGetClockInfo(self, handle: Any, clock: int, /) -> int:  # noqa: ANN401
        """MHz."""
        ...

    def nvmlDeviceGetCurrentClocksEventReasons(self, handle: Any, /) -> int:  # noqa: ANN401
        """Bit mask of the reasons that limit the clocks."""
        ...

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, handle: Any, /) -> int:  # noqa: ANN401
        """The same under the name that drivers before 535 use."""
        ...

    def nvmlDeviceGetMemoryInfo(self, handle: Any, /) -> Any:  # noqa: ANN401
        """`total`, `free`, `used`, bytes."""
        ...

    def nvmlDeviceGetComputeRunningProcesses(self, handle: Any, /) -> Sequence[Any]:  # noqa: ANN401
        """`pid` and `usedGpuMemory` (bytes or None) of each."""
        ...

    def nvmlDeviceGetTotalEccErrors(self, handle: Any, kind: int, counter: int, /) -> int:  # noqa: ANN401
        """Errors of a kind (NVML_MEMORY_ERROR_TYPE_*) by a counter (NVML_VOLATILE_ECC: since the driver was loaded)."""
        ...

    def nvmlEventSetCreate(self) -> Any:  # noqa: ANN401 - an opaque pointer
        """An empty event set."""
        ...

    def nvmlDeviceRegisterEvents(self, handle: Any, types: int, events: Any, /) -> None:  # noqa: ANN401
        """Add a GPU's events of some types (a bit mask) to a set."""

    def nvmlEventSetWait(self, events: Any, timeout_ms: int, /) -> Any:  # noqa: ANN401
        """The next event, `device` and `eventData` (of an Xid event its code); NVML_ERROR_TIMEOUT when none came."""
        ...

    def nvmlEventSetFree(self, events: Any, /) -> None:  # noqa: ANN401
        """Free a set."""


def ask(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
    """NVML's answer, or None where this device, driver or user has none.

    Raises:
        pynvml.NVMLError: A fault, for example a lost GPU.
    """
    try:
        return call(*args, **kwargs)
    except FAULTS as error:
        if is_absent(error):
            return None
        raise


def is_absent(error: Exception) -> bool:
    """Whether an NVML error means "no answer available" rather than a fault."""
    return not isinstance(error, pynvml.NVMLError) or error.value in ABSENT


def fault_text(error: Exception) -> str:
    """NVML's error message with its number."""
    number = f" (error {error.value})" if isinstance(error, pynvml.NVMLError) else ""
    return f"NVML: {str(error).rstrip('.')}{number}"


def own_handles(nvml: Nvml) -> list[Any]:
    """GPUs that this user may use; those of other users on a shared host (No Permission) are left out.

    Raises:
        pynvml.NVMLError: One cannot be opened, or all belong to others.
    """
    handles: list[Any] = []
    refused: pynvml.NVMLError | None = None
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handles.append(nvml.nvmlDeviceGetHandleByIndex(index))
        except pynvml.NVMLError as error:
            if error.value != pynvml.NVML_ERROR_NO_PERMISSION:
                raise
            refused = error
    if refused is not None and not handles:
        raise refused
    return handles


def scaled(value: float | None, factor: float) -> float | None:
    """A value in another unit; None stays None."""
    return None if value is None else value * factor


class DeviceSampler(Base):
    """A sampler with one row per GPU. It opens NVML, or reports in `unavailable` that there is none."""

    def __init__(self, *, nvml: Nvml | None = None) -> None:
        self.nvml = cast("Nvml", pynvml) if nvml is None else nvml
        self.unavailable: str | None = None
        self._handles: Mapping[str, Any] = {}
        self._open = False

    def __enter__(self) -> Self:
        """Open NVML. `unavailable` reports a missing library, driver or GPU."""
        try:
            self.nvml.nvmlInit()
            self._open = True
            handles = own_handles(self.nvml)
            self._handles = {self.nvml.nvmlDeviceGetUUID(handle): handle for handle in handles}
            self.prepare(self._handles)
            self.unavailable = None if handles else "NVML sees no GPU"
        except FAULTS as error:
            self.unavailable = fault_text(error)
        return self

    def __exit__(self, *exc: object) -> None:
        """Close NVML. A driver that fails here loses no samples."""
        if self._open:
            self._open, self._handles = False, {}
            try:
                self.nvml.nvmlShutdown()
            except FAULTS as error:
                self.unavailable = fault_text(error)

    def capture(self) -> Sequence[Row]:
        """One row per GPU that reports anything."""
        rows = ((uuid, self.read(handle)) for uuid, handle in self._handles.items())
        return [{"device": uuid, **row} for uuid, row in rows if any(value is not None for value in row.values())]

    def prepare(self, handles: Mapping[str, Any]) -> None:
        """Open what a sampler needs beyond NVML itself.

        Args:
            handles: The GPUs by UUID.

        Raises:
            pynvml.NVMLError: It is not available, and the sampler yields nothing without it.
        """

    @abstractmethod
    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401 - an opaque pointer
        """The columns of one GPU."""
