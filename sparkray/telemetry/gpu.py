"""GPU power through NVML at 10 Hz; its integral is compared with the energy counter.

Other fields are sampled less often: `gpu_util` (utilisation, SM clock, throttling), `gpu_slow` (slow fields), and the
expensive ones, per-process memory (`gpu_process`) and the energy counter (`gpu_energy`).
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
