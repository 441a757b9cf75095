"""Gates and watchdog within real runs: what they found stands in the row, and memory that runs out ends the engine."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from small_bench import bench_of, changed, model_of, run, study_of

from sparkray.config.experiment import Protocol
from sparkray.execute.prepared_host import PreparedHost
from sparkray.execute.run import run_once
from sparkray.optimize.search.stage import plan_of
from sparkray.runtimes import Stop
from sparkray.runtimes.linux.process import marked

MORE_THAN_THERE_IS_GIB = 1e6


@pytest.fixture(scope="module")
def prepared(machine_lock: None, tmp_path_factory: pytest.TempPathFactory, cache: Path) -> PreparedHost:
    folder = tmp_path_factory.mktemp("gates")
    study = study_of(model_of(folder), environments=("host", "container_baseline"))
    return bench_of(study, folder / "results", cache)


def under(prepared: PreparedHost, protocol: Protocol, **options: object) -> PreparedHost:
    other = changed(prepared, **options)
    return replace(other, study=replace(other.study, experiment=replace(other.study.experiment, protocol=protocol)))


def test_without_a_protocol_nothing_is_waited_for(prepared: PreparedHost) -> None:
    row = run(prepared, "host").row
    assert row["status"] == "ok", row["reason"]
    assert row["gate_wait_s"] < 20  # a cooldown would be 300 s; a busy machine takes seconds for the gates themselves
    assert row["page_cache_dropped"] is None


@pytest.mark.parametrize("environment", ["host", "container_baseline"])
def test_memory_below_the_floor_ends_the_run_as_oom(prepared: PreparedHost, environment: str) -> None:
    starving = under(prepared, Protocol(memory_floor_gib=MORE_THAN_THERE_IS_GIB), load_s=50.0)
    outcome = run(starving, environment)
    assert outcome.status == "oom"
    assert outcome.row["reason"].startswith("MemAvailable fell to ")
    assert outcome.row["reason"].endswith(" GiB, below the floor of 1e+06")
    assert outcome.row["duration_s"] < 20
    assert outcome.samples
    assert marked() == []


def test_a_cooldown_without_a_thermometer_marks_the_row(prepared: PreparedHost) -> None:
    if prepared.machine.gpus:
        pytest.skip("this machine has a thermometer")
    row = run(under(prepared, Protocol(cooldown="fixed", cooldown_s=0.2, page_cache="warm")), "host").row
    assert row["status"] == "ok", row["reason"]
    assert row["gate_wait_s"] >= 0.2
    assert "cooldown fixed: no GPU tells its temperature" in row["deviations"]


def test_a_late_review_reaches_the_runs_of_a_search(prepared: PreparedHost) -> None:
    """A block of a search: the baseline started from another state of the memory than what is held against it."""
    study = prepared.study
    first, second = plan_of(study, study.treatments, "Tiny", 64).values()
    outcome = run_once(prepared, first, Stop(), lambda _: None)
    assert outcome.status == "ok", outcome.row["reason"]
    path = prepared.dataset.path / "runs" / f"{first.run_id}-1.parquet"
    table = pq.ParquetFile(path).read()
    column = "page_cache_before_gib"
    other = pa.array([table[column][0].as_py() + 1e3], table.schema.field(column).type)
    pq.write_table(table.set_column(table.schema.get_field_index(column), table.schema.field(column), other), path)
    again = run_once(replace(prepared), second, Stop(), lambda _: None)
    assert again.status == "ok", again.row["reason"]
    assert list(again.refused) == [first.run_id]
    assert again.refused[first.run_id].startswith("memory_state: page cache")
    assert prepared.dataset.ok_run_ids() >= {second.run_id}
    assert first.run_id not in prepared.dataset.ok_run_ids()
