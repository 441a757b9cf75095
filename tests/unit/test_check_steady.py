"""Warm-up over, and no drift inside the run."""

from dataclasses import replace
from random import Random

import pytest
from builders import MS, S
from check_cases import evidence, measured, question, requests_of, verdict_of
from hypothesis import given
from hypothesis import strategies as st

from sparkray.checks.steady import Check, batch_means, drift_of, paces_ms
from sparkray.records import EngineFacts, Measurement, Request
from sparkray.spec.experiment import Workload

CHECK = Check()


def judged(paces: list[float]) -> tuple[str, str]:
    verdict = verdict_of(CHECK, evidence(measurement=measured(paces)))
    return verdict.verdict, verdict.evidence


def around(level: float, count: int, seed: int, share: float = 0.05) -> list[float]:
    random = Random(seed)
    return [level * (1 + random.uniform(-share, share)) for _ in range(count)]


def test_an_even_run_passes_with_what_was_seen() -> None:
    word, said = judged(around(20, 12, 1))
    assert word == "pass"
    assert said.startswith("the first request took ")
    assert "p " in said


@pytest.mark.parametrize("seed", range(5))
def test_a_run_that_slows_down_all_along(seed: int) -> None:
    paces = [pace * (1 + 0.03 * k) for k, pace in enumerate(around(20, 12, seed, 0.02))]
    word, said = judged(paces)
    assert (word, "the last third of the requests took 1." in said) == ("invalid", True)
    assert judged(list(reversed(paces)))[0] == "invalid"


def test_a_trend_that_is_regular_and_small_is_left_alone() -> None:
    paces = [20 * (1 + 0.002 * k) for k in range(40)]
    drift = drift_of(paces)
    assert drift.p < 1e-6
    assert not drift.is_there
    assert judged(paces)[0] == "pass"


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
    one, other = drift_of(paces), drift_of([pace * factor for pace in paces])
    assert one.ratio == pytest.approx(other.ratio)


def test_even_runs_seldom_drift() -> None:
    alarms = sum(drift_of(around(20, 12, seed, 0.3)).is_there for seed in range(300))
    assert alarms <= 1
