"""The control probe: fixed work without an engine, timed before and after each run.

A machine can be slow without any counter showing it: a GB10 that its power supply holds at a low clock looks normal in
nvidia-smi. The same work then takes longer. One core, host memory, GPU memory and GPU arithmetic are timed separately.

CPU times are CPU time of this thread, the best of a few repetitions on one fixed core of the fastest kind, so neither
the caller's nice value nor a passing neighbour looks like a slow machine (`exclusive` finds a lasting one). GPU times
are by the GPU's clock, in a process that ends afterwards.
"""

import ctypes
import hashlib
import json
import mmap
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sparkray.machine import _probe_gpu
from sparkray.machine._nvml import Gpus, read_gpus
from sparkray.machine.cores import capacities_of, performance_cores
from sparkray.units import MIB, NS_PER_MS

# Of PBKDF2 with SHA-256: 10 to 40 ms of integer work that fits the first-level caches, outside the interpreter.
HASH_ROUNDS = 50_000
# Of each of two buffers: together more than a core's share of any cache.
BUFFER_BYTES = 128 * MIB
# The first copy also touches its pages, so it is never the best; nothing else warms up.
REPEATS = 3
# An unloaded driver takes seconds to open; one that hangs would never return.
PATIENCE_S = 30.0
_WORKER = (sys.executable, "-I", "-S", _probe_gpu.__file__)


@dataclass(frozen=True)
class Probe:
    """Times of fixed work, ms; None where the machine lacks the part or timing failed (see `notes`)."""

    cpu_ms: float | None = None
    memory_ms: float | None = None
    gpu_memory_ms: float | None = None
    gpu_compute_ms: float | None = None
    notes: tuple[str, ...] = ()

    def times(self) -> dict[str, float | None]:
        """The times, ms, by name."""
        return {name: value for name, value in asdict(self).items() if name != "notes"}


def take_probe(
    *, cpu: int | None = None, worker: Sequence[str] = _WORKER, patience_s: float = PATIENCE_S, root: Path = Path("/")
) -> Probe:
    """Time fixed work on one core, in host memory and on every visible GPU, of which the slowest counts.

    Takes half a second on a slow CPU, and one to two seconds more with a GPU. Raises nothing: failures become notes.

    Args:
        cpu: The core to use; None takes the last of the fastest kind.
        worker: Command of the GPU part, which prints JSON.
        patience_s: Time limit of the GPU part, s.
        root: Parent of /proc and /sys.
    """
    notes: list[str] = []
    with _pinned(_last_fast_core(root) if cpu is None else cpu, notes):
        cpu_ms = _timed("CPU", _best_hashing_ms, notes)
        memory_ms = _timed("memory", _best_copying_ms, notes)
    gpus, gpu_notes = _gpu_times(worker, patience_s)
    return Probe(cpu_ms, memory_ms, gpus.get("gpu_memory_ms"), gpus.get("gpu_compute_ms"), (*notes, *gpu_notes))


def clocks_under_load(
    read: Callable[[], Gpus] = read_gpus,
    *,
    worker: Sequence[str] = _WORKER,
    patience_s: float = PATIENCE_S,
    interval_s: float = 0.02,
) -> Mapping[str, float]:
    """The highest SM clock, MHz, that each GPU reached under the probe's work, by UUID. About 2 s.

    A GPU at rest shows the same clock whether or not its power supply holds it down: only work shows it.

    Args:
        read: Reads every GPU.
        worker: Command of the probe's part on the GPUs.
        patience_s: The longest that it may take, s.
        interval_s: Time between two readings, s.

    Returns:
        Nothing of a GPU whose clock was not read, and nothing at all where the work failed or did not end.
    """
    highest: dict[str, float] = {}

    def note() -> None:
        for device in read().devices:
            if device.sm_clock_mhz is not None:
                highest[device.uuid] = max(device.sm_clock_mhz, highest.get(device.uuid, 0.0))

    times, notes = _gpu_times(worker, patience_s, interval_s=interval_s, meanwhile=note)
    return highest if not notes and times.get("gpu_compute_ms") is not None else {}


def _last_fast_core(root: Path) -> int:
    """The last fast core, since most interrupts go to the first.

    It may be an engine CPU: nothing else runs there before and after a run.
    """
    try:
        fast = set(performance_cores((root / "proc/cpuinfo").read_text(), capacities_of(root)))
    except (OSError, ValueError):
        fast = set()
    return max(fast or os.sched_getaffinity(0))


@contextmanager
def _pinned(cpu: int, notes: list[str]) -> Iterator[None]:
    """Pin this thread to one core, and restore its affinity afterwards."""
    before = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {cpu})
    except OSError as error:
        notes.append(f"probe: CPU {cpu} may not be used ({error.strerror}), another one was")
    try:
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, before)


def _timed(what: str, best_ms: Callable[[], float], notes: list[str]) -> float | None:
    try:
        return best_ms()
    except (OSError, MemoryError, ValueError) as error:
        notes.append(f"probe of the {what}: {type(error).__name__}: {error}")
        return None


def _best_ms(work: Callable[[], object]) -> float:
    """The least CPU time of this thread over a few repetitions, ms."""
    times = []
    for _ in range(REPEATS):
        before = time.thread_time_ns()
        work()
        times.append(time.thread_time_ns() - before)
    return min(times) / NS_PER_MS


def _best_hashing_ms() -> float:
    return _best_ms(lambda: hashlib.pbkdf2_hmac("sha256", b"sparkray", b"control probe", HASH_ROUNDS))


def _best_copying_ms() -> float:
    """Uses normal pages only: huge pages are faster but not always available."""
    with mmap.mmap(-1, BUFFER_BYTES) as source, mmap.mmap(-1, BUFFER_BYTES) as target:
        addresses = []
        for buffer in (source, target):
            with suppress(OSError):  # a kernel without huge pages
                buffer.madvise(mmap.MADV_NOHUGEPAGE)
            view = ctypes.c_char.from_buffer(buffer)
            addresses.append(ctypes.addressof(view))
            del view
        ctypes.memset(addresses[0], 1, BUFFER_BYTES)
        return _best_ms(lambda: ctypes.memmove(addresses[1], addresses[0], BUFFER_BYTES))


def _gpu_times(
    worker: Sequence[str],
    patience_s: float,
    *,
    interval_s: float | None = None,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[Mapping[str, float | None], list[str]]:
    """Times and notes of the worker; `meanwhile` is called every `interval_s` until it ends."""
    environment = _environment(os.environ)
    try:
        process = subprocess.Popen(
            worker, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
        )
    except OSError as error:
        return {}, [f"probe of the GPUs: {error}"]
    deadline = time.monotonic() + patience_s
    while True:
        meanwhile()
        left = deadline - time.monotonic()
        try:
            output, errors = process.communicate(timeout=left if interval_s is None else min(interval_s, left))
            break
        except subprocess.TimeoutExpired:
            if time.monotonic() < deadline:
                continue
            process.kill()
            with suppress(subprocess.TimeoutExpired):  # one that hangs in the driver cannot even be killed
                process.communicate(timeout=1)
            return {}, [f"probe of the GPUs: no end after {patience_s:g} s"]
    if process.returncode != 0:
        last = errors.decode(errors="replace").strip().rpartition("\n")[2]
        return {}, [f"probe of the GPUs: status {process.returncode}: {last}"]
    try:
        result: dict[str, Any] = json.loads(output)
        names = ("gpu_memory_ms", "gpu_compute_ms")
        times = {name: None if result[name] is None else float(result[name]) for name in names}
        return times, [f"probe of the GPUs: {note}" for note in result["notes"]]
    except (ValueError, KeyError, TypeError):
        return {}, [f"probe of the GPUs: unexpected output {output[:80]!r}"]


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    """The worker's variables: no CUDA cache, and the user's visible GPUs.

    Ray sets an empty CUDA_VISIBLE_DEVICES for actors without GPUs, which would hide them all.
    """
    kept = {name: value for name, value in environ.items() if name != "CUDA_VISIBLE_DEVICES" or value.strip()}
    return {**kept, "CUDA_CACHE_DISABLE": "1"}
