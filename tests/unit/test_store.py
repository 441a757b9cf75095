"""Parquet in and out: what was written is read, by whoever reads it, and what a crash left behind is no result."""

import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest
from builders import outcome, row

from sparkray.errors import DatasetError, StorageError
from sparkray.metrics import BY_NAME
from sparkray.records import SCHEMA_VERSION, Outcome
from sparkray.store import FORMAT, Dataset, dataset_at, description, existing, open_dataset
from sparkray.store.documents import newer_schema
from sparkray.store.parquet import Kept
from sparkray.store.tables import TABLES
from sparkray.store.writing import write_atomically

WRITER = """
import sys
import threading
from pathlib import Path
from sparkray.store.writing import write_atomically
target = Path(sys.argv[1])
print("ready", flush=True)
number = 0
while True:
    number = (number + 1) % 200
    write_atomically(target, bytes([number]) * 300_000)
"""


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path, "question", "d" * 64)


def files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_was_written_is_read(dataset: Dataset) -> None:
    written = outcome("r1", output_throughput_tok_s=5.5, started_at=datetime(2026, 1, 2, tzinfo=UTC), exit_code=0)
    dataset.write(written)
    [read] = dataset.read("runs")
    assert {key: read[key] for key in written.row} == written.row
    assert {value for key, value in read.items() if key not in written.row} == {None}
    first, second = sorted(dataset.read("requests"), key=lambda r: r["request"])
    for stored, made in zip((first, second), written.requests, strict=True):
        expected = asdict(made)
        assert stored.pop("request") == expected.pop("index")
        assert (stored.pop("run_id"), stored.pop("attempt")) == ("r1", 1)
        assert stored == expected | {"token_ns": list(made.token_ns)}
    [sample] = dataset.read("samples")
    assert (sample["sampler"], sample["t_ns"], sample["mem_free_gib"], sample["device"]) == ("host", 5, 1.5, None)
    assert dataset.read("checks") == [
        {"run_id": "r1", "attempt": 1, "check": "tokens", "verdict": "pass", "evidence": "fine"}
    ]


def test_columns_can_be_chosen_and_statuses_counted(dataset: Dataset) -> None:
    dataset.write(outcome("r1"))
    dataset.write(outcome("r2", status="failed"))
    dataset.write(outcome("r2", attempt=2))
    dataset.write(outcome("r3", status="invalid"))
    assert dataset.ok_run_ids() == {"r1", "r2"}
    assert [dataset.attempts(run_id) for run_id in ("r1", "r2", "r3", "r4")] == [1, 2, 1, 0]
    assert dataset.read("runs", ["run_id"])[0] == {"run_id": "r1"}


def test_a_run_that_left_nothing_has_a_row_alone(dataset: Dataset) -> None:
    dataset.write(Outcome(row("r1", status="unready", reason="no image")))
    assert {table: files(dataset.path / table) for table in TABLES} == {
        "runs": {"r1-1.parquet"},
        "requests": set(),
        "samples": set(),
        "checks": set(),
    }


@pytest.mark.parametrize("table", TABLES)
def test_the_schema_says_its_version_and_what_each_column_means(dataset: Dataset, table: str) -> None:
    dataset.write(outcome("r1"))
    schema = pq.read_schema(dataset.path / table / "r1-1.parquet")
    assert schema.metadata[b"sparkray.schema"] == SCHEMA_VERSION.encode()
    assert schema.metadata[b"sparkray.table"] == table.encode()
    assert schema.names == [column.name for column in TABLES[table]]
    assert {schema.field(c.name).metadata[b"what"].decode() for c in TABLES[table]} == {
        c.meaning for c in TABLES[table]
    }


def test_every_metric_is_a_column_of_runs() -> None:
    assert {*BY_NAME} <= {column.name for column in TABLES["runs"]}


@pytest.mark.parametrize("table", TABLES)
def test_polars_duckdb_and_pandas_read_every_table_alike(dataset: Dataset, table: str) -> None:
    dataset.write(outcome("r1", started_at=datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)))
    dataset.write(outcome("r2", status="failed"))
    glob = str(dataset.path / table / "*.parquet")
    by_polars = pl.read_parquet(glob)
    by_duckdb = duckdb.connect().sql(f"select * from read_parquet('{glob}')")
    by_pandas = pd.read_parquet(dataset.path / table)
    names = [column.name for column in TABLES[table]]
    assert by_polars.columns == by_duckdb.columns == list(by_pandas.columns) == names
    expected = sorted(r["run_id"] for r in dataset.read(table))
    assert sorted(by_polars["run_id"]) == sorted(by_pandas["run_id"]) == expected
    assert sorted(run_id for (run_id,) in by_duckdb.select("run_id").fetchall()) == expected


def test_times_are_utc_for_every_reader(dataset: Dataset) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=UTC)
    dataset.write(outcome("r1", started_at=at))
    glob = str(dataset.path / "runs" / "*.parquet")
    assert pl.read_parquet(glob)["started_at"][0] == at
    assert pd.read_parquet(dataset.path / "runs")["started_at"][0] == at
    micros = duckdb.connect().sql(f"select epoch_us(started_at) from read_parquet('{glob}')").fetchall()
    assert micros == [(1767323045000678,)]


def test_what_a_crash_left_behind_is_no_result(dataset: Dataset) -> None:
    dataset.write(outcome("r1"))
    whole = (dataset.path / "runs" / "r1-1.parquet").read_bytes()
    (dataset.path / "runs" / ".r2-1.parquet.4711.partial").write_bytes(whole[: len(whole) // 2])
    (dataset.path / "requests" / "r2-1.parquet").write_bytes((dataset.path / "requests/r1-1.parquet").read_bytes())
    assert dataset.ok_run_ids() == {"r1"}
    assert dataset.attempts("r2") == 0
    dataset.write(outcome("r2"))
    assert dataset.ok_run_ids() == {"r1", "r2"}
    assert sorted(r["run_id"] for r in dataset.read("requests")) == ["r1", "r1", "r2", "r2"]


def test_the_row_comes_last(dataset: Dataset) -> None:
    (dataset.path / "checks").rmdir()
    (dataset.path / "checks").write_text("in the way")
    with pytest.raises(StorageError, match="checks"):
        dataset.write(outcome("r1"))
    assert files(dataset.path / "requests") == {"r1-1.parquet"}
    assert dataset.attempts("r1") == 0


def test_a_reader_finds_a_whole_file_while_it_is_written_and_after_the_writer_is_killed(tmp_path: Path) -> None:
    target = tmp_path / "file"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(target)], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        writer.stdout.readline()
        while not target.exists():
            time.sleep(0.001)
        seen = {target.read_bytes()}
        while len(seen) < 20:
            seen.add(target.read_bytes())
        writer.send_signal(signal.SIGKILL)
    seen.add(target.read_bytes())
    assert {(len(data), len(set(data))) for data in seen} == {(300_000, 1)}


def test_a_file_is_replaced_and_nothing_else_is_left(tmp_path: Path) -> None:
    for data in (b"one", b"", b"three"):
        write_atomically(tmp_path / "file", data)
        assert (tmp_path / "file").read_bytes() == data
    assert files(tmp_path) == {"file"}


def test_a_write_that_fails_leaves_nothing_and_says_where(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    with pytest.raises(StorageError, match="file cannot be written: Is a directory") as error:
        write_atomically(tmp_path / "file", b"data")
    assert "--results-dir DIR" in error.value.remedy
    assert files(tmp_path) == {"file"}
    with pytest.raises(StorageError, match="No such file or directory"):
        write_atomically(tmp_path / "none" / "file", b"data")


def test_a_broken_file_is_named_with_what_to_do(dataset: Dataset) -> None:
    (dataset.path / "runs" / "r1-1.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(DatasetError, match=r"r1-1\.parquet cannot be read") as error:
        dataset.read("runs")
    assert "measured again" in error.value.remedy


def test_one_definition_goes_on_and_another_opens_a_folder_beside_it(tmp_path: Path) -> None:
    first = open_dataset(tmp_path, "question", "a" * 64)
    assert open_dataset(tmp_path, "question", "a" * 64) == first
    second = open_dataset(tmp_path, "question", "b" * 64)
    assert second.path.name == "question@2"
    assert open_dataset(tmp_path, "question", "a" * 64) == first
    fresh = open_dataset(tmp_path, "question", "a" * 64, fresh=True)
    assert fresh.path.name == "question@3"
    assert open_dataset(tmp_path, "question", "a" * 64) == fresh
    assert existing(tmp_path, "question") == [first, second, fresh]
    assert files(tmp_path) == {"question", "question@2", "question@3"}


def test_numbers_are_counted_not_spelled(tmp_path: Path) -> None:
    for number in range(1, 12):
        open_dataset(tmp_path, "question", str(number))
    assert [d.path.name for d in existing(tmp_path, "question")][-2:] == ["question@10", "question@11"]


def test_a_folder_that_is_no_dataset_is_stepped_around_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "question").mkdir()
    (tmp_path / "question" / "mine.txt").write_text("keep")
    (tmp_path / "question@old").mkdir()
    (tmp_path / "question@old" / "dataset.json").write_text("{}")
    assert open_dataset(tmp_path, "question", "a").path.name == "question@2"
    assert (tmp_path / "question" / "mine.txt").read_text() == "keep"
    assert existing(tmp_path / "none", "question") == []


def test_a_dataset_says_what_it_is(dataset: Dataset) -> None:
    said = description(dataset)
    assert (said["format"], said["schema"], said["experiment"]) == (FORMAT, SCHEMA_VERSION, "question")
    assert said["definition_sha256"] == "d" * 64
    assert datetime.fromisoformat(said["created_at"]).tzinfo is not None


@pytest.mark.parametrize("text", ["{", "[]", "{}", json.dumps({"format": "sparkray-dataset/9"})])
def test_a_dataset_of_another_format_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "question").mkdir()
    (tmp_path / "question" / "dataset.json").write_text(text)
    with pytest.raises(DatasetError, match=r"dataset\.json") as error:
        open_dataset(tmp_path, "question", "a")
    assert "--results-dir DIR" in error.value.remedy


def test_inputs_and_logs_are_kept(dataset: Dataset, tmp_path: Path) -> None:
    target = dataset.path / "inputs" / "a" / "prompts.json"
    dataset.put_input(target, b"1")
    inode = target.stat().st_ino
    dataset.put_input(target, b"1")
    assert target.stat().st_ino == inode
    dataset.put_input(target, b"2")
    assert target.read_bytes() == b"2"
    log = tmp_path / "engine.log"
    dataset.keep_log("r1", 2, log)
    log.write_bytes(b"\xff said")
    dataset.keep_log("r1", 2, log)
    assert (dataset.path / "logs" / "r1-2.log").read_bytes() == b"\xff said"


def test_progress_is_reported_and_never_a_reason_to_fail(dataset: Dataset) -> None:
    assert dataset.progress() is None
    run = {"run_id": "r", "environment": "native", "model": "A"}
    state: dict[str, Any] = {"run": 3, "of": 9, **run, "since": 1.5, "eta_s": 0}
    dataset.write_progress(state)
    assert dataset.progress() == state
    (dataset.path / "progress.json").write_text("{")
    assert dataset.progress() is None
    (dataset.path / "progress.json").unlink()
    (dataset.path / "progress.json").mkdir()
    dataset.write_progress(state)


def test_a_spool_is_dropped_with_all_it_holds(dataset: Dataset) -> None:
    folder = dataset.spool / "r1"
    (folder / "out").mkdir(parents=True)
    (folder / "out" / "x").write_text("x")
    dataset.drop_spool(folder)
    dataset.drop_spool(folder)
    assert files(dataset.spool) == set()


def test_a_dataset_of_a_newer_schema_is_not_written_to(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "question", "d")
    path = dataset.path / "dataset.json"
    document = json.loads(path.read_text())
    for schema in ("999", "999.1", "2.0", "1.999", "next"):
        path.write_text(json.dumps({**document, "schema": schema}))
        with pytest.raises(DatasetError, match=f"written by a newer sparkray \\(schema {schema};") as error:
            open_dataset(tmp_path, "question", "d")
        assert "--fresh" in error.value.remedy
        assert newer_schema(description(dataset)) == schema
    for schema in ("1", "1.0", SCHEMA_VERSION):
        path.write_text(json.dumps({**document, "schema": schema}))
        assert open_dataset(tmp_path, "question", "d").path == dataset.path


def test_folders_that_are_gone_are_made_again(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "question", "d")
    shutil.rmtree(dataset.path / "runs")
    shutil.rmtree(dataset.spool)
    assert dataset_at(dataset.path) == open_dataset(tmp_path, "question", "d") == dataset
    assert (dataset.path / "runs").is_dir()
    assert dataset.spool.is_dir()


class SlowPath(type(Path())):  # type: ignore[misc]
    """Lets another thread go on wherever it is looked up."""

    def __hash__(self) -> int:
        time.sleep(0)
        return super().__hash__()


def test_threads_share_what_was_read(tmp_path: Path) -> None:
    kept, failures = Kept(2), []

    def read() -> None:
        try:
            for number in range(2000):
                key = (SlowPath(tmp_path / str(number % 6)), "runs", None)
                assert kept.get(key) in (None, ((), []))
                kept.put(key, ((), []))
        except KeyError as error:  # another thread dropped it meanwhile
            failures.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
