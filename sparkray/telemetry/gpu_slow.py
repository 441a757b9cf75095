"""GPU fields that change slowly, through NVML: temperature, memory clock, used memory."""

from collections.abc import Mapping
from typing import Any

import pynvml

from sparkray.telemetry import Value
from sparkray.telemetry.nvml import DeviceSampler, ask
from sparkray.units import gib


class Sampler(DeviceSampler):
    """Temperature, memory clock and used memory of every GPU."""

    name = "gpu_slow"
    period_s = 1.0

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The columns of one GPU."""
        memory = ask(self.nvml.nvmlDeviceGetMemoryInfo, handle)
        return {
            "gpu_temp_c": ask(self.nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
            "gpu_mem_clock_mhz": ask(self.nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_MEM),
            "gpu_used_gib": None if memory is None else gib(memory.used),
        }
