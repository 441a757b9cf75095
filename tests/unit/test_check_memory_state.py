"""Page cache, MemFree, MemAvailable and swap before the run, alike in the pair."""

from typing import Any

import pytest
from builders import S
from check_cases import evidence, marked, question, rows, verdict_of
from hypothesis import given, settings
from hypothesis import strategies as st

from sparkray.checks.memory_state import Check
from sparkray.config.experiment import Protocol

CHECK = REVIEW = Check()
CACHE, FREE = "page_cache_before_gib", "mem_free_before_gib"
AVAILABLE, SWAP = "mem_available_before_gib", "swap_used_before_gib"
DROP = Protocol(page_cache="drop")


def judged(
    row: dict[str, Any],
    earlier: tuple[dict[str, Any], ...] = ({}, {}, {}),
    *,
    protocol: Protocol | None = None,
    refused_by: tuple[str, ...] = (),
) -> tuple[str, str]:
    """The first run of block 2, or of the block that there are partners for, after those that are given."""
    asked = question(protocol=protocol or Protocol())
    known = {"earlier": rows(asked, earlier), "refused_by": frozenset(refused_by)}
    verdict = verdict_of(CHECK, evidence(asked, position=4, row=row, **known))
    return verdict.verdict, verdict.evidence


@pytest.mark.parametrize(
    ("column", "value", "word"),
    [
        # 5 % of 23.5 GiB are 1.18, 10 % are 2.35; a usual run has 1.8, 20, 22 and 0 GiB
        (CACHE, 2.9, "pass"),
        (CACHE, 3.0, "invalid"),
        (CACHE, 0.6, "invalid"),
        (FREE, 18.0, "pass"),
        (FREE, 17.0, "invalid"),
        (FREE, 23.0, "invalid"),
        (AVAILABLE, 20.0, "pass"),
        (AVAILABLE, 19.0, "invalid"),
        (AVAILABLE, 23.4, "pass"),
        (SWAP, 0.06, "pass"),
        (SWAP, 0.07, "invalid"),
    ],
)
def test_each_quantity_against_the_runs_before(column: str, value: float, word: str) -> None:
    found, said = judged({column: value})
    assert found == word
    assert f"{value:.2f} GiB before the run" in said


def test_half_a_gib_is_the_least_on_a_small_machine() -> None:
    assert judged({CACHE: 2.2, "mem_total_gib": 2.0})[0] == "pass"
    assert judged({CACHE: 2.4, "mem_total_gib": 2.0})[0] == "invalid"
    assert judged({CACHE: 2.4, "mem_total_gib": None})[0] == "invalid"


def test_until_there_are_three_runs_nobody_is_blamed_for_a_cache_that_fills() -> None:
    cold = {CACHE: 0.2, FREE: 21.7}
    assert judged({}, (cold, cold))[0] == "pass"
    assert judged({}, (cold, cold, cold))[0] == "invalid"


def test_a_cache_that_is_dropped_is_alike_from_the_first_run_on() -> None:
    assert judged({}, ({CACHE: 0.2, FREE: 21.7},), protocol=DROP)[0] == "invalid"


def test_only_the_last_three_runs_say_what_is_usual() -> None:
    before = {CACHE: 8.0, FREE: 13.0}
    assert judged({}, (before, before, before, {}, {}, {}))[0] == "pass"
    assert judged({}, ({}, {}, {}, before, {}, before))[0] == "invalid"


def test_where_the_partner_alone_is_different_the_partner_was() -> None:
    asked = question()
    past = rows(asked, [{}, {}, {}, {}, {CACHE: 6.0}])
    assert verdict_of(CHECK, evidence(asked, position=5, earlier=past)).verdict == "pass"
    like_it = evidence(asked, position=5, earlier=past, row={CACHE: 6.0})
    assert verdict_of(CHECK, like_it).verdict == "pass"
    like_none = evidence(asked, position=5, earlier=past, row={CACHE: 4.0})
    assert verdict_of(CHECK, like_none).verdict == "invalid"


@pytest.mark.parametrize(
    ("refused_by", "expected"), [(("memory_state",), "warn"), (("tokens", "thermal"), "invalid"), ((), "invalid")]
)
def test_what_has_stayed_so_since_this_check_refused_it_is_a_warning(
    refused_by: tuple[str, ...], expected: str
) -> None:
    word, said = judged({SWAP: 0.5, "attempt": 2}, refused_by=refused_by)
    assert (word, "unchanged after a repeated run" in said) == (expected, expected == "warn")


@pytest.mark.parametrize(("during", "word"), [(0.05, "pass"), (0.2, "invalid")])
def test_swapping_during_a_run_is_refused_every_time(during: float, word: str) -> None:
    samples = [{"t_ns": S, "swap_used_gib": 0.0}, {"t_ns": 2 * S, "swap_used_gib": during}]
    verdict = verdict_of(CHECK, evidence(row={"attempt": 2}, samples=samples))
    assert verdict.verdict == word
    assert f"swap grew by {during * 1024:.0f} MiB during the run" in verdict.evidence


@pytest.mark.parametrize(
    ("mine", "others", "word"), [(True, True, "pass"), (False, True, "invalid"), (False, False, "pass")]
)
def test_a_cache_that_could_not_be_dropped_where_others_could(mine: bool, others: bool, word: str) -> None:
    dropped = {"page_cache_dropped": others}
    assert judged({"page_cache_dropped": mine, "attempt": 3}, (dropped, dropped), protocol=DROP)[0] == word


@settings(max_examples=15)
@given(st.lists(st.floats(-0.01, 0.02), min_size=4, max_size=60))
def test_ordinary_drift_of_a_shared_machine_marks_nobody(steps: list[float]) -> None:
    """Ten or twenty MB a run, for as long as it may go on."""
    asked = question(30)
    cached = [1.8 + sum(steps[: k + 1]) for k in range(len(steps))]
    past = rows(asked, [{CACHE: value, FREE: 21.8 - value} for value in cached])
    now = evidence(asked, position=len(past) - 1, earlier=past[:-1], row={CACHE: cached[-1], FREE: 21.8 - cached[-1]})
    assert verdict_of(CHECK, now).verdict == "pass"
    assert list(REVIEW.revalidate(asked, past)) == []


def test_looking_back_marks_the_partner_that_started_from_another_state() -> None:
    asked = question()
    stored = rows(asked, [{CACHE: 0.2}, {}, {}, {}, {}, {SWAP: 0.5}])
    found = REVIEW.revalidate(asked, stored)
    assert marked(found, stored) == [0, 4]
    assert {late.verdict.verdict for late in found} == {"invalid"}
    said = found[0].verdict.evidence
    assert said.startswith("page cache 0.20 GiB before this run, 1.80 before its partner in block 0 (")


def test_the_order_of_the_runs_says_which_of_a_pair_is_how_the_machine_is_now() -> None:
    asked = question()
    stored = rows(asked, [{CACHE: 0.2}, {}])
    assert marked(REVIEW.revalidate(asked, list(reversed(stored))), stored) == [1]
