"""The GPUs' state through NVML, what changes fast: power, SM clock and what holds it down.

Utilisation is an average over a sixth of a second or more and has a slower sampler (`gpu_util`); so has what changes
slowly (`gpu_slow`), and what is dear: per-process memory (`gpu_process`) and the energy counter (`gpu_energy`).
"""

from collections.abc import Mapping
from typing import Any

import pynvml

from sparkray.telemetry import Value
from sparkray.telemetry.nvml import DeviceSampler, ask, scaled

_W_PER_MW = 1e-3


class Sampler(DeviceSampler):
    """The fast fields of every GPU."""

    name = "gpu"
    period_s = 0.1

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The columns of one GPU."""
        return {
            "gpu_power_w": scaled(ask(self.nvml.nvmlDeviceGetPowerUsage, handle), _W_PER_MW),
            "gpu_sm_clock_mhz": ask(self.nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
            "gpu_throttle_reasons": self._reasons(handle),
        }

    def _reasons(self, handle: Any) -> int | None:  # noqa: ANN401
        reasons = ask(self.nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        return ask(self.nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) if reasons is None else reasons
