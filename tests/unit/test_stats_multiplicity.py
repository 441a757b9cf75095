"""Adjusted p-values against statsmodels and the example of Benjamini and Hochberg."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from sparkray.stats.multiplicity import benjamini_hochberg, bonferroni, holm

METHODS = {"bonferroni": bonferroni, "holm": holm, "fdr_bh": benjamini_hochberg}
P_VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=40)
# Benjamini and Hochberg (1995), section 4.1: fifteen comparisons of two treatments of myocardial infarction.
NEUHAUS = [
    0.0001, 0.0004, 0.0019, 0.0095, 0.0201, 0.0278, 0.0298, 0.0344, 0.0459, 0.3240, 0.4262, 0.5719, 0.6528, 0.7590, 1.0,
]  # fmt: skip


@pytest.mark.parametrize("p_values", [[0.04], [0.0, 1.0, 0.0, 0.5], [0.05] * 6, NEUHAUS[::-1], [0.02, 0.9, 0.01, 0.02]])
@pytest.mark.parametrize("name", sorted(METHODS))
def test_adjusted_values_are_statsmodels(name: str, p_values: list[float]) -> None:
    assert METHODS[name](p_values) == pytest.approx(multipletests(p_values, method=name)[1].tolist(), rel=1e-12)


@pytest.mark.parametrize(("name", "rejected"), [("bonferroni", 3), ("holm", 3), ("fdr_bh", 4)])
def test_the_printed_example_rejects_as_many_as_it_says(name: str, rejected: int) -> None:
    assert sum(p <= 0.05 for p in METHODS[name](NEUHAUS) if p is not None) == rejected


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=20))
@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_was_not_estimable_stays_and_does_not_count(name: str, p_values: list[float | None]) -> None:
    found = METHODS[name](p_values)
    assert [p is None for p in found] == [p is None for p in p_values]
    assert [p for p in found if p is not None] == METHODS[name]([p for p in p_values if p is not None])


@given(P_VALUES, st.randoms(use_true_random=False))
@pytest.mark.parametrize("name", sorted(METHODS))
def test_the_order_of_the_question_is_that_of_the_answer(name: str, p_values: list[float], random: object) -> None:
    places = list(range(len(p_values)))
    random.shuffle(places)  # type: ignore[attr-defined]
    found = METHODS[name](p_values)
    assert METHODS[name]([p_values[place] for place in places]) == pytest.approx([found[place] for place in places])


@given(P_VALUES)
def test_bonferroni_is_never_below_holm_nor_holm_below_benjamini_and_hochberg(p_values: list[float]) -> None:
    for one, two, three in zip(bonferroni(p_values), holm(p_values), benjamini_hochberg(p_values), strict=True):
        assert (one or 0) >= (two or 0) >= (three or 0) * (1 - 1e-12)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_is_refused(bad: float) -> None:
    with pytest.raises(ValueError, match="outside 0 to 1"):
        holm([0.5, bad])
