"""The four environment variables of the older shell scripts, and the command line, which wins over them."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from builders import Ended

from sparkray.errors import PrivilegeError
from sparkray.runtimes.linux.privilege import through_sudo

Call = Callable[..., Ended]
PLAN = ("plan", "--site", "cpu", "--json")


def runs_of(done: Ended) -> list[dict[str, Any]]:
    assert (done.status, done.err) == (0, "")
    return json.loads(done.out)["runs"]


def names(runs: list[dict[str, Any]], key: str) -> set[str]:
    return {run[key] for run in runs}


@pytest.mark.parametrize(
    ("said", "models"),
    [
        ("SmolLM2", {"SmolLM2-135M"}),
        ("SmolLM2 Qwen2-1.5B", {"SmolLM2-135M", "Qwen2-1.5B"}),
        ("smollm2,qwen2-1.5b", {"SmolLM2-135M", "Qwen2-1.5B"}),
        (" Qwen/Qwen2-1.5B , SmolLM2 ", {"SmolLM2-135M", "Qwen2-1.5B"}),
    ],
)
def test_models_to_test_takes_names_with_commas_or_spaces(command_line: Call, said: str, models: set[str]) -> None:
    assert names(runs_of(command_line(*PLAN, MODELS_TO_TEST=said)), "model") == models


def test_the_command_line_wins_over_models_to_test(command_line: Call) -> None:
    done = command_line(*PLAN, "--models", "SmolLM2", MODELS_TO_TEST="Qwen2-1.5B")
    assert names(runs_of(done), "model") == {"SmolLM2-135M"}


def test_runs_per_model_and_the_command_line_that_wins(command_line: Call) -> None:
    assert len(runs_of(command_line(*PLAN, RUNS_PER_MODEL="3"))) == 6
    assert len(runs_of(command_line(*PLAN, "--runs", "2", RUNS_PER_MODEL="3"))) == 4
    assert len(runs_of(command_line(*PLAN, RUNS_PER_MODEL=""))) == 20


@pytest.mark.parametrize(
    ("phase", "environments"),
    [
        ("baseline", {"native", "container_baseline"}),
        ("optimization", {"container_optimized"}),
        ("both", {"native", "container_baseline", "container_optimized"}),
    ],
)
def test_test_phase_chooses_environments(command_line: Call, phase: str, environments: set[str]) -> None:
    apart = ("--set", "experiment.fold=false")
    assert names(runs_of(command_line(*PLAN, *apart, TEST_PHASE=phase)), "environment") == environments
    named = runs_of(command_line(*PLAN, "--environments", "host", TEST_PHASE=phase))
    assert names(named, "environment") == {"host"}


@pytest.mark.parametrize(
    ("mode", "there", "gone"),
    [
        ("shm-8g", ["--shm-size=8g"], ["--privileged"]),
        ("privileged", ["--privileged"], ["--shm-size=32g"]),
        ("host-network", ["--network=host"], ["--shm-size=32g"]),
        ("baseline", ["--ipc=host"], ["--shm-size=32g"]),
    ],
)
def test_optimization_mode_chooses_flags(command_line: Call, mode: str, there: list[str], gone: list[str]) -> None:
    apart = ("--runs", "1", "--set", "experiment.fold=false")
    runs = runs_of(command_line(*PLAN, *apart, TEST_PHASE="both", OPTIMIZATION_MODE=mode))
    words = {run["environment"]: (run["docker_command"] or "").split() for run in runs}
    assert set(there) <= set(words["container_optimized"])
    assert not set(gone) & set(words["container_optimized"])
    assert words["container_baseline"][4:7] == ["--ipc=host", "--ulimit=memlock=-1", "--ulimit=stack=67108864"]


@pytest.mark.parametrize(("mode", "measured"), [("baseline", False), ("shm-60g", False), ("host-network", True)])
def test_a_mode_that_does_nothing_is_the_baseline_and_is_not_measured(
    command_line: Call, mode: str, measured: bool
) -> None:
    runs = runs_of(command_line(*PLAN, "--runs", "1", TEST_PHASE="both", OPTIMIZATION_MODE=mode))
    assert ("container_optimized" in names(runs, "environment")) is measured


def test_the_mode_on_the_command_line_wins_and_a_flag_wins_over_both(command_line: Call) -> None:
    words = ("--environments", "container_optimized", "--runs", "1", "--mode", "shm-8g")
    [run] = runs_of(command_line(*PLAN, *words, OPTIMIZATION_MODE="shm-60g"))
    assert "--shm-size=8g" in run["docker_command"]
    setting = ("--set", "docker.container_optimized.shm_size=2g")
    [run] = runs_of(command_line(*PLAN, *words, *setting, OPTIMIZATION_MODE="shm-60g"))
    assert "--shm-size=2g" in run["docker_command"]


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"MODELS_TO_TEST": "Quen2-1.5B"}, ["'Quen2-1.5B'", "Did you mean 'Qwen2-1.5B'?"]),
        ({"MODELS_TO_TEST": " , "}, ["' , '", "names nothing"]),
        ({"RUNS_PER_MODEL": "abc"}, ["'RUNS_PER_MODEL'", "'abc'", "integer"]),
        ({"RUNS_PER_MODEL": "0"}, ["'RUNS_PER_MODEL'", "0 ", "1<=x<="]),
        ({"RUNS_PER_MODEL": "-3"}, ["'RUNS_PER_MODEL'", "-3", "1<=x<="]),
        ({"TEST_PHASE": "bseline"}, ["'TEST_PHASE'", "'bseline'", "'baseline'"]),
        ({"TEST_PHASE": "both", "OPTIMIZATION_MODE": "shm-9g"}, ["OPTIMIZATION_MODE", "'shm-9g'", "'shm-8g'"]),
        ({"TEST_PHASE": "both", "OPTIMIZATION_MODE": "all"}, ["OPTIMIZATION_MODE=all", "Name one: baseline, shm-8g"]),
    ],
)
def test_a_variable_that_is_wrong_is_named_with_its_value(
    command_line: Call, variables: dict[str, str], said: list[str]
) -> None:
    done = command_line(*PLAN, **variables)
    assert (done.status, done.out) == (2, "")
    assert [word for word in said if word not in done.err] == []
    assert "Traceback" not in done.err


@pytest.mark.root
def test_the_variables_pass_through_sudo() -> None:
    given = {"MODELS_TO_TEST": "a b", "RUNS_PER_MODEL": "3", "TEST_PHASE": "both", "OPTIMIZATION_MODE": "x"}
    try:
        command = through_sudo(["program"], {**given, "OTHER": "1", "DOCKER_CONTEXT": "rootless"})
    except PrivilegeError:
        pytest.skip("no sudo without a password here")
    assert set(command) >= {f"{name}={value}" for name, value in given.items()} | {"DOCKER_CONTEXT=rootless"}
    assert "OTHER=1" not in command
