"""GPU energy counter. One call costs 4 to 5 ms of CPU, so it is read rarely, and always first and last."""

from collections.abc import Mapping
from typing import Any

from sparkray.telemetry import Value
from sparkray.telemetry.nvml import DeviceSampler, ask, scaled

_J_PER_MJ = 1e-3


class Sampler(DeviceSampler):
    """Energy counter of every GPU since the driver was loaded: only differences mean something."""

    name = "gpu_energy"
    period_s = 30.0

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The column of one GPU."""
        return {"gpu_energy_j": scaled(ask(self.nvml.nvmlDeviceGetTotalEnergyConsumption, handle), _J_PER_MJ)}
