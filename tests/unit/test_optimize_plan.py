"""The plan of an optimisation: what is done with each level and why, its runs and hours, and what is refused."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import Ended
from simulated_runner import options_in

from sparkray.catalog import Catalog, data_root
from sparkray.errors import ConfigError, InputError
from sparkray.optimize.context import OptimizationRequest
from sparkray.workflows.optimization import optimization_context

Call = Callable[..., Ended]


SPARK = ("plan", "--experiment", "phase2b", "--site", "dgx-spark")


def spark_plan(command_line: Call, *words: str) -> dict[str, Any]:
    done = command_line(*SPARK, *words, "--json")
    assert (done.status, done.err) == (0, "")
    document: dict[str, Any] = json.loads(done.out)
    return document


def test_the_plan_of_phase_2b_says_of_each_level_what_is_done_and_why(command_line: Call) -> None:
    document = spark_plan(command_line)
    levels = {f"{one['factor']}={one['level']}": one for one in document["levels"]}
    space = Catalog(data_root()).space("dgx-spark")
    assert list(levels) == [f"{factor.name}={level}" for factor in space.factors for level in factor.levels]
    assert levels["shm_size=32g"]["done"] == "search only"
    assert "--shm-size cannot act under --ipc=host" in levels["shm_size=32g"]["reason"]
    assert levels["network=host"]["reason"].startswith("it can act only under a serve workload")
    assert levels["privileged=yes"]["reason"].endswith("requires --allow-insecure")
    assert levels["cpuset=performance"]["flags"] == "--cpuset-cpus=5-9,15-19"
    assert all(one["reason"] for one in levels.values() if one["done"] != "screen")


def test_a_stage_that_is_left_out_is_neither_planned_nor_counted(command_line: Call) -> None:
    document = spark_plan(command_line, "--skip", "screen", "--skip", "attribution")
    stages = {one["stage"]: one for one in document["stages"]}
    assert "attribute" not in stages
    assert not [one for one in document["levels"] if one["done"] == "screen"]
    assert stages["screen"]["runs"] == 2 * 10 * 3  # native and the baseline, whose noise the search needs


def test_its_runs_and_hours_are_the_sums_of_its_stages(command_line: Call) -> None:
    document = spark_plan(command_line)
    stages = {one["stage"]: one for one in document["stages"]}
    screened = sum(one["done"] == "screen" for one in document["levels"])
    assert list(stages) == ["screen", "search", "confirm", "attribute"]
    assert stages["screen"]["runs"] == (screened + 2) * 10 * 3
    assert stages["search"]["runs"] == 3 * (20 + 3 + 4 + 1), (
        "trials, blocks, finalists and their block, on three models"
    )
    assert stages["confirm"]["runs"] == 5 * 30 * 3
    assert stages["attribute"]["runs"] == len(document["attribution"]["environments"]) * 10 * 3
    assert document["runs"] == sum(one["runs"] for one in stages.values())
    for kind in ("adaptive", "fixed"):
        assert document["hours"][kind] == pytest.approx(sum(one["hours"][kind] for one in stages.values()), abs=0.05)
    assert document["hours"]["fixed"] > document["hours"]["adaptive"] > 0


def test_fewer_runs_and_models_cost_less_in_proportion(command_line: Call) -> None:
    document = spark_plan(command_line, "--runs", "4", "--models", "Qwen2-1.5B")
    stages = {one["stage"]: one for one in document["stages"]}
    assert stages["confirm"]["runs"] == 5 * 12
    assert stages["screen"]["blocks"] == stages["attribute"]["blocks"] == 4


def test_the_plan_is_of_what_optimize_would_be_asked(command_line: Call) -> None:
    document = spark_plan(command_line, "--trials", "12", "--confirm-runs", "6", "--allow-insecure")
    stages = {one["stage"]: one for one in document["stages"]}
    assert stages["search"]["runs"] == 3 * (12 + 2 + 4 + 1)
    assert stages["confirm"]["runs"] == 5 * 6 * 3
    levels = {f"{one['factor']}={one['level']}": one for one in document["levels"]}
    assert (levels["privileged=yes"]["done"], levels["privileged=yes"]["security"]) == ("screen", "dangerous")
    safe = spark_plan(command_line, "--security", "none")
    assert all(one["done"] == "excluded" for one in safe["levels"] if one["security"] != "none")
    assert safe["stages"][0]["hours"]["adaptive"] < document["stages"][0]["hours"]["adaptive"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            (*SPARK, "--security", "none", "--allow-insecure"),
            "--security none and --allow-insecure contradict each other",
        ),
        (
            ("plan", "--site", "cpu", "--confirm-runs", "6"),
            "--confirm-runs: experiment local is no optimisation",
        ),
    ],
)
def test_what_a_plan_cannot_follow_is_refused(command_line: Call, words: tuple[str, ...], said: str) -> None:
    done = command_line(*words)
    assert done.status == 2
    assert said in done.err


def test_for_people_each_level_has_a_line_and_the_sum_stands_beside_what_was_expected(command_line: Call) -> None:
    lines = command_line(*SPARK).out.splitlines()
    [privileged] = [line for line in lines if "privileged=yes" in line]
    assert privileged.split()[0] == "exclude"
    assert "[dangerous]" in privileged
    assert lines[-2].endswith("; phase2b as a whole was expected to take 20 h")
    assert lines[-1] == "Nothing was started."


def test_hours_are_expected_where_the_experiment_states_them_and_nowhere_else(command_line: Call) -> None:
    plan = ("plan", "--site", "dgx-spark", "--models", "Qwen2-1.5B", "--runs", "1", "--experiment")
    assert "; phase2a as a whole was expected to take 80 h; nothing was started." in command_line(*plan, "phase2a").out
    assert "expected to take" not in command_line(*plan, "phase2d").out
    own = command_line(*plan, "phase2d", "--set", "experiment.expected_hours=2.5")
    assert "; phase2d as a whole was expected to take 2.5 h" in own.out


def test_a_plan_with_fewer_blocks_to_confirm_says_what_that_costs(command_line: Call) -> None:
    [said] = [line for line in command_line(*SPARK, "--runs", "4").out.splitlines() if "the confirmation has" in line]
    assert said.startswith("the confirmation has 12 blocks a model, not 30: a gain beyond the margin")
    assert "1.7 times as large to be shown (--confirm-runs 30)" in said
    assert "the confirmation has" not in command_line(*SPARK).out


def test_of_a_site_without_a_space_the_remedy_is_reported(tmp_path: Path) -> None:
    options = replace(options_in(tmp_path), settings=('site.space=""',))
    with pytest.raises(InputError, match="site cpu names no space"):
        optimization_context(options, OptimizationRequest(), measuring=False)


def test_an_experiment_without_a_margin_has_nothing_to_optimise(tmp_path: Path) -> None:
    options = replace(options_in(tmp_path), settings=("experiment.margins={}",))
    with pytest.raises(InputError, match="no primary metric with a margin"):
        optimization_context(options, OptimizationRequest(), measuring=False)


def test_a_space_with_a_wrong_option_is_refused_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("name: bad\ndescription: x\nfactors:\n  - {name: a, levels: {x: {shm_siz: 1g}}, why: y}\n")
    with pytest.raises(ConfigError, match=r"bad\.yaml.*shm_siz.*did you mean 'shm_size'"):
        Catalog(data_root()).space(str(path))
