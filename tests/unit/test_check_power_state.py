"""A control probe that no engine takes part in: slow states that nothing else shows."""

import math
from random import Random
from typing import Any

import pytest
from check_cases import evidence, marked, question, rows, verdict_of
from hypothesis import given
from hypothesis import strategies as st

from sparkray.checks.power_state import Check
from sparkray.records import Verdict

CHECK = REVIEW = Check()
NAMES = ("cpu", "memory", "gpu_memory", "gpu_compute")


def probes(name: str, before: float | None, after: float | None) -> dict[str, float | None]:
    return {f"probe_{name}_before_ms": before, f"probe_{name}_after_ms": after}


def judged(name: str, times: tuple[float | None, float | None], past: list[tuple[float, float]]) -> Verdict | None:
    asked = question(max(4, len(past)))
    known = rows(asked, [probes(name, *both) for both in past])
    return CHECK.judge(evidence(asked, row=probes(name, *times), of_machine=known))


def word(verdict: Verdict | None) -> str | None:
    return None if verdict is None else verdict.verdict


def test_without_probes_there_is_nothing_to_judge() -> None:
    assert judged("cpu", (None, None), []) is None


@pytest.mark.parametrize("name", ["gpu_memory", "gpu_compute"])
@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ((63.0, 63.5), "pass"),
        ((75.0, 75.0), "pass"),
        ((94.0, 94.0), "invalid"),  # a slow state, seen elsewhere as 94 ms a decode step in place of 63
        ((296.0, 296.0), "invalid"),  # 513 MHz in place of 2400
        ((63.0, 94.0), "invalid"),
        ((94.0, 63.0), "invalid"),
        ((50.0, 50.0), "pass"),  # a faster state blames nobody
    ],
)
def test_a_gpu_against_the_runs_before(name: str, times: tuple[float, float], expected: str) -> None:
    past = [(63.0 + 0.3 * (k % 3), 63.2 - 0.2 * (k % 4)) for k in range(8)]
    assert word(judged(name, times, past)) == expected


def test_a_second_model_does_not_begin_anew() -> None:
    asked = question()
    others = [row | {"model": "Other"} for row in rows(asked, [probes("gpu_memory", 63.0, 63.0)] * 8)]
    found = evidence(asked, row=probes("gpu_memory", 94.0, 94.0), earlier=(), of_machine=others)
    assert verdict_of(CHECK, found).verdict == "invalid"


def test_evidence_has_the_times_and_the_limit() -> None:
    verdict = judged("gpu_memory", (94.0, 94.0), [(63.0, 63.0)] * 8)
    assert verdict is not None
    assert verdict.evidence == "GPU memory probe took 94 ms, 1.49 times the usual 63 (8 runs), limit 1.25"


@pytest.mark.parametrize(("after", "expected"), [(80.0, "pass"), (94.0, "invalid"), (40.0, "pass")])
def test_the_first_run_of_all_is_held_against_itself(after: float, expected: str) -> None:
    assert word(judged("gpu_compute", (63.0, after), [])) == expected


def test_a_gpu_that_is_always_slower_when_warm_is_as_usual() -> None:
    past = [(63.0, 84.0)] * 8
    assert word(judged("gpu_compute", (63.0, 84.0), past)) == "pass"
    assert word(judged("gpu_compute", (84.0, 63.0), past)) == "invalid"


@pytest.mark.parametrize("name", ["cpu", "memory"])
@pytest.mark.parametrize(
    ("times", "expected"),
    [((130.0, 100.0), "pass"), ((130.0, 130.0), "pass"), ((170.0, 170.0), "invalid"), ((90.0, 190.0), "invalid")],
)
def test_a_shared_machine_scatters(name: str, times: tuple[float, float], expected: str) -> None:
    random = Random(1)
    past = [(100 * math.exp(random.gauss(0, 0.05)), 100 * math.exp(random.gauss(0, 0.05))) for _ in range(12)]
    assert word(judged(name, times, past)) == expected


def test_a_scatter_that_is_wide_widens_the_limit_and_a_slow_gpu_is_seen_all_the_same() -> None:
    wide = [(60.0 * factor, 60.0 * factor) for factor in (0.6, 1.6, 0.8, 1.3, 1.0, 0.7, 1.5, 1.1, 0.9)]
    assert word(judged("cpu", (110.0, 110.0), wide)) == "pass"
    assert word(judged("gpu_memory", (90.0, 90.0), wide)) == "invalid"


@given(
    st.sampled_from(NAMES),
    st.lists(st.tuples(st.floats(1, 1e4), st.floats(1, 1e4)), min_size=1, max_size=12),
    st.floats(0.1, 10),
)
def test_another_unit_of_time_changes_nothing(name: str, times: list[tuple[float, float]], unit: float) -> None:
    scaled = [(before * unit, after * unit) for before, after in times]
    assert word(judged(name, times[0], times[1:])) == word(judged(name, scaled[0], scaled[1:]))


def paired(name: str, levels: list[float]) -> list[dict[str, Any]]:
    return rows(question(len(levels)), [probes(name, level, level) for level in levels])


@pytest.mark.parametrize("slow", range(6))
def test_a_pair_that_does_not_agree_is_marked_both(slow: int) -> None:
    stored = paired("gpu_memory", [94.0 if place == slow else 63.0 for place in range(6)])
    found = REVIEW.revalidate(question(6), stored)
    assert marked(found, stored) == [slow - slow % 2, slow - slow % 2 + 1]
    said = {late.run_id: late.verdict.evidence for late in found}[stored[slow]["run_id"]]
    assert said.startswith("GPU memory probe took 94 ms here and 63 in ")
    assert {late.verdict.verdict for late in found} == {"invalid"}


def test_a_pair_that_is_slow_together_is_a_pair() -> None:
    stored = paired("gpu_memory", [63.0, 63.0, 94.0, 94.0, 63.0, 63.0])
    assert list(REVIEW.revalidate(question(6), stored)) == []


def test_pairs_of_a_shared_machine_agree_within_its_scatter() -> None:
    stored = paired("cpu", [100.0, 140.0, 120.0, 90.0, 100.0, 100.0])
    assert list(REVIEW.revalidate(question(6), stored)) == []
    assert marked(REVIEW.revalidate(question(6), paired("cpu", [100.0, 210.0])), paired("cpu", [100.0, 210.0])) == [
        0,
        1,
    ]


def test_two_probes_make_one_verdict_a_run() -> None:
    stored = paired("gpu_memory", [63.0, 94.0])
    for row, level in zip(stored, (40.0, 60.0), strict=True):
        row.update(probes("gpu_compute", level, level))
    found = REVIEW.revalidate(question(), stored)
    assert len(found) == 2
    assert all("GPU memory" in late.verdict.evidence and "GPU compute" in late.verdict.evidence for late in found)


def test_a_run_in_order_is_reported_in_numbers() -> None:
    verdict = verdict_of(CHECK, evidence(row=probes("cpu", 100.0, 110.0)))
    assert verdict.evidence == ("CPU probe took 104.9 ms; CPU probe took 1.10 times as long after the run as before it")
