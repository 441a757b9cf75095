"""A start as cool as the protocol asks and as warm as the others, no throttling, the usual clock."""

from typing import Any

import pytest
from builders import S
from check_cases import evidence, question, rows

from sparkray.checks.thermal import Check
from sparkray.records import Verdict
from sparkray.spec.experiment import Protocol

CHECK = Check()
COOLED = Protocol(cooldown="adaptive", start_below_c=45.0, start_within_c=3.0)


def judged(row: dict[str, Any], earlier: tuple[dict[str, Any], ...] = (), **changes: Any) -> Verdict | None:
    asked = question(protocol=changes.pop("protocol", COOLED))
    return CHECK.judge(evidence(asked, row=row, earlier=rows(asked, earlier), samples=changes.pop("samples", ())))


def word(verdict: Verdict | None) -> str | None:
    return None if verdict is None else verdict.verdict


def test_without_a_gpu_there_is_nothing_to_judge() -> None:
    assert judged({}) is None


@pytest.mark.parametrize(
    ("start", "first", "expected"),
    [
        (44.0, None, "pass"),
        (49.0, None, "pass"),
        (50.0, None, "invalid"),
        (44.0, 40.0, "pass"),
        (45.0, 40.0, "invalid"),
        (36.0, 40.0, "pass"),
        (35.0, 40.0, "invalid"),
    ],
)
def test_the_start_in_both_directions(start: float, first: float | None, expected: str) -> None:
    """Below 45 and 5 more for the probe; within 3 of the first run's, and 1 for the reading."""
    earlier = () if first is None else ({"gpu_temp_start_c": first}, {"gpu_temp_start_c": 44.0})
    verdict = judged({"gpu_temp_start_c": start}, earlier)
    assert word(verdict) == expected
    assert verdict is not None
    assert f"{start:g} degrees C" in verdict.evidence


def test_a_protocol_that_does_not_wait_asks_for_no_start() -> None:
    assert judged({"gpu_temp_start_c": 80.0}, protocol=Protocol()) is None


def test_a_first_run_that_was_hot_is_no_place_to_be_near_to() -> None:
    assert word(judged({"gpu_temp_start_c": 42.0}, ({"gpu_temp_start_c": 70.0}, {"gpu_temp_start_c": 41.0}))) == "pass"


@pytest.mark.parametrize(("share", "expected"), [(0.0, "pass"), (5.0, "warn"), (5.1, "invalid")])
def test_throttling_by_the_row(share: float, expected: str) -> None:
    assert word(judged({"gpu_throttled_pct": share})) == expected


@pytest.mark.parametrize(
    ("mask", "count", "expected"),
    [
        (0x0, 100, "pass"),
        (0x1, 100, "pass"),
        (0x20, 5, "warn"),
        (0x20, 6, "invalid"),
        (0x08, 50, "invalid"),
        (0x40, 50, "invalid"),
        (0x80, 50, "invalid"),
        (0x04, 100, "warn"),
        (0x24, 100, "invalid"),
    ],
)
def test_throttling_by_the_samples_tells_heat_from_a_power_cap(mask: int, count: int, expected: str) -> None:
    samples = [{"t_ns": k * S, "gpu_throttle_reasons": mask if k < count else 0} for k in range(100)]
    assert word(judged({"gpu_throttled_pct": float(count)}, samples=samples)) == expected


@pytest.mark.parametrize(("clock", "expected"), [(2400.0, "pass"), (1801.0, "pass"), (1799.0, "invalid")])
def test_the_usual_clock(clock: float, expected: str) -> None:
    usual = ({"gpu_sm_clock_mean_mhz": 2400.0},) * 3
    verdict = judged({"gpu_sm_clock_mean_mhz": clock}, usual)
    assert word(verdict) == expected
    assert verdict is not None
    assert verdict.evidence == f"mean SM clock {clock:.0f} MHz, usually 2400"


def test_two_runs_do_not_make_it_usual() -> None:
    assert judged({"gpu_sm_clock_mean_mhz": 513.0}, ({"gpu_sm_clock_mean_mhz": 2400.0},) * 2) is None


@pytest.mark.parametrize(("slow", "util", "expected"), [(80, 99.0, "warn"), (20, 99.0, "pass"), (80, 5.0, None)])
def test_a_clock_that_fell_within_the_run(slow: int, util: float, expected: str | None) -> None:
    samples: list[dict[str, Any]] = [{"t_ns": 0, "device": "a", "gpu_util_pct": util}]
    samples += [
        {"t_ns": k * S, "device": "a", "gpu_sm_clock_mhz": 900.0 if k < slow else 2400.0} for k in range(1, 101)
    ]
    assert word(judged({}, samples=samples)) == expected
