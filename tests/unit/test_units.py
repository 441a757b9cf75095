"""Sizes, durations and near words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.units import GIB, KIB, MIB, did_you_mean, format_duration, format_size, gib, parse_size


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("67108864", 67108864),
        ("64m", 64 * MIB),
        ("32g", 32 * GIB),
        ("32 GiB", 32 * GIB),
        ("32GB", 32 * GIB),
        ("1k", KIB),
        ("7b", 7),
        ("1.5g", 3 * GIB // 2),
        ("1T", 1024 * GIB),
        ("-1", -1),
        (" 5 ", 5),
        (12, 12),
    ],
)
def test_sizes_are_read_as_docker_reads_them(text: str | int, count: int) -> None:
    assert parse_size(text) == count


@pytest.mark.parametrize("text", ["", "m", "1.g", "5q", "1g2m", "g1", "0x10", "--1", "1 2"])
def test_what_is_no_size_is_refused_with_its_value(text: str) -> None:
    with pytest.raises(ValueError, match="is not a size") as refused:
        parse_size(text)
    assert repr(text) in str(refused.value)


@given(st.integers(0, 2**60))
def test_a_size_survives_the_round_trip(count: int) -> None:
    assert parse_size(format_size(count)) == count


@given(st.integers(1, 2**20), st.sampled_from(["k", "m", "g"]))
def test_the_form_of_a_size_is_the_shortest_that_is_exact(number: int, suffix: str) -> None:
    written = f"{number}{suffix}"
    assert len(format_size(parse_size(written))) <= len(written)


def test_sizes_are_written_with_the_largest_unit() -> None:
    assert [format_size(count) for count in (0, 1, KIB, 64 * MIB, 32 * GIB, GIB + 1)] == [
        "0",
        "1",
        "1k",
        "64m",
        "32g",
        "1073741825",
    ]


def test_gib_is_binary() -> None:
    assert gib(3 * 2**29) == 1.5


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (-3, "0s"), (59.4, "59s"), (59.6, "1m00s"), (75, "1m15s"), (3599.9, "1h00m"), (9000, "2h30m")],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_near_word_is_found_in_any_case_and_a_far_one_is_not() -> None:
    known = ["SmolLM2-135M", "Llama-3-8B"]
    assert did_you_mean("smollm-135m", known) == "SmolLM2-135M"
    assert did_you_mean("modle", ["model", "model_id"]) == "model"
    assert did_you_mean("mistral", known) is None
    assert did_you_mean("x", []) is None
    assert did_you_mean("ttft_p98_ms", ["ttft_p99_ms", "latency_p99_ms"]) == "ttft_p99_ms"
    assert did_you_mean("llama-3-70b", known, exact_numbers=True) is None


@given(st.lists(st.text(min_size=1), min_size=1, unique_by=str.casefold), st.data())
def test_a_known_word_is_its_own_nearest(known: list[str], data: st.DataObject) -> None:
    word = data.draw(st.sampled_from(known))
    assert did_you_mean(word, known) == word
