"""Samples of what `trtllm-bench` leaves, written by hand after its schema, apart from the double that plays it."""

import json
from copy import deepcopy
from pathlib import Path

import yaml

from sparkray.config.boundary import parse
from sparkray.config.experiment import Workload
from sparkray.config.model import ModelCard
from sparkray.engines import Job, Paths, load_engine

FOLDER = Path(__file__).parents[2] / "conf" / "models"
PATHS = Paths(model="/models/M", input="/in", output="/out", python="/usr/bin/python3", workers="/workers")


def card(name="Llama-3-8B"):
    return parse(ModelCard, yaml.safe_load((FOLDER / f"{name}.yaml").read_text()), name)


def cards():
    every = [parse(ModelCard, yaml.safe_load(p.read_text()), p.name) for p in sorted(FOLDER.glob("*.yaml"))]
    return [c for c in every if c.weights.kind == "checkpoint" and c.tier > 0]


def job(name="Llama-3-8B", *, version=None, requests=2, input_tokens=512, output_tokens=128, concurrency=0, **options):
    if version:
        options["version"] = version
    load = Workload(requests, input_tokens, output_tokens, concurrency=concurrency)
    return Job(card(name), load, seed=7, options=load_engine("trtllm").options(options, "test"))


def words_after(argv, name):
    return argv[argv.index(name) + 1]


REPORT = {
    "engine": {
        "model": "meta-llama/Meta-Llama-3-8B",
        "model_path": "/models/M",
        "engine_dir": "None",
        "version": "1.2.1",
        "backend": "Pytorch",
        "dtype": "bfloat16",
        "kv_cache_dtype": None,
        "quantization": None,
    },
    "world_info": {
        "tp_size": 1,
        "pp_size": 1,
        "ep_size": -1,
        "world_size": 1,
        "max_batch_size": 8,
        "max_num_tokens": 8192,
        "scheduling_policy": "GUARANTEED_NO_EVICT",
        "kv_cache_percentage": 0.9,
        "issue_rate": 1.03e14,
    },
    "request_info": {
        "num_requests": 2,
        "avg_num_concurrent_requests": 2.0,
        "avg_input_length": 512.0,
        "avg_output_length": 128.0,
    },
    "performance": {
        "total_latency_ms": 8000.0,
        "avg_request_latency_ms": 7900.0,
        "request_throughput_req_s": 0.25,
        "system_output_throughput_tok_s": 32.0,
        "system_total_throughput_tok_s": 160.0,
        "output_throughput_per_user_tok_s": 16.2,
        "output_throughput_per_gpu_tok_s": 32.0,
        "request_latency_percentiles_ms": {"p50": 7900.0, "p95": 8000.0, "p99": 8000.0},
    },
    "dataset": {"num_requests": 2, "dataset_path": "/in/dataset.jsonl", "max_isl": 512, "avg_isl": 512},
}
STREAMING = {
    "token_output_speed_tok_s": 16.4,
    "avg_ttft_ms": 110.0,
    "avg_tpot_ms": 61.0,
    "ttft_percentiles": {"p50": 1},
}
MACHINE = {"name": "NVIDIA GB10", "memory.total": 119.64, "clocks.mem": None}
ENERGY = {"total_energy_j": 440.0, "output_tps_per_w": 0.58, "average_gpu_power": 55.0}
DECODING = {"mode": "MTP", "acceptance_length_percentiles": {"p50": 1.7}}


def report(**sections):
    return {**deepcopy(REPORT), "streaming_metrics": STREAMING, **sections}


def request(number, start, *, first=None, end=None, **other):
    return {
        "id": number,
        "num_input_tokens": 512,
        "error_tokens": 0,
        "start_timestamp": start,
        "first_token_timestamp": start + 110_000_000 if first is None else first,
        "end_timestamp": start + 7_900_000_000 if end is None else end,
        "decode_iteration": 127,
        "num_total_output_tokens": 128,
        "num_generated_tokens": 127,
        "generation_time": 7_790_000_000,
        "time_to_first_token": 110_000_000.0,
        "intertoken_latency": 61_338_582.6,
        "end_to_end_latency": 7_900_000_000,
        "output": "",
        "output_tokens": 128,
        **other,
    }


REQUESTS = [request(1, 1_100_000_000), request(0, 1_000_000_000)]
PEAK_2026 = (
    "[RANK 0] [I] Peak memory during memory usage profiling (torch + non-torch): 70.47 GiB, available KV cache memory "
    "when calculating max tokens: 44.31 GiB, fraction is set 0.9, kv size per token is 131072. device total memory "
    "119.64 GiB, temporary kv cache memory during profiling 0.33 GiB"
)
LOG = f"""\
[11/22/2025-10:00:00] [TRT-LLM] [I] Preparing to run throughput benchmark...
[11/22/2025-10:00:20] [TRT-LLM] [I] Model init total -- 19.66s
[TensorRT-LLM][INFO] Number of tokens per block: 32.
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 0.33 GiB for max tokens in paged KV cache (2688).
[11/22/2025-10:00:21] [TRT-LLM] {PEAK_2026}
[TensorRT-LLM][INFO] [MemUsageChange] Allocated 44.31 GiB for max tokens in paged KV cache (362976).
[11/22/2025-10:00:30] [TRT-LLM] [I] Warmup done.
[11/22/2025-10:00:38] [TRT-LLM] [I] Benchmark done. Reporting results...
"""


def leave(folder, *, log=LOG, report=None, requests=REQUESTS, **files):
    """A folder as a run leaves it. A report or request list of None is not written; text is written as it is."""
    for name, content in (("report.json", report), ("requests.json", requests), *files.items()):
        if content is not None:
            text = content if isinstance(content, str) else json.dumps(content)
            (folder / name).write_text(text)
    (folder / "engine.log").write_text(log)
    return folder
