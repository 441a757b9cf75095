"""The index of runs answers as the files do, and never for a file that is another than the one it was made of."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from builders import outcome

from sparkray.errors import DatasetError
from sparkray.store import Dataset, open_dataset
from sparkray.store.run_index import FILE, FOLDER, INDEXED

STARTED = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = open_dataset(tmp_path, "question", "d" * 64)
    made.write(outcome("r1", started_at=STARTED, output_throughput_tok_s=5.5))
    made.write(outcome("r2", status="failed"))
    return made


def index_of(dataset: Dataset) -> Path:
    return dataset.path / FOLDER / FILE


def test_it_answers_as_the_files_do(dataset: Dataset) -> None:
    from_files = [{name: row[name] for name in sorted(INDEXED)} for row in dataset.read("runs")]
    assert dataset.read("runs", sorted(INDEXED)) == from_files
    assert from_files[0]["started_at"] == STARTED
    assert len(index_of(dataset).read_bytes().splitlines()) == 2


def test_a_revised_run_is_shown_as_it_is_now(dataset: Dataset) -> None:
    dataset.revise("r1", 1, status="invalid", reason="it was throttled")
    assert [row["status"] for row in dataset.read("runs", ["status"])] == ["invalid", "failed"]
    lines = index_of(dataset).read_bytes().splitlines()
    assert len(lines) == 2, "once it is read, the line that counts no more is gone"


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content.replace(b'"ok"', b'"no"'),
        lambda content: content[: len(content) // 2],
        lambda _: b"\x00\xff\n[]\n",
        lambda _: b"",
    ],
    ids=["altered", "cut", "foreign", "empty"],
)
def test_a_damaged_index_is_made_again_from_the_files(dataset: Dataset, damage: Callable[[bytes], bytes]) -> None:
    whole = index_of(dataset).read_bytes()
    index_of(dataset).write_bytes(damage(whole))
    assert [row["status"] for row in dataset.read("runs", ["status"])] == ["ok", "failed"]
    assert sorted(index_of(dataset).read_bytes().splitlines()) == sorted(whole.splitlines())


def test_a_file_that_was_written_to_is_read_again_and_refused_by_its_name(dataset: Dataset) -> None:
    path = dataset.path / "runs/r1-1.parquet"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(DatasetError, match=r"r1-1\.parquet cannot be read"):
        dataset.read("runs", ["status"])


def test_a_run_that_was_removed_or_put_there_by_another_is_seen(dataset: Dataset) -> None:
    (dataset.path / "runs/r2-1.parquet").rename(dataset.path / "runs/r3-1.parquet")
    assert [row["run_id"] for row in dataset.read("runs", ["run_id"])] == ["r1", "r2"], "a file's rows, not its name"
    (dataset.path / "runs/r3-1.parquet").unlink()
    assert dataset.ok_run_ids() == {"r1"}
    assert dataset.read("runs", ["status"]) == [{"status": "ok"}]


def test_without_a_place_for_it_the_files_are_read(dataset: Dataset) -> None:
    index_of(dataset).unlink()
    index_of(dataset).parent.rmdir()
    index_of(dataset).parent.write_text("a file where the folder would be")
    dataset.write(outcome("r4"))
    assert [row["status"] for row in dataset.read("runs", ["status"])] == ["ok", "failed", "ok"]
