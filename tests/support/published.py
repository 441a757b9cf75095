"""Small results in the form of each tool, made up: documents by reader, with the speed that a reader must find."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

DATA = Path(__file__).resolve().parents[1] / "data" / "published"


class Sample(NamedTuple):
    """A file's name and text, and what is to be read: model, metric, its values in the order of the rows, batch."""

    name: str
    text: str
    model: str | None
    metric: str
    values: list[float | None]
    batch: int | None = None


def _stored(name: str, *expected: Any) -> Sample:
    return Sample(name, (DATA / name).read_text(), *expected)


def _json(name: str, document: Any, *expected: Any) -> Sample:
    return Sample(name, json.dumps(document), *expected)


def _guidellm(version: int, streams: int, speed: float) -> dict[str, Any]:
    metrics = {
        "requests_per_second": {"successful": {"mean": speed / 128}},
        "output_tokens_per_second": {"successful": {"mean": speed}},
        "request_latency": {"successful": {"mean": 1.5, "median": 1.4, "percentiles": {"p95": 2.0, "p99": 2.2}}},
        "time_to_first_token_ms": {"successful": {"mean": 210.0, "median": 205.0, "percentiles": {"p95": 240.0}}},
    }
    counts = {"successful": 40, "errored": 2, "incomplete": 0, "total": 42}
    if version == 1:
        args = {"strategy": {"type_": "concurrent", "streams": streams}}
        worker = {"backend_model": "org/Model-8B"}
        return {"metrics": metrics, "args": args, "worker": worker, "run_stats": {"requests_made": counts}}
    config = {"strategy": {"type_": "concurrent", "streams": streams}, "backend": {"model": "org/Model-8B"}}
    return {"metrics": {**metrics, "request_totals": counts}, "config": config, "start_time": 1.76e9 + streams}


def _sweep(version: int) -> dict[str, Any]:
    return {"benchmarks": [_guidellm(version, streams, 40.0 * streams) for streams in (1, 4)]}


TRTLLM: Mapping[str, Any] = {
    "engine": {
        "model": "org/Model-8B",
        "model_path": "None",
        "version": "1.2.0",
        "backend": "Pytorch",
        "dtype": "bfloat16",
    },
    "machine": {"name": "NVIDIA GB10", "memory.total": 119.6, "clocks.mem": None},
    "world_info": {"tp_size": 1, "pp_size": 1, "world_size": 1, "max_batch_size": 8, "max_num_tokens": 2048},
    "request_info": {"num_requests": 50, "avg_input_length": 256.0, "avg_output_length": 128.0},
    "performance": {
        "system_output_throughput_tok_s": 97.5,
        "request_throughput_req_s": 0.76,
        "avg_request_latency_ms": 1310.0,
    },
    "streaming_metrics": {"avg_ttft_ms": 88.0, "avg_tpot_ms": 9.6},
}
INFERENCEX = {
    "hw": "h200", "conc": 64, "model": "org/Model-8B", "framework": "vllm", "precision": "fp8",
    "image": "vllm:v1", "spec_decoding": "none", "isl": 1024, "osl": 1024, "tp": 4, "ep": 1,
    "tput_per_gpu": 2000.0, "output_tput_per_gpu": 1000.0,
    "mean_ttft": 0.25, "mean_tpot": 0.02, "mean_intvty": 50.0,
}  # fmt: skip
AGENTPERF = {
    "version": 1, "kind": "run_summary", "run_id": "r1", "manifest": "agent.json", "started_at": "2026-10-03T08:00:00Z",
    "success": True, "output_tokens_per_second": 41.5, "config": {"model": "Model-8B", "client_backend": "python"},
    "totals": {"turns": 8, "successful_turns": 7, "failed_turns": 1},
    "latency_distributions_ms": {"e2e": {"mean": 900.0, "p50": 880.0, "p95": 1200.0}},
}  # fmt: skip
BENCHY = {
    "version": "0.2", "timestamp": "2026-10-03 08:00:00Z", "latency_mode": "api", "model": "Model-8B",
    "benchmarks": [
        {
            "concurrency": concurrency, "context_size": 0, "prompt_size": 2048, "response_size": 32,
            "is_context_prefill_phase": False, "pp_throughput": {"mean": 990.0, "std": 1.0, "values": [989, 991]},
            "tg_throughput": {"mean": speed, "std": 0.1, "values": [speed]}, "e2e_ttft": {"mean": 2100.0, "std": 1.0},
        }
        for concurrency, speed in ((1, 50.0), (2, 90.0))
    ],
}  # fmt: skip
BENCHY_CSV = """model,test_name,t_s_mean,t_s_std,t_s_req_mean,t_s_req_std,peak_ts_mean,peak_ts_std,ttfr_mean,ttfr_std
Model-8B,pp2048 (c1),990.0,1.0,990.0,1.0,,,2100.0,1.0
Model-8B,tg32 (c1),50.0,0.1,50.0,0.1,52.0,0.1,,
Model-8B,pp2048 @ d4096 (c2),950.0,1.0,475.0,1.0,,,2200.0,1.0
Model-8B,tg32 @ d4096 (c2),90.0,0.1,45.0,0.1,95.0,0.1,,
"""
LLAMA_MARKDOWN = """Some words before.

| model         |      size |   params | backend | ngl |          test |             t/s |
| ------------- | --------: | -------: | ------- | --: | ------------: | --------------: |
| llama 8B Q4_0 |  4.33 GiB |   8.03 B | CUDA    |  99 |         pp512 | 1874.10 ± 12.30 |
| llama 8B Q4_0 |  4.33 GiB |   8.03 B | CUDA    |  99 |         tg128 |    56.30 ± 0.21 |
| llama 8B Q4_0 |  4.33 GiB |   8.03 B | CUDA    |  99 | tg128 @ d4096 |    52.10 ± 0.20 |

build: 0a1b2c3 (7100)
"""
LLAMA_SQL = """CREATE TABLE IF NOT EXISTS llama_bench (
  build_commit TEXT,
  model_type TEXT
);

INSERT INTO llama_bench (build_commit, build_number, gpu_info, model_type, n_prompt, n_gen, n_depth, test_time, avg_ts) \
VALUES ('0a1b2c3', '7100', 'NVIDIA GB10', 'o''llama 8B', '512', '0', '0', '2026-10-03T08:00:00Z', '1874.1');
INSERT INTO llama_bench (build_commit, build_number, gpu_info, model_type, n_prompt, n_gen, n_depth, test_time, avg_ts) \
VALUES ('0a1b2c3', '7100', 'NVIDIA GB10', 'o''llama 8B', '0', '128', '0', '2026-10-03T08:01:00Z', '56.3');
"""
BATCHED = """\
{"flash_attn": 1, "pp": 128, "tg": 64, "pl": 1, "n_kv": 192, "speed_pp": 900.5, "speed_tg": 51.2, "speed": 60.1}
{"flash_attn": 1, "pp": 128, "tg": 64, "pl": 4, "n_kv": 768, "speed_pp": 950.0, "speed_tg": 180.4, "speed": 210.9}
"""
AIPERF_CSV = """Metric,avg,min,max,p99,p95,p90,p75,p50,p25
Time To First Token (ms),"1,203.10",180.00,1300.00,1290.00,1280.00,1270.00,1250.00,1201.00,1100.00
Inter Token Latency (ms),84.20,80.00,92.00,91.70,90.00,89.00,86.00,84.00,82.00
Request Latency (ms),"10,870.00",1.00,2.00,3.00,4.00,5.00,6.00,7.00,8.00

Metric,Value
Output Token Throughput (tokens/sec),47.30
Request Throughput (requests/sec),0.37
"""


def _request(index: int, tokens: int | None) -> dict[str, Any]:
    start = 1_760_000_000_000_000_000 + index * 10**9
    metadata = {"request_start_ns": start, "request_end_ns": start + 2 * 10**9, "benchmark_phase": "profiling"}
    if tokens is None:
        return {"metadata": metadata, "metrics": {}, "error": {"code": 500, "type": "ServerError"}}
    metrics = {
        "output_sequence_length": {"value": tokens, "unit": "tokens"},
        "request_latency": {"value": 2e3, "unit": "ms"},
    }
    return {"metadata": metadata, "metrics": metrics, "error": None}


REQUESTS = "\n".join(json.dumps(_request(index, tokens)) for index, tokens in enumerate((30, 30, None, 60)))
LLAMA8, OSS = "meta-llama/Meta-Llama-3-8B", "gpt-oss 120B MXFP4 MoE"
OUT, PREFILL, TOTAL = "output_throughput_tok_s", "prefill_throughput_tok_s", "total_throughput_tok_s"
_VLLM_TOTAL = {
    "elapsed_time": 9.0, "num_requests": 50, "total_num_tokens": 900, "requests_per_second": 5.5, "tokens_per_second": 100.0,
}  # fmt: skip
_LATENCY = {"avg_latency": 1.5, "latencies": [1.4, 1.6], "percentiles": {"50": 1.5}}
_STUDY = {"models": {"m": {"native": [{"output_throughput": 11.5, "exit_code": 0}]}}}
_GENAI = {
    "request_throughput": {"unit": "requests/sec", "avg": 2.3},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 47.3},
    "request_latency": {"unit": "ms", "avg": 10870.0, "p50": 10800.0},
    "input_config": {"model": ["org/Model-8B"], "perf_analyzer": {"stimulus": {"concurrency": 4}}},
}

_OLLAMA = {
    "model": "llama3.1:8b", "created_at": "2026-10-03T08:00:00Z", "done": True, "done_reason": "stop",
    "total_duration": 8_100_000_000, "prompt_eval_count": 26, "prompt_eval_duration": 130_000_000,
    "eval_count": 312, "eval_duration": 7_800_000_000,
}  # fmt: skip
_LLAMA_SERVER = {"model": "m", "timings": {"prompt_n": 26, "prompt_per_second": 200.0, "predicted_per_second": 41.0}}
_LM_STUDIO = {"model": "m", "stats": {"tokens_per_second": 51.4, "time_to_first_token": 0.111}}
_OHA = {
    "summary": {"requestsPerSec": 7.3, "successRate": 1.0, "average": 1.1}, "latencyPercentiles": {"p50": 1.0, "p99": 2.4},
}  # fmt: skip
_LLMPERF = {
    "version": "2023-08-31", "name": "a_550_150_summary", "model": "org/Model-8B", "num_concurrent_requests": 4,
    "timestamp": 1_762_164_000, "results_ttft_s_mean": 0.22, "results_num_requests_started": 100,
    "results_number_errors": 12,
    "results_num_completed_requests": 88, "results_mean_output_throughput_token_per_s": 171.3,
}  # fmt: skip
_K6 = {"metrics": {"http_reqs": {"rate": 7.3}, "http_req_duration": {"avg": 1100.0}, "vus": {"max": 8}}}

SAMPLES: Mapping[str, list[Sample]] = {
    "vllm_serve": [
        _stored("vllm-serve-one.json", LLAMA8, OUT, [46.14], 4),
        _stored("vllm-serve-runs.jsonl", LLAMA8, OUT, [], 4),
        _stored("vllm-serve-summary.json", LLAMA8, OUT, [], 4),
    ],
    "vllm_throughput": [_json("throughput.json", _VLLM_TOTAL, None, TOTAL, [100.0])],
    "vllm_latency": [_json("latency.json", _LATENCY, None, "latency_mean_ms", [1500.0])],
    "sglang_serving": [_stored("sglang-serving.jsonl", None, OUT, [12.4, 47.0, 171.3])],
    "llama_bench": [
        _stored("llama-bench.json", OSS, OUT, [None, 56.3], 1),
        _stored("llama-bench.jsonl", OSS, PREFILL, [1874.1, None], 1),
        _stored("llama-bench.csv", OSS, OUT, [], 1),
        Sample("bench.sql", LLAMA_SQL, "o'llama 8B", OUT, [None, 56.3], 1),
    ],
    "by_test": [
        Sample("table.md", LLAMA_MARKDOWN, "llama 8B Q4_0", OUT, [None, 56.3, 52.1], 1),
        Sample("benchy.csv", BENCHY_CSV, "Model-8B", PREFILL, [990.0, None, 950.0, None]),
    ],
    "llama_batched_bench": [Sample("batched.jsonl", BATCHED, None, OUT, [51.2, 180.4])],
    "llama_benchy": [_json("benchy.json", BENCHY, "Model-8B", OUT, [50.0, 90.0])],
    "aiperf": [
        _stored("aiperf-export.json", LLAMA8, OUT, [47.3], 4),
        _json("records.json", {"input_config": _GENAI["input_config"], "records": _GENAI}, "org/Model-8B", OUT, [47.3], 4),
        _json("genai.json", _GENAI, "org/Model-8B", OUT, [47.3], 4),
    ],
    "aiperf_csv": [Sample("profile_export_aiperf.csv", AIPERF_CSV, None, OUT, [47.3])],
    "aiperf_requests": [Sample("profile_export.jsonl", REQUESTS, None, OUT, [24.0])],
    "guidellm": [
        _json("benchmarks.json", _sweep(v), "org/Model-8B", OUT, [40.0, 160.0])
        for v in (1, 2)
    ],
    "inference_perf": [_stored("inference-perf-stage.json", None, OUT, [531.0])],
    "optimum_benchmark": [_stored("optimum-benchmark-report.json", LLAMA8, OUT, [124.0], 1)],
    "trtllm_bench": [_json("report.json", TRTLLM, "org/Model-8B", OUT, [97.5], 8)],
    "inferencex": [_json("agg_x.json", INFERENCEX, "org/Model-8B", OUT, [4000.0], 64)],
    "agentperf_local": [_json("summary.json", AGENTPERF, "Model-8B", OUT, [41.5])],
    "ollama": [_json("answers.json", _OLLAMA, "llama3.1:8b", OUT, [40.0])],
    "llama_server": [_json("answers.json", _LLAMA_SERVER, "m", OUT, [41.0])],
    "lm_studio": [_json("answers.json", _LM_STUDIO, "m", "ttft_mean_ms", [111.0])],
    "oha": [_json("oha.json", _OHA, None, "latency_p50_ms", [1000.0])],
    "llmperf": [_json("summary.json", _LLMPERF, "org/Model-8B", OUT, [171.3], 4)],
    "k6": [_json("k6.json", _K6, None, "request_throughput_req_s", [7.3], 8)],
    "study": [_json("study.json", _STUDY, "m", OUT, [11.5])],
    "table": [
        _stored("records.json", "Llama-3-8B", OUT, []),
        _stored("records.jsonl", "Llama-3-8B", OUT, []),
        _stored("semicolon.csv", "Llama-3-8B", OUT, [12.55, 12.59, 12.63, 12.56, 12.59, 12.55, 12.6, 12.6]),
    ],
}  # fmt: skip
