"""vLLM's commands, and what its real logs and reports show. Logs and times are excerpts of runs on an NVIDIA H200."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.config.experiment import Workload
from sparkray.engines import Job, Paths, load_engine
from sparkray.errors import ConfigError, EngineFailedError, EngineOutputError, RunOutOfMemoryError
from sparkray.metrics import RunData, compute_all

LOGS = Path(__file__).parents[1] / "golden" / "vllm"
LOAD = Workload(requests=80, input_tokens=128, output_tokens=128, warmup_requests=16, concurrency=8)
PATHS = Paths("/m/Llama-3-8B-random", "/in", "/out", "python3", "/w", port=8001)
NATIVE_TIMES = [0.70011, 0.6951, 0.7004, 0.6989, 0.7061, 0.6947, 0.6893, 0.7032, 0.7001, 0.6974]


def job_of(load=LOAD, model="Llama-3-8B-random", **options):
    engine = load_engine("vllm")
    return Job(Catalog(data_root()).card(model), load, seed=7, options=engine.options(options, "test"))


def left(tmp_path, log, report):
    (tmp_path / "engine.log").write_bytes((LOGS / f"{log}.log").read_bytes() if log else b"")
    if report is not None:
        (tmp_path / "report.json").write_text(json.dumps(report))
    return tmp_path


def read(tmp_path, log, report, job=None):
    return load_engine("vllm").read(left(tmp_path, log, report), job or job_of())


def words_after(command, name):
    return command.argv[command.argv.index(name) + 1]


def test_latency_runs_whole_batches_of_random_weights():
    job = job_of(dtype="bfloat16", gpu_memory_utilization=0.4, max_num_batched_tokens=8192)
    command = load_engine("vllm").command(job, PATHS)
    assert command.argv[:5] == ("python3", "-m", "vllm.entrypoints.cli.main", "bench", "latency")
    wanted = {
        "--model": PATHS.model,
        "--tokenizer": f"{PATHS.model}/tokenizer",
        "--load-format": "dummy",
        "--dtype": "bfloat16",
        "--gpu-memory-utilization": "0.4",
        "--max-num-batched-tokens": "8192",
        "--batch-size": "8",
        "--num-iters": "10",
        "--num-iters-warmup": "2",
        "--max-model-len": "256",
        "--output-json": "/out/report.json",
    }
    assert {name: words_after(command, name) for name in wanted} == wanted
    assert "--no-enable-prefix-caching" in command.argv
    assert "--enforce-eager" not in command.argv


def test_a_checkpoint_is_loaded_by_vllms_own_means():
    command = load_engine("vllm").command(job_of(model="Llama-3-8B", eager=True), PATHS)
    assert "--load-format" not in command.argv
    assert "--tokenizer" not in command.argv
    assert "--enforce-eager" in command.argv


def test_the_server_gets_the_same_settings():
    serve = replace(LOAD, kind="serve")
    command = load_engine("vllm").command(job_of(serve, max_num_batched_tokens=8192, arguments=["--x"]), PATHS)
    assert command.argv[:2] == ("vllm", "serve")
    other = load_engine("vllm").command(job_of(serve, program=["/x/vllm"]), PATHS)
    assert other.argv[:2] == ("/x/vllm", "serve")
    assert words_after(command, "--load-format") == "dummy"
    assert words_after(command, "--max-num-batched-tokens") == "8192"
    assert words_after(command, "--port") == "8001"
    assert command.argv[-1] == "--x"


def test_a_load_that_the_benchmark_cannot_make_is_refused():
    engine = load_engine("vllm")
    with pytest.raises(ConfigError, match="81 requests are no whole number of batches of 8") as refused:
        engine.warnings(job_of(replace(LOAD, requests=81)))
    assert "80" in refused.value.remedy
    with pytest.raises(ConfigError, match="one length"):
        engine.command(job_of(replace(LOAD, input_spread=4)), PATHS)


def test_a_warm_start_is_read_from_its_log(tmp_path):
    measurement = read(tmp_path, "lat-8b-graph-b8.4.native", {"latencies": NATIVE_TIMES})
    facts = measurement.facts
    assert (facts.version, facts.model_architecture, facts.model_path) == (
        "0.26.0",
        "LlamaForCausalLM",
        "/w/models/Llama-3-8B",
    )
    assert facts.load_s == 2.174888
    assert facts.kv_cache_bytes == round(39.86 * (1 << 30))
    assert dict(facts.reported) == {
        "kv_cache_tokens": 326528,
        "context_length": 2048,
        "weights_gib": 14.96,
        "attention_backend": "FLASH_ATTN",
        "flash_attention": 3,
        "compile_cache": "f2026c342c",
        "compile_state": "warm",
        "compile_s": 3.91,
        "graph_capture_s": 2,
        "engine_init_s": 8.01,
    }
    assert not measurement.simulated


@pytest.mark.parametrize(
    ("log", "cache", "state", "tokens"),
    [
        ("lat-8b-graph-b8.0.native", "f2026c342c", "cold", 324656),
        ("lat-8b-graph-b8.11.docker", "6b3d062284", "cold", 324656),
        ("lat-1.5b-eager-b8.4.native", None, None, 1954208),
    ],
)
def test_other_starts_are_told_apart(tmp_path, log, cache, state, tokens):
    reported = read(tmp_path, log, {"latencies": NATIVE_TIMES}).facts.reported
    assert (reported.get("compile_cache"), reported.get("compile_state")) == (cache, state)
    assert reported["kv_cache_tokens"] == tokens


def test_the_requests_of_a_batch_share_its_time(tmp_path):
    measurement = read(tmp_path, "lat-8b-graph-b8.4.native", {"latencies": NATIVE_TIMES})
    requests = measurement.requests
    assert len(requests) == 80
    assert [request.index for request in requests] == list(range(80))
    assert requests[0].end_ns == requests[8].submit_ns
    values = compute_all(RunData(requests, (), measurement.facts, {}))
    mean_s = sum(NATIVE_TIMES) / 10
    assert values["latency_mean_ms"] == pytest.approx(mean_s * 1000)
    assert values["output_throughput_tok_s"] == pytest.approx(8 * 128 / mean_s, rel=1e-6)
    assert values["ttft_mean_ms"] is None
    assert abs(requests[-1].end_ns - time.monotonic_ns()) < 60e9, "on the clock of the samples"


def test_throughput_says_that_no_single_request_was_timed(tmp_path):
    job = job_of(replace(LOAD, requests=1000), tool="throughput")
    report = {"elapsed_time": 5.770335, "num_requests": 1000, "total_num_tokens": 256000, "tokens_per_second": 44364.8}
    measurement = read(tmp_path, "thr-1.5b-graph.0.native", report, job)
    values = compute_all(RunData(measurement.requests, (), measurement.facts, {}))
    assert values["output_throughput_tok_s"] == pytest.approx(22182.42, rel=1e-5)
    assert "no time of a single request" in measurement.notes[0]
    with pytest.raises(EngineOutputError, match="255000 tokens, asked for were 256000"):
        read(tmp_path, None, report | {"total_num_tokens": 255000}, job)


@pytest.mark.parametrize(
    ("report", "match"),
    [
        ({"latencies": NATIVE_TIMES[:9]}, "72 requests, asked for were 80"),
        ({"latencies": [0.0, *NATIVE_TIMES[1:]]}, "a time that is none"),
        ({"latencies": ["x"]}, "unexpected shape"),
        ([], "JSON object"),
    ],
)
def test_a_report_that_does_not_fit_is_refused(tmp_path, report, match):
    with pytest.raises(EngineOutputError, match=match):
        read(tmp_path, "lat-8b-graph-b8.4.native", report)


def test_the_cause_of_a_failure_is_the_logs_own(tmp_path):
    with pytest.raises(EngineFailedError, match="The decoder prompt cannot be empty"):
        read(tmp_path, "failed-empty-prompt", None)
    (tmp_path / "engine.log").write_text("(EngineCore pid=1) torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB\n")
    with pytest.raises(RunOutOfMemoryError, match="Tried 2 GiB"):
        load_engine("vllm").read(tmp_path, job_of())
    (tmp_path / "engine.log").write_text("nothing\n")
    with pytest.raises(EngineOutputError, match=r"left no report\.json"):
        load_engine("vllm").read(tmp_path, job_of())
