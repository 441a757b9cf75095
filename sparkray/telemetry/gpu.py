"""The GPUs' power through NVML, ten times a second: energy is its integral, which the energy counter is held against.

The other fields have slower samplers: `gpu_util` what the GPUs do and what holds them down, `gpu_slow` what changes slowly,
and what is dear, per-process memory (`gpu_process`) and the energy counter (`gpu_energy`).
"""

from collections.abc import Mapping
from typing import Any

from sparkray.telemetry import Value
from sparkray.telemetry.nvml import DeviceSampler, ask, scaled

_W_PER_MW = 1e-3


class Sampler(DeviceSampler):
    """Power of every GPU."""

    name = "gpu"
    period_s = 0.1

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The column of one GPU."""
        return {"gpu_power_w": scaled(ask(self.nvml.nvmlDeviceGetPowerUsage, handle), _W_PER_MW)}
