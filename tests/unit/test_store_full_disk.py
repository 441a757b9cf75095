"""A disk that is full, for real: a file system of two megabytes."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from builders import outcome, row
from docker.errors import ImageNotFound

from sparkray.errors import HostError, ImageError, StorageError, host_error_of
from sparkray.images.digest import Remembered
from sparkray.images.rootfs import Images
from sparkray.machine.lock import MachineLock
from sparkray.store import Dataset, open_dataset
from sparkray.units import KIB

pytestmark = pytest.mark.root
UNWATCHED: Any = {"on_wait": lambda _: None, "should_stop": lambda: False}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a tmpfs of 2 MiB."""
    if os.geteuid() != 0:
        pytest.skip("mounting a tmpfs needs root")
    disk = tmp_path / "disk"
    disk.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(disk)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        pytest.skip(f"a tmpfs cannot be mounted here: {done.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(disk: Path, name: str = "fill") -> None:
    """Take what is left, to the last page."""
    with (disk / name).open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4 * KIB):
                pass
        except OSError:
            return


@pytest.fixture
def full(small_disk: Path) -> Dataset:
    dataset = open_dataset(small_disk, "question", "d")
    dataset.write(outcome("r1"))
    fill(small_disk)
    return dataset


def test_a_full_disk_is_reported_and_the_attempt_does_not_exist(full: Dataset) -> None:
    with pytest.raises(StorageError, match="No space left on device") as error:
        full.write(outcome("r2"))
    assert "goes on where it stopped" in error.value.remedy
    assert error.value.exit_status == 3
    assert full.ok_run_ids() == {"r1"}
    assert full.attempts("r2") == 0
    assert [path.name for path in full.path.rglob("*.partial")] == []


def test_the_room_that_was_kept_takes_the_last_row(full: Dataset) -> None:
    full.write_last(row("r2", status="failed", reason="the disk is full"))
    rows = {r["run_id"]: (r["status"], r["reason"]) for r in full.read("runs")}
    assert rows == {"r1": ("ok", None), "r2": ("failed", "the disk is full")}


def test_without_that_room_the_last_row_is_lost_and_nothing_else(full: Dataset, small_disk: Path) -> None:
    (full.path / ".ballast").unlink()
    fill(small_disk, "more")
    full.write_last(row("r2", status="failed"))
    assert full.ok_run_ids() == {"r1"}


def test_once_there_is_space_again_the_run_is_stored(full: Dataset, small_disk: Path) -> None:
    full.write_last(row("r2", status="failed"))
    (small_disk / "fill").unlink()
    full.write(outcome("r2", attempt=full.attempts("r2") + 1))
    assert full.ok_run_ids() == {"r1", "r2"}


def test_progress_and_logs_on_a_full_disk(full: Dataset, tmp_path: Path) -> None:
    full.write_progress({"run": 1})
    log = tmp_path / "log"
    log.write_bytes(b"x" * 64 * KIB)
    with pytest.raises(StorageError):
        full.keep_log("r2", 1, log)


def test_a_disk_that_is_nearly_full_is_seen_before_a_run(small_disk: Path) -> None:
    dataset = open_dataset(small_disk, "question", "d")
    with pytest.raises(StorageError, match=r"is full \(1 MiB free, a run needs 8\)"):
        dataset.check_space()


def test_a_dataset_cannot_be_opened_where_nothing_fits(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(StorageError, match="No space left on device"):
        open_dataset(small_disk, "question", "d")


def test_a_dataset_that_cannot_be_begun_takes_no_name(small_disk: Path) -> None:
    fill(small_disk)
    with pytest.raises(StorageError, match="No space left on device"):
        open_dataset(small_disk, "question", "d")
    (small_disk / "fill").unlink()
    assert open_dataset(small_disk, "question", "d").path == small_disk / "question"


def test_a_disk_without_inodes_is_called_full_too(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,nr_inodes=30", str(small_disk)], check=True)
    dataset = open_dataset(small_disk, "question", "d")
    with suppress(OSError):
        for number in range(30):
            (small_disk / str(number)).touch()
    with pytest.raises(StorageError, match=r"the disk is full .*no inode is free") as error:
        dataset.write(outcome("r1"))
    assert "goes on where it stopped" in error.value.remedy


def test_a_cache_on_a_full_disk_is_named(small_disk: Path) -> None:
    fill(small_disk)

    class Empty:
        """A Docker engine without images."""

        @property
        def images(self) -> "Empty":
            return self

        def get(self, name: str) -> object:
            raise ImageNotFound(name)

    images = Images(Empty(), small_disk)  # type: ignore[arg-type] - it is asked nothing else
    with pytest.raises(ImageError, match=r"layer cannot be written to .*: the disk is full"):
        images.from_files({}, "mine")
    Remembered(small_disk / "digests.json").put("key", "digest")
    assert not list(small_disk.glob("*.partial"))


def test_a_full_folder_of_locks_is_named(small_disk: Path) -> None:
    lock = MachineLock(folder=small_disk)
    (small_disk / "sparkray-machine.lock").touch()
    fill(small_disk)
    with pytest.raises(OSError, match="No space left") as error, lock.held("fail", **UNWATCHED):
        pass
    known = host_error_of(error.value)
    assert known is not None
    assert f"{small_disk / 'sparkray-machine.json'}: the disk is full" in known.message
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(HostError, match="Read-only file system") as refused, lock.held("fail", **UNWATCHED):
        pass
    assert "can be written" in refused.value.remedy
