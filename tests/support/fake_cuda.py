"""A double of the CUDA driver: GPUs made of how long their work takes, with faults. It needs no driver.

Time is counted, not waited for: an operation adds what it takes to the clock of the GPU whose context is current, and
events read that clock.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

INVALID_CONTEXT = 201


@dataclass
class FakeGpu:
    """One GPU.

    `copy_ms` and `compute_ms` are the times of one copy and one launch, the last for ever; `errors` maps a function to the
    code that it answers while this GPU is current.
    """

    copy_ms: Sequence[float] = (1.0,)
    compute_ms: Sequence[float] = (1.0,)
    multiprocessors: int = 10
    errors: Mapping[str, int] = field(default_factory=dict)
    clock_ms: float = 0.0
    copies: int = 0
    launches: int = 0
    grids: set[int] = field(default_factory=set)


class FakeCuda:
    """Stands for `ctypes.CDLL("libcuda.so.1")`. `errors` maps a function to the code that it answers on every GPU."""

    def __init__(self, gpus: Sequence[FakeGpu] = (), *, errors: Mapping[str, int] | None = None) -> None:
        self.gpus, self.errors = list(gpus), dict(errors or {})
        self.current: int | None = None
        self.retained: list[int] = []
        self._events: list[float] = []

    def __getattr__(self, name: str) -> Callable[..., int]:
        answer: Callable[..., None] | None = _ANSWERS.get(name)
        if answer is None:
            raise AttributeError(name)
        chosen = answer

        def call(*args: Any) -> int:
            if code := self.errors.get(name):
                return code
            if name in _IN_CONTEXT:
                if self.current is None:
                    return INVALID_CONTEXT
                if code := self.gpus[self.current].errors.get(name):
                    return code
            chosen(self, *args)
            return 0

        return call

    @property
    def gpu(self) -> FakeGpu:
        """The one whose context is current."""
        return self.gpus[self.current or 0]

    def retain(self, context: Any, device: int) -> None:
        """Device numbers and contexts are one here, but for 1: a context is never null."""
        self.retained.append(device)
        _put(context, device + 1)

    def release(self, device: int) -> None:
        """The context is gone, and nothing is current."""
        self.retained.remove(device)
        self.current = None

    def copy(self) -> None:
        """One copy's time passes."""
        gpu = self.gpu
        gpu.clock_ms += gpu.copy_ms[min(gpu.copies, len(gpu.copy_ms) - 1)]
        gpu.copies += 1

    def launch(self, blocks: int) -> None:
        """One launch's time passes."""
        gpu = self.gpu
        gpu.clock_ms += gpu.compute_ms[min(gpu.launches, len(gpu.compute_ms) - 1)]
        gpu.launches += 1
        gpu.grids.add(blocks)

    def event(self, made: Any) -> None:
        """A new event."""
        self._events.append(0.0)
        _put(made, len(self._events))

    def record(self, event: Any) -> None:
        """The event is now."""
        self._events[event.value - 1] = self.gpu.clock_ms

    def elapsed_ms(self, begin: Any, end: Any) -> float:
        """Between two events."""
        times = self._events
        return float(times[end.value - 1] - times[begin.value - 1])


def _put(pointer: Any, value: float) -> None:
    """Writes through a ctypes reference."""
    pointer._obj.value = value


_ANSWERS: Mapping[str, Callable[..., None]] = {
    "cuInit": lambda _cuda, _flags: None,
    "cuDeviceGetCount": lambda cuda, count: _put(count, len(cuda.gpus)),
    "cuDeviceGet": lambda _cuda, device, ordinal: _put(device, ordinal),
    "cuDevicePrimaryCtxRetain": FakeCuda.retain,
    "cuDevicePrimaryCtxRelease_v2": FakeCuda.release,
    "cuCtxSetCurrent": lambda cuda, context: setattr(cuda, "current", context.value - 1),
    "cuDeviceGetAttribute": lambda cuda, value, _attribute, device: _put(value, cuda.gpus[device].multiprocessors),
    "cuMemAlloc_v2": lambda _cuda, pointer, _size: _put(pointer, 4096),
    "cuMemsetD8_v2": lambda _cuda, _pointer, _value, _size: None,
    "cuModuleLoadData": lambda _cuda, module, _image: _put(module, 1),
    "cuModuleGetFunction": lambda _cuda, function, _module, _name: _put(function, 1),
    "cuEventCreate": lambda cuda, event, _flags: cuda.event(event),
    "cuEventRecord": lambda cuda, event, _stream: cuda.record(event),
    "cuEventSynchronize": lambda _cuda, _event: None,
    "cuEventElapsedTime": lambda cuda, ms, begin, end: _put(ms, cuda.elapsed_ms(begin, end)),
    "cuMemcpyDtoDAsync_v2": lambda cuda, _to, _from, _size, _stream: cuda.copy(),
    "cuLaunchKernel": lambda cuda, _function, blocks, *_rest: cuda.launch(blocks),
}
_IN_CONTEXT = frozenset(_ANSWERS) - {
    "cuInit",
    "cuDeviceGetCount",
    "cuDeviceGet",
    "cuDeviceGetAttribute",
    "cuDevicePrimaryCtxRetain",
    "cuDevicePrimaryCtxRelease_v2",
    "cuCtxSetCurrent",
}
