"""What was planted is found: effects, their absence, a dependence on size, drift, a bad block, variance between blocks."""

import math
from pathlib import Path

import polars as pl
import pytest

from sparkray.analysis import Analysis, analyse
from sparkray.simulate.study import Plant, plant

LATENCY = "latency_mean_ms"
TWO = ("native", "container_baseline")


def primary(found: Analysis, **where: str) -> pl.DataFrame:
    return found.tables["comparisons"].filter(pl.col("primary"), **where)


def test_what_was_planted_is_found(tmp_path: Path) -> None:
    planted = Plant(
        name="truth",
        models=("Qwen2-1.5B", "Mistral-7B-v0.3"),
        runs=30,
        requests=8,
        samples=0,
        cv=0.002,
        speed_ratio={"container_baseline": 0.97, "container_optimized": 0.997},
        memory_ratio={"container_baseline": 1.05},
        cv_ratio={"container_optimized": 4.0},
    )
    found = analyse(plant(tmp_path, planted, merged=True), metrics=[LATENCY])
    baseline, optimised = (primary(found, environment=name) for name in ("container_baseline", "container_optimized"))
    assert set(baseline["verdict"]) == {"different"}
    assert set(optimised["verdict"]) == {"equivalent"}
    for row in primary(found, metric=LATENCY).to_dicts():
        truth = 1 / planted.speed_ratio[row["environment"]]
        assert row["ratio"] == pytest.approx(truth, abs=4 * row["sd_log"] / math.sqrt(30))
    wild = optimised.filter(metric=LATENCY)
    assert (wild["sd_ratio_low"] > 1).all()
    gap = found.tables["gap"].filter(metric=LATENCY)
    assert gap["helps"].all()
    assert gap["closed_pct"].to_list() == pytest.approx([90, 90], abs=8)


def test_a_dependence_on_size_is_found_and_its_absence_too(tmp_path: Path) -> None:
    names = ("Qwen2-1.5B", "Phi-3-mini", "Mistral-7B-v0.3", "Mixtral-8x7B", "GPT-OSS-120B")
    base = {"models": names, "runs": 10, "requests": 8, "samples": 0, "environments": TWO, "cv": 0.001}
    for slope, verdict in ((0.0, "yes"), (0.01, "no")):
        found = analyse(plant(tmp_path / verdict, Plant(size_slope=slope, **base), merged=True), metrics=[LATENCY])
        [row] = found.tables["size"].filter(group_by="slope", metric=LATENCY).to_dicts()
        assert row["slope_low"] <= -slope * math.log(10) <= row["slope_high"]
        [answer] = found.tables["questions"].filter(question=1, metric=LATENCY).to_dicts()
        assert answer["verdict"] == verdict


@pytest.mark.slow
def test_drift_and_a_bad_block_are_seen(tmp_path: Path) -> None:
    base = {"models": ("Mistral-7B-v0.3",), "runs": 20, "requests": 8, "samples": 0, "environments": TWO}
    found = analyse(plant(tmp_path / "drift", Plant(drift_per_run=0.0005, **base), merged=True))
    drifts = found.tables["diagnostics"].filter(metric=LATENCY)
    assert (drifts["drift_p"] < 1e-3).all()
    assert drifts["drift_pct_per_run"].to_list() == pytest.approx([0.05, 0.05], rel=0.3)
    [kept] = primary(found, metric=LATENCY).to_dicts()
    assert kept["verdict"] == "equivalent"
    found = analyse(plant(tmp_path / "bad", Plant(bad_block=7, **base), merged=True))
    [row] = primary(found, metric=LATENCY).to_dicts()
    assert row["outliers"] == 1
    assert row["verdict"] == "undecided"
    assert row["high_without_outliers"] < 1.01 < row["high"]


@pytest.mark.slow
def test_block_effects_cancel_in_pairs_and_show_as_variance_between_blocks(tmp_path: Path) -> None:
    planted = Plant(models=("Mistral-7B-v0.3",), runs=20, requests=64, samples=0, cv=0.001, block_cv=0.03)
    found = analyse(plant(tmp_path, planted, merged=True))
    shares = found.tables["diagnostics"].filter(metric=LATENCY)
    assert (shares["share_between_blocks_pct"] > 95).all()
    total = shares.select(pl.sum_horizontal("^share_.*$"))
    assert total.to_series().to_list() == pytest.approx([100] * 3)
    assert set(primary(found, metric=LATENCY)["verdict"]) == {"equivalent"}
