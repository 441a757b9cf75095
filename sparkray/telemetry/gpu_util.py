"""GPU utilisation, memory utilisation, SM clock and clock event reasons, through NVML.

The driver averages utilisation over 1/6 s to 1 s, depending on the product (NVML API reference, nvmlUtilization_t), so
more would add little.
"""

from collections.abc import Mapping
from typing import Any

import pynvml

from sparkray.telemetry import Value
from sparkray.telemetry.nvml import DeviceSampler, Nvml, ask


class Sampler(DeviceSampler):
    """Utilisation, SM clock and clock event reasons of every GPU."""

    name = "gpu_util"
    period_s = 0.3

    def __init__(self, *, nvml: Nvml | None = None) -> None:
        super().__init__(nvml=nvml)
        self._with_memory: list[Any] = []

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The columns of one GPU."""
        rates = ask(self.nvml.nvmlDeviceGetUtilizationRates, handle)
        busy: dict[str, Value] = {}
        if rates is not None:
            reported = rates.memory > 0 or self._has_memory(handle)
            busy = {"gpu_util_pct": rates.gpu, "gpu_mem_bandwidth_util_pct": rates.memory if reported else None}
        return {
            **busy,
            "gpu_sm_clock_mhz": ask(self.nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            "gpu_throttle_reasons": self._reasons(handle),
        }

    def _reasons(self, handle: Any) -> int | None:  # noqa: ANN401
        reasons = ask(self.nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        return ask(self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) if reasons is None else reasons

    def _has_memory(self, handle: Any) -> bool:  # noqa: ANN401
        """Whether a zero is a measurement: a GPU on unified memory reports a constant 0."""
        if handle not in self._with_memory and ask(self.nvml.nvmlDeviceGetMemoryInfo, handle) is not None:
            self._with_memory.append(handle)
        return handle in self._with_memory
