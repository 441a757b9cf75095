"""Energy integrated from power, and whether it agrees with what the counter counted."""

from typing import Any

import pytest
from builders import run_data
from hypothesis import given
from hypothesis import strategies as st

from sparkray.energy import power_valid
from sparkray.metrics import BY_NAME

MS = 1_000_000


def power(watts: float, device: str = "a", *, count: int = 150, period_ms: int = 100) -> list[dict[str, Any]]:
    return [{"t_ns": i * period_ms * MS, "device": device, "gpu_power_w": watts} for i in range(count)]


def counter(joules: float, device: str = "a", *, end_ms: int = 14_900) -> list[dict[str, Any]]:
    read = ((0, 0.0), (end_ms // 2, joules / 3), (end_ms, joules))
    return [{"t_ns": t * MS, "device": device, "gpu_energy_j": 5e6 + e} for t, e in read]


def integrated(samples: list[dict[str, Any]]) -> float | None:
    return BY_NAME["energy_integrated_j"].compute(run_data(samples=samples))


def valid(*samples: list[dict[str, Any]]) -> bool | None:
    return power_valid([row for rows in samples for row in rows])


def test_the_integral_is_a_trapezoid_over_uneven_times_and_summed_over_gpus() -> None:
    ramp = [{"t_ns": t * MS, "device": "a", "gpu_power_w": w} for t, w in ((0, 10.0), (1000, 30.0), (4000, 50.0))]
    assert integrated(ramp) == pytest.approx(20 * 1 + 40 * 3)
    assert integrated([*ramp, *power(100.0, "b", count=11)]) == pytest.approx(140 + 100 * 1.0)


@pytest.mark.parametrize("samples", [[], power(10.0, count=1), [{"t_ns": 0, "gpu_temp_c": 5.0}]])
def test_without_two_samples_there_is_no_integral(samples: list[dict[str, Any]]) -> None:
    assert integrated(samples) is None


@pytest.mark.parametrize(
    ("counted", "verdict"), [(1490, True), (1425, True), (1560, True), (1400, False), (1600, False)]
)
def test_agreement_is_within_five_per_cent_of_what_was_counted(counted: float, verdict: bool) -> None:
    assert valid(power(100.0), counter(counted)) is verdict


def test_a_counter_that_stands_still_under_power_is_refused() -> None:
    assert valid(power(100.0), counter(0.0)) is False


def test_one_gpu_that_does_not_agree_is_enough() -> None:
    good, bad = (power(100.0, "a"), counter(1490, "a")), (power(100.0, "b"), counter(900, "b"))
    assert valid(*good) is True
    assert valid(*good, *bad) is False


def test_too_much_on_one_gpu_does_not_make_up_for_too_little_on_another() -> None:
    assert valid(power(100.0, "a"), counter(1190, "a"), power(100.0, "b"), counter(1790, "b")) is False


@pytest.mark.parametrize(
    "samples",
    [
        (),
        (power(100.0),),
        (counter(1490),),
        (power(100.0, "a"), counter(1490, "b")),
        (power(100.0), counter(1490)[:1]),
        (power(100.0, count=40), counter(1490)),
    ],
    ids=["nothing", "no counter", "no power", "of different GPUs", "read once", "few samples"],
)
def test_what_cannot_be_judged_is_null(samples: tuple[list[dict[str, Any]], ...]) -> None:
    assert valid(*samples) is None


def test_power_outside_the_counter_s_time_does_not_count() -> None:
    before = [{**row, "t_ns": row["t_ns"] - 60_000 * MS, "gpu_power_w": 900.0} for row in power(1.0)]
    assert valid(before, power(100.0), counter(1490)) is True


@given(st.lists(st.floats(1, 500), min_size=130, max_size=200), st.floats(0.8, 1.2))
def test_the_verdict_is_that_of_the_ratio(watts: list[float], factor: float) -> None:
    samples = [{"t_ns": i * 100 * MS, "device": "a", "gpu_power_w": w} for i, w in enumerate(watts)]
    total = integrated(samples)
    assert total is not None
    flat = [{**row, "gpu_power_w": total / ((len(watts) - 1) * 0.1)} for row in samples]
    counted = counter(total * factor, end_ms=(len(watts) - 1) * 100)
    if abs(1 / factor - 1) < 0.049:
        assert valid(flat, counted) is True
    elif abs(1 / factor - 1) > 0.051:
        assert valid(flat, counted) is False
