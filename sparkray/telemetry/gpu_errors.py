"""GPU errors: ECC counters, and Xid events from the driver.

Events are read without waiting: NVML queues those between two samples.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pynvml

from sparkray.telemetry import Row, Value
from sparkray.telemetry.nvml import FAULTS, DeviceSampler, Nvml, ask, fault_text, is_absent

# A failing GPU may send them faster than they are read.
MOST_EVENTS = 100


class Sampler(DeviceSampler):
    """ECC counters and Xid events of every GPU."""

    name = "gpu_errors"
    period_s = 10.0

    def __init__(self, *, nvml: Nvml | None = None) -> None:
        super().__init__(nvml=nvml)
        self._events: Any = None
        self._xids: dict[str, list[int]] = {}

    def prepare(self, handles: Mapping[str, Any]) -> None:
        """Register for the Xid events of every GPU that supports them."""
        self._xids = {}
        self._events = ask(self.nvml.nvmlEventSetCreate)
        if self._events is None:
            return
        for uuid, handle in handles.items():
            try:
                self.nvml.nvmlDeviceRegisterEvents(handle, pynvml.nvmlEventTypeXidCriticalError, self._events)
                self._xids[uuid] = []
            except FAULTS as error:
                if not is_absent(error):
                    raise

    def __exit__(self, *exc: object) -> None:
        """Free the event set and close NVML."""
        if self._events is not None:
            try:
                self.nvml.nvmlEventSetFree(self._events)
            except FAULTS as error:
                self.unavailable = fault_text(error)
            self._events = None
        super().__exit__(*exc)

    def capture(self) -> Sequence[Row]:
        """One row per GPU with data. 0 events is a true zero; null where a GPU supports none."""
        if self._xids:
            self._take()
        counts: dict[str, Row] = {
            uuid: {"gpu_xid_events": len(xids), "gpu_xid": xids[-1] if xids else None}
            for uuid, xids in self._xids.items()
        }
        ecc = {str(row["device"]): row for row in super().capture()}
        return [{"device": uuid, **ecc.get(uuid, {}), **counts.get(uuid, {})} for uuid in {**ecc, **counts}]

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The ECC columns of one GPU since the driver was loaded (NVML's volatile counters)."""
        kinds = {
            "gpu_ecc_corrected": pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
            "gpu_ecc_uncorrected": pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        }
        return {
            name: ask(self.nvml.nvmlDeviceGetTotalEccErrors, handle, kind, pynvml.NVML_VOLATILE_ECC)
            for name, kind in kinds.items()
        }

    def _take(self) -> None:
        """Read the events since the last sample."""
        for _ in range(MOST_EVENTS):
            try:
                event = self.nvml.nvmlEventSetWait(self._events, 0)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    return
                if is_absent(error):  # this driver registers events but cannot return them: their number is unknown
                    self._xids = {}
                    return
                raise
            self._xids.setdefault(self.nvml.nvmlDeviceGetUUID(event.device), []).append(int(event.eventData))
