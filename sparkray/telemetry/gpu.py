"""The GPUs' state through NVML: utilisation, temperature, power, clocks, what holds the clocks down, used memory.

Per-process memory (`gpu_process`) and the energy counter (`gpu_energy`) cost up to some ms a call and have samplers of
their own.
"""

from collections.abc import Mapping
from typing import Any

import pynvml

from sparkray.telemetry import Value
from sparkray.telemetry.nvml import DeviceSampler, ask, scaled
from sparkray.units import gib

_W_PER_MW = 1e-3


class Sampler(DeviceSampler):
    """The cheap fields of every GPU."""

    name = "gpu"
    period_s = 0.1

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The columns of one GPU."""
        nvml = self.nvml
        memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        return {
            **self._utilization(handle, unified=memory is None),
            "gpu_temp_c": ask(nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            "gpu_power_w": scaled(ask(nvml.nvmlDeviceGetPowerUsage, handle), _W_PER_MW),
            "gpu_sm_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            "gpu_mem_clock_mhz": ask(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            "gpu_throttle_reasons": self._reasons(handle),
            "gpu_used_gib": None if memory is None else gib(memory.used),
        }

    def _utilization(self, handle: Any, *, unified: bool) -> Mapping[str, Value]:  # noqa: ANN401
        """Both utilisations. A GPU on unified memory gives the memory's as a constant 0, which is no measurement."""
        rates = ask(self.nvml.nvmlDeviceGetUtilizationRates, handle)
        if rates is None:
            return {"gpu_util_pct": None, "gpu_mem_bandwidth_util_pct": None}
        dead = unified and rates.memory == 0
        return {"gpu_util_pct": rates.gpu, "gpu_mem_bandwidth_util_pct": None if dead else rates.memory}

    def _reasons(self, handle: Any) -> int | None:  # noqa: ANN401
        reasons = ask(self.nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        return ask(self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) if reasons is None else reasons
