"""What goes wrong in the GPUs: ECC errors, and the errors that the driver reports as Xid events.

Events are waited for with no patience at all: NVML keeps those that came between two looks.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import pynvml

from sparkray.telemetry import Row, Value
from sparkray.telemetry.nvml import FAULTS, DeviceSampler, Nvml, ask, fault_text, is_absent

MOST_EVENTS = 100
"""A GPU that fails may send them faster than they are taken."""


class Sampler(DeviceSampler):
    """ECC counters and Xid events of every GPU."""

    name = "gpu_errors"
    period_s = 10.0

    def __init__(self, *, nvml: Nvml | None = None) -> None:
        super().__init__(nvml=nvml)
        self._events: Any = None
        self._xids: dict[str, list[int]] = {}

    def prepare(self, handles: Mapping[str, Any]) -> None:
        """Asks for the events of every GPU that sends some."""
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
        """Gives the events up and closes NVML."""
        if self._events is not None:
            try:
                self.nvml.nvmlEventSetFree(self._events)
            except FAULTS as error:
                self.unavailable = fault_text(error)
            self._events = None
        super().__exit__(*exc)

    def capture(self) -> Sequence[Row]:
        """One row a GPU that tells anything. No event so far is a true zero; a GPU that sends none is null."""
        if self._xids:
            self._take()
        counts: dict[str, Row] = {
            uuid: {"gpu_xid_events": len(xids), "gpu_xid": xids[-1] if xids else None}
            for uuid, xids in self._xids.items()
        }
        ecc = {str(row["device"]): row for row in super().capture()}
        return [{"device": uuid, **ecc.get(uuid, {}), **counts.get(uuid, {})} for uuid in {**ecc, **counts}]

    def read(self, handle: Any) -> Mapping[str, Value]:  # noqa: ANN401
        """The ECC columns of one GPU, counted since the driver was loaded (NVML's volatile counters)."""
        kinds = {
            "gpu_ecc_corrected": pynvml.NVML_MEMORY_ERROR_TYPE_CORRECTED,
            "gpu_ecc_uncorrected": pynvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED,
        }
        return {
            name: ask(self.nvml.nvmlDeviceGetTotalEccErrors, handle, kind, pynvml.NVML_VOLATILE_ECC)
            for name, kind in kinds.items()
        }

    def _take(self) -> None:
        """The events that have come since the last look."""
        for _ in range(MOST_EVENTS):
            try:
                event = self.nvml.nvmlEventSetWait(self._events, 0)
            except pynvml.NVMLError as error:
                if error.value == pynvml.NVML_ERROR_TIMEOUT:
                    return
                if is_absent(error):  # events can be asked for here but not waited for: their number is not known
                    self._xids = {}
                    return
                raise
            self._xids.setdefault(self.nvml.nvmlDeviceGetUUID(event.device), []).append(int(event.eventData))
