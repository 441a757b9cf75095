"""Whatever a failed study hands over, every statistic answers with finite numbers or with a reason; it never warns."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.stats import NotEstimable
from sparkray.stats import bootstrap as resampling
from sparkray.stats.components import crossed
from sparkray.stats.descriptive import geometric_mean, summary
from sparkray.stats.effect import cohen
from sparkray.stats.independent import independent
from sparkray.stats.nested import clustered_ratio
from sparkray.stats.outliers import modified_z, outlying, with_and_without
from sparkray.stats.paired import paired_ratio
from sparkray.stats.permutation import sign_flip
from sparkray.stats.power import minimum_detectable
from sparkray.stats.reasons import worded
from sparkray.stats.regression import line, pooled
from sparkray.stats.serial import drift, memory
from sparkray.stats.variance import brown_forsythe, paired_spread_ratio

FEW = 200
"""Resamples: enough to see a crash."""


def by_halves(a: Sequence[float], b: Sequence[float]) -> object:
    return clustered_ratio(a, b, [place % 3 for place in range(len(a))], resamples=FEW)


ONE_SAMPLE: dict[str, Callable[[Any], object]] = {
    "summary": summary,
    "geometric_mean": geometric_mean,
    "memory": memory,
    "drift": drift,
    "modified_z": modified_z,
    "outlying": outlying,
}
TWO_SAMPLES: dict[str, Callable[[Any, Any], object]] = {
    "independent": independent,
    "ratio_of_means": partial(resampling.ratio_of_means, resamples=FEW),
    "cohen": cohen,
    "brown_forsythe": brown_forsythe,
}
PAIRED: dict[str, Callable[[Any, Any], object]] = {
    "paired_ratio": paired_ratio,
    "sign_flip": partial(sign_flip, draws=FEW),
    "with_and_without": with_and_without,
    "paired_spread_ratio": paired_spread_ratio,
    "clustered_ratio": by_halves,
    "line": line,
    "pooled": pooled,
    "crossed": lambda a, b: (
        crossed(np.column_stack([a, b])) if len(a) == len(b) else NotEstimable.of("few_pairs", n=0, least=2)
    ),
}
OF_LOGS = {"geometric_mean", "ratio_of_means", "paired_ratio", "sign_flip", "with_and_without"}
OF_LOGS |= {"clustered_ratio"}
ANSWER_FOR_ONE = {"summary", "geometric_mean"}
ANSWER_FOR_TWO = {*ANSWER_FOR_ONE, "cohen", "paired_ratio", "sign_flip", "clustered_ratio", "pooled", "crossed"}
ANSWER_FOR_CONSTANT = {"summary", "geometric_mean", "modified_z", "outlying"}
ANSWER_FOR_CONSTANT |= {"sign_flip", "pooled"}
PLAIN = [10.0, 11.0, 9.5, 10.5, 10.2, 9.9, 10.7, 10.1]
OTHER = [20.5, 21.0, 19.5, 22.0, 20.1, 20.9, 21.7, 20.2]


def numbers(found: object) -> list[float]:
    """Every number in a result, however deep."""
    if isinstance(found, bool | str | NotEstimable | None):
        return []
    if isinstance(found, int | float):
        return [float(found)]
    if dataclasses.is_dataclass(found):
        return [n for field in dataclasses.fields(found) for n in numbers(getattr(found, field.name))]
    return [n for each in found for n in numbers(each)]  # type: ignore[attr-defined]


def reason(found: object) -> str:
    assert isinstance(found, NotEstimable), found
    text = worded(found.reason)
    assert "nan" not in text.split()
    assert text != found.reason, "a code without words"
    return text


def every(values: Sequence[float], other: Sequence[float]) -> dict[str, object]:
    """Each statistic of a bad sample beside a good one."""
    return (
        {name: test(values) for name, test in ONE_SAMPLE.items()}
        | {name: test(values, other) for name, test in (TWO_SAMPLES | PAIRED).items()}
        | {f"{name}, swapped": test(other, values) for name, test in (TWO_SAMPLES | PAIRED).items()}
    )


def test_a_plain_sample_has_an_answer_everywhere() -> None:
    for name, found in every(PLAIN, OTHER).items():
        assert not isinstance(found, NotEstimable), name


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, None], ids=str)
def test_a_value_that_is_no_number_leaves_no_number(bad: float) -> None:
    for name, found in every([*PLAIN[:-1], bad], OTHER).items():
        assert "not a finite number" in reason(found), name


def test_no_value_leaves_no_number() -> None:
    for name, found in every([], []).items():
        assert reason(found), name


@pytest.mark.parametrize(("n", "answered"), [(1, ANSWER_FOR_ONE), (2, ANSWER_FOR_TWO)])
def test_one_and_two_values_answer_what_they_can(n: int, answered: set[str]) -> None:
    for name, found in every(PLAIN[:n], OTHER[:n]).items():
        if name.split(",")[0] in answered:
            assert numbers(found), name
        else:
            assert reason(found), name


def test_values_that_are_all_alike_answer_what_they_can() -> None:
    for name, found in every([0.1] * 8, [0.3] * 8).items():
        if name.split(",")[0] in ANSWER_FOR_CONSTANT:
            assert not isinstance(found, NotEstimable), name
        else:
            assert "alike" in reason(found) or "equally far" in reason(found), name


@pytest.mark.parametrize("name", sorted(PAIRED))
def test_arms_of_unequal_length_are_no_pairs(name: str) -> None:
    assert reason(PAIRED[name](PLAIN, OTHER[:-1]))


@pytest.mark.parametrize("name", sorted(TWO_SAMPLES))
def test_independent_arms_may_differ_in_length(name: str) -> None:
    assert numbers(TWO_SAMPLES[name](PLAIN, OTHER[:-2]))


@pytest.mark.parametrize("bad", [0.0, -1.0])
def test_what_has_no_logarithm_has_no_ratio(bad: float) -> None:
    for name, found in every([*PLAIN[:-1], bad], OTHER).items():
        if name.split(",")[0] in OF_LOGS:
            assert "above 0" in reason(found), name
        elif name != "pooled, swapped":
            assert not isinstance(found, NotEstimable), name


@pytest.mark.parametrize(("n", "sd_log"), [(0, 0.1), (1, 0.1), (5, 0.0), (5, math.nan), (5, math.inf), (2, 50.0)])
def test_what_cannot_be_detected_says_why(n: int, sd_log: float) -> None:
    assert reason(minimum_detectable(n, sd_log))


def test_a_sample_has_one_dimension() -> None:
    with pytest.raises(ValueError, match="one-dimensional"):
        summary(np.ones((2, 2)))


WILD = st.one_of(
    st.floats(),
    st.floats(0, 1e-300),
    st.sampled_from([0.0, -0.0, 1.0, 1 + 2**-52, 1e75, -1e75, 1e-75, 5e-324]),
    st.floats(-1e3, 1e3),
    st.integers(-3, 3).map(float),
    st.floats(1e-74, 1e74),
)
SAMPLES = st.one_of(
    st.lists(WILD, max_size=12),
    st.lists(st.floats(1e-74, 1e74), min_size=3, max_size=12),
    st.lists(st.integers(1, 3).map(float), min_size=3, max_size=12),
    st.tuples(st.floats(1e-3, 1e3), st.integers(1, 12)).map(lambda made: [made[0]] * made[1]),
)


@pytest.mark.parametrize("name", sorted(ONE_SAMPLE))
@given(values=SAMPLES)
def test_one_wild_sample_gives_finite_numbers_or_a_reason(name: str, values: list[float]) -> None:
    assert all(math.isfinite(n) for n in numbers(ONE_SAMPLE[name](values)))


@pytest.mark.parametrize("name", sorted(TWO_SAMPLES | PAIRED))
@given(a=SAMPLES, b=SAMPLES, equal=st.booleans())
def test_two_wild_samples_give_finite_numbers_or_a_reason(
    name: str, a: list[float], b: list[float], *, equal: bool
) -> None:
    least = min(len(a), len(b))
    first, second = (a[:least], b[:least]) if equal else (a, b)
    assert all(math.isfinite(n) for n in numbers((TWO_SAMPLES | PAIRED)[name](first, second)))
