"""CPU time and GPU memory that are neither the engine's nor sparkray's."""

import json
from typing import Any

import pytest
from builders import S
from check_cases import evidence, measured, question, rows, samples_of, verdict_of
from hypothesis import given
from hypothesis import strategies as st

from sparkray.checks.exclusive import Check, foreign_cores
from sparkray.records import EngineFacts, Measurement

CHECK = Check()
BUSY = "cpu_busy_serving_pct"
ENGINE = "engine_cpu_serving_pct"


def usual(*cores: float, cpus: int = 2) -> list[dict[str, Any]]:
    """Rows of runs in which others used so many cores beside an engine that used one."""
    own = [
        {BUSY: (1 + value) / cpus * 100, ENGINE: 100.0, "duration_s": 10.0, "observer_cpu_s": 0.0} for value in cores
    ]
    return rows(question(max(4, len(cores))), own)


@given(st.floats(0, 2), st.floats(0, 2), st.floats(0, 5), st.floats(0, 5))
def test_what_is_left_is_that_of_others(others: float, engine: float, observer: float, ray: float) -> None:
    row = {
        BUSY: (others + engine + (observer + ray) / 10) / 64 * 100,
        ENGINE: engine * 100,
        "observer_cpu_s": observer,
        "ray_cpu_s": ray,
        "duration_s": 10.0,
    }
    assert foreign_cores(row, 64) == pytest.approx(others, abs=1e-9)
    assert foreign_cores({**row, "ray_cpu_s": None}, 64) == pytest.approx(others + ray / 10, abs=1e-9)


@pytest.mark.parametrize("missing", [BUSY, ENGINE, "duration_s"])
def test_what_is_not_known_is_said_to_be_unknown(missing: str) -> None:
    """A machine too busy to be sampled is not taken for a quiet one; one whose load cannot be read is not judged."""
    assert foreign_cores({**usual(0.1)[0], missing: None}, 2) is None
    found = verdict_of(CHECK, evidence(row={missing: None}))
    assert (found.verdict, found.evidence.split(":")[0]) == ("warn", "CPU time of other processes unknown")
    assert CHECK.judge(evidence(samples=(), row={missing: None})) is None


def test_samples_become_cores() -> None:
    quiet = samples_of(measured().requests, foreign=0.1, engine=1.5)
    verdict = verdict_of(CHECK, evidence(samples=quiet))
    assert (verdict.verdict, verdict.evidence.split(",")[0]) == (
        "pass",
        "other processes used 0.09 cores during the requests",
    )


@pytest.mark.parametrize(
    ("foreign", "engine", "expected"),
    [
        (0.6, 1.0, "pass"),  # some idle was left: three quarters of a core are allowed
        (1.0, 0.9, "invalid"),
        (0.3, 1.7, "pass"),
        (2 / 3, 4 / 3, "invalid"),  # a program that spins, beside two threads on two cores
        (0.5, 1.5, "invalid"),
    ],
)
def test_the_first_run_of_all(foreign: float, engine: float, expected: str) -> None:
    samples = samples_of(measured().requests, foreign=foreign, engine=engine)
    assert verdict_of(CHECK, evidence(samples=samples)).verdict == expected


@pytest.mark.parametrize(
    ("past", "foreign", "expected"),
    [
        ((0.05, 0.07, 0.06), 0.24, "pass"),
        ((0.05, 0.07, 0.06), 0.5, "invalid"),
        ((0.2, 0.13, 0.26, 0.19, 0.22), 0.45, "pass"),
        ((0.2, 0.13, 0.26, 0.19, 0.22), 1.2, "invalid"),
        ((0.9, 0.7, 1.1, 0.8, 1.0), 1.3, "pass"),  # other tenants, always there
        ((0.9, 0.7, 1.1, 0.8, 1.0), 2.2, "invalid"),
        ((0.15, 1.4, 0.9, 1.5, 0.3), 1.8, "pass"),  # they come and go
        ((0.15, 1.4, 0.9, 1.5, 0.3), 1.97, "invalid"),  # a whole core more than usual
    ],
)
def test_against_what_is_usual_here(past: tuple[float, ...], foreign: float, expected: str) -> None:
    own = {**usual(foreign, cpus=16)[0], "machine": json.dumps({"cpus": 16})}
    found = evidence(row=own, earlier=usual(*past, cpus=16))
    verdict = verdict_of(CHECK, found)
    assert verdict.verdict == expected
    assert f"({len(past)} runs)" in verdict.evidence


def test_the_runs_of_the_same_environment_are_the_measure_where_there_are_enough() -> None:
    past = usual(0.1, 0.1, 0.1, 0.6, 0.6, 0.6)
    for row, environment in zip(past, ("native",) * 3 + ("container_baseline",) * 3, strict=True):
        row["environment"] = environment
    own = usual(0.55)[0]
    asked = question()
    found = {
        evidence(asked, position=k).planned.environment: verdict_of(
            CHECK,
            evidence(
                asked, position=k, earlier=past, row={name: own[name] for name in (BUSY, ENGINE, "observer_cpu_s")}
            ),
        ).verdict
        for k in (0, 1)
    }
    assert found == {"native": "invalid", "container_baseline": "pass"}


def test_a_blink_of_an_eye_is_too_short_to_tell() -> None:
    brief = Measurement(tuple(measured([0.2, 0.2]).requests), EngineFacts())
    found = evidence(measurement=brief, samples=(), row={BUSY: 100.0, ENGINE: 0.0})
    assert CHECK.judge(found) is None


def gpu(used: list[float | None], held: list[float | None]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for second, (u, h) in enumerate(zip(used, held, strict=True)):
        found.append({"t_ns": second * S, "device": "a", "gpu_process_gib": h})
        found.append({"t_ns": second * S + 1, "device": "a", "gpu_used_gib": u})
    return found


@pytest.mark.parametrize(
    ("used", "held", "expected"),
    [
        ([0.6, 9.0, 40.6, 40.6], [None, 8.0, 40.0, 40.0], "pass"),
        ([5.6, 14.0, 45.6, 45.6], [None, 8.0, 40.0, 40.0], "invalid"),
        ([0.6, 40.6, 40.6], [None, None, None], "pass"),  # in a PID namespace NVML lists nobody
        ([5.6, 40.6, 40.6], [None, None, None], "invalid"),
        ([0.6, 9.0, 40.6, 0.6], [None, 39.0, 40.0, None], "pass"),  # one reading taken before a great allocation
        (
            [0.6] + [10.0 * n + 9 for n in range(8)],
            [None] + [10.0 * n for n in range(8)],
            "pass",
        ),  # weights being loaded
        ([40.6] * 22 + [80.6] * 18, [40.0] * 40, "invalid"),  # there in 45 % of the time
        ([40.6] * 38 + [80.6] * 2, [40.0] * 40, "pass"),
    ],
)
def test_gpu_memory_of_others(used: list[float | None], held: list[float | None], expected: str) -> None:
    verdict = verdict_of(CHECK, evidence(samples=gpu(used, held)))
    assert verdict.verdict == expected
    assert "GPU a: " in verdict.evidence


def test_a_gpu_that_tells_no_memory_is_not_judged() -> None:
    assert CHECK.judge(evidence(samples=gpu([None] * 3, [1.0] * 3))) is None


def listed(*others: tuple[float | None, int | None]) -> list[dict[str, Any]]:
    """On a GB10: no memory but that of processes, second by second."""
    return [
        {
            "t_ns": second * S,
            "device": "a",
            "gpu_process_gib": 40.0,
            "gpu_foreign_gib": held,
            "gpu_foreign_processes": count,
        }
        for second, (held, count) in enumerate(others)
    ]


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        ([(0.0, 0)] * 3, "pass"),
        ([(20.0, 1)] * 3, "invalid"),
        ([(0.4, 1)] * 3, "warn"),
        ([(None, 2)] * 3, "warn"),
        ([(0.0, 0), (20.0, 1), (0.0, 0)], "pass"),  # a worker of the engine's, before it was known to be one
        ([(0.0, 0)] * 8 + [(20.0, 8)] * 2, "pass"),
        ([(0.0, 0)] * 22 + [(40.0, 2)] * 18, "invalid"),
        ([(0.0, 0)] * 22 + [(0.4, 2)] * 18, "warn"),
        ([(0.0, 0)] * 36 + [(40.0, 2)] * 4, "pass"),  # a tenth, and no more
    ],
)
def test_processes_of_others_where_the_gpu_tells_no_memory(
    others: list[tuple[float | None, int | None]], expected: str
) -> None:
    verdict = verdict_of(CHECK, evidence(samples=listed(*others)))
    assert verdict.verdict == expected
    assert "foreign processes" in verdict.evidence


def test_what_was_there_for_a_part_of_the_run_is_reported_with_the_part() -> None:
    some = listed(*[(0.0, 0)] * 22, *[(40.0, 2)] * 18)
    assert verdict_of(CHECK, evidence(samples=some)).evidence.endswith(
        "GPU a: 2 foreign processes, up to 40.00 GiB, beyond 1.5 GiB in 45 % of 40 samples"
    )


def test_processes_that_cannot_be_listed_are_not_judged() -> None:
    assert CHECK.judge(evidence(samples=listed(*[(None, None)] * 3))) is None


def test_memory_of_others_that_is_not_reported_is_unknown_and_not_zero() -> None:
    verdict = verdict_of(CHECK, evidence(samples=listed((None, 2), (None, 2), (None, 2), (None, 2))))
    assert "2 foreign processes, memory unknown" in verdict.evidence
    assert "0.00 GiB" not in verdict.evidence
    assert verdict.verdict == "warn"
