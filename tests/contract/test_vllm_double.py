"""The simulated vLLM beside the real one's logs: what it prints and leaves, and how it fails."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.catalog.weights import locate
from sparkray.config.experiment import Workload
from sparkray.engines import Job, Paths, load_engine
from sparkray.engines.server import facts_of_log
from sparkray.errors import EngineFailedError, EngineOutputError, RunOutOfMemoryError

LOGS = Path(__file__).parents[1] / "golden" / "vllm"
LOAD = Workload(requests=8, input_tokens=8, output_tokens=5, warmup_requests=1, concurrency=4)
ENGINE = load_engine("vllm")


def run(folder, *, fault="", load=LOAD, variables=None, **options):
    """One run of the simulated tool: exit status, output folder, job."""
    for name, content in ENGINE.simulator_files({}, sys.executable).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    card = Catalog(data_root()).card("Qwen2-1.5B-random")
    job = Job(
        card, load, seed=7, options=ENGINE.options({"program": [sys.executable, "-m", MODULE], **options}, "test")
    )
    model = locate(card, folder, folder).path
    out = folder / "out"
    out.mkdir(exist_ok=True)
    (out / "report.json").unlink(missing_ok=True)
    command = ENGINE.command(job, Paths(str(model), str(folder), str(out), sys.executable, str(folder)))
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder / "lib"),
        "VLLM_CACHE_ROOT": str(folder / "cache"),
        "SPARKRAY_DOUBLE_FAULT": fault,
        **(variables or {}),
    }
    with (out / "engine.log").open("wb") as log:
        done = subprocess.run(command.argv, stdout=log, stderr=subprocess.STDOUT, env=environment, check=False)
    return done.returncode, out, job


MODULE = "vllm.entrypoints.cli.main"


@pytest.mark.parametrize("name", ["lat-8b-graph-b8.0.native", "lat-8b-graph-b8.4.native", "lat-1.5b-eager-b8.4.native"])
def test_its_log_shows_the_same_facts_as_the_real_one(tmp_path, name):
    recipe = ENGINE.recipe(ENGINE.options({}, "test"))
    real = facts_of_log(recipe, (LOGS / f"{name}.log").read_text())
    eager = "eager" in name
    for _ in range(1 if eager or ".0." in name else 2):
        status, out, _ = run(tmp_path, eager=eager)
        assert status == 0
    simulated = facts_of_log(recipe, (out / "engine.log").read_text())
    assert set(simulated) == set(real)


def test_a_run_is_whole_and_marked(tmp_path):
    status, out, job = run(tmp_path)
    measurement = ENGINE.read(out, job)
    assert (status, measurement.simulated, len(measurement.requests)) == (0, True, 8)
    assert measurement.facts.model_path
    load = replace(LOAD, requests=6)
    status, out, job = run(tmp_path, load=load, tool="throughput")
    assert (status, len(ENGINE.read(out, job).requests)) == (0, 6)


def test_the_cache_decides_over_cold_and_warm_and_the_compiler_is_part_of_its_key(tmp_path):
    found = []
    for variables in ({}, {}, {"CXX": "clang++"}):
        _, out, job = run(tmp_path, variables={"CXX": "g++", **variables})
        found.append(ENGINE.read(out, job).facts.reported)
    assert [one["compile_state"] for one in found] == ["cold", "warm", "cold"]
    assert found[0]["compile_cache"] == found[1]["compile_cache"] != found[2]["compile_cache"]
    assert found[0]["kv_cache_tokens"] < found[1]["kv_cache_tokens"]


@pytest.mark.parametrize(
    ("fault", "error", "match"),
    [
        ("crash", EngineFailedError, "The decoder prompt cannot be empty"),
        ("oom", RunOutOfMemoryError, "CUDA out of memory"),
        ("no_report", EngineOutputError, "left no report"),
        ("short", EngineOutputError, "reports 4 requests, asked for were 8"),
    ],
)
def test_faults_are_told_by_their_cause(tmp_path, fault, error, match):
    status, out, job = run(tmp_path, fault=fault)
    assert status == (1 if fault in ("crash", "oom") else 0)
    with pytest.raises(error, match=match):
        ENGINE.read(out, job)
    assert ENGINE.salvage(out, job) is not None


def test_an_option_that_vllm_does_not_have_is_refused(tmp_path):
    status, out, _ = run(tmp_path, arguments=["--max-model-length", "8"])
    assert status == 2
    assert "--max-model-length" in (out / "engine.log").read_text()
    assert json.loads((out.parent / "random-models" / "Qwen2-1.5B-random" / "config.json").read_text())
