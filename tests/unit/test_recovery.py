"""What a killed run left in the spool is stored, or set aside where it cannot be read; it never stops a sweep."""

import json
import shutil
from pathlib import Path

import pytest
from builders import outcome

from sparkray.execute.recovery import store_interrupted
from sparkray.store import Dataset, open_dataset

ROW = {**outcome("run").row, "attempt": 1, "host": "here", "run_id": "run", "status": "ok"}


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path, "question", "d" * 64)


def left(dataset: Dataset, name: str, text: str | None, samples: bytes = b"") -> None:
    folder = dataset.spool / name
    (folder / "out").mkdir(parents=True)
    if text is not None:
        (folder / "row.json").write_text(text)
    if samples:
        (folder / "samples.arrow").write_bytes(samples)


@pytest.mark.parametrize(
    ("text", "samples"),
    [
        ("{", b""),
        ("[]", b""),
        ("{}", b""),
        ("null", b""),
        (json.dumps({**ROW, "attempt": "x"}, default=str), b""),
        (json.dumps({**ROW, "model": None, "run_id": 3}, default=str), b""),
        (json.dumps({**ROW, "model": None}, default=str), b""),
        (json.dumps({**ROW, "run_id": "../../up"}, default=str), b""),
        (json.dumps({**ROW, "machine": "[]"}, default=str), b""),
        ("\0" * 4096, b""),
    ],
)
def test_a_spool_that_cannot_be_read_is_set_aside_and_told(dataset: Dataset, text: str, samples: bytes) -> None:
    left(dataset, "run-1", text, samples)
    left(dataset, "none-1", None)
    reported: list[str] = []
    assert store_interrupted(dataset, "here", reported.append, lambda _: None) == []
    assert list(dataset.spool.iterdir()) == []
    assert (dataset.path / "set-aside" / "run-1.1" / "row.json").read_text() == text
    assert "set aside an interrupted attempt that cannot be read" in reported[-1]
    assert dataset.read("runs") == []


def test_samples_that_are_cut_anywhere_lose_no_attempt(dataset: Dataset) -> None:
    left(dataset, "run-1", json.dumps(ROW, default=str), b"\xff\xff\xff\xff torn")
    reported: list[str] = []
    found = store_interrupted(dataset, "here", reported.append, lambda _: None)
    assert list(dataset.spool.iterdir()) == []
    assert found == ["run"] or "set aside" in reported[-1]


def test_folders_that_git_or_zip_dropped_are_made_again(dataset: Dataset) -> None:
    for name in ("runs", "spool", "checks", "logs"):
        shutil.rmtree(dataset.path / name)
    assert store_interrupted(dataset, "here", lambda _: None, lambda _: None) == []
    assert (dataset.path / "runs").is_dir()
    assert dataset.spool.is_dir()
