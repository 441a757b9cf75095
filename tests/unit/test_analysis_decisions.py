"""The rule of the decision, on rows made by hand so that each branch is seen; the recommendation; the study's decision."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from sparkray.analysis.decisions import decision_rows, recommendation_rows, study_rows

THROUGHPUT, LATENCY, MEMORY = "output_throughput_tok_s", "latency_mean_ms", "host_available_drop_peak_gib"
BASELINE, TUNED = "container_baseline", "container_optimized"
BETTER = {THROUGHPUT: "higher", LATENCY: "lower", MEMORY: "lower"}
Row = dict[str, Any]


def compared(metric: str, verdict: str | None, ratio: float | None = 1.0, **more: Any) -> Row:
    """A row of `comparisons`."""
    numbers = {"ratio": ratio, "low": ratio and ratio * 0.99, "high": ratio and ratio * 1.01, "n": 10, "margin": 0.01}
    row = {"model": "A", "level": "", "environment": BASELINE, "against": "native", "metric": metric}
    row |= {"better": BETTER[metric], "primary": True, "verdict": verdict, "pairs_needed": None, **numbers, **more}
    return row | {
        "trace": "/".join(["comparisons", *(row[key] for key in ("model", "level", "environment", "metric"))])
    }


def tables(rows: Sequence[Row], **others: Sequence[Row]) -> Mapping[str, Sequence[Row]]:
    return {"comparisons": rows, "descriptive": [], "gap": [], **others}


def recommended(rows: Sequence[Row], **others: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The recommendations, and the row of the study."""
    whole = tables(rows, **others)
    found = recommendation_rows(whole, decision_rows(whole))
    return found, study_rows(whole, found)


@pytest.mark.parametrize(
    ("rows", "outcome", "reason"),
    [
        ([compared(THROUGHPUT, "equivalent"), compared(MEMORY, "equivalent")], "use", "within_margins"),
        ([compared(THROUGHPUT, "different", 0.95), compared(MEMORY, "equivalent")], "avoid", "speed_worse"),
        ([compared(LATENCY, "different", 1.05)], "avoid", "speed_worse"),
        ([compared(LATENCY, "different", 0.95)], "use", "speed_better"),
        ([compared(THROUGHPUT, "different", 1.05)], "use", "speed_better"),
        ([compared(THROUGHPUT, "undecided"), compared(MEMORY, "different", 1.2)], "open", "speed_undecided"),
        ([compared(THROUGHPUT, None, None), compared(MEMORY, "equivalent")], "open", "speed_undecided"),
        ([compared(THROUGHPUT, "equivalent"), compared(MEMORY, "different", 1.2)], "use_if_memory", "memory_worse"),
        ([compared(THROUGHPUT, "equivalent"), compared(MEMORY, "undecided")], "memory_open", "memory_undecided"),
        ([compared(THROUGHPUT, "equivalent"), compared(MEMORY, "different", 0.8)], "use", "within_margins"),
        ([compared(MEMORY, "equivalent")], "open", "no_speed_metric"),
    ],
)
def test_each_branch_of_the_rule(rows: list[Row], outcome: str, reason: str) -> None:
    [row] = decision_rows(tables(rows))
    assert (row["outcome"], row["reason"]) == (outcome, reason)
    assert json.loads(row["supports"]) == [one["trace"] for one in rows]


def test_the_extra_memory_is_the_difference_of_the_means() -> None:
    means = [
        {"model": "A", "level": "", "environment": name, "metric": MEMORY, "mean": mean}
        for name, mean in (("native", 70.0), (BASELINE, 84.5))
    ]
    rows = [compared(THROUGHPUT, "equivalent"), compared(MEMORY, "different", 1.2)]
    assert decision_rows(tables(rows, descriptive=means))[0]["extra_gib"] == pytest.approx(14.5)
    assert decision_rows(tables(rows, descriptive=means[:1]))[0]["extra_gib"] is None


def test_metrics_that_are_not_primary_decide_nothing() -> None:
    assert decision_rows(tables([compared(THROUGHPUT, "different", 0.5, primary=False)])) == []


@pytest.mark.parametrize(("needed", "said"), [(40, 40), (7, None), (None, None)])
def test_pairs_that_would_decide_are_more_than_there_are(needed: int | None, said: int | None) -> None:
    [row] = decision_rows(tables([compared(THROUGHPUT, "undecided", pairs_needed=needed)]))
    assert row["pairs_needed"] == said


def test_the_better_of_two_containers_is_recommended_and_the_simpler_of_two_alike() -> None:
    slow, fine = compared(THROUGHPUT, "different", 0.95), compared(THROUGHPUT, "equivalent", environment=TUNED)
    [[one], [study]] = recommended([slow, fine])
    assert (one["environment"], one["other"], one["other_reason"]) == (TUNED, BASELINE, "speed_worse")
    assert (study["outcome"], study["environment"], study["recommended"]) == ("all", TUNED, 1)
    alike = [compared(THROUGHPUT, "equivalent"), fine]
    assert recommended(alike)[0][0]["environment"] == BASELINE
    assert recommended(alike, gap=[{"model": "A", "environment": TUNED, "helps": True}])[0][0]["environment"] == TUNED
    further = [{"model": "A", "environment": "container_seccomp_unconfined", "helps": True}]
    assert recommended(alike, gap=further)[0][0]["environment"] == BASELINE, "its flags may weaken isolation"


def test_a_level_at_which_it_is_slower_forbids_the_environment() -> None:
    rows = [compared(THROUGHPUT, "equivalent", level="a"), compared(THROUGHPUT, "different", 0.9, level="b")]
    [[one], [study]] = recommended(rows)
    assert (one["environment"], one["outcome"], one["level"], one["levels"]) == ("native", "reference", "b", 2)
    assert (study["outcome"], study["reference"]) == ("reference", 1)


def test_what_is_undecided_is_recommended_to_nobody() -> None:
    rows = [compared(THROUGHPUT, "equivalent"), compared(THROUGHPUT, "undecided", model="B", pairs_needed=50)]
    [found, [study]] = recommended(rows)
    assert [row["environment"] for row in found] == [BASELINE, None]
    assert (study["outcome"], study["recommended"], study["open"], study["pairs_needed"]) == ("most", 1, 1, 50)
    [_, [alone]] = recommended(rows[1:])
    assert alone["outcome"] == "open"
    assert recommended([]) == ([], [])
