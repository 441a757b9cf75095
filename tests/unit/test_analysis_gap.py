"""How much of the gap between native and container a configuration closes."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparkray.analysis import analyse
from sparkray.records import Outcome
from sparkray.simulate.study import Plant, plant
from sparkray.store import open_dataset

SPEED, LATENCY = "output_throughput_tok_s", "latency_mean_ms"

START = datetime(2026, 1, 1, tzinfo=UTC)


def test_the_part_of_a_gap_that_is_closed_has_an_interval(tmp_path: Path) -> None:
    speed = {"container_baseline": 0.97, "container_optimized": 0.985}
    planted = Plant(models=("Mistral-7B-v0.3",), runs=20, requests=8, samples=0, cv=0.001, speed_ratio=speed)
    [row] = (
        analyse(plant(tmp_path, planted, merged=True), metrics=[LATENCY])
        .tables["gap"]
        .filter(metric=LATENCY)
        .to_dicts()
    )
    truth = 100 * (1 - math.log(0.985) / math.log(0.97))
    assert row["closed_low_pct"] < row["closed_pct"] < row["closed_high_pct"]
    assert row["closed_low_pct"] < truth < row["closed_high_pct"]
    assert row["closed_high_pct"] - row["closed_low_pct"] < 20
    assert row["sd_ratio_p_holm"] == pytest.approx(row["sd_ratio_p"])
    planted = Plant(models=("Mistral-7B-v0.3",), runs=10, requests=8, samples=0)
    none = analyse(plant(tmp_path / "none", planted, merged=True), metrics=[LATENCY])
    [row] = none.tables["gap"].filter(metric=LATENCY).to_dicts()
    assert row["closed_pct"] is None
    assert json.loads(row["why_null"])["closed_pct"] == "no_total"


def gap_of(tmp_path: Path, ratios: Sequence[tuple[float, float]], **said: Any) -> list[dict[str, Any]]:
    """`gap` of models whose containers have these mean ratios to native, over 8 blocks with a sd of 1 %."""
    dataset = open_dataset(tmp_path, "gaps", "0" * 64)
    document = {"experiment": {"runs": 8, "margins": {SPEED: 0.01}, "primary_metrics": [SPEED], **said}}
    (dataset.path / "experiment.json").write_text(json.dumps(document))
    noise = np.array([-1.2, 0.9, -0.3, 1.4, 0.2, -1.1, 0.8, -0.7]) / 100
    for model, means in enumerate(ratios):
        for name, mean, signs in zip(("native", *CONTAINERS), (1.0, *means), (noise * 0, noise, -noise), strict=True):
            for block, part in enumerate(signs):
                where = {"run_id": f"{model}{name}{block}", "model": f"M{model}", "environment": name, "block": block}
                value = 100 * mean * math.exp(part)
                dataset.write(Outcome(row={**where, "attempt": 1, "status": "ok", "ended_at": START, SPEED: value}))
    return analyse(dataset.path).tables["gap"].sort("model").to_dicts()


CONTAINERS = ("container_baseline", "container_optimized")


def test_what_is_shown_of_a_gap_is_so_after_holm_over_the_models(tmp_path: Path) -> None:
    slight = (0.991, 1.009)
    [alone] = gap_of(tmp_path / "alone", [slight])
    assert (alone["gap_shown"], alone["helps"], alone["harms"]) == (True, True, False)
    assert alone["p"] == pytest.approx(alone["p_holm"])
    many = gap_of(tmp_path / "many", [slight, *[(1.0, 1.0)] * 3])
    assert many[0]["p_holm"] == pytest.approx(4 * alone["p"])
    assert many[0]["low"] > 1
    assert [(row["gap_shown"], row["helps"]) for row in many] == [(False, False)] * 4
    assert many[0]["closed_pct"] is None
    assert json.loads(many[0]["why_null"])["closed_pct"] == "no_gap"


def test_no_share_of_a_gap_is_reported_where_the_container_is_better(tmp_path: Path) -> None:
    [row] = gap_of(tmp_path, [(1.03, 1.0)])
    assert (row["gap_shown"], row["harms"], row["closed_pct"]) == (False, True, None)


def test_under_interim_analyses_nobody_is_called_helped_or_harmed(tmp_path: Path) -> None:
    [row] = gap_of(tmp_path, [(0.95, 0.99)], sequential={"looks": [3, 5, 8], "spending": "linear"})
    assert (row["p"], row["p_holm"], row["helps"], row["harms"]) == (None,) * 4
    assert row["gap_shown"]
    assert json.loads(row["why_null"])["helps"] == "interim_p"
