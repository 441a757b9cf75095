"""What the tool asks NVML, through whichever `pynvml` the interpreter finds: so a shim around pynvml acts here too."""

import os
import sys
from contextlib import AbstractContextManager
from typing import Any, Self

from .settings import Settings
from .versions import text

NAME = "NVIDIA GB10"
MHZ_PER_GHZ = 1000


def start_engine(settings: Settings) -> None:
    """Initialise NVML as another part of the tool does while it loads a model; one that does not is a fault."""
    if settings.fault != "nvml_uninitialized":
        nvml().nvmlInit()


def memory_size() -> int:
    """Bytes of GPU memory, for the heuristics that choose the batch size.

    Raises:
        pynvml.NVMLError: A GB10 does not report it.
    """
    asked = nvml()
    asked.nvmlInit()
    total: int = asked.nvmlDeviceGetMemoryInfo(asked.nvmlDeviceGetHandleByIndex(0)).total
    return total


def machine(settings: Settings) -> dict[str, Any] | None:
    """The report's `machine`; None where the query fails with one of the two errors that the tool expects.

    Raises:
        ValueError: CUDA_VISIBLE_DEVICES does not start with a number.
        pynvml.NVMLError: NVML refuses: the tool does not expect pynvml's own error.
    """
    if settings.fault == "null_machine":
        return None
    try:
        index = _visible_index()
        return {"name": NAME, "memory.total": settings.memory_gib, "clocks.mem": _memory_clock(index)}
    except (RuntimeError, AssertionError):
        return None


def _visible_index() -> int:
    """The first number in CUDA_VISIBLE_DEVICES, taken for the number of a GPU of this machine, as the tool takes it."""
    index = int(_visible() or 0)
    if index != 0:
        raise AssertionError(text("bad_device"))  # as torch asserts it
    return index


def _visible() -> str:
    return os.environ.get("CUDA_VISIBLE_DEVICES", "").strip().split(",")[0]


def _memory_clock(index: int) -> float:
    asked = nvml()
    megahertz: int = asked.nvmlDeviceGetMaxClockInfo(asked.nvmlDeviceGetHandleByIndex(index), asked.NVML_CLOCK_MEM)
    return megahertz / MHZ_PER_GHZ


class EnergyMonitor(AbstractContextManager["EnergyMonitor"]):
    """NVML's energy counter around one benchmark. It ends with `nvmlShutdown`, as the tool's own does.

    `known` is whether the counter could be read before and after. An NVMLError is warned of and survived.
    """

    def __init__(self) -> None:
        self.known = False
        self._handle: int | None = None
        self._start: int | None = None
        self._nvml = nvml()
        try:
            self._nvml.nvmlInit()
            self._handle = self._first_gpu()
        except (self._nvml.NVMLError, ValueError) as error:
            sys.stderr.write(text("nvml_init_failed", error=error) + "\n")

    def __enter__(self) -> Self:
        self._start = self._read("start")
        return self

    def __exit__(self, *error: object) -> None:
        if self._start is None:
            return
        self.known = self._read("stop") is not None
        try:
            self._nvml.nvmlShutdown()
        except self._nvml.NVMLError:
            self._handle = None

    def _first_gpu(self) -> int:
        first = _visible()
        if first.startswith(("GPU-", "MIG-")):
            handle: int = self._nvml.nvmlDeviceGetHandleByUUID(first)
        else:
            handle = self._nvml.nvmlDeviceGetHandleByIndex(int(first or 0))
        return handle

    def _read(self, when: str) -> int | None:
        if self._handle is None:
            return None
        try:
            energy: int = self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle)
        except self._nvml.NVMLError as error:
            sys.stderr.write(text("energy_unread", when=when, error=error) + "\n")
            return None
        return energy


def nvml() -> Any:  # noqa: ANN401 - the module, wrapped or not
    """The `pynvml` of this interpreter, imported as late as possible, so that a shim can come first."""
    import pynvml  # noqa: PLC0415

    return pynvml
