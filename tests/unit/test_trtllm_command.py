"""The command line of `trtllm-bench`, piece by piece; the goldens hold it whole."""

import json
import subprocess
import sys

import pytest
import yaml
from trtllm_samples import PATHS, card, cards, job, words_after

from sparkray.config.model import Host, refusal
from sparkray.engines import Job, load_engine
from sparkray.errors import ConfigError, RunUnreadyError

VERSIONS = ("1.0", "1.1", "1.2", "1.3")
ENGINE = load_engine("trtllm")


def argv(*arguments, **options):
    return list(ENGINE.command(job(*arguments, **options), PATHS).argv)


def api_options(**options):
    return yaml.safe_load(ENGINE.command(job(**options), PATHS).inputs["llm_api_options.yaml"])


@pytest.mark.parametrize("version", VERSIONS)
def test_options_of_the_group_stand_before_the_subcommand(version):
    words = argv(version=version)
    assert words[0] == "trtllm-bench"
    before, after = words[: words.index("throughput")], words[words.index("throughput") :]
    for name in ("--model", "--model_path", "--workspace", "--log_level"):
        assert name in before
        assert name not in after


@pytest.mark.parametrize("version", VERSIONS)
def test_name_and_folder_of_the_model_are_not_swapped(version):
    words = argv(version=version)
    assert words_after(words, "--model") == "meta-llama/Meta-Llama-3-8B"
    assert words_after(words, "--model_path") == "/models/M"


@pytest.mark.parametrize("version", VERSIONS)
def test_what_every_run_must_say(version):
    words = argv(version=version)
    assert "--streaming" in words
    assert "--config" not in words
    assert words_after(words, "--extra_llm_api_options") == "/in/llm_api_options.yaml"
    assert words_after(words, "--backend") == "pytorch"
    assert words_after(words, "--dataset") == "/in/dataset.jsonl"
    assert words_after(words, "--report_json") == "/out/report.json"
    assert words_after(words, "--request_json") == "/out/requests.json"
    assert words_after(words, "--num_requests") == "2"
    assert words_after(words, "--max_seq_len") == "640"
    assert words_after(words, "--eos_id") == "-1"
    assert len({word for word in words if word.startswith("--")}) == sum(word.startswith("--") for word in words)


def test_telemetry_is_refused_only_where_it_is_known():
    assert ["--no-telemetry" in argv(version=v) for v in VERSIONS] == [False, False, False, True]


def test_no_path_is_relative():
    words = argv(version="1.2", iteration_log=True)
    paths = [w for w in words if "/" in w and w != "meta-llama/Meta-Llama-3-8B"]
    assert len(paths) == 7
    assert all(p.startswith("/") for p in paths)


def test_concurrency_is_the_batch_size_of_the_card():
    words = argv("Qwen2-1.5B")
    assert words_after(words, "--concurrency") == words_after(words, "--max_batch_size") == "16"


def test_low_latency_keeps_the_batch_size():
    words = argv(concurrency=1)
    assert (words_after(words, "--concurrency"), words_after(words, "--max_batch_size")) == ("1", "8")


def test_batch_size_can_be_swept():
    words = argv(max_batch_size=32)
    assert (words_after(words, "--concurrency"), words_after(words, "--max_batch_size")) == ("32", "32")


def test_a_prompt_fits_into_a_step():
    assert words_after(argv(input_tokens=512, output_tokens=8), "--max_num_tokens") == "8192"
    assert words_after(argv("Qwen2-1.5B", input_tokens=20000), "--max_num_tokens") == "20016"


@pytest.mark.parametrize(
    ("version", "on", "off"),
    [
        ("1.0", "--enable_chunked_context", None),
        *((v, "--enable_chunked_context", "--disable_chunked_context") for v in VERSIONS[1:]),
    ],
)
def test_chunked_context(version, on, off):
    assert not any("chunked" in word for word in argv(version=version))
    assert on in argv(version=version, chunked_context=True)
    assert [w for w in argv(version=version, chunked_context=False) if "chunked" in w] == ([off] if off else [])


def test_the_iteration_log_is_off_unless_asked_for():
    assert "--iteration_log" not in argv()
    assert words_after(argv(iteration_log=True), "--iteration_log") == "/out/iterations.log"


WHOLE = {"dtype": "auto", "enable_block_reuse": False, "free_gpu_memory_fraction": 0.9}


def test_the_kv_cache_sizes_itself_or_is_fixed():
    assert api_options() == {"kv_cache_config": WHOLE}
    assert api_options(kv_cache="fixed") == {"kv_cache_config": {**WHOLE, "max_tokens": 2 * 8 * 640}}
    assert api_options(kv_cache="fixed", kv_cache_max_tokens=999)["kv_cache_config"]["max_tokens"] == 999


def test_the_options_file_takes_more_and_merges():
    extra = {"kv_cache_config": {"enable_partial_reuse": False}, "disable_overlap_scheduler": True}
    assert api_options(extra=extra, cuda_graph=False) == {
        "kv_cache_config": {**WHOLE, "enable_partial_reuse": False},
        "disable_overlap_scheduler": True,
        "cuda_graph_config": None,
    }


@pytest.mark.parametrize(
    "extra",
    [
        {"max_batch_size": 4},
        {"max_num_tokens": 4},
        {"max_seq_len": 4},
        {"kv_cache_config": {"free_gpu_memory_fraction": 0.5}},
        {"kv_cache_config": {"max_tokens": 5}},
        {"kv_cache_config": {"enable_block_reuse": True}},
        {"kv_cache_config": {"dtype": "fp8"}},
        {"tensor_parallel_size": 2},
        {"enable_chunked_prefill": True},
        {"kv_cache_config": 3},
    ],
)
def test_no_key_is_set_twice(extra):
    with pytest.raises(ConfigError, match="extra"):
        job(extra=extra)


def test_bad_options_are_refused_with_a_hint():
    with pytest.raises(ConfigError, match="did you mean 'kv_fraction'"):
        job(kv_fracton=0.5)
    with pytest.raises(ConfigError, match="kv_fraction"):
        job(kv_fraction=1.5)
    with pytest.raises(ConfigError, match="acts only"):
        job(kv_cache_max_tokens=5)
    with pytest.raises(ConfigError, match="twice"):
        job(cuda_graph=False, extra={"cuda_graph_config": {}})


def test_the_card_asks_and_the_user_wins():
    def fraction(**options):
        command = ENGINE.command(job("Mixtral-8x7B", **options), PATHS)
        return json.loads(command.inputs["llm_api_options.yaml"])["kv_cache_config"]["free_gpu_memory_fraction"]

    assert fraction() == 0.7
    assert fraction(kv_fraction=0.6) == 0.6


SPARK_GIB = 119.6


def fraction_of(name="Llama-3-8B", **options):
    command = ENGINE.command(job(name, **options), PATHS)
    return json.loads(command.inputs["llm_api_options.yaml"])["kv_cache_config"]["free_gpu_memory_fraction"]


def test_unified_memory_keeps_room_for_the_watchdog():
    assert fraction_of("Llama-3-8B", unified_memory_gib=SPARK_GIB) == 0.85
    assert fraction_of("Qwen2-1.5B", unified_memory_gib=SPARK_GIB) == 0.85
    assert fraction_of("Mixtral-8x7B", unified_memory_gib=SPARK_GIB) == 0.63
    assert fraction_of("Llama-3-8B", unified_memory_gib=40.0) == 0.5
    assert fraction_of("Llama-3-8B", unified_memory_gib=22.0) == 0.05
    assert fraction_of("Llama-3-8B") == 0.9


def test_a_fraction_of_the_users_is_taken_as_it_is():
    assert fraction_of("Mixtral-8x7B", unified_memory_gib=SPARK_GIB, kv_fraction=0.9) == 0.9


@pytest.mark.parametrize("name", [c.name for c in cards()])
def test_no_model_falls_below_the_watchdogs_floor_by_default(name):
    if refusal(card(name), Host("trtllm", SPARK_GIB, "a DGX Spark")) is None:
        assert ENGINE.warnings(job(name, unified_memory_gib=SPARK_GIB), memory_floor_gib=8) == ()


def test_too_little_memory_beside_the_watchdog_is_warned_of():
    def warned(floor_gib=8.0, **options):
        return ENGINE.warnings(job("Llama-3-8B", unified_memory_gib=SPARK_GIB, **options), memory_floor_gib=floor_gib)

    (warning,) = warned(kv_fraction=0.95)
    assert "leaves about 5.0 GiB of 119.6 free" in warning
    assert "at 8 GiB: --set engine.kv_fraction=0.89" in warning
    assert warned(kv_fraction=0.89) == ()
    assert "kv_fraction=0.77" in warned(20.0)[0]
    assert warned(0.0, kv_fraction=0.95) == ()
    assert warned(kv_fraction=0.95, kv_cache="fixed") == ()


@pytest.mark.parametrize("version", VERSIONS)
def test_nothing_of_the_kv_cache_stands_on_the_command_line(version):
    assert not any("kv_cache" in word for word in argv(version=version, kv_cache="fixed", kv_fraction=0.5))


def test_the_environment_is_offline_and_lets_mpi_run_as_root():
    environment = ENGINE.command(job("Mixtral-8x7B", environment={"TIKTOKEN_ENCODINGS_BASE": "/t"}), PATHS).environment
    assert environment == {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "XDG_CACHE_HOME": "/tmp/cache",
        "FLASHINFER_WORKSPACE_BASE": "/tmp/cache",
        "TRITON_CACHE_DIR": "/tmp/cache/triton",
        "CUDA_CACHE_PATH": "/tmp/cache/cuda",
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/cache/inductor",
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "TRT_LLM_DISABLE_LOAD_WEIGHTS_IN_PARALLEL": "1",
        "PYTHONPATH": "/in",
        "TIKTOKEN_ENCODINGS_BASE": "/t",
    }


def test_the_shim_travels_unless_it_is_turned_off():
    usual, without = ENGINE.command(job(), PATHS), ENGINE.command(job(nvml_shim=False), PATHS)
    assert usual.environment["PYTHONPATH"] == "/in"
    compile(usual.inputs["sitecustomize.py"], "sitecustomize.py", "exec")
    assert "sitecustomize.py" not in without.inputs
    assert "PYTHONPATH" not in without.environment
    assert usual.argv == without.argv


def test_a_python_path_of_the_users_does_not_turn_the_shim_off():
    environment = {"PYTHONPATH": "/mine"}
    assert ENGINE.command(job(environment=environment), PATHS).environment["PYTHONPATH"] == "/in:/mine"
    assert ENGINE.command(job(environment=environment, nvml_shim=False), PATHS).environment["PYTHONPATH"] == "/mine"


def test_a_tool_without_an_option_that_is_needed_is_unready():
    tool = {"version": "1.4.0", "group": "--model --model_path --workspace --log_level", "throughput": "--report_json"}
    plain = job()
    with pytest.raises(RunUnreadyError, match="--request_json"):
        ENGINE.command(Job(plain.card, plain.workload, 7, plain.options, tool), PATHS)


def test_a_load_beyond_the_context_is_refused():
    with pytest.raises(ConfigError, match="context"):
        argv(input_tokens=8192)


def test_the_same_job_gives_the_same_bytes_in_another_process():
    code = (
        "import sys; sys.path[:0] = sys.argv[1:]; from trtllm_samples import *; "
        "print(load_engine('trtllm').command(job(), PATHS).dataset_sha256)"
    )
    here = ENGINE.command(job(), PATHS)
    done = subprocess.run([sys.executable, "-c", code, *sys.path], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == here.dataset_sha256


def test_the_command_is_pure():
    first, second = ENGINE.command(job(), PATHS), ENGINE.command(job(), PATHS)
    assert first == second
    assert json.loads(first.inputs["llm_api_options.yaml"])
    assert card().name == "Llama-3-8B"
