"""Warm-up over, and no drift inside the run."""

import math
from dataclasses import replace
from random import Random

import pytest
from builders import MS, S
from check_cases import evidence, measured, question, requests_of, rows, verdict_of
from hypothesis import given
from hypothesis import strategies as st

from sparkray.checks.steady import (
    Check,
    batch_means,
    drift_finding,
    drift_limit,
    pace_drift_ratio,
    pace_ratio,
    paces_ms,
)
from sparkray.config.experiment import Workload
from sparkray.records import EngineFacts, Measurement, Request

CHECK = Check()


EVEN = (1.0, 0.99, 1.01, 1.02, 0.98)


def judged(paces: list[float], past: tuple[float, ...] = EVEN) -> tuple[str, str]:
    """After runs whose pace drifted by these ratios."""
    earlier = rows(question(), [{"pace_drift_ratio": ratio} for ratio in past])
    verdict = verdict_of(CHECK, evidence(measurement=measured(paces), earlier=earlier))
    return verdict.verdict, verdict.evidence


def around(level: float, count: int, seed: int, share: float = 0.05) -> list[float]:
    random = Random(seed)
    return [level * (1 + random.uniform(-share, share)) for _ in range(count)]


def test_an_even_run_passes_with_what_was_seen() -> None:
    word, said = judged(around(20, 12, 1))
    assert word == "pass"
    assert said.startswith("the first request took ")
    assert "limit 1.10 by the scatter of 5 runs" in said


def test_a_run_that_slows_down_all_along() -> None:
    paces = [pace * (1 + 0.03 * k) for k, pace in enumerate(around(20, 12, 1, 0.02))]
    word, said = judged(paces)
    assert (word, "the last third of the requests took 1." in said) == ("invalid", True)
    assert judged(list(reversed(paces)))[0] == "invalid"


def test_a_trend_that_is_regular_and_small_is_left_alone() -> None:
    paces = [20 * (1 + 0.002 * k) for k in range(40)]
    assert drift_finding(paces, 1.01).severity == "invalid"
    assert judged(paces)[0] == "pass"


SLOWING = [20 * (1 + 0.03 * k) for k in range(12)]
"""The last third takes 1.23 times the first's."""


@pytest.mark.parametrize(
    ("past", "word", "limit"),
    [
        (EVEN, "invalid", "limit 1.10 by the scatter of 5 runs"),
        (EVEN[:4], "pass", ""),
        ((), "pass", ""),
        ((1.0, 1.03, 0.97, 1.04, 0.96, 1.0), "invalid", "limit 1.19 by the scatter of 6 runs"),
        ((1.0, 1.1, 0.9, 1.2, 0.8, 1.15, 0.85), "pass", ""),
    ],
)
def test_what_drifts_is_known_by_the_machine(past: tuple[float, ...], word: str, limit: str) -> None:
    found, said = judged(SLOWING, past)
    assert (found, limit in said) == (word, True)


@pytest.mark.parametrize("past", [(), EVEN])
def test_a_third_is_a_drift_from_the_first_run_on(past: tuple[float, ...]) -> None:
    assert judged([20 * (1 + 0.05 * k) for k in range(12)], past)[0] == "invalid"


def test_the_limit_by_hand() -> None:
    """Median 1, deviations of the logs 0 0.1 0.1 0.2 0.2: MAD 0.1."""
    ratios = [math.exp(log) for log in (0.0, 0.1, -0.1, 0.2, -0.2)]
    assert drift_limit(ratios)[0] == pytest.approx(math.exp(4 * 1.4826 * 0.1))
    assert drift_limit([1.0] * 5)[0] == 1.1
    assert drift_limit(ratios[:4])[0] == 1.3


def test_the_ratio_of_a_row_is_that_of_the_check() -> None:
    requests = requests_of(SLOWING)[1:]
    assert pace_drift_ratio(requests, 1) == pytest.approx(pace_ratio(SLOWING), rel=1e-3)
    assert pace_drift_ratio(requests[:7], 1) is None
    assert pace_drift_ratio(requests[:8], 2) is None


def test_noise_that_lasts_within_a_run_is_seldom_called_drift() -> None:
    """A neighbour that takes a quarter of the speed for half a minute at a time: 1 of 120 sound runs at the most."""
    random = Random(1)
    told: list[float] = []
    alarms = 0
    for _ in range(120):
        slow, paces = random.random() < 0.3, []
        for _ in range(36):
            slow = slow if random.random() < 0.9 else not slow
            paces.append(20 * (1.25 if slow else 1.0) * (1 + random.uniform(-0.03, 0.03)))
        alarms += drift_finding(paces, *drift_limit(told)).severity == "invalid"
        told.append(pace_ratio(paces))
    assert sum(abs(math.log(ratio)) > math.log(1.1) for ratio in told) > 20, "else 10 % would do"
    assert alarms <= 1


def test_a_change_that_is_large_and_irregular_is_left_alone() -> None:
    assert judged([20, 20, 30, 20, 30, 22, 28, 20, 27, 30, 20, 30])[0] == "pass"


@pytest.mark.parametrize(("first", "word"), [(29.0, "pass"), (31.0, "invalid"), (10.0, "pass")])
def test_a_first_request_that_was_still_warm_up(first: float, word: str) -> None:
    found, said = judged([first, *around(20, 11, 2)])
    assert (found, "the warm-up was not over" in said) == (word, word == "invalid")


def test_seven_requests_are_too_few_to_tell() -> None:
    assert CHECK.judge(evidence(measurement=measured([20.0] * 7))) is None
    assert CHECK.judge(evidence(measurement=measured([20.0] * 8))) is not None


def at_once(count: int, *, streamed: bool, pace_ms: float = 20.0) -> Measurement:
    """Everything submitted at the beginning, four served at a time."""
    found = []
    for index in range(count):
        begin = S + index // 4 * int(32 * pace_ms * MS)
        first = begin + MS if streamed else None
        found.append(Request(index, False, 8, 32, S, first, begin + MS + int(31 * pace_ms * MS)))
    return Measurement(tuple(found), EngineFacts())


def test_a_wait_in_the_queue_is_no_drift() -> None:
    asked = question(workload=Workload(requests=32, input_tokens=8, output_tokens=32, concurrency=4))
    assert verdict_of(CHECK, evidence(asked, measurement=at_once(32, streamed=True))).verdict == "pass"
    assert CHECK.judge(evidence(asked, measurement=at_once(32, streamed=False))) is None


def test_the_first_and_the_last_wave_are_left_out() -> None:
    requests = at_once(32, streamed=True).requests
    slow = [replace(r, end_ns=r.end_ns + S) if r.index < 4 or r.index >= 28 else r for r in requests]
    assert paces_ms(slow, 4) == pytest.approx([20.0] * 24)


def test_in_the_order_of_submission_whatever_the_order_of_the_file() -> None:
    requests = requests_of([20.0, 30.0, 40.0])[1:]
    assert paces_ms(tuple(reversed(requests)), 1) == pytest.approx([20.0, 30.0, 40.0])


@given(st.lists(st.floats(1, 100), min_size=1, max_size=200))
def test_batches_hold_every_value_once_and_are_alike_in_size(values: list[float]) -> None:
    means = batch_means(values)
    assert len(means) == min(20, len(values))
    assert min(values) - 1e-9 <= min(means) <= max(means) <= max(values) + 1e-9
    even = batch_means(values * 20)
    assert sum(even) / len(even) == pytest.approx(sum(values) / len(values))


@given(st.lists(st.floats(1, 100), min_size=8, max_size=60), st.floats(0.01, 100))
def test_a_faster_machine_drifts_as_much(paces: list[float], factor: float) -> None:
    assert pace_ratio(paces) == pytest.approx(pace_ratio([pace * factor for pace in paces]))


def test_even_runs_seldom_drift() -> None:
    alarms = sum(drift_finding(around(20, 12, seed, 0.3), 1.1).severity == "invalid" for seed in range(100))
    assert alarms <= 1
