"""A dataset's files are input too: foreign, cut and changed ones are refused by name with a remedy, never as a defect."""

import errno
import math
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from builders import outcome

from sparkray.analysis.frames import open_frames
from sparkray.errors import DatasetError, StorageError, host_error_of
from sparkray.store import Dataset, description, existing, open_dataset
from sparkray.store.writing import storage_errors
from sparkray.sweep import main

Spoil = Callable[[Path], object]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    made = open_dataset(tmp_path, "question", "d" * 64)
    for run_id in ("r1", "r2"):
        made.write(outcome(run_id))
    return made


def with_value(column: str, value: object) -> Spoil:
    """One column of a stored row changed."""

    def spoil(path: Path) -> None:
        table = pq.read_table(path)
        index = table.schema.get_field_index(column)
        kind = pa.int64() if isinstance(value, int) else table.schema.field(column).type
        pq.write_table(table.set_column(index, column, pa.array([value], kind)), path)

    return spoil


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 40] = bytes(40)
    path.write_bytes(data)


def foreign(path: Path) -> None:
    pq.write_table(pa.table({"a": [1]}), path)


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


SPOILT: dict[str, Spoil] = {
    "foreign": foreign,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:100]),
    "flipped": flipped,
    "empty": lambda path: path.write_bytes(b""),
    "a FIFO": fifo,
    "null model": with_value("model", None),
    "null status": with_value("status", None),
    "unknown status": with_value("status", "fine"),
    "status of another type": with_value("status", 3),
    "no JSON": with_value("machine", "{"),
    "JSON of another shape": with_value("deviations", "{}"),
    "JSON with odd items": with_value("deviations", "[1]"),
    "JSON null": with_value("machine", "null"),
    "JSON with a number for a list": with_value("machine", '{"gpus": 5}'),
    "JSON with a list for variables": with_value("effective_state", '{"environment": [1]}'),
    "NaN": with_value("duration_s", math.nan),
    "infinity": with_value("latency_mean_ms", -math.inf),
    "a number whose square overflows": with_value("duration_s", 1e308),
    "a run id that leads elsewhere": with_value("run_id", "../../x"),
    "a run id that is a pattern": with_value("run_id", "/*"),
    "a model of a million characters": with_value("model", "x" * 10**6),
    "an attempt twice": lambda path: pq.write_table(pa.concat_tables([pq.read_table(path)] * 2), path),
    "a copy of an attempt": lambda path: shutil.copy(path.with_name("r2-1.parquet"), path.with_name("r3-1.parquet")),
}


@pytest.mark.parametrize("what", SPOILT)
def test_a_spoilt_file_of_runs_is_refused_by_name(dataset: Dataset, what: str) -> None:
    path = dataset.path / "runs" / "r1-1.parquet"
    SPOILT[what](path)
    readers: list[Callable[[], object]] = [lambda: dataset.read("runs"), lambda: open_frames(dataset.path)]
    for read in readers:
        with pytest.raises(DatasetError) as error:
            read()
        if what not in ("flipped", "a copy of an attempt"):
            assert "r1-1.parquet" in error.value.message
        assert error.value.remedy
        assert len(str(error.value)) < 1000


@pytest.mark.parametrize("table", ["runs", "requests", "samples", "checks"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_no_file_among_the_files_is_refused_and_never_opened(
    dataset: Dataset, capsys: pytest.CaptureFixture[str], table: str, make: Callable[[Path], object]
) -> None:
    path = dataset.path / table / "odd.parquet"
    make(path)
    assert main(["analyze", str(dataset.path)]) == 2
    assert f"{path} cannot be read: it is a " in capsys.readouterr().err
    assert main(["audit", str(dataset.path), "--json"]) in (0, 1)


@pytest.mark.parametrize("name", ["experiment.json", "calibration.json", "progress.json", "cache/runs.jsonl"])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_a_document_that_is_no_file_is_never_waited_for(
    dataset: Dataset, capsys: pytest.CaptureFixture[str], name: str, make: Callable[[Path], object]
) -> None:
    path = dataset.path / name
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    make(path)
    for words in (["analyze"], ["status"], ["audit"]):
        status = main([*words, str(dataset.path)])
        captured = capsys.readouterr()
        assert status in ((2,) if (name, words[0]) == ("experiment.json", "analyze") else (0, 1)), captured
        assert "unforeseen" not in captured.err


def test_a_sample_that_cannot_be_is_refused(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    path = dataset.path / "samples" / "r2-1.parquet"
    sound = path.read_bytes()
    for column, value in (("t_ns", None), ("gpu_power_w", math.inf), ("cpu_busy_pct", math.nan)):
        path.write_bytes(sound)
        table = pq.read_table(path)
        kind = table.schema.field(column).type
        index = table.schema.get_field_index(column)
        pq.write_table(table.set_column(index, column, pa.array([value] * len(table), kind)), path)
        assert main(["analyze", str(dataset.path)]) == 2
        err = capsys.readouterr().err
        assert f"{path} " in err
        assert column in err


def test_documents_that_hold_null_are_as_if_they_did_not(dataset: Dataset) -> None:
    (dataset.path / "experiment.json").write_text('{"experiment": null, "cards": null, "site": null}')
    assert main(["analyze", str(dataset.path)]) == 0


def test_a_column_that_an_older_version_did_not_write_is_null(dataset: Dataset) -> None:
    path = dataset.path / "runs" / "r1-1.parquet"
    pq.write_table(pq.read_table(path).drop_columns(["host", "seed"]), path)
    for columns in (None, ["run_id", "host", "seed"]):
        (row,) = (row for row in dataset.read("runs", columns) if row["run_id"] == "r1")
        assert (row["host"], row["seed"]) == (None, None)
    assert main(["calibrate", "--quick", "--results-dir", str(dataset.path.parent)]) in (0, 1, 2)


def test_a_null_verdict_is_refused(dataset: Dataset) -> None:
    with_value("verdict", None)(dataset.path / "checks" / "r1-1.parquet")
    with pytest.raises(DatasetError, match="not a file of the table checks: verdict is null"):
        dataset.read("checks")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("dataset.json", "[]", "the whole is [], not keys and values"),
        ("dataset.json", '{"format": "sparkray-dataset/1"}', "key 'experiment' is missing"),
        ("dataset.json", '{"format": 1, "experiment": "q", "definition_sha256": "d"}', "format is 1, not text"),
        ("dataset.json", "{" * 50_000, "cannot be read"),
        ("experiment.json", '{"experiment": []}', "experiment is [], not keys and values"),
        ("experiment.json", '{"experiment": {"margins": {"latency_mean_ms": "x"}}}', "margins.latency_mean_ms is 'x'"),
        ("experiment.json", '{"cards": [1]}', "cards[] is 1, not keys and values"),
        ("experiment.json", '{"cards": [{"name": "A", "shape": [1]}]}', "cards[].shape is [1], not keys and values"),
        ("experiment.json", '{"experiment": {"workload": {"requests": "x"}}}', "workload.requests is 'x', not a whole"),
        ("experiment.json", '{"experiment": {"planned_effect": NaN}}', "experiment.planned_effect = nan"),
        ("experiment.json", '{"site": {"memory_gib": -1e999}}', "site.memory_gib = -inf"),
        ("experiment.json", '{"experiment": {"seed": 9223372036854775808}}', "experiment.seed = 9223372036854775808"),
        ("experiment.json", '{"experiment": {"runs": true}}', "runs is True, not a whole number"),
        ("calibration.json", '{"metrics": [1]}', "metrics is [1], not keys and values"),
        ("calibration.json", '{"metrics": {"x": {"reach": [1]}}}', "metrics.x.reach is [1], not keys and values"),
        ("calibration.json", '{"metrics": {"x": {"trials": [1]}}}', "metrics.x.trials[] is 1, not keys and values"),
    ],
)
def test_a_document_of_another_shape_is_refused_by_key(
    dataset: Dataset, capsys: pytest.CaptureFixture[str], name: str, content: str, said: str
) -> None:
    (dataset.path / name).write_text(content)
    assert main(["analyze", str(dataset.path)]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert name in err
    assert "unforeseen" not in err
    assert len(err) < 1000


@pytest.mark.parametrize("content", ["[]", "null", '{"run": "x"}', "{", '{"run": 1, "of": 2, "since": "now"}'])
def test_odd_progress_is_no_progress(dataset: Dataset, capsys: pytest.CaptureFixture[str], content: str) -> None:
    (dataset.path / "progress.json").write_text(content)
    (dataset.spool / "r3-1").mkdir()
    assert main(["status", str(dataset.path)]) == 0
    assert "2 ok" in capsys.readouterr().out


def test_folders_that_are_not_ours_are_passed_over(dataset: Dataset, capfdbinary: Any) -> None:
    root = dataset.path.parent
    for name in (
        "question@²",
        "question@-1",
        "question@" + "9" * 60,
        os.fsdecode(b"question@\xff"),
        os.fsdecode(b"\xff"),
    ):
        (root / name).mkdir()
        (root / name / "dataset.json").write_text((dataset.path / "dataset.json").read_text())
    assert existing(root, "question") == [dataset]
    assert main(["status", "--results-dir", str(root)]) == 0
    assert b"2 ok" in capfdbinary.readouterr().out
    assert open_dataset(root, "question", "e" * 64).path.name == "question@2"


def test_a_name_that_is_too_long_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (["status", "--results-dir", str(tmp_path / ("n" * 300))], ["status", str(tmp_path / ("n" * 300))]):
        assert main(words) in (2, 3)
        assert "unforeseen" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.EMFILE, "ulimit -n"),
        (errno.ENOSPC, "Free some"),
        (errno.EROFS, "written"),
        (errno.ENOTDIR, "XDG_CACHE_HOME"),
    ],
)
def test_refusals_of_the_system_have_a_remedy(number: int, remedy: str) -> None:
    error = host_error_of(OSError(number, os.strerror(number), "/x"))
    assert error is not None
    assert error.exit_status == 3
    assert remedy in error.remedy
    assert host_error_of(FileNotFoundError(errno.ENOENT, "gone", "/x")) is None
    for refused in (
        MemoryError(),
        ImportError("libx.so: failed to map segment from shared object"),
        RuntimeError("can't start new thread"),
    ):
        assert host_error_of(refused) is not None
    long = host_error_of(OSError(errno.ENAMETOOLONG, "File name too long", "x" * 5000))
    assert long is not None
    assert len(long.message) < 400
    memory = host_error_of(MemoryError())
    assert memory is not None
    assert memory.message not in memory.remedy
    assert "ulimit -v" in memory.remedy
    with pytest.raises(StorageError) as large, storage_errors(Path("/x")):
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
    assert "ulimit -f" in large.value.remedy
    assert host_error_of(ImportError("No module named 'x'")) is None


@pytest.mark.parametrize(
    ("name", "number", "remedy"),
    [
        ("runs", errno.EACCES, "Check who owns it"),
        ("runs", errno.EIO, "dmesg"),
        ("runs/r1-1.parquet", errno.EMFILE, "ulimit -n"),
        ("dataset.json", errno.EACCES, "Check who owns it"),
    ],
)
def test_what_the_system_refuses_is_neither_none_nor_to_be_removed(
    dataset: Dataset, monkeypatch: pytest.MonkeyPatch, name: str, number: int, remedy: str
) -> None:
    refused = str(dataset.path / name)

    def refusing(call: Callable[..., Any]) -> Callable[..., Any]:
        def act(path: Any, *rest: Any, **more: Any) -> Any:
            if str(path) == refused:
                raise OSError(number, os.strerror(number), refused)
            return call(path, *rest, **more)

        return act

    for call in ("listdir", "open"):
        monkeypatch.setattr(os, call, refusing(getattr(os, call)))
    with pytest.raises(DatasetError, match="cannot be read") as error:
        description(dataset) if name == "dataset.json" else dataset.read("runs")
    assert refused in error.value.message
    assert remedy in error.value.remedy
