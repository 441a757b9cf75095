"""Screening: effects of single levels by pairs, and of two-level fractions with what they cannot tell apart."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio
from sparkray.stats.screen import fraction, fraction_effects, screen_effects

RNG = np.random.default_rng(7)
BLOCKS = [("m", block) for block in range(12)]
BASE = {block: float(value) for block, value in zip(BLOCKS, 100 * np.exp(RNG.normal(0, 0.05, 12)), strict=True)}


def level(gain: float, sd: float = 0.004, seed: int = 1) -> dict[object, float]:
    rng = np.random.default_rng(seed)
    return {block: value * math.exp(gain + rng.normal(0, sd)) for block, value in BASE.items()}


def test_effects_are_those_of_the_paired_t_test_adjusted_after_holm() -> None:
    levels = {"good": level(0.03), "nothing": level(0.0, seed=2), "harm": level(-0.5, seed=3)}
    found = {effect.name: effect for effect in screen_effects(BASE, levels, 0.01)}
    expected = {
        name: float(scipy_stats.ttest_rel(np.log(list(values.values())), np.log(list(BASE.values()))).pvalue)
        for name, values in levels.items()
    }
    assert {name: effect.p for name, effect in found.items()} == pytest.approx(expected, rel=1e-9)
    ordered = sorted(expected.values())
    assert min(e.p_holm or 0.0 for e in found.values()) == pytest.approx(3 * ordered[0])
    assert (found["good"].helps, found["nothing"].helps, found["harm"].harms) == (True, False, True)
    verdicts = {name: effect.decision.verdict for name, effect in found.items() if effect.decision}
    assert verdicts == {"good": "different", "nothing": "equivalent", "harm": "different"}
    ratio = found["good"].ratio
    assert isinstance(ratio, Ratio)
    assert ratio.ci95[0] < math.exp(0.03) < ratio.ci95[1]


def test_what_blocks_do_to_both_arms_is_no_noise() -> None:
    tight = screen_effects(BASE, {"a": level(0.002, sd=0.0001)}, 0.01)[0]
    assert tight.decision is not None
    assert tight.decision.verdict == "equivalent"
    assert tight.helps


def test_where_lower_is_better_a_gain_is_a_fall() -> None:
    effect = screen_effects(BASE, {"a": level(-0.05)}, 0.01, better="lower")[0]
    assert effect.helps
    assert effect.gain_log == pytest.approx(0.05, abs=0.005)


def test_a_level_that_calms_the_runs_is_seen_in_the_spread() -> None:
    rng = np.random.default_rng(5)
    base = {block: float(100 * np.exp(rng.normal(0, 0.03))) for block in range(30)}
    calm = {block: float(100 * np.exp(rng.normal(0, 0.005))) for block in range(30)}
    spread = screen_effects(base, {"pinned": calm}, 0.01)[0].spread
    assert not isinstance(spread, NotEstimable)
    assert spread.ratio.value < 0.4
    assert spread.p < 0.001


def test_blocks_without_a_level_are_counted_and_left_out() -> None:
    half = dict(itertools.islice(level(0.03).items(), 5))
    effect = screen_effects(BASE, {"half": half, "none": {}}, 0.01)
    assert (effect[0].pairs, effect[0].missing) == (5, 7)
    assert isinstance(effect[1].ratio, NotEstimable)
    assert (effect[1].p, effect[1].decision, effect[1].helps) == (None, None, False)
    assert effect[0].p_holm == effect[0].p, "a test that was not made takes nothing from the others"


@pytest.mark.parametrize(("factors", "runs"), [(2, 4), (3, 8), (4, 8), (5, 16), (8, 16), (9, 32), (16, 32), (20, 64)])
def test_designs_are_the_smallest_of_their_resolution(factors: int, runs: int) -> None:
    design = fraction([f"f{n}" for n in range(factors)])
    assert design.runs == runs
    assert design.runs >= 2 * factors or factors == 2


@given(st.integers(2, 17))
def test_no_main_effect_is_aliased_with_another_or_with_a_pair(factors: int) -> None:
    design = fraction([f"f{n}" for n in range(factors)])
    signs = design.signs.astype(int)
    assert np.array_equal(signs.T @ signs, design.runs * np.eye(factors, dtype=int))
    assert np.all(signs.sum(axis=0) == 0)
    for one, other in itertools.combinations(range(factors), 2):
        pair = signs[:, one] * signs[:, other]
        apart = [n for n in range(factors) if n not in (one, other)]
        assert np.all(signs[:, apart].T @ pair == 0)
    assert sum(len(group) for group in design.aliases()) == math.comb(factors, 2)


def test_what_is_aliased_is_said() -> None:
    design = fraction(["a", "b", "c", "d"])
    assert design.generators == {"d": ("a", "b", "c")}
    assert set(design.aliases()) == {(("a", "b"), ("c", "d")), (("a", "c"), ("b", "d")), (("a", "d"), ("b", "c"))}
    assert fraction(["a", "b", "c"]).aliases() == ((("a", "b"),), (("a", "c"),), (("b", "c"),))


def test_planted_effects_come_back_with_intervals() -> None:
    design = fraction(["a", "b", "c", "d", "e"])
    rng, signs = np.random.default_rng(9), design.signs.astype(float)
    truth = 0.03 * signs[:, 0] / 2 - 0.02 * signs[:, 2] / 2 + 0.01 * signs[:, 0] * signs[:, 1] / 2
    values = truth + rng.normal(0, 0.05, (6, 1)) + rng.normal(0, 0.002, (6, design.runs))
    found = fraction_effects(design, values)
    assert not isinstance(found, NotEstimable)
    by_name = {contrast.names[0]: contrast for contrast in found}
    for name, value in {"a": 0.03, "c": -0.02, "a x b": 0.01, "b": 0.0}.items():
        assert by_name[name].effect.value == pytest.approx(value, abs=0.002)
    significant = {name for name, contrast in by_name.items() if (contrast.p_holm or 1.0) < 0.05}
    assert significant == {"a", "c", "a x b"}
    assert by_name["a"].ratio == pytest.approx(math.exp(0.03), abs=0.003)


def test_intervals_hold_what_they_say() -> None:
    design, rng, held, tries = fraction(["a", "b", "c", "d"]), np.random.default_rng(11), 0, 1500
    for _ in range(tries):
        found = fraction_effects(design, rng.normal(0, 1, (3, design.runs)))
        assert not isinstance(found, NotEstimable)
        effect = found[0].effect
        assert effect.low is not None
        assert effect.high is not None
        held += effect.low <= 0 <= effect.high
    assert held / tries == pytest.approx(0.95, abs=4 * math.sqrt(0.95 * 0.05 / tries))


def test_one_block_of_a_saturated_design_has_effects_without_intervals() -> None:
    design = fraction(["a", "b", "c", "d"])
    found = fraction_effects(design, design.signs[:, :1].T * 0.5)
    assert not isinstance(found, NotEstimable)
    assert found[0].effect.value == pytest.approx(1.0)
    assert (found[0].effect.low, found[0].p) == (None, None)


def test_a_missing_run_breaks_the_design() -> None:
    design = fraction(["a", "b"])
    assert isinstance(fraction_effects(design, np.array([[1.0, 2.0, np.nan, 3.0]])), NotEstimable)
    assert isinstance(fraction_effects(design, np.ones((2, 3))), NotEstimable)


@pytest.mark.parametrize("names", [["a"], ["a", "a"], []])
def test_designs_of_too_few_factors_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match="at least two"):
        fraction(names)
