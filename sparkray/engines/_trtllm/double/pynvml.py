"""The part of pynvml that `trtllm-bench` calls, on a GB10: no memory size, no memory clock.

The simulated tool imports it as `pynvml`, by the same import that the real tool uses, so whatever wraps pynvml for the
real tool wraps this one. As in pynvml, calls before `nvmlInit` raise Uninitialized, and inits are counted.
"""

import os
import time

NVML_CLOCK_GRAPHICS, NVML_CLOCK_SM, NVML_CLOCK_MEM, NVML_CLOCK_VIDEO = range(4)
NVML_SUCCESS, NVML_ERROR_UNINITIALIZED, NVML_ERROR_INVALID_ARGUMENT, NVML_ERROR_NOT_SUPPORTED = range(4)
_CLOCK_MHZ = 3003
_IDLE_W = 55.0
_inits = 0


class NVMLError(Exception):
    """What pynvml raises. It is not a RuntimeError."""

    value = NVML_SUCCESS
    text = "Unknown Error"

    def __str__(self) -> str:
        return self.text


class NVMLError_Uninitialized(NVMLError):  # noqa: N801, N818 - pynvml's own name
    """`nvmlInit` was not called, or `nvmlShutdown` was called as often."""

    value = NVML_ERROR_UNINITIALIZED
    text = "Uninitialized"


class NVMLError_InvalidArgument(NVMLError):  # noqa: N801, N818 - pynvml's own name
    """There is no such device."""

    value = NVML_ERROR_INVALID_ARGUMENT
    text = "Invalid Argument"


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818 - pynvml's own name
    """The device does not have what was asked for."""

    value = NVML_ERROR_NOT_SUPPORTED
    text = "Not Supported"


def nvmlInit() -> None:  # noqa: N802 - pynvml's own name
    """Counts one more user."""
    global _inits  # noqa: PLW0603 - the library's own state
    _inits += 1


def nvmlShutdown() -> None:  # noqa: N802 - pynvml's own name
    """Counts one user less."""
    global _inits  # noqa: PLW0603 - the library's own state
    _check()
    _inits -= 1


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802 - pynvml's own name
    """A handle of the only GPU."""
    _check()
    if index != 0:
        raise NVMLError_InvalidArgument
    return 0


def nvmlDeviceGetHandleByUUID(uuid: str) -> int:  # noqa: N802 - pynvml's own name
    """A handle of the only GPU, whatever its UUID."""
    _check()
    if not uuid:
        raise NVMLError_InvalidArgument
    return 0


def nvmlDeviceGetMemoryInfo(handle: int) -> object:  # noqa: N802, ARG001 - pynvml's own signature
    """Not supported: the memory is the host's."""
    _check()
    raise NVMLError_NotSupported


def nvmlDeviceGetMaxClockInfo(handle: int, kind: int) -> int:  # noqa: N802, ARG001 - pynvml's own signature
    """MHz; not supported for memory."""
    _check()
    if kind == NVML_CLOCK_MEM:
        raise NVMLError_NotSupported
    return _CLOCK_MHZ


def nvmlDeviceGetTotalEnergyConsumption(handle: int) -> int:  # noqa: N802, ARG001 - pynvml's own signature
    """Millijoules since the driver was loaded, of a GPU that draws the same power all the time."""
    _check()
    if os.environ.get("SPARKRAY_DOUBLE_FAULT") == "nvml_energy":
        raise NVMLError_NotSupported
    return round(time.monotonic() * _IDLE_W * 1000)


def _check() -> None:
    if _inits <= 0:
        raise NVMLError_Uninitialized
