"""Number formats, labels, and the ids of counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.analysis.provenance_ids import tally_id, tally_of
from sparkray.report.format import FORMS, MISSING, probability, shown, significant
from sparkray.report.labels import axis_label, metric_name, readable
from sparkray.schema import unit_of


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_missing_is_a_dash(value: float | None) -> None:
    assert shown(value, "ratio") == MISSING


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (0.9652, "change", "-3.48 %"),
        (0.9652, "size_of_change", "3.48 %"),
        (0.01, "share", "1 %"),
        (0.005, "share", "0.5 %"),
        (0.8913, "share", "89.1 %"),
        (0.4567, "per_cent", "0.46 %"),
        (12.345, "per_cent", "12.3 %"),
        (900_000, "count", "900,000"),
        (20260101, "plain", "20260101"),
        (0.0004, "p", "< 0.001"),
        (0.0004, "p_is", "< 0.001"),
        (0.0321, "p_is", "= 0.032"),
        (-267917.4, "count_signed", "-267,917"),
        (-0.8, "effect", "-0.80"),
        (True, "count", "yes"),
        ("1.0.0", "plain", "1.0.0"),
    ],
)
def test_forms(value: object, form: str, text: str) -> None:
    assert shown(value, form) == text


@given(st.floats(min_value=1e-6, max_value=1e12))
def test_significant_digits_are_read_back_close(value: float) -> None:
    assert float(significant(value).replace(",", "")) == pytest.approx(value, rel=6e-4, abs=6e-9)


@given(st.floats(min_value=0, max_value=1))
def test_a_probability_is_never_shown_as_nothing(value: float) -> None:
    assert probability(value) != "0.000"


def test_every_form_takes_a_number() -> None:
    assert all(form(0.5) for form in FORMS.values())


def test_a_tally_is_read_back_from_its_id() -> None:
    where: dict[str, object] = {"verdict": "different", "primary": True, "margin": None}
    assert tally_of(tally_id("comparisons", where)) == ("comparisons", where)


def test_names_for_readers() -> None:
    assert unit_of("output_throughput_tok_s") == "tok/s"
    assert unit_of("energy_j") == "J"
    assert metric_name("ttft_p95_ms") == "time to first token p95"
    assert axis_label("latency_mean_ms") == "Mean latency (ms)"
    assert readable("the latency_mean_ms of container_optimized") == "the mean latency of tuned container"
    assert readable("run_id stays") == "run_id stays"
