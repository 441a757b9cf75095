"""What the engine makes of the folder that a run left: a measurement, or the error that fits."""

import json

import pytest
from trtllm_samples import LOG, REQUESTS, card, job, leave, report, request

from sparkray.catalog.checkpoint import checkpoint_files, checkpoint_identity, checkpoint_sha256
from sparkray.engines import load_engine
from sparkray.engines._trtllm.identity import identity
from sparkray.engines._trtllm.options import read_options
from sparkray.errors import EngineFailedError, EngineOutputError, RunOutOfMemoryError
from sparkray.metrics import BY_NAME, RunData
from sparkray.units import GIB

ENGINE = load_engine("trtllm")
TRACE = "Error during benchmarking:\nTraceback (most recent call last):"
NVML = f"{LOG}[E] {TRACE}\npynvml.NVMLError_NotSupported: Not Supported\n"


def test_a_run_that_counts(tmp_path):
    read = ENGINE.read(leave(tmp_path, report=report()), job())
    assert len(read.requests) == 2
    assert not read.simulated
    assert read.notes == ()
    assert (read.facts.version, read.facts.model_path, read.facts.load_s) == ("1.2.1", "/models/M", 19.66)
    assert read.facts.kv_cache_bytes == round(44.31 * GIB)
    assert read.facts.reported_peak_bytes == round(70.47 * GIB)
    assert read.facts.reported["identity_mismatches"] == []
    json.dumps(read.facts.reported, allow_nan=False)


def test_metrics_come_from_the_requests(tmp_path):
    read = ENGINE.read(leave(tmp_path, report=report()), job())
    data = RunData(read.requests, (), read.facts, {})
    assert BY_NAME["output_throughput_tok_s"].compute(data) == pytest.approx(256 / 8.0)
    assert BY_NAME["ttft_mean_ms"].compute(data) == pytest.approx(110)
    assert BY_NAME["itl_mean_ms"].compute(data) == pytest.approx(7790 / 127)


def test_the_double_is_recognised(tmp_path):
    leave(tmp_path, report=report(), **{"sparkray-double.json": "{}"})
    assert ENGINE.read(tmp_path, job()).simulated


def test_the_iteration_log_is_read_where_there_is_one(tmp_path):
    leave(tmp_path, report=report(), **{"iterations.log": "{'iter': 1}\n{'iter'"})
    summary = ENGINE.read(tmp_path, job()).facts.reported["iteration_log"]
    assert (summary["iterations"], summary["iterations_skipped"]) == (1, 1)


def test_status_0_without_a_report_is_no_success(tmp_path):
    with pytest.raises(EngineOutputError, match=r"no report\.json"):
        ENGINE.read(leave(tmp_path), job())


def test_an_interrupt_is_no_success(tmp_path):
    with pytest.raises(EngineFailedError, match="SIGINT"):
        ENGINE.read(leave(tmp_path, log=f"{LOG}Keyboard interrupt, exiting benchmark...\n", requests=None), job())


def test_an_error_while_benchmarking(tmp_path):
    log = f"{LOG}[E] Error during benchmarking:\nTraceback (most recent call last):\n  x\nValueError: no such thing\n"
    with pytest.raises(EngineFailedError, match="ValueError: no such thing"):
        ENGINE.read(leave(tmp_path, log=log, report=report()), job())


def test_memory_that_ran_out(tmp_path):
    log = f"{LOG}[E] Error during benchmarking:\ntorch.OutOfMemoryError: CUDA out of memory.\n"
    with pytest.raises(RunOutOfMemoryError):
        ENGINE.read(leave(tmp_path, log=log), job())


def test_nvml_leaves_an_empty_report(tmp_path):
    leave(tmp_path, log=NVML, report="", requests=None)
    with pytest.raises(EngineFailedError, match="NVMLError") as caught:
        ENGINE.read(tmp_path, job(nvml_shim=False))
    assert "nvml_shim" in caught.value.remedy
    with pytest.raises(EngineFailedError, match="NVMLError") as caught:
        ENGINE.read(tmp_path, job())
    assert caught.value.remedy == ""  # the shim was on: why it did not help is not known


def test_nvml_before_any_report_is_another_fault(tmp_path):
    log = "Traceback (most recent call last):\npynvml.NVMLError_NotSupported: Not Supported\n"
    with pytest.raises(EngineFailedError, match="before") as caught:
        ENGINE.read(leave(tmp_path, log=log, requests=None), job())
    assert "nvml_shim" not in caught.value.remedy


def test_a_run_whose_report_alone_fell_to_nvml_is_recovered(tmp_path):
    read = ENGINE.read(leave(tmp_path, log=NVML, report=""), job())
    assert len(read.requests) == 2
    assert read.facts.kv_cache_bytes == round(44.31 * GIB)
    assert any("recovered" in note for note in read.notes)


def test_an_nvml_warning_does_not_hide_another_error(tmp_path):
    log = f"NVMLError in a warning\n{LOG}[E] Error during benchmarking:\nValueError: other\n"
    with pytest.raises(EngineFailedError, match="ValueError: other"):
        ENGINE.read(leave(tmp_path, log=log, report=""), job())


def test_what_is_left_of_a_failed_run(tmp_path):
    read = ENGINE.salvage(leave(tmp_path, log=NVML, report="", requests="[{"), job(nvml_shim=False))
    assert read.requests == ()
    assert read.facts.kv_cache_bytes == round(44.31 * GIB)
    assert read.facts.reported["log"]["benchmark_s"] == 8.0
    assert len(read.notes) == 3
    assert "engine.nvml_shim is off" in read.notes[0]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"report": ""}, "empty"),
        ({"report": "{'engine'"}, "cannot be read"),
        ({"report": report(request_info={"num_requests": 1})}, "1 requests, asked for were 2"),
        ({"report": report(), "requests": REQUESTS[:1]}, "request file is about 1"),
        ({"report": report(), "requests": None}, "request file is empty"),
        ({"report": report(), "requests": [REQUESTS[0], REQUESTS[0]]}, "more than once"),
        ({"report": REQUESTS, "requests": report()}, "list"),
    ],
)
def test_files_that_do_not_fit(tmp_path, files, said):
    with pytest.raises(EngineOutputError, match=said):
        ENGINE.read(leave(tmp_path, **files), job())


def test_a_report_that_contradicts_its_requests_is_noted(tmp_path):
    document = report()
    document["performance"]["system_output_throughput_tok_s"] = 120.0
    (note,) = ENGINE.read(leave(tmp_path, report=document), job()).notes
    assert "120.00" in note
    assert "32.00" in note


def test_a_run_without_streaming_is_noted(tmp_path):
    document = report()
    del document["streaming_metrics"]
    requests = [request(i, 1_000_000_000 + i * 100_000_000, first=-1) for i in range(2)]
    read = ENGINE.read(leave(tmp_path, report=document, requests=requests), job())
    assert [r.first_token_ns for r in read.requests] == [None, None]
    assert "no times to the first token" in read.notes[0]


@pytest.mark.parametrize(
    ("section", "key", "value"),
    [
        ("engine", "model", "Qwen/Qwen2-1.5B"),
        ("engine", "model", None),
        ("engine", "model_path", "/models/other"),
        ("engine", "dtype", "float16"),
        ("engine", "quantization", "NVFP4"),
        ("engine", "backend", "TRT"),
        ("world_info", "world_size", 2),
        ("world_info", "max_batch_size", 16),
        ("world_info", "max_num_tokens", 2048),
        ("world_info", "kv_cache_percentage", 0.95),
        ("request_info", "avg_num_concurrent_requests", 500.0),
        ("request_info", "avg_output_length", 127.0),
        ("request_info", "avg_input_length", 100.0),
    ],
)
def test_every_departure_is_reported_once(tmp_path, section, key, value):
    document = report()
    document[section][key] = value
    read = ENGINE.read(leave(tmp_path, report=document), job())
    (told,) = ENGINE.identity(read, job(), model_path="/models/M")
    assert repr(value) in told


def test_what_is_not_reported_is_not_held_against_a_run():
    assert identity({"model": "meta-llama/Meta-Llama-3-8B"}, job(), options=read_options({}, "test")) == ()
    assert len(identity({}, job(), options=read_options({}, "test"))) == 1


def test_the_family_of_a_quantisation_is_enough():
    reported = {"model": "openai/gpt-oss-120b", "quantization": "W4A8_MXFP4_MXFP8", "dtype": "torch.bfloat16"}
    options = read_options({"kv_fraction": 0.8}, "test")
    assert identity(reported, job("GPT-OSS-120B"), options=options) == ()
    assert "quantisation" in identity({**reported, "quantization": "FP8"}, job("GPT-OSS-120B"), options=options)[0]


@pytest.mark.parametrize("name", ["Llama-3-8B", "GPT-OSS-120B", "Mixtral-8x7B"])
def test_a_checkpoint_is_what_its_card_says(name):
    assert checkpoint_identity(checkpoint_files(card(name))["config.json"], card(name)) == ()


def test_another_checkpoint_in_the_folder_is_seen():
    told = checkpoint_identity(checkpoint_files(card("Qwen2-1.5B"))["config.json"], card("Llama-3-8B"))
    assert any("architectures" in line for line in told)
    assert any("hidden_size" in line for line in told)
    config = json.loads(checkpoint_files(card("GPT-OSS-120B"))["config.json"])
    del config["quantization_config"]
    assert "MXFP4" in checkpoint_identity(json.dumps(config).encode(), card("GPT-OSS-120B"))[0]


def test_the_hash_of_a_checkpoint_covers_both_files():
    hashes = {
        checkpoint_sha256(*pair) for pair in ((b"a", b"b"), (b"a", b"c"), (b"b", b"b"), (b"a", None), (b"ab", b""))
    }
    assert len(hashes) == 5
