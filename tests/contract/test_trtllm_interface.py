"""The simulated `trtllm-bench` against the interface of the real one, version by version: files, log lines, messages."""

import json
import re
import subprocess

import pytest
from trtllm_bench_case import ENGINE, Bench

VERSIONS = ("1.0", "1.1", "1.2", "1.3")
PROGRAM_HELP = "Usage: trtllm-bench [OPTIONS] COMMAND [ARGS]..."
FULL = {"1.0": "1.0.0", "1.1": "1.1.0", "1.2": "1.2.1", "1.3": "1.3.0rc13"}


@pytest.fixture(scope="module", params=VERSIONS)
def bench(request, tmp_path_factory):
    return Bench(tmp_path_factory.mktemp(f"interface-{request.param}"), request.param)


@pytest.fixture(scope="module")
def newest(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("interface"), "1.3")


@pytest.fixture(scope="module")
def usual(bench):
    """A run with every file asked for: status, folder and log."""
    return call(bench, plus("--output_json", "OUT/output.json"), iteration_log=True)


def call(bench, change=None, environment=None, **options):
    job = bench.job(told=False, version=bench.version, **options)
    change = change or (lambda words: words)

    def placed(words):
        out = words[words.index("--report_json") + 1].removesuffix("/report.json")
        return [word.replace("OUT/", f"{out}/") for word in change(words)]

    status, out, _ = bench.run(job, change=placed, **(environment or {}))
    return status, out, (out / "engine.log").read_text()


def plus(*more):
    return lambda words: [*words, *more]


def tool(bench, *words):
    """The tool with other words than sparkray's."""
    return subprocess.run(
        [bench.root / "image/bin/trtllm-bench", *words],
        env=bench.environment,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


def in_order(text, *phrases):
    at = 0
    for phrase in phrases:
        found = text.find(phrase, at)
        assert found >= 0, f"{phrase!r} is not after position {at}"
        at = found + len(phrase)


def assert_lost_while_reporting(out, log, error):
    assert (out / "report.json").read_bytes() == b""
    assert not (out / "requests.json").exists()
    assert not (out / "output.json").exists()
    assert "[E]" in log
    in_order(log, "Benchmark done. Reporting results", "Error during benchmarking:\nTraceback", error)
    assert "PERFORMANCE OVERVIEW" not in log


@pytest.mark.parametrize(
    ("environment", "error"),
    [
        ({}, "pynvml.NVMLError_NotSupported: Not Supported"),
        ({"SPARKRAY_DOUBLE_FAULT": "nvml_uninitialized"}, "pynvml.NVMLError_Uninitialized: Uninitialized"),
    ],
)
def test_a_gb10_costs_the_run_unless_the_shim_is_on(bench, environment, error):
    more = plus("--output_json", "OUT/output.json")
    status, out, log = call(bench, more, environment, nvml_shim=False)
    if bench.version >= "1.2":
        assert status == 1
        assert_lost_while_reporting(out, log, error)
    else:  # they ask NVML nothing
        assert status == 0
    status, out, log = call(bench, more, environment, nvml_shim=True)
    assert status == 0
    assert json.loads((out / "report.json").read_text()).get("machine") is None


def test_the_newest_asks_nvml_for_energy_and_survives_a_refusal(newest):
    for shim in (True, False):
        status, out, log = call(newest, None, {"SPARKRAY_DOUBLE_FAULT": "nvml_energy"}, nvml_shim=shim)
        assert "Failed to read GPU energy on start: Not Supported" in log
        assert status == (0 if shim else 1)
        if shim:
            assert "energy" not in json.loads((out / "report.json").read_text())


@pytest.mark.parametrize("visible", ["GPU-5f6e7d8c-0000-4000-8000-73696d756c61", "0"])
def test_a_uuid_in_cuda_visible_devices_costs_the_run(bench, visible):
    status, out, log = call(bench, None, {"CUDA_VISIBLE_DEVICES": visible}, nvml_shim=True)
    if visible == "0" or bench.version < "1.2":
        assert status == 0
        return
    assert status == 1
    assert_lost_while_reporting(out, log, "ValueError: invalid literal for int() with base 10: 'GPU-5f6e7d8c")


def test_files_are_written_in_the_order_of_the_tool_and_the_summary_comes_last(bench, usual):
    status, out, log = usual
    assert status == 0
    if bench.version == "1.0":
        lines = [f"Writing report to '{out}/report.json'.", f"Writing output to {out}/output.json."]
        lines += [f"Writing request information to {out}/requests.json."]
    else:
        names = ("report.json", "output.json", "requests.json")
        pairs = [
            (f"Writing report information to {out}/{n}...", f"Report information written to {out}/{n}.") for n in names
        ]
        lines = [line for pair in pairs for line in pair]
    in_order(log, "Benchmark done. Reporting results...", *lines, "= PERFORMANCE OVERVIEW")
    assert ("\n" in (out / "requests.json").read_text()) == (bench.version != "1.0")


def test_an_error_while_reporting_keeps_what_was_written_and_loses_the_summary(bench):
    def change(words):
        at = words.index("--request_json") + 1
        return [*words[:at], "/no/such/folder/requests.json", *words[at + 1 :], "--output_json", "OUT/output.json"]

    status, out, log = call(bench, change)
    assert status == 1
    assert (out / "report.json").read_bytes()
    assert (out / "output.json").read_bytes()
    assert "PERFORMANCE OVERVIEW" not in log
    assert "FileNotFoundError" in log
    assert ("Error during benchmarking:" in log) == (bench.version != "1.0")
    assert "\nTraceback" in log


def test_numbers_have_the_types_of_the_tool(bench, usual):
    _, out, _ = usual
    assert json.loads((out / "report.json").read_text())["world_info"]["ep_size"] is None
    first = [record["time_to_first_token"] for record in json.loads((out / "requests.json").read_text())]
    assert all(type(value) is int and value > 0 for value in first)
    _, out, _ = call(bench, lambda words: [word for word in words if word != "--streaming"])
    first = [record["time_to_first_token"] for record in json.loads((out / "requests.json").read_text())]
    assert all(type(value) is float and value == 0 for value in first)
    _, out, _ = call(bench, plus("--ep", "1"))
    assert json.loads((out / "report.json").read_text())["world_info"]["ep_size"] == 1


def test_the_banner_is_the_first_line_of_everything(bench, usual):
    name = "TensorRT-LLM" if bench.version == "1.0" else "TensorRT LLM"
    banner = f"[TensorRT-LLM] {name} version: {FULL[bench.version]}"
    assert usual[2].splitlines()[0] == banner
    assert ENGINE.read(usual[1], bench.job(told=False, version=bench.version)).facts.reported["log"]["version"]
    for words in (["--help"], ["-m", "x", "throughput", "--help"], ["-m", "x", "throughput", "--bogus"], []):
        assert tool(bench, *words).stdout.splitlines()[0] == banner


def test_each_benchmark_logs_its_start_and_its_end(bench, usual):
    def phase(count, *more):
        return (
            "Starting benchmarking async task.",
            "Starting benchmark...",
            *more,
            f"Request submission complete. [count={count}, time=",
            "Benchmark complete.",
            "Stopping LLM backend.",
            "LLM Backend stopped.",
        )

    log = usual[2]
    measured = phase(6, "Iteration log worker starting up...")
    in_order(
        log, "Setting up for warmup...", "Running warmup.", *phase(2), "Warmup done.", *measured, "Benchmark done."
    )
    assert log.count("Stopping LLM backend.") == 2
    _, _, log = call(bench, lambda words: [*words, "--warmup", "0"])
    assert "warmup" not in log.lower()
    assert log.count("Stopping LLM backend.") == 1


def test_the_dataset_is_described_before_and_after(usual):
    assert usual[2].count("= DATASET DETAILS") == 2
    in_order(usual[2], "Preparing to run", "= DATASET DETAILS", "Setting PyTorch max sequence", "= DATASET DETAILS")


def test_the_prefix_of_a_log_line(bench, usual):
    lines = usual[2].splitlines()
    stamp = r"\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] "
    newest = bench.version == "1.3"
    own = r"\[TRT-LLM\] \[I\] \[bench\] Warmup done\." if newest else r"\[TRT-LLM\] \[I\] Warmup done\."
    worker = r"\[TRT-LLM\] \[I\] \[_torch\]\[RANK 0\] Peak" if newest else r"\[TRT-LLM\] \[RANK 0\] \[I\] Peak"
    assert any(re.fullmatch(stamp + own, line) for line in lines)
    assert any(re.match(stamp + worker, line) for line in lines)


def test_where_batch_size_and_tokens_come_from(bench, usual):
    job = bench.job(told=False, version=bench.version)
    batch = job.card.max_batch_size
    initial = f"Initial settings: max_batch_size={batch} (user-provided), max_num_tokens=8192 (user-provided)"
    assert (initial in usual[2]) == (bench.version == "1.3")
    assert ("Use user-provided max batch size and max num tokens." in usual[2]) == (bench.version != "1.3")


def test_kv_manager_v2_logs_its_quota(newest):
    _, out, log = call(newest)
    quotas = re.findall(r"KV cache manager v2 device quota set to (\d+\.\d+)GiB", log)
    assert len(quotas) == 2
    assert "[MemUsageChange]" not in log
    read = ENGINE.read(out, newest.job(told=False, version="1.3"))
    assert read.facts.kv_cache_bytes == round(float(quotas[-1]) * 2**30)
    _, _, log = call(newest, extra={"kv_cache_config": {"use_kv_cache_manager_v2": False}})
    assert "[MemUsageChange]" in log
    assert "manager v2" not in log


def test_a_duration_ends_the_pulling_of_requests(newest):
    for seconds, reached in (("0", True), ("100000", False)):
        status, out, log = call(newest, plus("--duration", seconds))
        assert status == 0
        assert ("Duration reached. Stopping pulling requests." in log) == reached
        assert len(json.loads((out / "requests.json").read_text())) == 6


def test_no_arguments_print_the_help_page(bench):
    done = tool(bench)
    assert done.returncode == 2
    assert done.stderr.startswith(PROGRAM_HELP)
    assert "Commands:" in done.stderr
    assert "Error:" not in done.stderr
    asked = tool(bench, "--help")
    assert asked.returncode == 0
    assert done.stderr in asked.stdout


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--modle", "x"], "No such option: --modle (Possible options: --model, --model_path)"),
        (
            ["-m", "x", "throughput", "--max_batchsize", "3"],
            "No such option: --max_batchsize Did you mean --max_batch_size?",
        ),
        (["-m", "x", "throughput", "--foo"], "No such option: --foo"),
        (["-m", "x", "throughput", "-q"], "No such option: -q"),
        (["-mx", "throughput", "--concurrency", "x", "--bogus"], "No such option: --bogus"),
        (["-m", "x", "-w", "/", "thruput"], "No such command 'thruput'."),
    ],
)
def test_unknown_options_are_answered_as_click_8_2_does(newest, words, message):
    done = tool(newest, *words)
    assert done.returncode == 2
    assert f"\nError: {message}\n" in done.stderr


def test_of_an_option_given_twice_the_last_one_counts(newest):
    status, out, _ = call(newest, plus("--ep", "many", "--ep", "1"))
    assert status == 0
    assert json.loads((out / "report.json").read_text())["world_info"]["ep_size"] == 1


def test_help_comes_before_bad_values(newest):
    done = tool(newest, "-m", "x", "throughput", "--concurrency", "x", "--help")
    assert done.returncode == 0
    assert "--report_json" in done.stdout
