"""The designs that a study shrinks to, the choice among them, and that a study which goes on keeps its own."""

from pathlib import Path

import pytest
from builders import card
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from sparkray.errors import InputError
from sparkray.sweep.app import app
from sparkray.workflows.study_design import Design, choose, kept_design, smaller_designs

CARDS = [card(name, tier=tier) for name, tier in (("A", 1), ("B", 2), ("C", 3), ("D", 1))]
WHOLE = Design(runs=30, models=("A", "B", "C", "D"), optimize_runs=10, trials=20, confirm_runs=30)


def hours(design: Design) -> float:
    return float(design.runs * len(design.models))


def test_the_first_design_is_the_whole_one() -> None:
    assert next(smaller_designs(WHOLE, CARDS)) == WHOLE
    assert choose(smaller_designs(WHOLE, CARDS), hours, None) == WHOLE
    assert choose(smaller_designs(WHOLE, CARDS), hours, 120.0) == WHOLE


def test_blocks_go_before_models_down_to_ten_and_tiers_from_the_last() -> None:
    found = [(design.runs, "".join(design.models)) for design in smaller_designs(WHOLE, CARDS)]
    assert found[:6] == [(30, "ABCD"), (20, "ABCD"), (15, "ABCD"), (12, "ABCD"), (10, "ABCD"), (20, "ABD")]
    assert found[-1] == (3, "AD")
    assert [blocks for blocks, models in found if models == "AD"] == [20, 15, 12, 10, 8, 6, 4, 3]


@given(st.floats(min_value=6, max_value=150))
def test_what_is_chosen_fits(budget: float) -> None:
    assert hours(choose(smaller_designs(WHOLE, CARDS), hours, budget)) <= budget


def test_a_budget_below_the_smallest_design_is_refused_with_one_that_fits() -> None:
    with pytest.raises(InputError, match=r"--budget-hours 1: the smallest study takes about 6\.00 h") as refused:
        choose(smaller_designs(WHOLE, CARDS), hours, 1.0)
    assert "--budget-hours 6.00" in refused.value.remedy


@pytest.mark.parametrize("least", [0.0626, 0.061, 6.0])
def test_the_budget_of_the_remedy_is_enough(least: float) -> None:
    with pytest.raises(InputError) as refused:
        choose(iter([WHOLE]), lambda _: least, 0.001)
    advised = float(refused.value.remedy.split()[4].rstrip(","))
    assert choose(iter([WHOLE]), lambda _: least, advised) == WHOLE


def test_fewer_pairs_have_less_power_and_interim_analyses_end_at_the_last() -> None:
    small = Design(runs=10, models=("A",), optimize_runs=3, trials=6, confirm_runs=9, sequential=True)
    assert small.power(0.01, 1.0) < WHOLE.power(0.01, 1.0)
    assert small.power(0.01, 0.3) == pytest.approx(1.0, abs=0.01)
    assert small.interim == (4, 6, 8, 10)


def test_no_design_has_more_than_the_whole_one() -> None:
    few = Design(runs=4, models=("A", "D"), optimize_runs=2, trials=4, confirm_runs=6)
    for design in smaller_designs(few, CARDS):
        assert design.runs <= few.runs
        assert design.optimize_runs <= few.optimize_runs
        assert design.trials <= few.trials
        assert design.confirm_runs <= few.confirm_runs
        assert set(design.models) <= set(few.models)


def test_a_study_that_goes_on_keeps_its_design(tmp_path: Path) -> None:
    other = Design(runs=3, models=("A",), optimize_runs=2, trials=4, confirm_runs=3)
    asked = {"site": "x", "budget_hours": 1.0}
    assert kept_design(tmp_path / "results", asked, lambda: WHOLE) == WHOLE
    assert kept_design(tmp_path / "results", asked, lambda: other) == WHOLE
    assert kept_design(tmp_path / "results", {**asked, "budget_hours": 2.0}, lambda: other) == other


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"asked": {}, "design": {"runs": 1}}', "\x00"])
def test_a_file_that_is_not_a_design_is_replaced(tmp_path: Path, content: str) -> None:
    (tmp_path / "study.json").write_text(content)
    assert kept_design(tmp_path, {}, lambda: WHOLE) == WHOLE
    assert kept_design(tmp_path, {}, lambda: pytest.fail("made again")) == WHOLE


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--environments", "native"], "environments of each stage"),
        (["--budget-hours", "0"], "budget-hours"),
        (["--budget-hours", "-1"], "budget-hours"),
        (["--json"], "--json"),
    ],
)
def test_what_a_study_does_not_take_is_refused(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(app, ["study", *arguments])
    assert result.exit_code != 0
    assert message in f"{result.output}{result.exception}"
