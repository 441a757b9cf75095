"""Gates and watchdog within real runs: what they found stands in the row, and memory that runs out ends the engine."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_bench import bench_of, changed, model_of, run, study_of

from sparkray.config.experiment import Protocol
from sparkray.execute import run_once
from sparkray.execute.bench import Bench
from sparkray.optimize.search.stage import plan_of
from sparkray.runtimes import Stop
from sparkray.runtimes.linux.process import marked

MORE_THAN_THERE_IS_GIB = 1e6


@pytest.fixture(scope="module")
def bench(machine_lock: None, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Bench:
    folder = tmp_path_factory.mktemp("gates")
    study = study_of(model_of(folder), environments=("host", "container_baseline"))
    return bench_of(study, folder / "results", cache)


def under(bench: Bench, protocol: Protocol, **options: object) -> Bench:
    other = changed(bench, **options)
    return replace(other, study=replace(other.study, experiment=replace(other.study.experiment, protocol=protocol)))


def test_without_a_protocol_nothing_is_waited_for(bench: Bench) -> None:
    row = run(bench, "host").row
    assert row["status"] == "ok", row["reason"]
    assert row["gate_wait_s"] < 1
    assert row["page_cache_dropped"] is None


@pytest.mark.parametrize("environment", ["host", "container_baseline"])
def test_memory_below_the_floor_ends_the_run_as_oom(bench: Bench, environment: str) -> None:
    starving = under(bench, Protocol(memory_floor_gib=MORE_THAN_THERE_IS_GIB), load_s=50.0)
    outcome = run(starving, environment)
    assert outcome.status == "oom"
    assert outcome.row["reason"].startswith("MemAvailable fell to ")
    assert outcome.row["reason"].endswith(" GiB, below the floor of 1e+06")
    assert outcome.row["duration_s"] < 20
    assert outcome.samples
    assert marked() == []


def test_a_cooldown_without_a_thermometer_marks_the_row(bench: Bench) -> None:
    if bench.machine.gpus:
        pytest.skip("this machine has a thermometer")
    row = run(under(bench, Protocol(cooldown="fixed", cooldown_s=0.2, page_cache="warm")), "host").row
    assert row["status"] == "ok", row["reason"]
    assert row["gate_wait_s"] >= 0.2
    assert "cooldown fixed: no GPU tells its temperature" in row["deviations"]


def test_a_late_review_reaches_the_runs_of_a_search(bench: Bench) -> None:
    """A block of a search: the baseline started from another state of the memory than what is held against it."""
    study = bench.study
    first, second = plan_of(study, study.treatments, "Tiny", 64).values()
    outcome = run_once(bench, first, Stop(), lambda _: None)
    assert outcome.status == "ok", outcome.row["reason"]
    path = bench.dataset.path / "runs" / f"{first.run_id}-1.parquet"
    table = pq.ParquetFile(path).read()
    column = "page_cache_before_gib"
    other = pa.array([table[column][0].as_py() + 1e3], table.schema.field(column).type)
    pq.write_table(table.set_column(table.schema.get_field_index(column), table.schema.field(column), other), path)
    again = run_once(replace(bench), second, Stop(), lambda _: None)
    assert again.status == "ok", again.row["reason"]
    assert list(again.refused) == [first.run_id]
    assert again.refused[first.run_id].startswith("memory_state: page cache")
    assert bench.dataset.ok_run_ids() >= {second.run_id}
    assert first.run_id not in bench.dataset.ok_run_ids()
