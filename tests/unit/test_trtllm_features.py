"""What the tool is asked and how its answer is understood. The option lists are written out here, apart from the code."""

from dataclasses import replace

import pytest
from trtllm_samples import PATHS, job

from sparkray.engines import Job, load_engine
from sparkray.engines._trtllm.features import (
    features_of,
    image_version,
    known_options,
    option_names,
    version_warning,
)
from sparkray.errors import ConfigError, EngineOutputError

ENGINE = load_engine("trtllm")
BASE = {
    "--engine_dir",
    "--backend",
    "--extra_llm_api_options",
    "--max_batch_size",
    "--max_num_tokens",
    "--max_seq_len",
    "--beam_width",
    "--kv_cache_free_gpu_mem_fraction",
    "--dataset",
    "--eos_id",
    "--modality",
    "--max_input_len",
    "--num_requests",
    "--warmup",
    "--target_input_len",
    "--target_output_len",
    "--tp",
    "--pp",
    "--ep",
    "--cluster_size",
    "--concurrency",
    "--streaming",
    "--report_json",
    "--iteration_log",
    "--output_json",
    "--request_json",
    "--enable_chunked_context",
    "--scheduler_policy",
}
SINCE_1_1 = {
    "--custom_module_dirs",
    "--sampler_options",
    "--no_skip_tokenizer_init",
    "--image_data_format",
    "--data_device",
    "--disable_chunked_context",
}
THROUGHPUT = {
    "1.0": BASE,
    "1.1": BASE | SINCE_1_1,
    "1.2": BASE | SINCE_1_1 | {"--config"},
    "1.3": BASE | SINCE_1_1 | {"--config", "--duration", "--custom_tokenizer"},
}
GROUP = {"--model", "-m", "--model_path", "--workspace", "-w", "--log_level"}
GROUPS = {
    "1.0": GROUP,
    "1.1": GROUP,
    "1.2": GROUP | {"--revision"},
    "1.3": GROUP | {"--revision", "--telemetry", "--no-telemetry"},
}

HELP = """\
Usage: trtllm-bench throughput [OPTIONS]

  Run a throughput test on a TRT-LLM engine.

Options:
  Engine run configuration.:      Runtime settings for executing a engine.
    --engine_dir PATH             Path to a serialized engine, or --model_path
                                  --not_an_option of this version
    --config, --extra_llm_api_options TEXT
                                  Path to a YAML file.
    --enable_chunked_context / --disable_chunked_context
                                  Enable chunking.  [default:
                                  enable_chunked_context]
    --concurrency INTEGER         Desired rate; see --streaming.
    --report_json FILE            Where.
  --help                          Show this message and exit.  [default:
"""


def answer(*, version="1.2.1\n", group="", throughput=HELP):
    return f"@@sparkray version\n{version}@@sparkray group\n{group}@@sparkray throughput\n{throughput}"


@pytest.mark.parametrize("version", THROUGHPUT)
def test_the_table_of_versions(version):
    assert known_options("throughput", version) == THROUGHPUT[version]
    assert known_options("group", version) == GROUPS[version]


def test_names_come_from_the_left_column_only():
    assert option_names(HELP) == {
        "--engine_dir",
        "--config",
        "--extra_llm_api_options",
        "--enable_chunked_context",
        "--disable_chunked_context",
        "--concurrency",
        "--report_json",
    }


def test_short_names_and_pairs_of_the_group():
    group = "Options:\n  -m, --model TEXT  Name.  [required]\n  --telemetry / --no-telemetry  Usage.\n"
    assert option_names(group) == {"-m", "--model", "--telemetry", "--no-telemetry"}


def test_the_probe_asks_with_a_model_and_needs_no_shell():
    probe = ENGINE.probe()
    assert probe is not None
    assert probe[:2] == ("python3", "-c")
    assert '"trtllm-bench", "-m", "x", "throughput", "--help"' in probe[2]
    compile(probe[2], "probe", "exec")


def test_an_answer_is_understood():
    told = ENGINE.understand(answer(group="Options:\n  --no-telemetry  x\n"))
    assert told["version"] == "1.2.1"
    assert "--config" in told["throughput"].split()
    assert told["group"] == "--no-telemetry"


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("1.2.0rc6\n", "1.2.0rc6"),
        ("[TensorRT-LLM] TensorRT-LLM version: 1.1.0\n1.1.0\n", "1.1.0"),
        ("Warning: some Error 9.9.9 happened\n1.3.0rc13\n", "1.3.0rc13"),
        ("1.2.0rc5.post1+cu130\n", "1.2.0rc5.post1+cu130"),
    ],
)
def test_versions(said, version):
    assert ENGINE.understand(answer(version=said))["version"] == version


def test_without_a_version_the_options_tell_it():
    lists = {v: "".join(f"  {name} X\n" for name in sorted(names)) for v, names in THROUGHPUT.items()}
    groups = {v: "".join(f"  {name} X\n" for name in sorted(names)) for v, names in GROUPS.items()}
    for version, text in lists.items():
        told = ENGINE.understand(answer(version="No module\n", group=groups[version], throughput=text))
        assert told["version"] == version


def test_without_options_the_version_tells_them():
    told = ENGINE.understand(answer(version="1.1.0\n", throughput="Traceback ...\nImportError: libcuda.so.1\n"))
    assert set(told["throughput"].split()) == THROUGHPUT["1.1"]


def test_a_later_version_is_taken_for_the_latest_known():
    told = ENGINE.understand(answer(version="2.0.0\n", throughput=""))
    assert set(told["throughput"].split()) == THROUGHPUT["1.3"]


@pytest.mark.parametrize("throughput", [HELP, ""])
@pytest.mark.parametrize("version", ["0.20.0", "0.9.0", "0.21.0rc1"])
def test_a_tool_older_than_1_0_is_refused(version, throughput):
    with pytest.raises(EngineOutputError, match=rf"version {version}: older than 1\.0"):
        ENGINE.understand(answer(version=f"{version}\n", throughput=throughput))


@pytest.mark.parametrize("said", ["", "sh: trtllm-bench: not found"])
def test_an_answer_that_tells_nothing(said):
    with pytest.raises(EngineOutputError, match="neither"):
        ENGINE.understand(said)


def test_what_the_tool_told_decides_over_the_table():
    plain = job(version="1.2")
    tool = ENGINE.understand(answer(throughput=HELP + "".join(f"  {n} X\n" for n in BASE)))
    tool = {**tool, "group": " ".join(GROUPS["1.3"])}
    command = ENGINE.command(Job(plain.card, plain.workload, 7, plain.options, tool), PATHS)
    assert "--no-telemetry" in command.argv


def test_a_version_that_the_image_does_not_hold():
    plain = job(version="1.1")
    with pytest.raises(ConfigError, match=r"image holds 1\.2\.1"):
        ENGINE.command(Job(plain.card, plain.workload, 7, plain.options, ENGINE.understand(answer())), PATHS)


def test_versions_from_yaml():
    assert features_of({}, job(version=1.1).options["version"]).minor == "1.1"
    assert features_of({}, "1.2.0rc6").throughput == THROUGHPUT["1.2"]


NGC = "nvcr.io/nvidia/tensorrt-llm/release"


@pytest.mark.parametrize(
    ("reference", "version"),
    [
        (f"{NGC}:1.3.0rc13", "1.3.0rc13"),
        (f"{NGC}:1.2.1", "1.2.1"),
        (f"{NGC}:v1.2.0", "1.2.0"),
        (f"{NGC}:1.2.0rc6.post1", "1.2.0rc6.post1"),
        (f"{NGC}:1.2.0-rc6", "1.2.0rc6"),
        (f"{NGC}:1.1.0-arm64", "1.1.0"),
        (f"{NGC}:1.3.0rc5-py3-cu130", "1.3.0rc5"),
        (f"{NGC}:cu130-1.2.0", "1.2.0"),
        (f"{NGC}:release-1.2.0", "1.2.0"),
        (f"{NGC}:trtllm1.2.0_spark", "1.2.0"),
        (f"{NGC}:1.2.1@sha256:{'1' * 64}", "1.2.1"),
        ("localhost:5000/mirror/trt:1.1", "1.1"),
        ("registry.example:5000/1.3/trt:1.0.0", "1.0.0"),
        (f"{NGC}:1.4.0rc1", "1.4.0rc1"),
        (f"{NGC}:0.20.0", "0.20.0"),
        (NGC, None),
        (f"{NGC}:latest", None),
        (f"{NGC}:spark-single-gpu-dev", None),
        (f"{NGC}@sha256:{'1' * 64}", None),
        ("localhost:5000/trt", None),
        ("registry.example:5000/1.3/trt", None),
        ("nvcr.io/nvidia/tritonserver:25.12-trtllm-python-py3", None),
        ("sha256:1234567890ab", None),
        ("double", None),
        ("", None),
    ],
)
def test_the_version_that_an_image_shows(reference, version):
    assert image_version(reference) == version


@pytest.mark.parametrize(
    ("image", "minor", "telemetry"),
    [(f"{NGC}:1.3.0rc13", "1.3", True), (f"{NGC}:1.2.1", "1.2", False), (f"{NGC}:latest", "1.3", True)],
)
def test_a_plan_takes_the_version_of_its_image(image, minor, telemetry):
    planned = replace(job(), image=image)
    assert ("--no-telemetry" in ENGINE.command(planned, PATHS).argv) == telemetry
    assert features_of({}, None, image).minor == minor


@pytest.mark.parametrize(("asked", "image"), [("1.4.0rc1", ""), (None, f"{NGC}:1.4.0rc1"), ("2.0", ""), ("1.10.0", "")])
def test_a_newer_version_is_tried_with_a_warning(asked, image):
    planned = replace(job(version=asked), image=image)
    assert ENGINE.command(planned, PATHS).argv == ENGINE.command(job(version="1.3"), PATHS).argv
    (warning,) = ENGINE.warnings(planned)
    assert (asked or "1.4.0rc1") in warning
    assert "newer" in warning


def test_a_newer_tool_that_lists_its_options_is_used_with_a_warning():
    tool = {**ENGINE.understand(answer(version="1.4.0rc1\n")), "throughput": " ".join(THROUGHPUT["1.3"])}
    planned = replace(job(), tool={**tool, "group": " ".join(GROUPS["1.3"])}, image=f"{NGC}:1.4.0rc1")
    assert ENGINE.command(planned, PATHS).argv
    assert "its own help" in ENGINE.warnings(planned)[0]


@pytest.mark.parametrize(
    ("asked", "image", "said"),
    [
        ("0.20", "", r"engine\.version = 0\.20: older than 1\.0"),
        (None, f"{NGC}:0.20.0", r"0\.20\.0 by its tag: older than 1\.0"),
        ("newest", "", "'newest' is not a version"),
        ("1", "", "'1' is not a version"),
        ("1.2.x", "", "'1.2.x' is not a version"),
        ("", "", "'' is not a version"),
    ],
)
def test_versions_that_are_refused(asked, image, said):
    with pytest.raises(ConfigError, match=said):
        features_of({}, asked, image)


@pytest.mark.parametrize(
    ("tool", "asked", "image", "said"),
    [
        ({}, None, "", None),
        ({}, None, "double", None),
        ({}, None, f"{NGC}:1.3.0rc13", None),
        ({}, "1.3", f"{NGC}:latest", None),
        ({}, None, f"{NGC}:latest", "does not show its version"),
        ({}, "1.2", f"{NGC}:1.3.0rc13", "shows 1.3.0rc13"),
        ({"version": "1.2.1", "throughput": "--x"}, None, f"{NGC}:latest", None),
    ],
)
def test_what_is_uncertain_about_a_version(tool, asked, image, said):
    warning = version_warning(tool, asked, image)
    assert warning is None if said is None else said in (warning or "")
