"""The sign-flip test against Fisher's own example, SciPy, and the level that it promises."""

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sparkray.stats.permutation import sign_flip

PAIRS = st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=2, max_size=9)
# Darwin's maize, crossed minus self-fertilised height in eighths of an inch: Fisher (1935), "The Design of Experiments",
# chapter III, whose section 21 counts 863 of the 32,768 arrangements with a total of 314 or more.
DARWIN = [49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48]


def flipped(logs: list[float], **options: int) -> float:
    found = sign_flip(np.ones(len(logs)), np.exp(logs), **options)
    assert isinstance(found, float)
    return found


def test_darwins_maize_has_the_p_that_fisher_counted() -> None:
    assert sum(DARWIN) == 314
    found = flipped([each / 100 for each in DARWIN], exact_up_to=15)
    assert found == pytest.approx(2 * 863 / 32_768, abs=1e-12)


def test_draws_come_near_to_the_count() -> None:
    found = flipped([each / 100 for each in DARWIN], draws=40_000)
    assert found == pytest.approx(1726 / 32_768, abs=4 * math.sqrt(0.05 / 40_000))


@pytest.mark.parametrize("n", [2, 5, 8])
def test_p_is_scipys_and_that_of_a_plain_count(n: int) -> None:
    logs = np.random.default_rng(n).normal(0.1, 0.2, n)
    expected = stats.permutation_test((logs,), np.mean, permutation_type="samples", n_resamples=np.inf).pvalue
    counted = np.mean([abs(np.dot(s, logs)) >= abs(sum(logs)) - 1e-12 for s in product((1, -1), repeat=n)])
    assert flipped(logs.tolist()) == pytest.approx(expected, rel=1e-12)
    assert flipped(logs.tolist()) == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize(("n", "least"), [(14, 2 / 2**14), (15, 1 / 10_001)])
def test_p_is_never_0(n: int, least: float) -> None:
    found = flipped([0.5 + place / 100 for place in range(n)])
    assert least <= found < 5 * least


def test_pairs_without_any_difference_are_as_likely_as_can_be() -> None:
    assert flipped([0.0] * 6) == 1
    assert flipped([0.0] * 20) == 1


@given(PAIRS)
def test_swapped_arms_have_the_same_p(pairs: list[tuple[float, float]]) -> None:
    a, b = [a for a, _ in pairs], [b for _, b in pairs]
    assert sign_flip(a, b) == sign_flip(b, a)


@given(st.lists(st.tuples(st.floats(1, 100), st.floats(1, 100), st.floats(0.1, 10)), min_size=2, max_size=9))
def test_what_a_block_does_to_both_arms_changes_nothing(blocks: list[tuple[float, float, float]]) -> None:
    before = sign_flip([a for a, _, _ in blocks], [b for _, b, _ in blocks])
    after = sign_flip([a * effect for a, _, effect in blocks], [b * effect for _, b, effect in blocks])
    assert before == after


def test_the_seed_decides_the_draws() -> None:
    logs = np.random.default_rng(1).normal(0.05, 0.2, 20).tolist()
    assert flipped(logs, seed=1) == flipped(logs, seed=1)
    assert flipped(logs, seed=1) != flipped(logs, seed=2)


@pytest.mark.parametrize("n", [8, 16])
def test_the_level_is_held_under_a_distribution_with_heavy_tails(n: int) -> None:
    rng, rounds = np.random.default_rng(4), 2000
    wrong = sum(flipped(row.tolist(), draws=999) <= 0.05 for row in rng.standard_t(2, (rounds, n)) / 50)
    assert 0.02 < wrong / rounds < 0.05 + 3 * math.sqrt(0.05 * 0.95 / rounds)
