"""GPU power through NVML at 5 Hz; its integral is compared with the energy counter.

Instantaneous power, where the driver has it: the older call gives the mean of the last second on most GPUs, so that what
ran before a run of a few seconds would count as the run's.

Other fields are sampled less often: `gpu_util` (utilisation, SM clock, throttling), `gpu_slow` (slow fields), and the
expensive ones, per-process memory (`gpu_process`) and the energy counter (`gpu_energy`).
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import pynvml

from sparkray.telemetry import Value
from sparkray.telemetry.nvml import FAULTS, DeviceSampler, Nvml, ask, scaled

_W_PER_MW = 1e-3


class Sampler(DeviceSampler):
    """Power of every GPU."""

    name = "gpu"
    period_s = 0.2

    def __init__(self, *, nvml: Nvml | None = None) -> None:
        super().__init__(nvml=nvml)
        self._instant: list[Any] = []

    def prepare(self, handles: Mapping[str, Any]) -> None:
        """Find the GPUs that report instantaneous power: a series has one kind of values."""
        self._instant = []
        for handle in handles.values():
            with suppress(*FAULTS):  # a GPU that is lost: its samples will say so
                self._instant += [handle] if self._instant_mw(handle) is not None else []

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The column of one GPU."""
        instant = handle in self._instant
        power_mw = self._instant_mw(handle) if instant else ask(self.nvml.nvmlDeviceGetPowerUsage, handle)
        return {"gpu_power_w": scaled(power_mw, _W_PER_MW)}

    def _instant_mw(self, handle: Any) -> float | None:  # noqa: ANN401
        """Instantaneous power; None where the driver or the GPU does not report it."""
        answers = ask(self.nvml.nvmlDeviceGetFieldValues, handle, [pynvml.NVML_FI_DEV_POWER_INSTANT])
        if not answers or answers[0].nvmlReturn != pynvml.NVML_SUCCESS:
            return None
        return float(answers[0].value.uiVal)
