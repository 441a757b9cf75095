"""Screening: effects of single levels by pairs, and of two-level fractions with what they cannot tell apart."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats as scipy_stats

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio
from sparkray.stats.screen import screen_effects

RNG = np.random.default_rng(7)
BLOCKS = [("m", block) for block in range(12)]
BASE = {block: float(value) for block, value in zip(BLOCKS, 100 * np.exp(RNG.normal(0, 0.05, 12)), strict=True)}


def level(gain: float, sd: float = 0.004, seed: int = 1) -> dict[object, float]:
    rng = np.random.default_rng(seed)
    return {block: value * math.exp(gain + rng.normal(0, sd)) for block, value in BASE.items()}


def test_effects_are_those_of_the_paired_t_test_adjusted_after_holm() -> None:
    levels = {"good": level(0.03), "nothing": level(0.0, seed=2), "harm": level(-0.5, seed=3)}
    found = {effect.name: effect for effect in screen_effects(BASE, levels)}
    expected = {
        name: float(scipy_stats.ttest_rel(np.log(list(values.values())), np.log(list(BASE.values()))).pvalue)
        for name, values in levels.items()
    }
    assert {name: effect.p for name, effect in found.items()} == pytest.approx(expected, rel=1e-9)
    ordered = sorted(expected.values())
    assert min(e.p_holm or 0.0 for e in found.values()) == pytest.approx(3 * ordered[0])
    assert (found["good"].helps, found["nothing"].helps, found["harm"].helps) == (True, False, False)
    ratio = found["good"].ratio
    assert isinstance(ratio, Ratio)
    assert ratio.ci95[0] < math.exp(0.03) < ratio.ci95[1]


def test_what_blocks_do_to_both_arms_is_no_noise() -> None:
    tight = screen_effects(BASE, {"a": level(0.002, sd=0.0001)})[0]
    assert tight.helps


def test_where_lower_is_better_a_gain_is_a_fall() -> None:
    effect = screen_effects(BASE, {"a": level(-0.05)}, better="lower")[0]
    assert effect.helps
    assert effect.gain_log == pytest.approx(0.05, abs=0.005)


def test_a_level_that_calms_the_runs_is_seen_in_the_spread() -> None:
    rng = np.random.default_rng(5)
    base = {block: float(100 * np.exp(rng.normal(0, 0.03))) for block in range(30)}
    calm = {block: float(100 * np.exp(rng.normal(0, 0.005))) for block in range(30)}
    spread = screen_effects(base, {"pinned": calm})[0].spread
    assert not isinstance(spread, NotEstimable)
    assert spread.ratio.value < 0.4
    assert spread.p < 0.001


def test_blocks_without_a_level_are_counted_and_left_out() -> None:
    half = dict(itertools.islice(level(0.03).items(), 5))
    effect = screen_effects(BASE, {"half": half, "none": {}})
    assert effect[0].pairs == 5
    assert isinstance(effect[1].ratio, NotEstimable)
    assert (effect[1].p, effect[1].helps) == (None, False)
    assert effect[0].p_holm == effect[0].p, "a test that was not made takes nothing from the others"
