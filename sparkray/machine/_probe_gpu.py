"""Times fixed work on every visible GPU through the CUDA driver, and prints the result as JSON.

Runs as its own process (started by `probe`), since a process that has opened CUDA holds memory on every GPU until it
ends. It needs only the standard library and libcuda, so that the probe is independent of the engine.
"""

import ctypes
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Of each of two buffers: beyond any GPU's cache, and little enough for a GPU that others use too.
COPY_BYTES = 256 << 20
COPIES = 8
THREADS, BLOCKS_PER_SM = 256, 4
# Of 32 multiply-adds a thread: some 8 ms at 2 GHz on an SM with 128 lanes, whatever the number of SMs.
ROUNDS = 65_536
LEAST_REPEATS, MOST_REPEATS = 3, 50
# A GPU at rest takes a while to raise its clocks: the best of this much work is taken.
MEMORY_BUDGET_MS, COMPUTE_BUDGET_MS = 100.0, 250.0

PTX = Path(__file__).with_suffix(".ptx")
# CUDA_ERROR_NO_DEVICE and CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT of cuda.h.
_NO_DEVICE, _MULTIPROCESSORS = 100, 16


class CudaError(Exception):
    """A failed driver call."""

    def __init__(self, call: str, code: int) -> None:
        super().__init__(f"{call}: CUDA error {code}")
        self.code = code


class Cuda:
    """Functions of the driver; output parameters are returned.

    Args:
        library: libcuda, or a fake with its functions.
    """

    def __init__(self, library: Any) -> None:  # noqa: ANN401 - functions by name
        self._library = library

    def call(self, name: str, *args: Any) -> None:  # noqa: ANN401 - ctypes values
        """Call a function.

        Raises:
            CudaError: It returned a code other than 0, or the library lacks it.
        """
        try:
            function = getattr(self._library, name)
        except AttributeError:
            raise CudaError(name, -1) from None
        if (code := function(*args)) != 0:
            raise CudaError(name, code)

    def made(self, kind: Any, name: str, *args: Any) -> Any:  # noqa: ANN401 - ctypes values
        """The value a function writes through its first argument, a pointer to a ctypes `kind`. Raises CudaError."""
        value = kind()
        self.call(name, ctypes.byref(value), *args)
        return value


def best_ms(cuda: Cuda, work: Callable[[], None], budget_ms: float) -> float:
    """The least time of some work, ms by the GPU's clock, over repetitions that fill the budget. Raises CudaError."""
    begin, end = (cuda.made(ctypes.c_void_p, "cuEventCreate", 0) for _ in range(2))
    times: list[float] = []
    while len(times) < LEAST_REPEATS or (sum(times) < budget_ms and len(times) < MOST_REPEATS):
        cuda.call("cuEventRecord", begin, None)
        work()
        cuda.call("cuEventRecord", end, None)
        cuda.call("cuEventSynchronize", end)
        times.append(float(cuda.made(ctypes.c_float, "cuEventElapsedTime", begin, end).value))
    return min(times)


def device_ms(cuda: Cuda, device: int) -> dict[str, float]:
    """`gpu_memory_ms` and `gpu_compute_ms` of one GPU. Raises CudaError."""
    context = cuda.made(ctypes.c_void_p, "cuDevicePrimaryCtxRetain", device)
    try:
        cuda.call("cuCtxSetCurrent", context)
        size = ctypes.c_size_t(COPY_BYTES)
        source, target = (cuda.made(ctypes.c_uint64, "cuMemAlloc_v2", size) for _ in range(2))
        for buffer in (source, target):
            cuda.call("cuMemsetD8_v2", buffer, ctypes.c_ubyte(1), size)

        def copy() -> None:
            for _ in range(COPIES):
                cuda.call("cuMemcpyDtoDAsync_v2", target, source, size, None)

        compute = _kernel(cuda, device, target)
        # The computation goes first: it raises the clocks of a GPU at rest.
        computed = best_ms(cuda, compute, COMPUTE_BUDGET_MS)
        return {"gpu_memory_ms": best_ms(cuda, copy, MEMORY_BUDGET_MS), "gpu_compute_ms": computed}
    finally:
        cuda.call("cuDevicePrimaryCtxRelease_v2", device)


def _kernel(cuda: Cuda, device: int, buffer: Any) -> Callable[[], None]:  # noqa: ANN401 - a device pointer
    module = cuda.made(ctypes.c_void_p, "cuModuleLoadData", ctypes.c_char_p(PTX.read_bytes()))
    function = cuda.made(ctypes.c_void_p, "cuModuleGetFunction", module, ctypes.c_char_p(b"work"))
    blocks = BLOCKS_PER_SM * cuda.made(ctypes.c_int, "cuDeviceGetAttribute", _MULTIPROCESSORS, device).value
    rounds = ctypes.c_uint32(ROUNDS)
    arguments = (ctypes.c_void_p * 2)(*(ctypes.cast(ctypes.pointer(a), ctypes.c_void_p) for a in (buffer, rounds)))
    grid = (blocks, 1, 1, THREADS, 1, 1)

    def launch() -> None:
        cuda.call("cuLaunchKernel", function, *grid, 0, None, arguments, None)

    return launch


def slowest(library: Any) -> dict[str, Any]:  # noqa: ANN401 - functions by name
    """The slowest time of each kind over every visible GPU, and failures.

    Returns:
        `gpu_memory_ms` and `gpu_compute_ms` (None without a GPU that answered), `notes`.
    """
    cuda = Cuda(library)
    times: list[dict[str, float]] = []
    notes: list[str] = []
    try:
        cuda.call("cuInit", 0)
        count = cuda.made(ctypes.c_int, "cuDeviceGetCount").value
    except CudaError as error:
        count = 0
        notes += [] if error.code == _NO_DEVICE else [str(error)]
    for ordinal in range(count):
        try:
            times.append(device_ms(cuda, cuda.made(ctypes.c_int, "cuDeviceGet", ordinal).value))
        except CudaError as error:
            notes.append(f"GPU {ordinal}: {error}")
    worst = {kind: max((one[kind] for one in times), default=None) for kind in ("gpu_memory_ms", "gpu_compute_ms")}
    return {**worst, "notes": notes}


def main() -> int:
    """Print the result to standard output."""
    try:
        library = ctypes.CDLL("libcuda.so.1")
    except OSError:  # no driver, so no GPU: nothing is wrong
        result: dict[str, Any] = {"gpu_memory_ms": None, "gpu_compute_ms": None, "notes": []}
    else:
        result = slowest(library)
    sys.stdout.write(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
