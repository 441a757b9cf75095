"""The table `knee`: planted saturation in rows of a study, found again by model and environment."""

import re
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from sparkray.analysis.frames import Frames, frames_of_rows
from sparkray.analysis.knee import THROUGHPUT, about_knees, knee_rows
from sparkray.analysis.schema import TABLES, frame_of
from sparkray.sweep.summary import Findings, summary_lines

LOADS = (1, 2, 4, 8, 16)
START = datetime(2026, 1, 1, tzinfo=UTC)


def frames(
    knees: dict[str, float], *, runs: int = 4, saturated: dict[str, int] | None = None, loads: tuple[int, ...] = LOADS
) -> Frames:
    """Throughput of 50 tok/s per request in flight up to an arm's knee. From its saturated load on runs end early."""
    rows, noise = [], np.random.default_rng(5)
    for replicate in range(1, runs + 1):
        for number, load in enumerate(loads):
            for arm, at in knees.items():
                early = load >= (saturated or {}).get(arm, 1000)
                rows.append(
                    {
                        "run_id": f"{replicate}-{number}-{arm}",
                        "attempt": 1,
                        "model": "m",
                        "level": f"concurrency={load} batch={16 + number}",
                        "environment": arm,
                        "block": (replicate - 1) * len(loads) + number,
                        "replicate": replicate,
                        "status": "saturated" if early else "ok",
                        "started_at": START + timedelta(minutes=len(rows)),
                        THROUGHPUT: 50 * min(load, at) * noise.uniform(0.98, 1.02),
                    }
                )
    return frames_of_rows(rows, {row["run_id"] for row in rows})


def test_a_planted_knee_has_a_row_an_arm_with_its_interval_and_the_paired_ratio() -> None:
    native, docker = knee_rows(frames({"container_baseline": 4.0, "native": 6.0}), seed=0)
    assert (native["environment"], docker["environment"], docker["against"]) == (
        "native",
        "container_baseline",
        "native",
    )
    assert (native["code"], native["n_steps"], native["n_blocks"], native["n_runs"]) == ("estimated", 5, 4, 20)
    assert native["load"] == pytest.approx(6, rel=0.03)
    assert native["load_low"] <= 6 <= native["load_high"]
    assert native["capacity_tok_s"] == pytest.approx(300, rel=0.03)
    assert docker["ratio"] == pytest.approx(4 / 6, rel=0.05)
    assert docker["ratio_low"] <= docker["ratio"] <= docker["ratio_high"] < 1
    assert "ratio" not in native


@pytest.mark.parametrize(
    ("planted", "code"),
    [
        (frames({"native": 100.0}), "beyond_last"),
        (frames({"native": 1.0}), "below_first"),
        (frames({"native": 6.0}, runs=2), "too_few_blocks"),
        (frames({"native": 6.0}, loads=(1, 2, 16)), "too_few_steps"),
        (frames({"native": 6.0}, loads=(1, 2, 4, 8, 8)), "equal_loads"),
    ],
)
def test_what_has_no_knee_has_a_code_and_no_number(planted: Frames, code: str) -> None:
    [row] = knee_rows(planted, seed=0)
    assert (row["code"], row.get("load"), row.get("capacity_tok_s")) == (code, None, None)


def test_a_step_that_over_saturated_bounds_a_knee_that_no_other_step_shows() -> None:
    native, docker = knee_rows(frames({"native": 100.0, "host": 100.0}, saturated={"native": 16}), seed=0)
    assert (native["code"], native["last_step"], native["saturated_step"]) == ("before_saturated", 8, 16)
    assert (native["n_saturated"], native["n_runs"]) == (4, 16)
    assert (docker["code"], docker["saturated_step"], docker.get("ratio")) == ("beyond_last", None, None)


def test_over_saturated_runs_leave_a_knee_below_them_as_it_is() -> None:
    [whole] = knee_rows(frames({"native": 3.0}), seed=0)
    [ended] = knee_rows(frames({"native": 3.0}, saturated={"native": 16}), seed=0)
    assert (ended["code"], ended["n_saturated"], ended["saturated_step"]) == ("estimated", 4, 16)
    assert ended["load"] == pytest.approx(whole["load"], rel=0.03)


def test_a_study_of_one_load_has_no_row() -> None:
    assert knee_rows(frames({"native": 3.0}, loads=(4,)), seed=0) == []


def lines(planted: Frames) -> list[str]:
    """The lines of a summary that are about knees, with the columns of the table."""
    rows = frame_of(TABLES["knee"], knee_rows(planted, seed=0)).to_dicts()
    return summary_lines(Findings([], {}, knees=about_knees(rows)))[1:]


def test_the_summary_has_a_sentence_a_knee() -> None:
    native, docker = lines(frames({"native": 6.0, "container_baseline": 4.0}))
    assert re.fullmatch(
        r"Throughput stops rising at about \d(\.\d)? requests in flight "
        r"\(95 % CI \d(\.\d)? to \d(\.\d)?\) in native, at \d+(\.\d)? tok/s\.",
        native,
    )
    assert re.search(r"in Docker, at .* tok/s\. Knee of Docker / native: 0\.6\d* \(95 % CI .*, 4 blocks\)\.$", docker)


@pytest.mark.parametrize(
    ("planted", "sentence"),
    [
        (
            frames({"native": 100.0}, saturated={"native": 16}),
            (
                "Throughput still rises at 8 requests in flight in native, the largest load that ended as planned; at 16 it "
                "over-saturates; 4 runs were over-saturated and ended early."
            ),
        ),
        (
            frames({"native": 100.0}),
            "Throughput still rises at 16 requests in flight, the largest load, in native: the knee lies beyond it.",
        ),
        (
            frames({"native": 1.0}),
            "Throughput does not rise beyond the smallest load in native: the knee is no larger.",
        ),
        (frames({"native": 6.0}, runs=1), "No knee in native yet: 1 block, at least 3 are needed."),
    ],
)
def test_the_summary_explains_why_there_is_no_knee(planted: Frames, sentence: str) -> None:
    assert lines(planted) == [sentence]


def test_a_study_of_two_levels_by_the_way_has_no_sentence() -> None:
    assert lines(frames({"native": 6.0}, loads=(1, 16))) == []
