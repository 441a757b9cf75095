"""What the simulated benchmarks write; see the package."""

import argparse
import hashlib
import json
import os
import random
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

VERSION = "0.26.0"
_PREFIX = f"(EngineCore pid={os.getpid()}) "
_SHARE = 0.62  # of the bandwidth, as an H200 reached it
_GIB, _TOKEN_BYTES = 1 << 30, 131072


def run(words: Sequence[str]) -> int:
    """One benchmark. Returns the exit status."""
    options = _parser().parse_args(words)
    fault = os.environ.get("SPARKRAY_DOUBLE_FAULT", "")
    document: dict[str, Any] = json.loads((Path(options.model) / "config.json").read_text())
    _log(f"Resolved architecture: {document['architectures'][0]}", "model.py:623", engine=False)
    _log(f"Using max model len {options.max_model_len}", "model.py:1788", engine=False)
    config = (
        f"model='{options.model}', tokenizer='{options.tokenizer or options.model}', load_format={options.load_format}"
    )
    _log(f"Initializing a V1 LLM engine (v{VERSION}) with config: {config}", "core.py:116")
    if fault == "crash":
        _log("EngineCore failed to start.", "core.py:1200", level="ERROR")
        _say("ValueError: The decoder prompt cannot be empty")
        return 1
    if fault == "oom":
        _say(f"{_PREFIX}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
        return 1
    _start(options, document)
    time.sleep(0.3)
    report = _latency(options, _token_s(document)) if options.tool == "latency" else _throughput(options)
    if fault == "short":
        report["latencies"] = report.get("latencies", [1.0])[:-1]
    if fault != "no_report":
        path = Path(options.output_json)
        path.write_text(json.dumps(report, indent=4))
        (path.parent / "sparkray-double.json").write_text(json.dumps({"version": VERSION}))
    _log("[shutdown] EngineCore: exiting busy loop", "core.py:1326")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vllm", allow_abbrev=False)
    parser.add_argument("verb", choices=["bench"])
    parser.add_argument("tool", choices=["latency", "throughput"])
    for name in ("model", "tokenizer", "output-json"):
        parser.add_argument(f"--{name}")
    for name in ("load-format", "dtype"):
        parser.add_argument(f"--{name}", default="auto")
    for name in ("max-model-len", "max-num-seqs", "max-num-batched-tokens", "seed"):
        parser.add_argument(f"--{name}", type=int, default=0)
    parser.add_argument("--gpu-memory-utilization", type=float, default=0.9)
    parser.add_argument("--enforce-eager", action="store_true")
    parser.add_argument("--enable-prefix-caching", action=argparse.BooleanOptionalAction)
    for name in ("input-len", "output-len", "batch-size", "num-iters-warmup", "num-iters"):
        parser.add_argument(f"--{name}", type=int, default=1)
    parser.add_argument("--dataset-name", choices=["random"])
    for name in ("random-input-len", "random-output-len", "num-prompts"):
        parser.add_argument(f"--{name}", type=int, default=1)
    return parser


def _start(options: argparse.Namespace, document: dict[str, Any]) -> None:
    """The log of a start, and the compile cache that it fills."""
    _log("Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN', 'FLASHINFER'].", "cuda.py:482")
    _log("Using FlashAttention version 3", "flash_attn.py:776")
    _log("Model loading took 14.96 GiB and 1.925102 seconds", "model_runner.py:305")
    cold = False if options.enforce_eager else _compile(options, document)
    kv_gib = 55.92 - 14.96 - (1.33 if cold else 1.1)
    _log(f"Available KV cache memory: {kv_gib:.2f} GiB", "gpu_worker.py:560")
    _log(f"GPU KV cache size: {int(kv_gib * _GIB / _TOKEN_BYTES):,} tokens", "kv_cache_utils.py:2177")
    if not options.enforce_eager:
        _log("Graph capturing finished in 2 secs, took 0.22 GiB", "model_runner.py:747")
    compiled = "" if options.enforce_eager else f" (compilation: {17.97 if cold else 3.44:.2f} s)"
    took = f"took {28.65 if cold else 7.05:.2f} s{compiled}"
    _log(f"init engine (profile, create kv cache, warmup model) {took}", "core.py:340")


def _compile(options: argparse.Namespace, document: dict[str, Any]) -> bool:
    """Whether the graphs had to be compiled."""
    lengths = [options.max_model_len, options.max_num_seqs, options.max_num_batched_tokens]
    key = [document, lengths, options.dtype, os.environ.get("CC"), os.environ.get("CXX")]
    digest = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:10]
    root = Path(os.environ.get("VLLM_CACHE_ROOT", "~/.cache/vllm")).expanduser() / "torch_compile_cache" / digest
    folder = root / "rank_0_0" / "backbone"
    _log(f"Using cache directory: {folder} for vLLM's torch.compile", "backends.py:1094")
    cold = not folder.is_dir()
    folder.mkdir(parents=True, exist_ok=True)
    if cold:
        _log("Compiling a graph for compile range (1, 8192) takes 7.11 s", "backends.py:380")
    else:
        _log("Directly load the compiled graph(s) for compile range (1, 8192) from the cache, took 1.048 s", "b.py:292")
    _log(f"torch.compile took {17.97 if cold else 3.44:.2f} s in total", "monitor.py:53")
    return cold


def _token_s(document: dict[str, Any]) -> float:
    """Time of a decode step: every weight read once, at 16 bits."""
    hidden, inner, layers = (document[name] for name in ("hidden_size", "intermediate_size", "num_hidden_layers"))
    kept = 2 * hidden * document["num_key_value_heads"] * document["head_dim"] + 2 * hidden * hidden
    weights = layers * (kept + 3 * hidden * inner) + document["vocab_size"] * hidden
    return float(2 * weights / (float(os.environ.get("SPARKRAY_DOUBLE_BANDWIDTH_GB_S", "273")) * 1e9 * _SHARE))


def _latency(options: argparse.Namespace, token_s: float) -> dict[str, Any]:
    noise = random.Random()  # noqa: S311 - simulated noise
    mean_s = options.output_len * token_s
    times = [mean_s * noise.gauss(1.0, 0.004) for _ in range(options.num_iters)]
    _say(f"Avg latency: {sum(times) / len(times)} seconds")
    ordered = sorted(times)
    at = {str(q): ordered[min(len(ordered) - 1, q * len(ordered) // 100)] for q in (10, 25, 50, 75, 90, 99)}
    return {"avg_latency": sum(times) / len(times), "latencies": times, "percentiles": at}


def _throughput(options: argparse.Namespace) -> dict[str, Any]:
    tokens = options.num_prompts * (options.random_input_len + options.random_output_len)
    elapsed_s = tokens / 44365.0
    rate = options.num_prompts / elapsed_s
    _say(f"Throughput: {rate:.2f} requests/s, {tokens / elapsed_s:.2f} total tokens/s")
    return {
        "elapsed_time": elapsed_s,
        "num_requests": options.num_prompts,
        "total_num_tokens": tokens,
        "requests_per_second": rate,
        "tokens_per_second": tokens / elapsed_s,
    }


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _log(text: str, place: str, *, level: str = "INFO", engine: bool = True) -> None:
    stamp = time.strftime("%m-%d %H:%M:%S")
    _say(f"{_PREFIX if engine else ''}{level} {stamp} [{place}] {text}")
