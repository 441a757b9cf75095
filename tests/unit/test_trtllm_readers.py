"""The readers of report, request file, log and iteration log, on hand-written samples."""

import json

import pytest
from trtllm_samples import DECODING, ENERGY, LOG, MACHINE, REQUESTS, report, request

from sparkray.engines._trtllm.iterations import read_iterations
from sparkray.engines._trtllm.log import read_log
from sparkray.engines._trtllm.report import read_report
from sparkray.engines._trtllm.requests import read_requests
from sparkray.errors import EngineOutputError
from sparkray.units import GIB


def dumped(document):
    return json.dumps(document).encode()


def test_a_report_of_1_0():
    document = report()
    del document["streaming_metrics"]
    read = read_report(dumped(document))
    assert read.num_requests == 2
    assert not read.streaming
    assert read.reported["model"] == "meta-llama/Meta-Llama-3-8B"
    assert read.reported["world_size"] == 1
    assert read.reported["kv_fraction"] == 0.9
    assert read.reported["quantization"] is None
    assert read.reported["machine_name"] is None
    assert read.reported["total_energy_j"] is None


def test_a_report_of_1_3_with_everything():
    read = read_report(dumped(report(machine=MACHINE, energy=ENERGY, decoding_stats=DECODING)))
    assert read.streaming
    assert read.reported["machine_name"] == "NVIDIA GB10"
    assert read.reported["machine_memory_gib"] == 119.64
    assert read.reported["machine_memory_clock_ghz"] is None
    assert read.reported["total_energy_j"] == 440.0
    assert "other" not in read.reported


def test_sections_may_be_null():
    assert read_report(dumped(report(machine=None, energy=None))).reported["average_gpu_power"] is None


def test_unknown_sections_are_kept():
    read = read_report(dumped(report(startup_metrics={"load_s": 3.5, "odd": float("nan")})))
    assert read.reported["other"] == {"startup_metrics": {"load_s": 3.5, "odd": None}}


def test_the_word_none_is_no_value():
    document = report()
    document["engine"]["model_path"] = "None"
    assert read_report(dumped(document)).text("model_path") is None


def test_nan_beside_the_totals_is_no_data():
    document = report(energy={**ENERGY, "total_energy_j": float("nan")})
    document["request_info"]["avg_num_concurrent_requests"] = float("inf")
    read = read_report(dumped(document))
    assert read.reported["total_energy_j"] is None
    assert read.reported["mean_concurrency"] is None


@pytest.mark.parametrize("name", ["total_latency_ms", "request_throughput_req_s", "system_output_throughput_tok_s"])
def test_nan_in_a_total_is_no_run(name):
    document = report()
    document["performance"][name] = float("nan")
    with pytest.raises(EngineOutputError, match=name):
        read_report(dumped(document))


@pytest.mark.parametrize("count", [None, "two", float("nan"), 1.5, True, 10**400])
def test_a_report_must_tell_its_number_of_requests(count):
    with pytest.raises(EngineOutputError, match="num_requests"):
        read_report(dumped({**report(), "request_info": {"num_requests": count}}))


@pytest.mark.parametrize(
    "data", [b"", b"  \n", b"{", b"Segmentation fault", b"[]", b"null", b"\xff\xfe", b"[" * 100_000]
)
def test_what_is_no_report(data):
    with pytest.raises(EngineOutputError):
        read_report(data)


def test_requests_come_in_the_order_of_submission():
    first, second = read_requests(dumped(REQUESTS))
    assert (first.index, second.index) == (0, 1)
    assert (first.submit_ns, second.submit_ns) == (1_000_000_000, 1_100_000_000)
    assert first.first_token_ns == 1_110_000_000
    assert first.end_ns == 8_900_000_000
    assert (first.input_tokens, first.output_tokens, first.warmup, first.error) == (512, 128, False, None)


def test_no_first_token_without_streaming():
    (read,) = read_requests(dumped([request(0, 10, first=-1, end=30, intertoken_latency=1e18)]))
    assert read.first_token_ns is None


def test_a_request_in_error_says_so():
    wrong, empty = read_requests(dumped([request(0, 1, error_tokens=3), request(1, 2, output_tokens=0)]))
    assert wrong.error == "3 tokens in error"
    assert empty.error == "no token was generated"


def test_the_total_stands_in_for_the_count():
    entry = request(0, 1)
    del entry["output_tokens"]
    assert read_requests(dumped([entry]))[0].output_tokens == 128


@pytest.mark.parametrize(
    "entries",
    [
        {},
        None,
        [3],
        [{}],
        [request(0, 5), request(0, 6)],
        [request(0, 5, end=4, first=-1)],
        [request(0, 5, first=4)],
        [request(0, float("nan"), first=1, end=9)],
        [request(0, 1.5, first=1, end=9)],
        [request(0, True, first=1, end=9)],
        [request(0, 1, num_input_tokens=None)],
        [request(0, 1, output_tokens="128")],
        [request(0, 1, first="soon")],
    ],
)
def test_what_is_no_request_file(entries):
    with pytest.raises(EngineOutputError):
        read_requests(dumped(entries))


def test_the_log_of_a_run():
    facts = read_log(LOG)
    assert facts.kv_cache_bytes == round(44.31 * GIB)
    assert facts.kv_cache_tokens == 362976
    assert facts.tokens_per_block == 32
    assert facts.peak_bytes == round(70.47 * GIB)
    assert facts.device_total_bytes == round(119.64 * GIB)
    assert facts.load_s == 19.66
    assert facts.benchmark_s == 8.0
    assert {facts.failed, facts.interrupted, facts.nvml_error, facts.out_of_memory} == {False}


PEAK = "Peak memory during memory usage profiling (torch + non-torch): 70.47 GiB, available KV cache memory when calculating"
TAILS = (
    "max tokens: 44.31 GiB",
    "max tokens: 44.31 GiB, fraction is set 0.9, kv size is 131072. device total memory 119.64 GiB, , tmp kv_mem 0.33 GiB",
    (
        "max tokens: 44.31 GiB, fraction is set 0.9, kv size per token is 131072. device total memory 119.64 GiB, "
        "temporary kv cache memory during profiling 0.33 GiB"
    ),
    "max tokens: 44.31 GiB, fraction is set 0.9, kv size per token is 131072 byte. device total memory 119.64 GiB, x",
)


@pytest.mark.parametrize("tail", TAILS)
def test_every_wording_of_the_peak(tail):
    assert read_log(f"[TRT-LLM] [I] {PEAK} {tail}").peak_bytes == round(70.47 * GIB)


@pytest.mark.parametrize(
    ("line", "size"),
    [
        ("[TensorRT-LLM][INFO] [MemUsageChange] Allocated 1.50 GiB for max tokens in paged KV cache (12288).", 1.5),
        ("[TRT-LLM AUTO-DEPLOY] [RANK 0] [I] Final KV cache size after resize: 2.25 GiB", 2.25),
        ("[TRT-LLM] [RANK 0] [I] device quota set to 3.5 GiB", 3.5),
        ("\x1b[32m[TRT-LLM]\x1b[0m Allocated \x1b[1m1.50\x1b[0m GiB for max tokens in paged KV cache (1).", 1.5),
        ("Estimated max memory in KV cache : 9 GiB", None),
        ("KV cache manager v2 host cache quota set to 9.0GiB", None),
        ("max_gpu_total_bytes is provided. New quota is 9.0GiB", None),
        ("KV cache manager v2 device quota set to infGiB", None),
        (f"KV cache manager v2 device quota set to {'9' * 400}GiB", None),
    ],
)
def test_every_wording_of_the_kv_cache(line, size):
    assert read_log(line).kv_cache_bytes == (None if size is None else round(size * GIB))


@pytest.mark.parametrize(
    ("told", "size"),
    [
        ("86.86767578125GiB", 93273456640),
        ("86.86767578125 GiB", 93273456640),
        ("3.0GiB", 3 * GIB),
        ("3GiB", 3 * GIB),
        ("0.0009765625GiB", 2**20),
        ("1.52587890625e-05GiB", 2**14),
        ("512.5MiB", 512 * 2**20 + 2**19),
        ("0.5TiB", 2**39),
        ("1024 KiB", 2**20),
        ("93273456640 bytes", 93273456640),
        ("93273456640B", 93273456640),
        ("93.27345664GB", 93273456640),
        ("2.0000000000000000000000001GiB", 2 * GIB),
    ],
)
@pytest.mark.parametrize("prefix", ["[TRT-LLM] [RANK 0] [I]", "[TRT-LLM] [I] [_torch][RANK 0]", "[TRT-LLM] [I]"])
def test_the_quota_of_kv_cache_manager_v2(told, size, prefix):
    line = f"[07/20/2026-10:00:00] {prefix} KV cache manager v2 device quota set to {told}"
    before = line.replace(told, "1.0GiB")
    assert read_log(f"{before}\n{line}\n").kv_cache_bytes == size
    assert read_log(f"{line}\n{line.replace('device', 'host cache').replace(told, '7.0GiB')}\n").kv_cache_bytes == size


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("[TensorRT-LLM] TensorRT-LLM version: 1.0.0", "1.0.0"),
        ("[TensorRT-LLM] TensorRT LLM version: 1.1.0", "1.1.0"),
        ("[TensorRT-LLM] TensorRT LLM version: 1.2.1", "1.2.1"),
        ("[TensorRT-LLM] TensorRT LLM version: 1.3.0rc13\r", "1.3.0rc13"),
        ("[TensorRT-LLM] TensorRT LLM version: 1.4.0rc1", "1.4.0rc1"),
        ("[TensorRT-LLM] TensorRT LLM version: 1.2.0rc6.post1", "1.2.0rc6.post1"),
        ("[TensorRT-LLM] TensorRT LLM version: 1.3.0.dev2026071400+g12ab", "1.3.0.dev2026071400+g12ab"),
        ("\x1b[33m[TensorRT-LLM]\x1b[0m TensorRT LLM version: 1.2.1.", "1.2.1"),
        ("[07/20/2026-10:00:00] [TRT-LLM] [I] [RANK 0] TensorRT LLM version: 1.3.0", "1.3.0"),
        ("TensorRT LLM version: unknown", None),
        ("TensorRT version: 10.13.3", None),
    ],
)
def test_the_version_of_every_banner(line, version):
    assert read_log(f"first\n{line}\nlast\n").version == version


def test_autodeploys_placeholder_is_no_cache():
    text = (
        "Final KV cache size after resize: 2.25 GiB\n"
        "[MemUsageChange] Allocated 0.00 GiB for max tokens in paged KV cache (0).\n"
    )
    assert read_log(text).kv_cache_bytes == round(2.25 * GIB)


def test_of_interleaved_ranks_the_lowest_counts():
    line = "[TRT-LLM] [RANK {}] [I] [MemUsageChange] Allocated {} GiB for max tokens in paged KV cache (1)."
    text = "\n".join(line.format(*pair) for pair in ((1, "9.00"), (0, "1.00"), (0, "2.00"), (1, "8.00")))
    assert read_log(text).kv_cache_bytes == 2 * GIB


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("[TRT-LLM] [E] Error during benchmarking:\nTraceback\nValueError: no", "failed"),
        ("[TRT-LLM] [I] Keyboard interrupt, exiting benchmark...", "interrupted"),
        ("pynvml.NVMLError_NotSupported: Not Supported", "nvml_error"),
        ("torch.OutOfMemoryError: CUDA out of memory.", "out_of_memory"),
        ("Worker process 137 is affined … Removing CPU affinity constraints", "affinity_removed"),
    ],
)
def test_what_went_wrong(text, name):
    assert getattr(read_log(text), name)
    assert not getattr(read_log(LOG), name)


def test_the_last_error_ends_a_traceback():
    text = "ValueError: first\n  File x\npynvml.NVMLError_NotSupported: Not Supported\n[TRT-LLM] [I] bye\n"
    assert read_log(text).last_error == "pynvml.NVMLError_NotSupported: Not Supported"
    assert read_log(LOG).last_error is None


ITERATION = (
    "{'iter': 5, 'gpuMemUsage': 1024, 'kvCacheStats': {'maxNumBlocks': 10, 'tokensPerBlock': 32, 'usedNumBlocks': 4, "
    "'cacheHitRate': nan}, 'staticBatchingStats': None, 'ok': True}"
)


def test_the_iteration_log_is_python_and_not_json():
    read = read_iterations(f"{ITERATION}\n{ITERATION.replace('1024', '2048')}\n")
    assert read.records[0]["staticBatchingStats"] is None
    assert read.records[0]["kvCacheStats"]["cacheHitRate"] is None
    assert read.summary() == {
        "iterations": 2,
        "iterations_skipped": 0,
        "kv_cache_tokens": 320,
        "kv_cache_peak_blocks": 4.0,
        "gpu_memory_peak_bytes": 2048.0,
    }


def test_a_last_line_that_was_cut_off():
    read = read_iterations(f"{ITERATION}\n{ITERATION[:40]}")
    assert (len(read.records), read.skipped) == (1, 1)


@pytest.mark.parametrize("line", ["__import__('os')", "[1, 2]", "{'a': f()}", "(" * 5000, "{" * 300, "'x'", "\x00"])
def test_lines_that_are_no_iteration(line):
    assert read_iterations(f"{ITERATION}\n{line}\n").skipped == 1
