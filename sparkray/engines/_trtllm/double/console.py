"""What the tool logs, in the words of each version."""

import sys
import time
from collections.abc import Iterator
from typing import Any

from .checkpoint import Checkpoint
from .report import BLOCK
from .settings import Settings

RANKED_SINCE = PEAK_REWORDED_SINCE = (1, 2)
GIB = 2**30


def log(settings: Settings, text: str, level: str = "I") -> None:
    """One record of the Python logger."""
    stamp = time.strftime("[%m/%d/%Y-%H:%M:%S]")
    rank = " [RANK 0]" if settings.minor >= RANKED_SINCE else ""
    write(f"{stamp} [TRT-LLM]{rank} [{level}] {text}")


def write(text: str) -> None:
    """A line of standard output, at once: a killed tool's log must be there."""
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def memory(settings: Settings, values: dict[str, Any], *, model: Checkpoint, kv_bytes: float) -> None:
    """Loading, profiling, and the KV cache: first the one for profiling, then the final one."""
    weights, outside = model.resident / GIB, 1.8
    peak = weights + outside + 1.1
    log(settings, f"Model init total -- {model.resident / 2e9:.2f}s")
    _kv_cache(0.02 * kv_bytes, model)
    after = "in memory usage profiling"
    log(settings, f"Memory used after loading model weights (inside torch) {after}: {weights:.2f} GiB")
    log(settings, f"Memory used after loading model weights (outside torch) {after}: {outside:.2f} GiB")
    log(settings, f"Memory dynamically allocated during inference (inside torch) {after}: 1.10 GiB")
    log(settings, f"Memory used outside torch (e.g., NCCL and CUDA graphs) {after}: {outside:.2f} GiB")
    log(settings, _peak(settings, values, model=model, peak=peak))
    if settings.minor < PEAK_REWORDED_SINCE:
        log(settings, f"Estimated max tokens in KV cache : {int(kv_bytes // model.kv_per_token)}")
    else:
        log(settings, f"Estimated max memory in KV cache : {kv_bytes / GIB:.2f} GiB")
    sizes = f"max_seq_len={values['max_seq_len']}, max_num_requests={values['max_batch_size']}"
    log(settings, f"{sizes}, max_num_tokens={values['max_num_tokens']}, max_batch_size={values['max_batch_size']}")
    _kv_cache(kv_bytes, model)


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


def _kv_cache(count: float, model: Checkpoint) -> None:
    blocks = int(count // model.kv_per_token // BLOCK)
    write(f"[TensorRT-LLM][INFO] Number of tokens per block: {BLOCK}.")
    told = f"Allocated {blocks * BLOCK * model.kv_per_token / GIB:.2f} GiB for max tokens in paged KV cache"
    write(f"[TensorRT-LLM][INFO] [MemUsageChange] {told} ({blocks * BLOCK}).")


def summary(settings: Settings, document: dict[str, Any]) -> None:
    """The report for people: one record of many lines."""
    log(settings, "\n" + "\n".join(_summary(document)))


def _summary(document: dict[str, Any]) -> Iterator[str]:
    line = "=" * 59
    engine, world, performance = document["engine"], document["world_info"], document["performance"]
    requests = document["request_info"]
    yield from ("", line, "= PYTORCH BACKEND", line)
    yield from (f"Model:\t\t\t{engine['model']}", f"Model Path:\t\t{engine['model_path']}")
    yield from (f"TensorRT LLM Version:\t{engine['version']}", f"Dtype:\t\t\t{engine['dtype']}")
    yield from ("", line, "= REQUEST DETAILS ", line, f"Number of requests:             {requests['num_requests']}")
    yield f"Number of concurrent requests:  {requests['avg_num_concurrent_requests']:.4f}"
    yield f"Average Input Length (tokens):  {requests['avg_input_length']:.4f}"
    yield f"Average Output Length (tokens): {requests['avg_output_length']:.4f}"
    yield from ("", line, "= WORLD + RUNTIME INFORMATION ", line, f"TP Size:                {world['tp_size']}")
    yield f"Max Runtime Batch Size: {world['max_batch_size']}"
    yield f"Max Runtime Tokens:     {world['max_num_tokens']}"
    fraction = world["kv_cache_percentage"]
    yield f"KV Memory Percentage:   {None if fraction is None else format(fraction, '.2%')}"
    yield from ("", line, "= PERFORMANCE OVERVIEW ", line)
    yield f"Request Throughput (req/sec):                     {performance['request_throughput_req_s']:.4f}"
    yield f"Total Output Throughput (tokens/sec):             {performance['system_output_throughput_tok_s']:.4f}"
    yield f"Total Token Throughput (tokens/sec):              {performance['system_total_throughput_tok_s']:.4f}"
    yield f"Total Latency (ms):                               {performance['total_latency_ms']:.4f}"
    yield f"Average request latency (ms):                     {performance['avg_request_latency_ms']:.4f}"
    streaming = document.get("streaming_metrics")
    if streaming:
        yield f"Average time-to-first-token [TTFT] (ms):          {streaming['avg_ttft_ms']:.4f}"
        yield f"Average time-per-output-token [TPOT] (ms):        {streaming['avg_tpot_ms']:.4f}"
    yield from ("", line, "= DATASET DETAILS", line, f"Dataset Path:         {document['dataset']['dataset_path']}", "")
