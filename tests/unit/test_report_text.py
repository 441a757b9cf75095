"""Sentences whose numbers know where they come from, and the forms in which numbers are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.analysis.forms import FORMS, MISSING, probability, shown, significant
from sparkray.analysis.keys import distinct_id, tally_id, tally_of
from sparkray.analysis.text import (
    Number,
    enumerated,
    joined,
    number_of,
    numbers_of,
    parsed,
    plain,
    say,
    sentences,
    serialised,
)
from sparkray.report.book import NUMERAL
from sparkray.report.labels import axis_label, metric_name, readable
from sparkray.schema import unit_of

PAIRS = Number("30", "comparisons/A", "n", "count")


def test_a_sentence_holds_its_number() -> None:
    text = say("{n} pairs, {more}", n=PAIRS, more=say("{n} again", n=PAIRS))
    assert plain(text) == "30 pairs, 30 again"
    assert numbers_of(text) == [PAIRS, PAIRS]


@pytest.mark.parametrize("value", [30, 1.0042])
def test_a_bare_number_is_refused(value: float) -> None:
    with pytest.raises(TypeError, match="needs evidence"):
        say("{n} pairs", n=value)  # type: ignore[arg-type]


def test_a_name_without_a_value_is_refused() -> None:
    with pytest.raises(KeyError):
        say("{n} pairs")


def test_lists_and_rows_of_sentences() -> None:
    assert plain(enumerated(["a", "b", (PAIRS, " c")])) == "a, b and 30 c"
    assert plain(enumerated(["a"])) == "a"
    assert enumerated([]) == ()
    assert plain(sentences(("One.",), (), ("Two.",))) == "One. Two."
    assert joined(["a", "b", "", PAIRS]) == ("ab", PAIRS)


def test_what_is_missing_is_a_dash_and_no_number() -> None:
    assert number_of(None, "ratio", trace="t", column="ratio") == MISSING
    assert number_of(float("nan"), "ratio", trace="t", column="ratio") == MISSING
    assert number_of(1.00415, "ratio", trace="t", column="ratio") == Number("1.0042", "t", "ratio", "ratio")


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


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a ratio of 1.0042 (95 % CI 0.99 to 1.01, 30 pairs)", ["1.0042", "95", "0.99", "1.01", "30"]),
        ("Qwen2-1.5B, Mixtral-8x7B, p95, GB10, Mistral-7B-v0.3", []),
        ("at 2026-01-05T08:00:00 in v1.2.3 of image:1.0 at /a/30/b", []),
        ("-0.5 and 1,000 and 7.1e-15 and 64 MiB", ["-0.5", "1,000", "7.1e-15", "64"]),
        ("a 16-bit cache, concurrency=4", []),
        ("89% and 1.", ["89", "1"]),
    ],
)
def test_numbers_that_stand_alone_are_found(text: str, found: list[str]) -> None:
    assert NUMERAL.findall(text) == found


def test_a_tally_is_read_back_from_its_id() -> None:
    where: dict[str, object] = {"verdict": "different", "primary": True, "margin": None}
    assert tally_of(tally_id("comparisons", where)) == ("comparisons", None, where)
    assert tally_of(distinct_id("comparisons", "model", where)) == ("comparisons", "model", where)


def test_a_text_is_read_back_from_its_json() -> None:
    text = say("{n} pairs, {why}", n=PAIRS, why="naïve")
    assert parsed(serialised(text)) == text


def test_names_for_readers() -> None:
    assert unit_of("output_throughput_tok_s") == "tok/s"
    assert unit_of("energy_j") == "J"
    assert metric_name("ttft_p95_ms") == "time to first token p95"
    assert axis_label("latency_mean_ms") == "Mean latency (ms)"
    assert readable("the latency_mean_ms of container_optimized") == "the mean latency of tuned container"
    assert readable("run_id stays") == "run_id stays"
