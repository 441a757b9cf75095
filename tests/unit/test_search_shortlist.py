"""What is handed to the confirmation, and what stands beside it: importance, the Pareto front."""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import search_driver
from search_driver import answers, settings_for, small_feasible_space

from sparkray.optimize.search import Evaluated, Found, importance, search, shortlist
from sparkray.stats import NotEstimable
from sparkray.stats.pareto import compared, pareto_front
from sparkray.stats.screen import LevelEffect, screen_effects


def one(choices: Mapping[str, str], estimate: float, state: str = "complete") -> Evaluated:
    feasible_space = small_feasible_space()
    return Evaluated(
        trials=(1,),
        environment=f"container:trial-{feasible_space.key(choices)}",
        options=feasible_space.options(choices),
        choices=choices,
        security=feasible_space.security(choices),
        state=state,  # type: ignore[arg-type]
        log_ratios={},
        mean=estimate,
        estimate=estimate,
        reason=None,
        constraints={},
        run_ids=(),
        docker_command=None,
        effective_state=None,
        metrics={},
    )


def found(*evaluated: Evaluated) -> Found:
    return Found("s", evaluated, evaluated[0] if evaluated else None, 0.01, len(evaluated), 0)


def screened(**gains: float) -> tuple[LevelEffect, ...]:
    rng = np.random.default_rng(1)
    baseline = {block: float(100 * np.exp(rng.normal(0, 0.002))) for block in range(10)}
    levels = {
        name.replace("__", "="): {b: v * float(np.exp(gain + rng.normal(0, 0.002))) for b, v in baseline.items()}
        for name, gain in gains.items()
    }
    return screen_effects(baseline, levels)


def test_the_best_of_the_search_and_one_with_less_given_up() -> None:
    best = one({"cpuset": "fast", "seccomp": "off", "init": "yes"}, 0.061)
    plain = one({"cpuset": "fast"}, 0.060)
    chosen = shortlist(small_feasible_space(), found(best, plain, one({"init": "yes"}, 0.01)))
    assert [dict(c.choices) for c in chosen] == [dict(best.choices), {"cpuset": "fast"}]
    assert chosen[0].environment == f"container:combined-{small_feasible_space().key(best.choices)}"
    assert [c.security for c in chosen] == ["weakens", "none"]


def test_the_best_levels_of_the_screen_are_combined() -> None:
    chosen = shortlist(
        small_feasible_space(), None, screened(cpuset__fast=0.04, seccomp__off=0.02, init__yes=0.01, pid__host=0.0)
    )
    assert [dict(c.choices) for c in chosen] == [
        {"cpuset": "fast", "seccomp": "off", "init": "yes"},
        {"cpuset": "fast", "seccomp": "off"},
        {"cpuset": "fast", "init": "yes"},
    ]


def test_one_good_level_is_a_candidate_and_levels_that_are_not_offered_are_none() -> None:
    assert [
        dict(c.choices) for c in shortlist(small_feasible_space(), None, screened(cpuset__fast=0.04, gone__x=0.05))
    ] == [{"cpuset": "fast"}]


def test_of_one_factor_the_better_level_is_taken() -> None:
    chosen = shortlist(small_feasible_space(), None, screened(cpuset__one=0.02, cpuset__fast=0.04))
    assert [dict(c.choices) for c in chosen] == [{"cpuset": "fast"}]


def test_without_a_gain_there_is_nothing_to_confirm() -> None:
    nothing = found(one({"init": "yes"}, -0.01), one({"pid": "host"}, 0.05, "infeasible"), one({}, 0.0))
    assert shortlist(small_feasible_space(), nothing, screened(pid__host=0.0, cpuset__one=-0.5)) == ()
    assert shortlist(small_feasible_space(), None) == ()


def test_a_configuration_that_was_stopped_is_no_candidate() -> None:
    assert shortlist(small_feasible_space(), found(one({"init": "yes"}, 0.05, "stopped"))) == ()


def test_the_searchs_best_is_not_pushed_out_by_sums_of_single_gains() -> None:
    """An estimate is drawn in, a sum of single gains is not: it would win every ranking."""
    best = one({"pid": "host", "init": "yes"}, 0.03)
    chosen = shortlist(
        small_feasible_space(),
        found(best),
        screened(cpuset__fast=0.05, seccomp__off=0.04, init__yes=0.03, pid__host=0.0),
    )
    assert dict(chosen[0].choices) == dict(best.choices)
    assert dict(chosen[1].choices) == {"cpuset": "fast", "seccomp": "off", "init": "yes"}
    assert len(chosen) == 3


def test_what_is_barred_is_no_candidate() -> None:
    feasible_space = small_feasible_space(barred=("init=yes",))
    assert shortlist(feasible_space, found(one({"init": "yes"}, 0.05)), screened(init__yes=0.05)) == ()


def test_importance_names_the_factor_that_matters() -> None:
    searched = search(small_feasible_space(), answers, settings=settings_for("memory:", 16))
    shares = importance(searched, small_feasible_space())
    assert not isinstance(shares, NotEstimable)
    assert sum(shares.values()) == pytest.approx(1.0)
    assert set(shares) == {axis.name for axis in small_feasible_space().axes}, "a conditional factor has a share, too"
    assert {"cpuset", "seccomp", "shm_size"} & set(list(shares)[:3])


def test_a_configuration_counts_once_in_importance_however_often_it_was_tried() -> None:
    made = [one({"init": "yes"}, 0.02), one({"pid": "host"}, 0.01), one({"seccomp": "off"}, 0.03), one({}, 0.0)]
    raced = [replace(made[0], trials=(1, 7, 9)), *made[1:]]
    assert importance(found(*made), small_feasible_space()) == importance(found(*raced), small_feasible_space())


def test_importance_of_too_little_says_so() -> None:
    assert importance(found(), small_feasible_space()) == NotEstimable.of("too_few", n=0, what="configuration", least=4)


BETTER = {"tok_s": "higher", "memory": "lower", "kv": "higher"}


def test_the_front_is_of_those_that_nothing_dominates() -> None:
    rows = [
        {"tok_s": 10.0, "memory": 5.0},
        {"tok_s": 9.0, "memory": 4.0},
        {"tok_s": 9.0, "memory": 5.0},
        {"tok_s": 10.0, "memory": 5.0},
    ]
    assert pareto_front(rows, {"tok_s": "higher", "memory": "lower"}) == (0, 1, 3)


def test_a_measure_that_a_row_lacks_compares_nobody() -> None:
    rows = [{"tok_s": 10.0, "memory": 5.0, "kv": None}, {"tok_s": 9.0, "memory": 6.0, "kv": 40.0}]
    assert compared(rows, BETTER) == ("tok_s", "memory")  # type: ignore[arg-type]
    assert pareto_front(rows, BETTER) == (0,)  # type: ignore[arg-type]
    assert pareto_front([], BETTER) == ()  # type: ignore[arg-type]


def test_driver_and_ground_are_of_one_space() -> None:
    assert {axis.name for axis in small_feasible_space().axes} == {
        factor.name for factor in search_driver.SPACE.factors
    }
