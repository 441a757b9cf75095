"""Across models: the model is the unit, a level of the load is no further model, and groups differ only by a test."""

import json
import math
from collections.abc import Sequence
from typing import Any

import pytest
from support.studies import analysed

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.by_model import contrast_rows, size_rows
from sparkray.analysis.context import Card, Cards, Protocol
from sparkray.analysis.questions import question_rows
from sparkray.simulate.study import Plant, plant

LATENCY = "latency_mean_ms"
LEVELS = ("concurrency=1", "concurrency=8")
MODELS = ("Qwen2-1.5B", "Mistral-7B-v0.3", "GPT-OSS-120B", "Llama-3-70B")


@pytest.fixture(scope="module")
def levels(tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    planted = Plant(
        models=MODELS, runs=4, requests=8, samples=0, levels=LEVELS, speed_ratio={"container_baseline": 0.97}
    )
    return analyse(plant(tmp_path_factory.mktemp("levels"), planted, merged=True), metrics=[LATENCY])


def test_each_level_has_a_line_and_groups_of_its_own(levels: Analysis) -> None:
    size = levels.tables["size"].filter(metric=LATENCY, environment="container_baseline")
    for level in LEVELS:
        [slope] = size.filter(group_by="slope", level=level).to_dicts()
        [whole] = size.filter(group_by="all", level=level).to_dicts()
        assert slope["n_models"] == whole["n_models"] == 4
        groups = size.filter(group_by="architecture", level=level)
        assert sum(groups["n_models"]) == 4
        assert size.filter(group_by="size", level=level).height == 4
    assert set(size["level"]) == set(LEVELS)
    curves = levels.tables["power_curve"].filter(metric=LATENCY, environment="container_baseline", n=10)
    assert sorted(curves["level"]) == sorted(LEVELS * 3)


def test_questions_are_answered_level_by_level_and_count_models(levels: Analysis) -> None:
    found = levels.tables["questions"]
    for question in (1, 2):
        assert set(found.filter(question=question)["level"]) == set(LEVELS)
    [numbers] = found.filter(question=3, metric=LATENCY, aspect="mean")["numbers"]
    assert (json.loads(numbers)["gaps"], json.loads(numbers)["comparisons"]) == (8, 8)
    assert {json.loads(numbers)["models"] for numbers in found.filter(question=1)["numbers"]} == {4}


def comparison(model: str, ratio: float | None, n: int = 30) -> dict[str, object]:
    row = {"model": model, "level": "", "environment": "container_baseline", "against": "native", "metric": LATENCY}
    numbers = {"ratio": ratio, "low": 0.9, "high": 1.1, "sd_log": 0.002, "n": n}
    whole = numbers if ratio else {"ratio": None, "not_estimable": "all failed"}
    return {**row, "trace": f"comparisons/{model}", "primary": True, **whole}


def cards(**architectures: str) -> Cards:
    stored = [
        {"name": name, "architecture": kind, "dtype": "bfloat16", "shape": {"params_total": (place + 1) * 10**9}}
        for place, (name, kind) in enumerate(architectures.items())
    ]
    return Cards(stored)


SUITE = {"a": "decoder", "b": "decoder", "c": "decoder", "d": "moe", "e": "moe", "f": "reasoning"}


def answers(compared: Sequence[dict[str, object]], kinds: dict[str, str] = SUITE) -> list[dict[str, Any]]:
    """`questions` of comparisons alone."""
    known = cards(**kinds)
    tables = {"comparisons": compared, "size": size_rows(compared, known), "contrasts": contrast_rows(compared, known)}
    tables |= {name: [] for name in ("gap", "verdict_by_n", "power_curve", "checks")}
    protocol = Protocol({LATENCY: 0.01}, (LATENCY,), 30, 0)
    context = {"simulated": False, "runs_used": 1, "attempts": 1}
    return question_rows(tables, protocol, context)  # type: ignore[arg-type]


def answered(ratios: dict[str, float | None], kinds: dict[str, str] = SUITE) -> tuple[str, str, dict[str, Any]]:
    """Verdict, reason and numbers of the answer to question 2."""
    rows = answers([comparison(name, ratio) for name, ratio in ratios.items()], kinds)
    [row] = [row for row in rows if row["question"] == 2]
    return row["verdict"], row["reason"], json.loads(row["numbers"])


def test_an_environment_that_lacks_a_level_of_another_is_asked_about_its_own_alone() -> None:
    whole = [comparison(name, 1.0) | {"level": level} for name in "abc" for level in LEVELS]
    half = [comparison(name, 1.0) | {"level": LEVELS[1], "environment": "container_optimized"} for name in "abc"]
    found = answers([*whole, *half])
    for question in (1, 2):
        places = [(row["environment"], row["level"]) for row in found if row["question"] == question]
        assert places == [
            ("container_baseline", LEVELS[0]),
            ("container_baseline", LEVELS[1]),
            ("container_optimized", LEVELS[1]),
        ]


@pytest.mark.parametrize(
    ("low_pct", "high_pct", "verdict"),
    [(0.17, 1.19, "undecided"), (1.02, 3.0, "no"), (-3.0, -1.02, "no"), (-0.9, 0.9, "yes"), (-0.2, 1.4, "undecided")],
)
def test_sizes_differ_where_the_whole_change_is_beyond_the_margin(
    low_pct: float, high_pct: float, verdict: str
) -> None:
    compared = [comparison(name, 1.0) for name in "abc"]
    known = cards(a="decoder", b="decoder", c="decoder")
    sizes = size_rows(compared, known)
    span = math.log10(3)
    for row in sizes:
        if row["group_by"] == "slope":
            ends = {"slope_low": math.log1p(low_pct / 100) / span, "slope_high": math.log1p(high_pct / 100) / span}
            row.update(ends, slope=0.01, p=0.01)
    tables = {"comparisons": compared, "size": sizes, "contrasts": contrast_rows(compared, known)}
    tables |= {name: [] for name in ("gap", "verdict_by_n", "power_curve", "checks")}
    context = {"simulated": False, "runs_used": 1, "attempts": 1}
    rows = question_rows(tables, Protocol({LATENCY: 0.01}, (LATENCY,), 30, 0), context)  # type: ignore[arg-type]
    assert [row["verdict"] for row in rows if row["question"] == 1] == [verdict]


def test_groups_that_lie_apart_by_more_than_their_models_differ() -> None:
    verdict, _, numbers = answered({"a": 1.001, "b": 1.002, "c": 1.0015, "d": 1.05, "e": 1.051, "f": 1.0012})
    assert verdict == "yes"
    assert (numbers["second"], numbers["first"]) == ("moe", "decoder")
    assert numbers["ratio"] == pytest.approx(1.048, abs=1e-3)


def test_one_model_that_lies_apart_is_no_group_that_does() -> None:
    # Thirty runs each know every ratio to 0.04 %, and the one reasoning model lies 3 % apart; but decoders scatter too.
    verdict, _, numbers = answered({"a": 1.0, "b": 1.03, "c": 0.98, "d": 1.01, "e": 0.99, "f": 1.035})
    assert verdict == "no difference shown"
    assert numbers["p_holm"] > 0.05


def test_without_two_models_in_a_group_it_has_no_answer() -> None:
    verdict, reason, numbers = answered({"a": 1.0, "d": 1.05}, {"a": "decoder", "d": "moe"})
    assert (verdict, numbers) == ("cannot be told", {})
    assert reason == "no_group_of_two?n=2&groups=2"


def test_models_without_a_ratio_are_left_out_and_said_so() -> None:
    verdict, _, numbers = answered({"a": 1.001, "b": None, "c": 1.0015, "d": 1.05, "e": 1.051, "f": 1.0})
    assert (verdict, numbers["left_out"]) == ("yes", 1)


def test_a_group_of_one_model_says_why_it_has_no_scatter() -> None:
    rows = size_rows([comparison(name, 1 + place / 1000) for place, name in enumerate(SUITE)], cards(**SUITE))
    groups = {row["group"]: row for row in rows if row["group_by"] == "architecture"}
    assert (groups["reasoning"]["q"], groups["decoder"]["why_null"]) == (None, None)
    assert json.loads(groups["reasoning"]["why_null"])["q"] == "one_model"


def test_p_values_are_holms_over_architectures_and_precisions_together() -> None:
    compared = [comparison(name, 1 + place / 1000) for place, name in enumerate(SUITE)]
    rows = contrast_rows(compared, cards(**SUITE))
    assert [(row["first"], row["second"]) for row in rows] == [
        ("decoder", "moe"),
        ("decoder", "reasoning"),
        ("moe", "reasoning"),
    ]
    assert {row["df"] for row in rows} == {3}
    least = min(rows, key=lambda row: row["p"])
    assert least["p_holm"] == pytest.approx(min(1.0, 3 * least["p"]))


def test_every_answer_has_a_verdict_a_reason_and_evidence(levels: Analysis) -> None:
    for found in (levels, analysed()):
        for row in found.tables["questions"].to_dicts():
            assert row["reason"]
            assert json.loads(row["supports"]) or row["verdict"] == "unanswered"
            assert bool(json.loads(row["numbers"])) == (row["verdict"] not in ("unanswered", "cannot be told"))


def test_a_card_that_tells_nothing_is_in_no_group() -> None:
    assert cards().of("nobody") == Card("nobody", None, None, None)
