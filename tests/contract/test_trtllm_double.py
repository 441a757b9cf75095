"""The double of `trtllm-bench` as a program of its own: commands built by the engine go in, what it left is read back."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from trtllm_bench_case import CARDS, ENGINE, Bench, card

from sparkray.config.model import Host, refusal
from sparkray.engines import Paths
from sparkray.engines._trtllm import shipping
from sparkray.engines._trtllm.features import known_options, option_names
from sparkray.errors import EngineFailedError, EngineOutputError, RunError, RunOutOfMemoryError
from sparkray.metrics import BY_NAME, RunData

VERSIONS = ("1.0", "1.1", "1.2", "1.3")


@pytest.fixture(scope="module", params=VERSIONS)
def bench(request, tmp_path_factory):
    return Bench(tmp_path_factory.mktemp(f"double-{request.param}"), request.param)


@pytest.fixture(scope="module")
def one(tmp_path_factory):
    return Bench(tmp_path_factory.mktemp("double"), "1.2")


@pytest.fixture(scope="module", params=("1.0", "1.3"))
def ends(request, tmp_path_factory):
    """The oldest, whose errors are plain tracebacks, and the newest, which logs them."""
    return Bench(tmp_path_factory.mktemp(f"faults-{request.param}"), request.param)


def fault(bench, name, job=None, **more):
    job = job or bench.job(told=False, version=bench.version)
    status, out, _ = bench.run(job, SPARKRAY_DOUBLE_FAULT=name, **more)
    return status, out, job


def test_the_probe_tells_version_and_options(bench):
    told = ENGINE.understand(bench.ask())
    assert told["version"].startswith(bench.version)
    by_table = ENGINE.command(bench.job(told=False, version=bench.version), Paths("/m", "/i", "/o", "", ""))
    by_asking = ENGINE.command(bench.job(), Paths("/m", "/i", "/o", "", ""))
    assert by_table == by_asking


def test_a_run_from_end_to_end(bench):
    job = bench.job(iteration_log=True)
    status, out, paths = bench.run(job)
    read = ENGINE.read(out, job)
    assert status == 0
    assert read.simulated
    assert len(read.requests) == 6
    assert {(r.input_tokens, r.output_tokens, r.error) for r in read.requests} == {(16, 8, None)}
    assert ENGINE.identity(read, job, model_path=paths.model) == ()
    assert read.notes == ()
    assert read.facts.version == job.tool["version"]
    assert read.facts.kv_cache_bytes
    assert read.facts.reported_peak_bytes
    if bench.version != "1.3":  # KV manager V2 logs bytes alone
        assert read.facts.reported["iteration_log"]["kv_cache_tokens"] == read.facts.reported["log"]["kv_cache_tokens"]
    assert ("machine" in json.loads((out / "report.json").read_text())) == (bench.version in ("1.2", "1.3"))
    assert read.facts.reported["machine_name"] is None
    assert (read.facts.reported["total_energy_j"] is not None) == (bench.version == "1.3")


@pytest.mark.parametrize("version", VERSIONS)
def test_the_script_itself_needs_the_standard_library_alone(tmp_path, version):
    link = tmp_path / "trtllm-bench"
    link.symlink_to(Path(shipping.__file__).parent / "double" / "trtllm_bench.py")
    assert os.access(link, os.X_OK)
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-B", link, "-m", "x", "throughput", "--help"],
        env={"SPARKRAY_DOUBLE_VERSION": version},
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert option_names(done.stdout) == known_options("throughput", version)


def test_metrics_of_the_requests_are_those_of_the_report(one):
    job = one.job(requests=40)
    _, out, _ = one.run(job)
    read = ENGINE.read(out, job)
    document = json.loads((out / "report.json").read_text())
    data = RunData(read.requests, (), read.facts, {})
    said = document["performance"]["system_output_throughput_tok_s"]
    assert BY_NAME["output_throughput_tok_s"].compute(data) == pytest.approx(said, rel=1e-6)
    assert BY_NAME["ttft_mean_ms"].compute(data) == pytest.approx(
        document["streaming_metrics"]["avg_ttft_ms"], rel=1e-6
    )
    assert BY_NAME["itl_mean_ms"].compute(data) == pytest.approx(document["streaming_metrics"]["avg_tpot_ms"], rel=1e-6)


@pytest.mark.parametrize(
    "name", sorted(p.stem for p in CARDS.glob("*.yaml") if card(p.stem).weights.kind == "checkpoint")
)
def test_every_card_of_the_suite_ends_as_it_must(one, name):
    job = one.job(name, told=False, version="1.2")
    status, out, paths = one.run(job)
    if refusal(job.card, Host("trtllm", 119.6, "site dgx-spark")):
        assert status == 1
        with pytest.raises(RunError):
            ENGINE.read(out, job)
        return
    read = ENGINE.read(out, job)
    assert ENGINE.identity(read, job, model_path=paths.model) == ()
    rate = BY_NAME["output_throughput_tok_s"].compute(RunData(read.requests, (), read.facts, {}))
    active = (job.card.shape.params_active or job.card.shape.params_total) - job.card.shape.embedding_params
    assert rate < job.card.max_batch_size * 273e9 / (active * min(16, job.card.shape.bits_per_weight) / 8)


def test_models_of_different_size_run_at_different_speed(one):
    def rate(name):
        job = one.job(name, told=False, version="1.2", requests=8, max_batch_size=8)
        _, out, _ = one.run(job)
        return ENGINE.read(out, job).facts.reported["system_output_throughput_tok_s"]

    small, middle, large = (rate(name) for name in ("Qwen2-1.5B", "Llama-3-8B", "Mixtral-8x7B"))
    assert small > 3 * middle > 6 * large


def test_a_fixed_kv_cache_holds_what_was_asked(one):
    job = one.job(told=False, version="1.2", kv_cache="fixed")
    _, out, _ = one.run(job)
    assert ENGINE.read(out, job).facts.reported["log"]["kv_cache_tokens"] == 2 * 16 * 64


def test_the_seed_decides_the_noise(one):
    def rate(seed):
        job = one.job(told=False, version="1.2")
        _, out, _ = one.run(job, SPARKRAY_DOUBLE_SEED=seed)
        return ENGINE.read(out, job).facts.reported["system_output_throughput_tok_s"]

    first, again, other = rate("5"), rate("5"), rate("6")
    assert first == again != other
    assert other == pytest.approx(first, rel=0.05)


@pytest.mark.parametrize(
    ("name", "error", "status"),
    [
        ("nvml_clock", EngineFailedError, 1),
        ("sigint", EngineFailedError, 0),
        ("oom", RunOutOfMemoryError, 1),
        ("crash", EngineOutputError, -signal.SIGABRT),
        ("garbage_report", EngineOutputError, 0),
        ("truncated_report", EngineOutputError, 0),
        ("nan", EngineOutputError, 0),
        ("wrong_count", EngineOutputError, 0),
    ],
)
def test_faults_become_typed_errors(ends, name, error, status):
    job = ends.job(told=False, version=ends.version, nvml_shim=name != "nvml_clock")
    ended, out, job = fault(ends, name, job)
    assert ended == status
    with pytest.raises(error):
        ENGINE.read(out, job)
    assert ENGINE.salvage(out, job).simulated


def test_nvml_leaves_an_empty_report_and_no_requests(ends):
    _, out, job = fault(ends, "nvml_clock", ends.job(told=False, version=ends.version, nvml_shim=False))
    assert (out / "report.json").read_bytes() == b""
    assert not (out / "requests.json").exists()
    with pytest.raises(EngineFailedError, match="NVMLError") as caught:
        ENGINE.read(out, job)
    assert "nvml_shim" in caught.value.remedy
    saved = ENGINE.salvage(out, job).facts
    assert saved.kv_cache_bytes
    assert saved.reported_peak_bytes
    assert saved.reported["log"]["benchmark_s"] is not None


def test_the_shim_saves_the_run(ends):
    status, out, job = fault(ends, "nvml_clock", ends.job(told=False, version=ends.version))
    assert status == 0
    assert len(ENGINE.read(out, job).requests) == 6


def test_the_shim_lets_the_other_sitecustomize_run(one):
    (one.root / "image/lib/sitecustomize.py").write_text("import os\nos.environ['SEEN'] = 'yes'\n")
    folder = one.root / "shim"
    one.lay(folder / "sitecustomize.py", shipping.nvml_shim())
    code = "import os, pynvml; print(os.environ['SEEN'], issubclass(pynvml.NVMLError, RuntimeError), pynvml.NVML_CLOCK_MEM)"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{folder}:{one.root}/image/lib"},
        capture_output=True,
        text=True,
        check=True,
    )
    (one.root / "image/lib/sitecustomize.py").unlink()
    assert done.stdout.split() == ["yes", "True", "2"]


@pytest.mark.parametrize(("name", "said"), [("wrong_model", "model"), ("short_output", "mean_output_tokens")])
def test_faults_that_only_identity_sees(one, name, said):
    status, out, job = fault(one, name)
    read = ENGINE.read(out, job)
    assert status == 0
    (told,) = read.facts.reported["identity_mismatches"]
    assert told.startswith(said)


def test_faults_that_harm_nothing_or_only_speed(one):
    _, out, job = fault(one, "null_machine")
    usual = ENGINE.read(out, job).facts.reported
    assert usual["machine_name"] is None
    _, out, job = fault(one, "slow")
    slow = ENGINE.read(out, job).facts.reported
    ratio = usual["system_output_throughput_tok_s"] / slow["system_output_throughput_tok_s"]
    assert ratio == pytest.approx(2, rel=0.05)


def test_a_hang_ends_by_sigint_with_status_0_and_no_report(one):
    job = one.job(told=False, version="1.2")
    process, out, _ = one.start(job, SPARKRAY_DOUBLE_FAULT="hang")
    try:
        until = time.monotonic() + 30
        while b"Warmup done" not in (out / "engine.log").read_bytes() and time.monotonic() < until:
            time.sleep(0.02)
        assert process.poll() is None
        os.kill(process.pid, signal.SIGINT)
        assert process.wait(timeout=30) == 0
    finally:
        process.kill()
        process.wait()
    with pytest.raises(EngineFailedError, match="SIGINT"):
        ENGINE.read(out, job)


def test_an_unknown_fault_is_refused(one):
    status, out, _ = fault(one, "typo")
    assert status == 70
    assert "nvml_clock" in (out / "engine.log").read_text()


def test_memory_of_the_machine_decides(one):
    job = one.job("Llama-3-8B", told=False, version="1.2")
    status, out, _ = one.run(job, SPARKRAY_DOUBLE_MEMORY_GIB="16")
    assert status == 1
    with pytest.raises(RunOutOfMemoryError):
        ENGINE.read(out, job)


def test_the_bandwidth_of_the_site_decides(one):
    job = replace(one.job(told=False, version="1.2"), seed=4)
    rates = []
    for bandwidth in ("273", "546"):
        _, out, _ = one.run(job, SPARKRAY_DOUBLE_BANDWIDTH_GB_S=bandwidth)
        rates.append(ENGINE.read(out, job).facts.reported["system_output_throughput_tok_s"])
    assert rates[1] / rates[0] == pytest.approx(2, rel=0.02)
