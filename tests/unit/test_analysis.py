"""The summary of a sweep: only ok runs count, once each, and pairs are made inside blocks."""

import json
import math
from typing import Any

import pytest
from builders import row

from sparkray.analysis import (
    as_document,
    cells,
    comparisons,
    frames_of_rows,
    shown_metrics,
)

METRIC = "output_throughput_tok_s"
OTHER = "latency_mean_ms"
ARMS = {"native": (100.0, 110.0, 90.0, 105.0), "container_baseline": (99.0, 109.5, 89.0, 104.2)}


def rows(**arms: tuple[float | None, ...]) -> list[dict[str, Any]]:
    """A row for every value: environment by name, block by place."""
    return [
        row(f"{environment}{block}", environment=environment, block=block, **{METRIC: value})
        for environment, values in (arms or ARMS).items()
        for block, value in enumerate(values)
    ]


def compared(found: list[dict[str, Any]], **margins: float) -> list[dict[str, Any]]:
    return comparisons(frames_of_rows(found, {r["run_id"] for r in found}), [METRIC], margins)


def test_only_planned_runs_that_are_ok_count_once() -> None:
    found = [*rows(), row("native0", attempt=2, **{METRIC: 1.0}), row("stranger"), row("bad", status="invalid")]
    found.insert(0, row("native1", status="failed", block=1, **{METRIC: 1.0}))
    counted = frames_of_rows(found, {r["run_id"] for r in rows()} | {"bad"}).ok
    assert sorted(counted["run_id"]) == sorted(r["run_id"] for r in rows())
    assert 1.0 not in counted[METRIC].to_list()


def test_cells_describe_every_metric_of_every_environment_native_first() -> None:
    found = [*rows(), row("h", environment="host", **{METRIC: 5.0})]
    said = cells(frames_of_rows(found, {r["run_id"] for r in found}), [METRIC, OTHER])
    assert [(row["environment"], row["metric"], row["n"]) for row in said] == [
        ("native", METRIC, 4),
        ("native", OTHER, 0),
        ("host", METRIC, 1),
        ("host", OTHER, 0),
        ("container_baseline", METRIC, 4),
        ("container_baseline", OTHER, 0),
    ]
    assert said[0]["mean"] == pytest.approx(101.25)
    assert (said[1]["mean"], said[1]["sd"], said[1]["cv_pct"]) == (None, None, None)


def test_pairs_are_made_inside_blocks_and_incomplete_blocks_are_left_out() -> None:
    [full] = compared(rows())
    logs = [math.log(b / a) for a, b in zip(ARMS["native"], ARMS["container_baseline"], strict=True)]
    assert full["ratio"] == pytest.approx(math.exp(sum(logs) / 4))
    [less] = compared([r for r in rows() if r["run_id"] != "native2"])
    assert less["n"] == 3
    [null] = compared(rows(native=(100.0, None, 90.0), container_baseline=(99.0, 1.0, 89.0)))
    assert null["n"] == 2
    [crossed] = compared(rows(native=(100.0,), container_baseline=(None, 99.0)))
    assert crossed["not_estimable"] == "few_pairs?n=0&least=2"


def test_the_order_of_the_rows_changes_nothing() -> None:
    assert compared(rows(), **{METRIC: 0.01}) == compared(rows()[::-1], **{METRIC: 0.01})


@pytest.mark.parametrize(
    ("environments", "pairs"),
    [
        (("native",), []),
        (("host", "container_baseline"), [("container_baseline", "host")]),
        (
            ("container_optimized", "host", "native"),
            [("host", "native"), ("container_optimized", "native")],
        ),
    ],
)
def test_the_reference_is_native_else_the_host(environments: tuple[str, ...], pairs: list[tuple[str, str]]) -> None:
    found = compared(rows(**dict.fromkeys(environments, (1.0, 2.0))))
    assert [(row["environment"], row["against"]) for row in found] == pairs


def test_an_environment_without_an_ok_run_is_compared_and_says_why() -> None:
    failed = [r | {"status": "failed", METRIC: None} for r in rows() if r["environment"] != "native"]
    [lost] = compared([r for r in rows() if r["environment"] == "native"] + failed)
    assert (lost["n"], lost["not_estimable"]) == (0, "no_ok_run?statuses=4+failed&where=container_baseline")


def test_models_are_never_mixed() -> None:
    twice = rows() + [r | {"run_id": r["run_id"] + "b", "model": "Beta", METRIC: r[METRIC] * 3} for r in rows()]
    alpha, beta = compared(twice)
    assert (alpha["model"], beta["model"]) == ("Alpha", "Beta")
    assert alpha["n"] == beta["n"] == 4
    assert alpha["ratio"] == pytest.approx(beta["ratio"])


def test_a_verdict_needs_a_margin() -> None:
    assert compared(rows())[0].get("verdict") is None
    assert compared(rows(), **{METRIC: 0.05})[0]["verdict"] == "equivalent"


def test_nothing_at_all_compares_to_nothing() -> None:
    assert compared([]) == []
    assert cells(frames_of_rows([], set()), [METRIC]) == []


def test_shown_are_the_primary_metrics_first_and_none_twice() -> None:
    shown = shown_metrics([OTHER, "energy_j"])
    assert shown[:2] == [OTHER, "energy_j"]
    assert METRIC in shown
    assert len(set(shown)) == len(shown)


def test_the_document_is_plain_json_without_nan() -> None:
    found = compared(rows(), **{METRIC: 0.05}) + compared(rows(native=(1.0,), host=(1.0,)))
    described = cells(frames_of_rows(rows(native=(None,)), {"native0"}), [METRIC])
    document = json.loads(json.dumps(as_document(described, found), allow_nan=False))
    assert document["environments"] == [
        {"model": "Alpha", "environment": "native", "metric": METRIC, "n": 0, "mean": None, "sd": None, "cv_pct": None}
    ]
    whole, none = document["comparisons"]
    assert set(whole) == set(none)
    assert (whole["verdict"], whole["margin"], whole["better"], whole["n"]) == ("equivalent", 0.05, "higher", 4)
    assert whole["ci95"][0] < whole["ratio"] < whole["ci95"][1]
    assert whole["not_estimable"] is None
    assert none["ratio"] is None
    assert none["not_estimable"] == "few_pairs?n=1&least=2"
