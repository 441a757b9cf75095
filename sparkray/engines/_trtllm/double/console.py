"""The tool's log lines, in the form of each version."""

import sys
import time
from typing import Any

from .checkpoint import Checkpoint
from .report import BLOCK
from .settings import Settings

PEAK_REWORDED_SINCE = (1, 2)
MODULE_SINCE = V2_SINCE = (1, 3)
RENAMED_SINCE = (1, 1)
GIB = 2**30


def banner(settings: Settings) -> None:
    """The first line of every call: `import tensorrt_llm` prints it."""
    name = "TensorRT LLM" if settings.minor >= RENAMED_SINCE else "TensorRT-LLM"
    write(f"[TensorRT-LLM] {name} version: {settings.full}")


def log(settings: Settings, text: str, level: str = "I", *, module: str = "bench", rank: int | None = None) -> None:
    """One record of the Python logger. Only processes that run the model have a rank.

    The rank stands before the severity up to 1.2. From 1.3 on it stands after it, behind the module that logs.
    """
    stamp = time.strftime("[%m/%d/%Y-%H:%M:%S]")
    ranked = "" if rank is None else f"[RANK {rank}]"
    if settings.minor >= MODULE_SINCE:
        parts = [f"[{level}]", f"[{module}]{ranked}"]
    else:
        parts = [ranked, f"[{level}]"] if ranked else [f"[{level}]"]
    write(" ".join([stamp, "[TRT-LLM]", *parts, text]))


def write(text: str) -> None:
    """A line of standard output, at once: a killed tool's log must be there."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def memory(settings: Settings, values: dict[str, Any], *, model: Checkpoint, kv_bytes: float) -> None:
    """Loading, profiling, and the KV cache: first the one for profiling, then the final one."""
    weights, outside = model.resident / GIB, 1.8
    peak = weights + outside + 1.1
    _worker(settings, f"Model init total -- {model.resident / 2e9:.2f}s")
    _kv_cache(settings, values, model=model, size=0.02 * kv_bytes)
    after = "in memory usage profiling"
    _worker(settings, f"Memory used after loading model weights (inside torch) {after}: {weights:.2f} GiB")
    _worker(settings, f"Memory used after loading model weights (outside torch) {after}: {outside:.2f} GiB")
    _worker(settings, f"Memory dynamically allocated during inference (inside torch) {after}: 1.10 GiB")
    _worker(settings, f"Memory used outside torch (e.g., NCCL and CUDA graphs) {after}: {outside:.2f} GiB")
    _worker(settings, _peak(settings, values, model=model, peak=peak))
    if settings.minor < PEAK_REWORDED_SINCE:
        _worker(settings, f"Estimated max tokens in KV cache : {int(kv_bytes // model.kv_per_token)}")
    else:
        _worker(settings, f"Estimated max memory in KV cache : {kv_bytes / GIB:.2f} GiB")
    sizes = f"max_seq_len={values['max_seq_len']}, max_num_requests={values['max_batch_size']}"
    _worker(settings, f"{sizes}, max_num_tokens={values['max_num_tokens']}, max_batch_size={values['max_batch_size']}")
    _kv_cache(settings, values, model=model, size=kv_bytes)


def _worker(settings: Settings, text: str) -> None:
    """A record of the process that runs the model."""
    log(settings, text, module="_torch", rank=0)


def _peak(settings: Settings, values: dict[str, Any], *, model: Checkpoint, peak: float) -> str:
    fraction, total = values["kv_cache_free_gpu_mem_fraction"], settings.memory_gib
    start = f"Peak memory during memory usage profiling (torch + non-torch): {peak:.2f} GiB"
    kv_memory = total - peak
    room = f"available KV cache memory when calculating max tokens: {kv_memory:.2f} GiB"
    if settings.minor < PEAK_REWORDED_SINCE:
        tail = f"kv size is {model.kv_per_token}. device total memory {total:.2f} GiB, , tmp kv_mem 0.50 GiB"
    else:
        temporary = "temporary kv cache memory during profiling 0.50 GiB"
        tail = f"kv size per token is {model.kv_per_token}. device total memory {total:.2f} GiB, {temporary}"
    return f"{start}, {room}, fraction is set {fraction}, {tail}"


def _kv_cache(settings: Settings, values: dict[str, Any], *, model: Checkpoint, size: float) -> None:
    """Manager V2 logs its quota, unrounded and without a space; the older one, in C++, its blocks."""
    blocks = int(size // model.kv_per_token // BLOCK)
    if settings.minor >= V2_SINCE and values["kv_manager_v2"]:
        _worker(settings, f"KV cache manager v2 device quota set to {blocks * BLOCK * model.kv_per_token / GIB}GiB")
        return
    write(f"[TensorRT-LLM][INFO] Number of tokens per block: {BLOCK}.")
    allocated = f"Allocated {blocks * BLOCK * model.kv_per_token / GIB:.2f} GiB for max tokens in paged KV cache"
    write(f"[TensorRT-LLM][INFO] [MemUsageChange] {allocated} ({blocks * BLOCK}).")
