"""One run that stands apart from all the others, and none where there is none."""

import math
from random import Random
from typing import Any

import numpy as np
import pytest
from check_cases import marked, question, rows
from hypothesis import given
from hypothesis import strategies as st

from sparkray.checks.outliers import FEWEST, Check, modified_z, sided_z
from sparkray.plan import Study, make_plan

REVIEW = Check()
THROUGHPUT = "output_throughput_tok_s"


def stored(throughputs: list[float], study: Study) -> list[dict[str, Any]]:
    return rows(study, [{THROUGHPUT: value, "latency_mean_ms": 32_000 / value} for value in throughputs])


def scattered(count: int, seed: int, sd: float = 0.02) -> list[float]:
    random = Random(seed)
    return [50 * math.exp(random.gauss(0, sd)) for _ in range(count)]


@pytest.mark.parametrize("place", range(0, 20, 3))
@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5])
def test_a_run_that_stands_apart_is_marked_and_its_partner_is_not(place: int, factor: float) -> None:
    values = scattered(20, place)
    values[place] *= factor
    study = question(10)
    runs = stored(values, study)
    found = REVIEW.revalidate(study, runs)
    assert marked(found, runs) == [place]
    said = found[0].verdict.evidence
    assert f"{THROUGHPUT} is {values[place]:.4g}, " in said
    assert runs[place]["environment"] in said
    assert "limit 3.5" in said


def test_what_troubles_a_block_as_a_whole_marks_nobody() -> None:
    values = scattered(20, 1)
    values[6] *= 0.5
    values[7] *= 0.5
    study = question(10)
    assert list(REVIEW.revalidate(study, stored(values, study))) == []


@pytest.mark.parametrize("factor", [0.81, 1.24])
def test_a_quarter_is_the_least_however_even_the_others_are(factor: float) -> None:
    study = question(10)
    assert list(REVIEW.revalidate(study, stored([50.0] * 7 + [50.0 * factor] + [50.0] * 12, study))) == []


def test_four_pairs_are_too_few() -> None:
    study = question(10)
    values = [50.0] * 7 + [25.0]
    assert list(REVIEW.revalidate(study, stored(values, study))) == []
    assert marked(REVIEW.revalidate(study, stored([*values, 50.0, 50.0], study)), stored(values, study)) == [7]
    assert FEWEST == 5


def test_a_run_without_its_partner_yet_is_left_alone() -> None:
    study = question(10)
    assert list(REVIEW.revalidate(study, stored([50.0] * 12 + [10.0], study))) == []


def test_only_the_first_run_is_slow() -> None:
    study = question(10)
    found = REVIEW.revalidate(study, stored([25.0, *scattered(19, 4)], study))
    assert [late.verdict.evidence.endswith("a cold start?") for late in found] == [True]
    fast = REVIEW.revalidate(study, stored([100.0, *scattered(19, 4)], study))
    assert "cold" not in fast[0].verdict.evidence


def test_one_environment_alone_is_judged_by_its_own_values() -> None:
    study = question(8, environments=("native",))
    runs = stored([*scattered(7, 5), 20.0], study)
    assert {row["environment"] for row in runs} == {"native"}
    assert marked(REVIEW.revalidate(study, runs), runs) == [7]
    assert list(REVIEW.revalidate(study, runs[:4])) == []


def test_three_environments_mark_one_run_once() -> None:
    study = question(8, environments=("native", "container_baseline", "host"))
    values = scattered(24, 6)
    values[13] *= 0.4
    runs = stored(values, study)
    found = REVIEW.revalidate(study, runs)
    assert [late.run_id for late in found] == [make_plan(study)[13].run_id]


def test_every_primary_metric_that_tells_is_reported() -> None:
    study = question(10, primary_metrics=(THROUGHPUT, "latency_mean_ms", "host_available_drop_peak_gib"))
    values = scattered(20, 7)
    values[5] *= 0.5
    (found,) = REVIEW.revalidate(study, stored(values, study))
    assert THROUGHPUT in found.verdict.evidence
    assert "latency_mean_ms" in found.verdict.evidence


def test_the_score_by_hand() -> None:
    """Median 3, deviations 2 1 0 1 97: MAD 1."""
    assert modified_z([1.0, 2.0, 3.0, 4.0, 100.0], 100.0) == pytest.approx(0.6745 * 97, rel=1e-4)
    assert modified_z([1.0, 1.0, 1.0], 1.0) == 0.0
    assert modified_z([1.0, 1.0, 1.0, 2.0], 2.0) == 99.9


@given(st.lists(st.floats(-10, 10), min_size=5, max_size=40), st.floats(-100, 100), st.floats(0.1, 10))
def test_the_score_has_neither_place_nor_scale(values: list[float], shift: float, scale: float) -> None:
    rounded = [round(value, 3) for value in values]
    moved = [value * scale + shift for value in rounded]
    one, other = modified_z(rounded, rounded[0]), modified_z(moved, moved[0])
    if float(np.median(np.abs(np.array(rounded) - np.median(rounded)))) > 0:
        assert one == pytest.approx(other, rel=1e-6, abs=1e-6)


def test_a_noisy_machine_is_seldom_accused() -> None:
    """Ten per cent of noise a run, looked back upon after every block: not two runs in a hundred."""
    accused = 0
    for seed in range(6):
        study = question(25)
        runs = stored(scattered(50, seed, 0.1), study)
        told = {late.run_id for blocks in range(5, 26, 4) for late in REVIEW.revalidate(study, runs[: 2 * blocks])}
        accused += len(told)
    assert accused < 6


def test_the_score_of_a_side_by_hand() -> None:
    """Median 10; above it others deviate by 0 1 2 10, below by 0 1 1 1: MAD 1 in all, 1.5 above and 1 below."""
    values = [9.0, 9.0, 9.0, 9.0, 10.0, 11.0, 12.0, 20.0, 30.0]
    assert modified_z(values, 30.0) == pytest.approx(0.6745 * 20, rel=1e-4)
    assert sided_z(values, 30.0) == pytest.approx(0.6745 * 20 / 1.5, rel=1e-4)
    assert sided_z(values, 9.0) == modified_z(values, 9.0)


@given(st.lists(st.floats(-10, 10), min_size=5, max_size=40), st.integers(0, 4))
def test_the_score_of_a_side_is_never_the_more_alarming(values: list[float], place: int) -> None:
    assert sided_z(values, values[place]) <= modified_z(values, values[place])


def test_a_skewed_machine_is_seldom_accused() -> None:
    """Most runs within 2 %, a third of them up to 60 % slower, as neighbours come and go: two runs in a hundred at most."""
    accused = plainly = 0
    for seed in range(6):
        random, study = Random(seed), question(50, environments=("native",))
        values = [
            50 * math.exp(random.gauss(0, 0.02) - (random.random() < 0.35) * random.uniform(0.1, 0.5))
            for _ in range(50)
        ]
        logs = [math.log(value) for value in values]
        plainly += sum(modified_z(logs, log) > 3.5 for log in logs)
        accused += len(REVIEW.revalidate(study, stored(values, study)))
    assert accused <= 9  # 6 expected of 300
    assert plainly > 30


@pytest.mark.parametrize("environments", [("native",), ("native", "container_baseline")])
def test_a_run_twice_as_slow_is_seen_at_ten_per_cent_of_noise(environments: tuple[str, ...]) -> None:
    missed = 0
    for seed in range(25):
        study = question(20 // len(environments), environments=environments)
        values = scattered(20, seed, 0.1)
        values[12] = 25.0
        runs = stored(values, study)
        missed += 12 not in marked(REVIEW.revalidate(study, runs), runs)
    assert missed <= 1
