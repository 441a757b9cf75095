"""The digest of a checkpoint: every byte counts, and bytes are read once."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from sparkray.execute.checkpoint import Checkpoints
from sparkray.images.digest import Remembered

Change = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "original").mkdir(parents=True)
    for name in ("config.json", "tokenizer.json", "model-00001-of-00002.safetensors", "original/params.json"):
        (folder / name).write_text(f"the content of {name}")
        os.utime(folder / name, (1, 1))  # a clock of coarse ticks must not hide that one is written again
    return folder


def checkpoints(folder: Path, said: list[str] | None = None) -> Checkpoints:
    told = [] if said is None else said
    return Checkpoints(Remembered(folder.parent / "cache" / "checkpoints.json"), told.append)


def rewrite(name: str, text: str) -> Change:
    return lambda folder: (folder / name).write_text(text)


@pytest.mark.parametrize(
    "change",
    [
        rewrite("tokenizer.json", "another"),
        rewrite("model-00001-of-00002.safetensors", "The content of model-00001-of-00002.safetensors"),
        rewrite("original/params.json", ""),
        rewrite("more.json", ""),
        lambda folder: (folder / "config.json").unlink(),
        lambda folder: (folder / "config.json").rename(folder / "config2.json"),
    ],
    ids=["tokenizer", "shard of the same size", "in a folder", "one more", "one less", "another name"],
)
def test_every_byte_of_every_file_counts(folder: Path, change: Change) -> None:
    known = checkpoints(folder)
    before = known.digest(folder)
    assert known.digest(folder) == before
    change(folder)
    assert known.digest(folder) != before


@pytest.mark.parametrize(
    "change",
    [
        rewrite(".cache", "the notes of a downloader"),
        lambda folder: os.utime(folder / "config.json", (2, 2)),
        lambda folder: (folder / "config.json").chmod(0o600),
    ],
)
def test_what_is_no_content_does_not(folder: Path, change: Change) -> None:
    known = checkpoints(folder)
    before = known.digest(folder)
    change(folder)
    assert known.digest(folder) == before


def test_a_copy_elsewhere_is_the_same_model_though_its_files_are_links(folder: Path) -> None:
    linked = folder.parent / "snapshot"
    for path in folder.rglob("*.*"):
        target = linked / path.relative_to(folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(path)
    assert checkpoints(folder).digest(linked) == checkpoints(folder).digest(folder)
    before = checkpoints(folder).digest(linked)
    (folder / "tokenizer.json").write_text("what the link leads to is another file now")
    assert checkpoints(folder).digest(linked) != before


def test_bytes_are_read_once_for_a_fingerprint(folder: Path) -> None:
    remembered = Remembered(folder.parent / "cache" / "checkpoints.json")
    before = checkpoints(folder).digest(folder)
    (key,) = remembered._load()
    remembered.put(key, "sha256:as it was remembered")
    assert checkpoints(folder).digest(folder) == "sha256:as it was remembered" != before


def test_what_takes_long_is_reported_once(folder: Path) -> None:
    said: list[str] = []
    with (folder / "large.safetensors").open("wb") as file:
        file.truncate(1_100_000_000)
    known = checkpoints(folder, said)
    known.digest(folder)
    known.digest(folder)
    assert said == [f"model: hashing the 1 GB of {folder}, once; this can take minutes"]
