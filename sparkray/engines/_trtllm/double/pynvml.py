"""The corner of pynvml that the double asks, on a GPU that tells neither memory size nor memory clock (GB10)."""

NVML_CLOCK_MEM = 2
NVML_ERROR_NOT_SUPPORTED = 3


class NVMLError(Exception):
    """What pynvml raises; not a RuntimeError."""

    def __init__(self, value: int) -> None:
        super().__init__(value)
        self.value = value

    def __str__(self) -> str:
        return "Not Supported"


class NVMLError_NotSupported(NVMLError):  # noqa: N801, N818 - pynvml's own name
    """The device does not tell."""

    def __init__(self) -> None:
        super().__init__(NVML_ERROR_NOT_SUPPORTED)


def nvmlInit() -> None:  # noqa: N802 - pynvml's own name
    """Does nothing."""


def nvmlDeviceGetHandleByIndex(index: int) -> int:  # noqa: N802 - pynvml's own name
    """A handle."""
    return index


def nvmlDeviceGetMemoryInfo(handle: int) -> object:  # noqa: N802, ARG001 - pynvml's own signature
    """Not told: memory is the host's."""
    raise NVMLError_NotSupported


def nvmlDeviceGetMaxClockInfo(handle: int, kind: int) -> int:  # noqa: N802, ARG001 - pynvml's own signature
    """Not told."""
    raise NVMLError_NotSupported
