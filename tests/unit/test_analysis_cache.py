"""The cache beside a dataset: never of other files than those there, never damaged, and never needed."""

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal
from support.studies import small_study

from sparkray.analysis import analyse
from sparkray.analysis.cache import FOLDER, LEAST_FILES, kept, listing
from sparkray.analysis.reuse import fresh_analysis
from sparkray.store import Dataset

CODE = Path(__file__)
SPEED = "output_throughput_tok_s"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    for number in range(LEAST_FILES + 2):
        (folder / f"{number:03}-1.parquet").write_text(f"{number:03}")
    return folder


class Reads:
    """Reads a table's files, and counts how often."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.count = folder, 0

    def __call__(self) -> pl.DataFrame:
        files = listing(self.folder)

        def make() -> pl.DataFrame:
            self.count += 1
            return pl.DataFrame({"text": [path.read_text() for path in files.paths]})

        return kept(files, make, code=CODE)

    @property
    def files(self) -> list[Path]:
        return sorted((self.folder.parent / FOLDER).iterdir())


def test_files_are_read_once(table: Path) -> None:
    read = Reads(table)
    first = read()
    assert_frame_equal(read(), first)
    assert (read.count, len(read.files), len(first)) == (1, 1, LEAST_FILES + 2)


def replaced_alike(table: Path) -> None:
    """Another file of the same name, size and time."""
    path = table / "007-1.parquet"
    before, new = path.stat(), table / ".new"
    new.write_text("xyz")
    os.utime(new, ns=(before.st_atime_ns, before.st_mtime_ns))
    new.rename(path)


def written_in_place(table: Path) -> None:
    (table / "007-1.parquet").write_text("xyz")


def added(table: Path) -> None:
    (table / "999-1.parquet").write_text("xyz")


def removed(table: Path) -> None:
    (table / "007-1.parquet").unlink()
    (table / "008-1.parquet").rename(table / "999-1.parquet")


@pytest.mark.parametrize("change", [replaced_alike, written_in_place, added, removed], ids=lambda one: one.__name__)
def test_a_change_of_the_files_is_seen(table: Path, change: Callable[[Path], None]) -> None:
    read = Reads(table)
    read()
    change(table)
    expected = [path.read_text() for path in sorted(table.glob("*.parquet"))]
    assert read()["text"].to_list() == expected


@pytest.mark.parametrize("keep", [0, 8, 200, None], ids=lambda keep: f"{keep} bytes left")
def test_a_damaged_cache_is_thrown_away(table: Path, keep: int | None) -> None:
    read = Reads(table)
    first = read()
    [path] = read.files
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(
        content[:half] + bytes([content[half] ^ 1]) + content[half + 1 :] if keep is None else content[:keep]
    )
    assert_frame_equal(read(), first)
    assert_frame_equal(read(), first)
    assert read.count == 2
    assert [found.read_bytes() for found in read.files] == [content]


def test_where_nothing_can_be_kept_files_are_read(table: Path) -> None:
    (table.parent / FOLDER).write_text("no folder")
    read = Reads(table)
    assert_frame_equal(read(), read())
    assert read.count == 2


def test_several_readers_at_once_leave_one_file(table: Path) -> None:
    read = Reads(table)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: read(), range(16)))
    assert all(frame.equals(found[0]) for frame in found)
    assert [path.name.partition("-")[0] for path in read.files] == ["runs"]


def test_an_analysis_from_the_cache_is_that_of_the_files(tmp_path: Path) -> None:
    path = small_study(tmp_path, models=2, runs=11, flaky=0)
    first, second = (analyse(path, metrics=[SPEED]) for _ in range(2))
    index, *tables = sorted(
        (file.name.partition("-")[0] for file in (path / FOLDER).iterdir()), key="runs.jsonl".__ne__
    )
    assert index == "runs.jsonl"
    assert sorted(tables) == ["checks", "requests", "runs", "samples"]
    for name, frame in first.tables.items():
        assert_frame_equal(frame, second.tables[name], check_exact=True)
    Dataset(path).revise(first.tables["runs"]["run_id"][0], 1, status="invalid", reason="found later")
    assert analyse(path, metrics=[SPEED]).context["runs_used"] == first.context["runs_used"] - 1


def test_an_analysis_is_kept_until_data_margins_or_seed_change(tmp_path: Path) -> None:
    path = small_study(tmp_path, models=1, runs=3)
    first = fresh_analysis(path)
    (kept,) = (path / FOLDER).glob("analysis-*")
    again = fresh_analysis(path)
    assert list((path / FOLDER).glob("analysis-*")) == [kept]
    for name, frame in first.tables.items():
        assert_frame_equal(frame, again.tables[name], check_exact=True)
    assert fresh_analysis(path, margins={SPEED: 0.2}).context["margins"][SPEED] == 0.2
    assert fresh_analysis(path, seed=7).context["analysis_seed"] == 7
    Dataset(path).revise(first.tables["runs"]["run_id"][0], 1, status="invalid", reason="found later")
    assert fresh_analysis(path).context["runs_used"] == first.context["runs_used"] - 1
