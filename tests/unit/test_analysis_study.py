"""Tables always have their schema and never a NaN, whatever the dataset lacks."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.studies import analysed, small_study

from sparkray.analysis import Analysis, analyse, comparisons, frames_of_rows
from sparkray.analysis.context import DEFAULT_MARGINS
from sparkray.analysis.schema import TABLES, polars_types
from sparkray.catalog import Catalog, data_root
from sparkray.errors import DatasetError, UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.records import Outcome
from sparkray.simulate.study import Plant, plant
from sparkray.stats.reasons import worded
from sparkray.store import Dataset, open_dataset

SPEED, LATENCY, MEMORY = "output_throughput_tok_s", "latency_mean_ms", "host_available_drop_peak_gib"
TWO = ("native", "container_baseline")


@pytest.fixture(scope="module")
def small() -> Path:
    return analysed().path


@pytest.fixture(scope="module")
def analysis() -> Analysis:
    return analysed()


@pytest.fixture(scope="module")
def single() -> Analysis:
    """Of one model: what one model shows is shown on it, in a third of the time."""
    return analysed(models=1)


def dataset_of(folder: Path, **runs: list[float | None]) -> Path:
    """A dataset of rows alone: throughput by environment, one value a block; None is a run that failed."""
    dataset = open_dataset(folder, "rows", "0" * 64)
    for environment, values in runs.items():
        for block, value in enumerate(values):
            row = {
                "run_id": f"{environment}{block}",
                "attempt": 1,
                "model": "Alpha",
                "environment": environment,
                "block": block,
                "status": "ok" if value is not None else "failed",
                SPEED: value,
            }
            dataset.write(Outcome(row=row))
    return dataset.path


def no_runs(folder: Path) -> Path:
    return open_dataset(folder, "empty", "0" * 64).path


def all_failed(folder: Path) -> Path:
    return dataset_of(folder, native=[None, None], container_baseline=[None, None])


def one_arm_failed(folder: Path) -> Path:
    return dataset_of(folder, native=[100.0, 101.0, 99.0], container_baseline=[None, None, None])


def one_environment(folder: Path) -> Path:
    return dataset_of(folder, native=[100.0, 101.0, 99.0])


def one_pair(folder: Path) -> Path:
    return dataset_of(folder, native=[100.0], container_baseline=[99.0])


def two_pairs(folder: Path) -> Path:
    return dataset_of(folder, native=[100.0, 101.0], container_baseline=[99.0, 100.5])


def constant(folder: Path) -> Path:
    return dataset_of(folder, native=[100.0] * 6, container_baseline=[99.0] * 6)


def zeros(folder: Path) -> Path:
    return dataset_of(folder, native=[0.0] * 6, container_baseline=[0.0, 1.0, 2.0, 0.0, 1.0, 3.0])


def disjoint_blocks(folder: Path) -> Path:
    return dataset_of(folder, native=[100.0, 101.0, None, None], container_baseline=[None, None, 99.0, 98.0])


def unequal_arms(folder: Path) -> Path:
    return dataset_of(folder, native=[100.0 + b for b in range(9)], container_baseline=[99.0, None, 98.0, 97.5, 97.0])


def without_gpu(folder: Path) -> Path:
    return small_study(folder, models=1, gpu=False, merged=True)


def without_observations(folder: Path) -> Path:
    return small_study(folder, models=1, requests=0, samples=0, merged=True)


def with_levels(folder: Path) -> Path:
    return small_study(folder, models=1, runs=2, levels=("concurrency=1", "concurrency=8"), merged=True)


def four_environments(folder: Path) -> Path:
    return small_study(
        folder, models=1, runs=3, environments=("native", "host", "container_baseline", "container_optimized")
    )


def containers_never_up(folder: Path) -> Path:
    return small_study(folder, models=2, runs=3, failing=("Mistral-7B-v0.3",), merged=True)


ODD: list[Callable[[Path], Path]] = [
    no_runs,
    all_failed,
    one_arm_failed,
    one_environment,
    one_pair,
    two_pairs,
    constant,
    zeros,
    disjoint_blocks,
    unequal_arms,
    without_gpu,
    without_observations,
    with_levels,
    four_environments,
    containers_never_up,
]


def check_tables(found: Analysis) -> None:
    """Every table has its schema, no number is NaN or infinite, every row has a trace of its own."""
    assert list(found.tables) == list(TABLES)
    for name, frame in found.tables.items():
        assert dict(frame.schema) == polars_types(TABLES[name]), name
        for column in frame.select(pl.selectors.float()).get_columns():
            assert column.drop_nulls().is_finite().all(), (name, column.name)
        assert frame["trace"].null_count() == 0
        assert frame["trace"].n_unique() == frame.height, name
    json.dumps(found.context, allow_nan=False)


@pytest.mark.parametrize("made", ODD, ids=lambda made: made.__name__)
def test_whatever_a_dataset_lacks_its_tables_stand(made: Callable[[Path], Path], tmp_path: Path) -> None:
    check_tables(analyse(made(tmp_path)))


def test_a_full_study_of_one_load_has_rows_in_every_table_but_knee(analysis: Analysis) -> None:
    check_tables(analysis)
    assert [name for name, frame in analysis.tables.items() if not frame.height] == ["knee"]


def primary(found: Analysis, **where: str) -> pl.DataFrame:
    return found.tables["comparisons"].filter(pl.col("primary"), **where)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (one_arm_failed, "container_baseline: no run of this cell is ok (3 failed)"),
        (all_failed, "native: no run of this cell is ok (2 failed)"),
        (one_pair, "1 complete pair: an interval needs at least 2"),
        (disjoint_blocks, "0 complete pairs: an interval needs at least 2"),
        (zeros, "a value is not a finite number above 0: no ratio"),
    ],
)
def test_what_cannot_be_estimated_says_why_and_has_no_numbers(
    made: Callable[[Path], Path], reason: str, tmp_path: Path
) -> None:
    [row] = primary(analyse(made(tmp_path)), metric=SPEED).to_dicts()
    assert worded(row["not_estimable"]) == reason
    assert [row[name] for name in ("ratio", "low", "high", "verdict", "permutation_p")] == [None] * 5


def test_a_failed_cell_is_described_as_one(tmp_path: Path) -> None:
    found = analyse(containers_never_up(tmp_path), metrics=[SPEED]).tables["descriptive"]
    [row] = found.filter(model="Mistral-7B-v0.3", environment="container_baseline", metric=SPEED).to_dicts()
    assert (row["n"], row["mean"]) == (0, None)
    assert row["not_estimable"] == "no_ok_run?statuses=3+failed"


def test_questions_that_the_data_cannot_answer_are_not_answered(tmp_path: Path) -> None:
    found = analyse(one_environment(tmp_path)).tables["questions"]
    assert sorted(set(found["question"])) == [1, 2, 3, 4, 5]
    assert set(found["verdict"]) == {"unanswered"}
    assert found["reason"].is_not_null().all()


def test_the_table_says_the_same_as_the_end_of_a_sweep(small: Path, analysis: Analysis) -> None:
    rows = Dataset(small).read("runs")
    shown = comparisons(
        frames_of_rows(rows, {row["run_id"] for row in rows}), [SPEED, LATENCY, MEMORY], DEFAULT_MARGINS
    )
    assert len(shown) == 18
    for each in shown:
        [row] = primary(
            analysis, model=each["model"], environment=each["environment"], metric=each["metric"]
        ).to_dicts()
        assert (row["ratio"], row["low"], row["high"]) == pytest.approx((each["ratio"], each["low"], each["high"]))
        assert (row["n"], row["verdict"]) == (each["n"], each["verdict"])


def test_the_attempt_that_is_ok_stands_for_a_run(small: Path, analysis: Analysis) -> None:
    again = [row for row in Dataset(small).read("runs") if row["attempt"] == 2]
    assert len(again) == 4
    used = analysis.tables["runs"]
    assert used.height == 54
    assert set(used.filter(attempt=2)["run_id"]) == {row["run_id"] for row in again}
    assert analysis.tables["order"].height == 58


def test_a_run_found_invalid_later_counts_no_more(single: Analysis, tmp_path: Path) -> None:
    copy = shutil.copytree(single.path, tmp_path / "copy")
    [row] = [r for r in Dataset(copy).read("runs") if r["position"] == 0]
    Dataset(copy).revise(row["run_id"], row["attempt"], status="invalid", reason="an outlier")
    found = analyse(copy, metrics=[SPEED])
    assert row["run_id"] not in found.tables["runs"]["run_id"]
    assert found.context["status_counts"]["invalid"] == 1


def test_merged_files_and_leftovers_change_nothing(single: Analysis, tmp_path: Path) -> None:
    copy = shutil.copytree(single.path, tmp_path / "copy")
    for table in ("runs", "requests", "samples", "checks"):
        files = sorted((copy / table).glob("*.parquet"))
        pl.concat([pl.read_parquet(file) for file in files[:10]]).write_parquet(copy / table / "part-0.parquet")
        for file in files[:10]:
            file.unlink()
        (copy / table / ".left.parquet.9.partial").write_bytes(b"half")
    found = analyse(copy)
    for name, frame in single.tables.items():
        assert_frame_equal(frame, found.tables[name], rel_tol=1e-9)


def test_rows_of_runs_that_lie_between_each_other_change_nothing(single: Analysis, tmp_path: Path) -> None:
    copy = shutil.copytree(single.path, tmp_path / "copy")
    files = sorted((copy / "samples").glob("*.parquet"))
    pl.concat([pl.read_parquet(file) for file in files]).sort("t_ns").write_parquet(copy / "samples" / "all.parquet")
    for file in files:
        file.unlink()
    found = analyse(copy, metrics=[SPEED]).tables["temperatures"]
    assert_frame_equal(single.tables["temperatures"], found, rel_tol=1e-9)


def test_a_dataset_of_an_older_version_has_nulls_where_it_had_no_columns(single: Analysis, tmp_path: Path) -> None:
    copy = shutil.copytree(single.path, tmp_path / "copy")
    for file in (copy / "runs").glob("*.parquet"):
        pl.read_parquet(file).drop("level", "energy_j").write_parquet(file)
    (copy / "experiment.json").unlink()
    found = analyse(copy)
    check_tables(found)
    assert "energy_j" not in found.tables["descriptive"]["metric"]
    assert found.context["margins"] == dict(DEFAULT_MARGINS)
    assert set(primary(found)["verdict"]) == {"different", "equivalent"}


def test_a_file_that_is_no_parquet_is_named(single: Analysis, tmp_path: Path) -> None:
    for table in ("runs", "requests"):
        copy = shutil.copytree(single.path, tmp_path / table)
        broken = min((copy / table).glob("*.parquet"))
        broken.write_bytes(b"no Parquet at all")
        with pytest.raises(DatasetError, match=broken.name):
            analyse(copy)


def test_a_folder_that_is_no_dataset_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError):
        analyse(tmp_path)


def test_metrics_and_margins_that_are_none_are_refused(small: Path) -> None:
    with pytest.raises(UnknownNameError, match="latency_p95_ms"):
        analyse(small, metrics=["latency_p96_ms"])
    with pytest.raises(UnknownNameError):
        analyse(small, margins={"speed": 0.1})


def test_margins_of_the_caller_win_and_are_distinguished_from_those_declared(small: Path) -> None:
    found = analyse(small, margins={LATENCY: 0.10}, metrics=[LATENCY])
    assert set(primary(found, metric=LATENCY)["margin"]) == {0.10}
    assert set(primary(found, metric=LATENCY)["verdict"]) == {"equivalent"}
    assert found.context["margins_declared"][LATENCY] == 0.01
    assert set(found.tables["descriptive"]["metric"]) == {SPEED, LATENCY, MEMORY}


def test_the_same_seed_gives_the_same_tables(single: Analysis) -> None:
    again = analyse(single.path)
    assert all(frame.equals(again.tables[name]) for name, frame in single.tables.items() if name != "temperatures")


def test_adjusted_p_values_belong_to_the_primary_family(analysis: Analysis) -> None:
    rows = analysis.tables["comparisons"]
    family, others = rows.filter("primary"), rows.filter(~pl.col("primary"))
    assert others.select("p_bonferroni", "p_holm", "p_bh").null_count().row(0) == (others.height,) * 3
    assert family["p_bonferroni"].to_list() == pytest.approx([min(1, p * family.height) for p in family["p"]])
    assert (family["p_bh"] <= family["p_holm"] + 1e-15).all()
    assert (family["p_holm"] <= family["p_bonferroni"] + 1e-15).all()


def test_verdicts_by_n_end_with_the_verdict(analysis: Analysis) -> None:
    by_n = analysis.tables["verdict_by_n"]
    assert sorted(set(by_n["n"])) == [5, 6]
    keys = ["model", "level", "environment", "metric"]
    last = by_n.filter(n=6).join(primary(analysis), on=keys, suffix="_whole")
    assert last.height == 18
    assert (last["verdict"] == last["verdict_whole"]).all()
    assert last["ratio"].to_list() == pytest.approx(last["ratio_whole"].to_list())


def test_requests_are_those_of_the_ok_runs_without_warmup(single: Analysis) -> None:
    small = single.path
    ok = {(row["run_id"], row["attempt"]) for row in Dataset(small).read("runs") if row["status"] == "ok"}
    runs = {
        row["run_id"]
        for row in Dataset(small).read("runs")
        if row["model"] == "Qwen2-1.5B" and row["environment"] == "native"
    }
    times = [
        (row["end_ns"] - row["submit_ns"]) / 1e6
        for row in Dataset(small).read("requests")
        if row["run_id"] in runs and (row["run_id"], row["attempt"]) in ok and not row["warmup"]
    ]
    curve = single.tables["requests"].filter(model="Qwen2-1.5B", environment="native", metric="latency_ms")
    assert curve["quantile"].to_list() == pytest.approx([q / 100 for q in range(101)])
    assert len(times) == 6 * 24
    assert (curve["value"][0], curve["value"][-1]) == pytest.approx((min(times), max(times)))
    assert curve["value"].is_sorted()


def test_the_context_tells_what_was_done(analysis: Analysis) -> None:
    context = analysis.context
    assert (context["experiment"], context["site"], context["order"]) == ("small", "dgx-spark", "random")
    assert (context["pairs_planned"], context["runs_used"], context["simulated"]) == (6, 54, True)
    assert context["status_counts"] == {"failed": 4, "ok": 54}
    assert context["engines"] == [{"engine": "trtllm", "engine_version": "1.0.0"}]
    assert set(context["docker_commands"]) == {"container_baseline", "container_optimized"}
    assert context["docker_commands"]["container_baseline"].startswith("docker run ")
    assert context["deviations"] == {"made from nothing: no machine was measured": 58}
    assert context["machines"][0]["gpus"] == ["NVIDIA GB10"]
    assert context["cooldown"] == "adaptive"
    assert context["started_at"] < context["ended_at"]


def test_a_sequential_study_gets_the_verdicts_of_its_interim_analyses(single: Analysis, tmp_path: Path) -> None:
    copy = shutil.copytree(single.path, tmp_path / "copy")
    document = json.loads((copy / "experiment.json").read_text())
    document["experiment"]["sequential"] = {"looks": [3, 6, 12], "spending": "linear"}
    (copy / "experiment.json").write_text(json.dumps(document))
    found = primary(analyse(copy, metrics=[SPEED]))
    assert set(found["n"]) <= {3, 6}
    fixed = primary(single)
    same = (found["n"] == 6).to_list()
    assert any(same)
    for row, other in zip(found.filter(same).to_dicts(), fixed.filter(same).to_dicts(), strict=True):
        assert row["ratio"] == pytest.approx(other["ratio"])
        assert row["high"] - row["low"] > other["high"] - other["low"]


def test_blocks_of_several_days_have_an_interval_over_days(tmp_path: Path) -> None:
    base = {"models": ("Llama-3-70B",), "environments": TWO, "runs": 12, "requests": 8, "samples": 0}
    rows = primary(
        analyse(plant(tmp_path, Plant(cooldown_s=4 * 3600, **base), merged=True), metrics=[SPEED])
    ).to_dicts()
    for row in rows:
        assert row["clusters"] > 2
        assert row["cluster_low"] < row["ratio"] < row["cluster_high"]


def test_every_metric_is_a_column_of_runs_and_every_column_says_what_it_is() -> None:
    names = [column.name for column in TABLES["runs"].columns]
    assert [*BY_NAME] == names[7:-1]
    for table in TABLES.values():
        assert table.columns[-1].name == "trace"


def test_cards_come_from_the_dataset_before_those_that_ship(small: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(small, tmp_path / "copy")
    document = json.loads((copy / "experiment.json").read_text())
    document["cards"] = [document["cards"][0] | {"architecture": "reasoning"}]
    (copy / "experiment.json").write_text(json.dumps(document))
    sizes = analyse(copy, metrics=[SPEED]).tables["size"].filter(metric=SPEED, environment="container_baseline")
    assert sizes.filter(group="reasoning")["n_models"].to_list() == [1]
    shipped = Catalog(data_root()).card("Mistral-7B-v0.3").shape
    assert shipped is not None
    assert sizes.filter(group="Mistral-7B-v0.3")["params_b"].to_list() == pytest.approx([shipped.params_total / 1e9])
