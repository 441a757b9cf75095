"""A planted study lies on disk as a sweep leaves it, its metrics are those of its own requests and samples, and it is
the same every time."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from audit_cases import kinds
from support.studies import small_study

from sparkray.audit import audit
from sparkray.audit.knowledge import case_of
from sparkray.audit.readers.dataset import dataset_results
from sparkray.catalog import Catalog, data_root
from sparkray.config.boundary import parse
from sparkray.config.experiment import Experiment
from sparkray.config.model import ModelCard
from sparkray.errors import UnknownNameError
from sparkray.metrics import BY_NAME, RunData, compute_all, counted
from sparkray.records import EngineFacts, Request
from sparkray.simulate.study import Plant, plant, true_speed_ratio
from sparkray.store import Dataset, description
from sparkray.store.parquet import schema_of
from sparkray.store.tables import TABLES


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_study(tmp_path_factory.mktemp("small"), models=1)


def request_of(row: dict[str, Any]) -> Request:
    names = ("warmup", "input_tokens", "output_tokens", "submit_ns", "first_token_ns", "end_ns", "error")
    return Request(row["request"], **{name: row[name] for name in names})


@pytest.mark.parametrize("environment", ["native", "container_baseline"])
def test_a_rows_metrics_are_those_of_its_requests_and_samples(small: Path, environment: str) -> None:
    dataset = Dataset(small)
    row = next(r for r in dataset.read("runs") if r["environment"] == environment and r["status"] == "ok")
    mine = [r for r in dataset.read("requests") if r["run_id"] == row["run_id"]]
    samples = sorted((s for s in dataset.read("samples") if s["run_id"] == row["run_id"]), key=lambda s: s["t_ns"])
    before = {name: value for name, value in row.items() if name.endswith("_before_gib")}
    data = RunData(counted([request_of(r) for r in mine]), samples, EngineFacts(), before)
    told_by_engine = {"kv_cache_gib", "engine_reported_peak_gib"}
    given = {name: row[name] for name in BY_NAME if row[name] is not None}
    assert given.keys() >= {*told_by_engine, "latency_p99_ms", "itl_mean_ms", "energy_j", "process_rss_peak_gib"}
    assert ("cgroup_anon_peak_gib" in given) == (environment != "native")
    computed = {name: value for name, value in compute_all(data).items() if name in given.keys() - told_by_engine}
    assert {name: given[name] for name in computed} == pytest.approx(computed, rel=1e-9)


def test_every_file_has_the_schema_of_the_store(small: Path) -> None:
    for table in TABLES:
        files = sorted((small / table).glob("*.parquet"))
        assert files
        for file in files:
            found = pq.read_schema(file)
            assert found.equals(schema_of(table))
            assert found.metadata[b"sparkray.table"] == table.encode()


def test_it_says_what_it_is(small: Path) -> None:
    assert description(Dataset(small))["experiment"] == "small"
    document = json.loads((small / "experiment.json").read_text())
    assert parse(Experiment, document["experiment"], "experiment.json").runs == 6
    assert parse(ModelCard, document["cards"][0], "card").name == "Qwen2-1.5B"
    assert all(row["simulated"] for row in Dataset(small).read("runs"))


def test_the_same_seed_makes_the_same_rows_and_another_others(small: Path, tmp_path: Path) -> None:
    def rows(path: Path) -> pl.DataFrame:
        return pl.read_parquet(path / "runs" / "*.parquet").sort("run_id", "attempt")

    assert rows(small_study(tmp_path / "a", models=1)).equals(rows(small))
    assert not rows(small_study(tmp_path / "b", models=1, seed=1)).equals(rows(small))


def test_blocks_hold_every_environment_once_in_an_order_that_varies(small: Path) -> None:
    rows = sorted((r for r in Dataset(small).read("runs") if r["status"] == "ok"), key=lambda r: r["position"])
    orders = set()
    for block in range(6):
        order = tuple(row["environment"] for row in rows if row["block"] == block)
        assert sorted(order) == ["container_baseline", "container_optimized", "native"]
        orders.add(order)
    assert len(orders) > 1
    assert [row["started_at"] for row in rows] == sorted(row["started_at"] for row in rows)


def test_the_mean_latency_is_the_planted_one_when_nothing_is_noisy(tmp_path: Path) -> None:
    planted = Plant(
        models=("Mistral-7B-v0.3",),
        runs=2,
        requests=50,
        samples=0,
        cv=0,
        block_cv=0,
        speed_ratio={"container_baseline": 0.9},
        drift_per_run=0.01,
    )
    rows = sorted(Dataset(plant(tmp_path, planted)).read("runs"), key=lambda row: row["position"])
    truth = {"native": 1.0, "container_baseline": 1 / 0.9, "container_optimized": 1.0}
    levels = [math.log(row["latency_mean_ms"] / truth[row["environment"]]) - 0.01 * row["position"] for row in rows]
    assert max(levels) - min(levels) < 1e-6


def test_a_size_slope_is_in_the_true_ratio_of_containers_alone() -> None:
    card = Catalog(data_root()).card("Qwen2.5-72B")
    planted = Plant(size_slope=0.01, speed_ratio={"container_baseline": 0.98})
    assert card.shape is not None
    factor = math.exp(0.01 * math.log(card.shape.params_total / 7e9))
    assert true_speed_ratio(planted, card, "container_baseline") == pytest.approx(0.98 * factor)
    assert true_speed_ratio(planted, card, "native") == 1.0


def test_a_model_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError):
        plant(tmp_path, Plant(models=("GPT-9",)))


@pytest.mark.parametrize("unable", [(), ("Qwen2.5-72B",)], ids=["sound", "a model that the machine cannot hold"])
def test_a_study_passes_its_own_audit(tmp_path: Path, unable: tuple[str, ...]) -> None:
    study = Plant(
        models=("Qwen2-1.5B", "Mistral-7B-v0.3", *unable),
        runs=12,
        requests=16,
        samples=80,
        flaky=0,
        speed_ratio={"container_baseline": 0.988},
        memory_ratio={"container_baseline": 1.03},
    )
    catalog = Catalog(data_root())
    folder = plant(tmp_path, study, merged=True)
    document = json.loads((folder / "experiment.json").read_text())
    results = dataset_results(Dataset(folder).read("runs"), document)
    assert kinds(audit(case_of(results, catalog.cards(), catalog.site("dgx-spark")))) == set()


def test_no_two_metrics_of_memory_are_one_number_and_no_run_takes_more_than_there_is(tmp_path: Path) -> None:
    study = Plant(models=("Qwen2-1.5B", "Mixtral-8x7B", "Qwen2.5-72B"), runs=6, requests=8, samples=60)
    rows = Dataset(plant(tmp_path, study, merged=True)).read("runs")
    lost = [row for row in rows if row["model"] == "Qwen2.5-72B"]
    assert {row["status"] for row in lost} == {"unready"}
    assert "135.4 GiB" in lost[0]["reason"]
    ok = [row for row in rows if row["status"] == "ok"]
    assert max(row["host_free_drop_peak_gib"] for row in ok) < 110
    other = ("host_free_drop_peak_gib", "gpu_process_peak_gib", "process_rss_peak_gib", "kv_cache_gib")
    for name in other:
        of_one = [(row["host_available_drop_peak_gib"], row[name]) for row in ok if row["model"] == "Mixtral-8x7B"]
        assert abs(np.corrcoef(np.array(of_one).T)[0, 1]) < 0.999, name
