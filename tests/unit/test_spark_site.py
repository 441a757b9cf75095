"""The Spark sites as `plan` and `doctor` show them: shim, share of the KV cache, and the version of the image."""

import json

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.engines import load_engine
from sparkray.execute.layout import engine_warnings, planned_command
from sparkray.plan import make_plan, refused
from sparkray.workflows.options import Options, build_study

SITES = [name for name in Catalog(data_root()).site_names() if "spark" in name]


def commands(site, *settings):
    study = build_study(Options(site=site, experiment="phase2a", runs=1, settings=settings))
    engine, runs = load_engine(study.engine), make_plan(study)
    fit = [run for run in runs if refused(study, run) is None]
    return study, fit, {run.model: planned_command(study, run, engine) for run in fit}


@pytest.mark.parametrize("site", SITES)
def test_every_run_on_a_spark_has_the_shim(site):
    _, _, planned = commands(site)
    assert len(planned) >= 7
    for command in planned.values():
        assert command.environment["PYTHONPATH"].split(":")[0] == "/sparkray/in"
        assert b"nvmlInit" in command.inputs["sitecustomize.py"]


def test_a_gb10_that_is_met_elsewhere_has_the_shim_too():
    assert "sitecustomize.py" in commands("discrete-gpu")[2]["Llama-3-8B"].inputs
    assert "sitecustomize.py" not in commands("dgx-spark", "engine.nvml_shim=false")[2]["Llama-3-8B"].inputs


@pytest.mark.parametrize("site", SITES)
def test_the_kv_cache_on_a_spark_leaves_room(site):
    for name, command in commands(site)[2].items():
        fraction = json.loads(command.inputs["llm_api_options.yaml"])["kv_cache_config"]["free_gpu_memory_fraction"]
        assert fraction <= 0.85, name


def test_the_default_is_warned_of_nowhere_and_a_larger_share_is():
    study, runs, _ = commands("dgx-spark")
    assert engine_warnings(study, runs, load_engine("trtllm")) == []
    study, runs, _ = commands("dgx-spark", "engine.kv_fraction=0.95")
    warned = engine_warnings(study, runs, load_engine("trtllm"))
    assert {line.split(":")[0] for line in warned} == {run.model for run in runs}


@pytest.mark.parametrize("site", SITES)
def test_the_command_of_a_spark_is_that_of_its_image(site):
    assert "--no-telemetry" in commands(site)[2]["Llama-3-8B"].argv  # 1.3
    assert "--no-telemetry" not in commands("discrete-gpu")[2]["Llama-3-8B"].argv  # 1.2.1


def plan(command_line, *words):
    return command_line("plan", "--site", "dgx-spark", "--models", "Llama-3-8B", "--runs", "1", *words)


def test_plan_shows_the_warnings(command_line):
    done = plan(command_line, "--set", "engine.kv_fraction=0.95")
    assert done.status == 0
    assert "warning: Llama-3-8B: engine.kv_fraction=0.95 leaves about 5.0 GiB" in done.out
    done = plan(command_line, "--set", "site.image=nvcr.io/nvidia/tensorrt-llm/release:1.4.0rc1", "--json")
    (warning,) = json.loads(done.out)["warnings"]
    assert "1.4.0rc1 is newer" in warning


def test_plan_refuses_an_image_that_is_too_old(command_line):
    done = plan(command_line, "--set", "site.image=nvcr.io/nvidia/tensorrt-llm/release:0.20.0")
    assert done.status == 2
    assert "0.20.0 by its tag: older than 1.0" in done.err


def test_doctor_shows_the_warnings(command_line):
    words = ("--site", "dgx-spark", "--models", "Llama-3-8B", "--set", "engine.kv_fraction=0.95", "--json")
    findings = json.loads(command_line("doctor", *words).out)["findings"]
    (engine,) = [finding for finding in findings if finding["name"] == "engine"]
    assert engine["state"] == "warn"
    assert "leaves about 5.0 GiB" in engine["value"]
