"""NVML for the samplers: its errors, and the base class of GPU samplers."""

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ParamSpec, Self, TypeVar

import pynvml

from sparkray.telemetry import Row, Value
from sparkray.telemetry._base import Base

P = ParamSpec("P")
T = TypeVar("T")

# Errors of pynvml calls. The second is not an NVMLError: the driver is older than the call. The third: a name is not
# text.
FAULTS = (pynvml.NVMLError, pynvml.NVMLLibraryMismatchError, UnicodeDecodeError)
# Errors that mean "no answer, or none now": null. All others are faults of the device or the driver.
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


# pynvml, or a fake with the functions in use under pynvml's names, so that no layer lies between sampler and driver.
Nvml = Any


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
        self.nvml = pynvml if nvml is None else nvml
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
