"""Parquet in and out: one dataset a folder, written so that a crash at any moment loses nothing that was finished.

Layout of `<results-dir>/<experiment>/`::

    dataset.json    what the folder is: experiment, definition hash, schema version
    experiment.json the experiment, cards and site that the runs are of, options applied
    runs/ requests/ samples/ checks/    one Parquet file per attempt, `<run_id>-<attempt>.parquet`
    logs/           the engine's output of every attempt
    inputs/         what the engines were given, so that a printed command can be repeated
    spool/          the attempt that is under way: inputs, outputs, live samples; gone when it is stored
    progress.json   what is being done right now, for `status`; on a cluster progress-HOST.json for each machine
    cache/          an index of `runs/`, and what analyses made of these files; may be deleted at any time
    machines/HOST/  of a search: the datasets of further machines that measured for it

The row in `runs/` is written last: an attempt exists when it is there. A new definition (another workload, another
engine option) opens a new folder, `<experiment>@2` and so on, as `--fresh` does: runs that must not be pooled never share
a dataset, and nothing is deleted.
"""

import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

from sparkray.config.secrets import hidden_bytes
from sparkray.errors import DatasetError, StorageError, remedy_of
from sparkray.files import refuse_foreign_link
from sparkray.records import SATURATED, SCHEMA_VERSION, Outcome, Status, Verdict
from sparkray.store.documents import DESCRIPTION, ONE_ROW, PROGRESS, REMOVE, newer_schema, read_document
from sparkray.store.progress import progress_file
from sparkray.store.run_index import INDEXED, Rows, add_to_index, indexed
from sparkray.store.tables import TABLES
from sparkray.store.writing import GO_ON, storage_errors, write_atomically
from sparkray.units import KIB, MIB, reason_of

FORMAT = "sparkray-dataset/1"
_BALLAST = ".ballast"
_BALLAST_BYTES = 256 * KIB
_LEAST_FREE = 8 * MIB
_ELSEWHERE = "Name another folder: --results-dir DIR"
_LONGEST_NUMBER = 10


def _parquet(table: str, rows: Sequence[Mapping[str, Any]]) -> bytes:
    from sparkray.store.parquet import file_of  # noqa: PLC0415 - see `_rows_of`

    return file_of(table, rows)


def _rows_of(path: Path, table: str, columns: list[str] | None = None) -> list[dict[str, Any]]:
    from sparkray.store.parquet import rows_of  # noqa: PLC0415 - PyArrow takes long to import, and `status` reads an index

    return rows_of(path, table, columns)


def _files_in(folder: Path, start: str) -> list[Path]:
    """Files of a table by name. Raises DatasetError where they cannot be listed: as none, all runs would be made again."""
    try:
        names = [path.name for path in folder.iterdir()]  # `glob` passes over what it may not read
    except FileNotFoundError:  # git and zip drop empty folders
        return []
    except OSError as error:
        raise DatasetError(f"{folder} cannot be read: {reason_of(error)}", remedy_of(error, REMOVE)) from None
    return [folder / name for name in sorted(names) if name.startswith(start) and name.endswith(".parquet")]


def _each_once(paths: Iterable[Path], files: Iterable[Rows]) -> Iterator[Rows]:
    """The rows of each file of `runs`. Raises DatasetError for an attempt that is there twice: it would count twice."""
    seen = set[tuple[object, ...]]()
    for path, rows in zip(paths, files, strict=True):
        keys = [tuple(row[name] for name in ONE_ROW) for row in rows]
        if len({*keys}) < len(keys) or not seen.isdisjoint(keys):
            raise DatasetError(f"{path} holds an attempt at run {keys[0][0]} that is there twice", "Remove the copy")
        seen.update(keys)
        yield rows


@dataclass(frozen=True)
class Dataset:
    """One folder of results."""

    path: Path

    @property
    def spool(self) -> Path:
        """Where attempts that are under way keep their files."""
        return self.path / "spool"

    def make_folders(self) -> None:
        """The folders of a dataset, where one is missing: git and zip drop empty ones. Raises StorageError.

        Another user's link in place of one is refused: it would decide where root writes.
        """
        if not (self.path / "dataset.json").is_file():
            raise StorageError(
                f"{self.path} is no dataset any more: somebody removed or moved it",
                "Put it back, or give the same command again, which begins a new one",
            )
        for path in (self.path / name for name in (*TABLES, "logs", "spool", "inputs", "cache")):
            with storage_errors(path):
                refuse_foreign_link(path)
                if path.name not in ("inputs", "cache") and not path.exists():
                    path.mkdir(exist_ok=True)

    def ok_run_ids(self) -> set[str]:
        """Run ids that have an attempt with status ok."""
        return {row["run_id"] for row in self.read("runs", ["run_id", "status"]) if row["status"] == "ok"}

    def done_run_ids(self, host: str | None = None) -> set[str]:
        """Run ids that need no further attempt: one is ok, or its load over-saturated the server; of a machine, if named."""
        rows = self.read("runs", ["run_id", "status", "host"])
        return {row["run_id"] for row in rows if row["status"] in ("ok", SATURATED) and host in (None, row["host"])}

    def attempts(self, run_id: str) -> int:
        """How many attempts at a run are stored; they count from 1. A folder of 100,000 files is not listed for it."""
        return next(n for n in count() if not (self.path / "runs" / f"{run_id}-{n + 1}.parquet").exists())

    def read(self, table: str, columns: list[str] | None = None, *, run_id: str = "") -> list[dict[str, Any]]:
        """Rows of a table, or of all attempts at one run, as dictionaries in no particular order. Broken files are refused.

        Raises:
            DatasetError: A file is no Parquet, or not of this table.
        """
        return list(self.rows(table, columns, run_id=run_id))

    def rows(self, table: str, columns: list[str] | None = None, *, run_id: str = "") -> Iterator[dict[str, Any]]:
        """What `read` returns, a file at a time, for those who stop at the first row that serves. Raises DatasetError."""
        paths = _files_in(self.path / table, f"{run_id}-" if run_id else "")
        if table != "runs":
            for path in paths:
                yield from _rows_of(path, table, columns)
            return
        wanted = columns and [*dict.fromkeys((*ONE_ROW, *columns))]
        files: Iterable[Rows] = (_rows_of(path, table, wanted) for path in paths)
        if not run_id and columns is not None and set(columns) <= set(INDEXED):
            files = indexed(paths, lambda path: _rows_of(path, table, [*INDEXED]))
        for rows in _each_once(paths, files):
            yield from rows if columns is None else ({name: row[name] for name in columns} for row in rows)

    def write(self, outcome: Outcome) -> None:
        """One attempt: its requests, samples, checks, and last its row.

        Raises:
            StorageError: Something could not be written; then no row is there and the attempt does not exist.
        """
        self.make_folders()
        key = {"run_id": outcome.row["run_id"], "attempt": outcome.row["attempt"]}
        name = f"{key['run_id']}-{key['attempt']}.parquet"
        requests = [
            {"request": r["index"], **{c.name: r.get(c.name) for c in TABLES["requests"].columns[3:]}}
            for r in (asdict(r) for r in outcome.requests)
        ]
        tables: Iterable[tuple[str, Sequence[Mapping[str, Any]]]] = (
            ("requests", requests),
            ("samples", outcome.samples),
            ("checks", [asdict(c) for c in outcome.checks]),
        )
        for table, rows in tables:
            if rows:
                self.put(self.path / table / name, _parquet(table, [{**key, **row} for row in rows]))
        self._write_row(name, outcome.row)

    def write_late(self, run_id: str, attempt: int, verdicts: Sequence[Verdict]) -> None:
        """Verdicts of a re-validation of an earlier run; they replace those of the previous one.

        Raises:
            StorageError: It could not be written.
        """
        path = self.path / "checks" / f"{run_id}-{attempt}-late.parquet"
        if verdicts:
            rows = [{"run_id": run_id, "attempt": attempt, **asdict(verdict)} for verdict in verdicts]
            content = _parquet("checks", rows)
            if not path.is_file() or path.read_bytes() != content:
                self.put(path, content)
        elif path.exists():
            self.put(path, None)

    def revise(self, run_id: str, attempt: int, *, status: Status, reason: str) -> None:
        """Another status for a run that had ended before. All else of its row stays as it was.

        Raises:
            DatasetError: There is no such row, or it cannot be read.
            StorageError: It could not be written.
        """
        name = f"{run_id}-{attempt}.parquet"
        path = self.path / "runs" / name
        rows = _rows_of(path, "runs")
        if len(rows) != 1:
            raise DatasetError(f"{path} cannot be read: it has {len(rows)} rows, not one", REMOVE)
        (row,) = rows
        self._write_row(name, {**row, "status": status, "reason": reason})

    def _write_row(self, name: str, row: Mapping[str, Any]) -> None:
        self.put(self.path / "runs" / name, _parquet("runs", [row]))
        add_to_index(self.path / "runs" / name, [row])

    def put(self, path: Path, content: bytes | None) -> None:
        """Write a file of this dataset durably; None removes it. Raises StorageError."""
        if content is not None:
            write_atomically(path, content)
            return
        with storage_errors(path):
            path.unlink()

    def describe_study(self, document: Mapping[str, Any]) -> None:
        """The experiment, cards and site that the runs are of, as they were for the last sweep: `experiment.json`.

        Raises:
            StorageError: It could not be written.
        """
        self.put_input(self.path / "experiment.json", json.dumps(document, indent=1, default=str).encode())

    def put_input(self, path: Path, content: bytes) -> None:
        """An input of the engine, kept with the dataset so that a printed command can be repeated. Raises StorageError."""
        if not path.is_file() or path.read_bytes() != content:
            with storage_errors(path):
                path.parent.mkdir(parents=True, exist_ok=True)
            self.put(path, content)

    def write_last(self, row: Mapping[str, Any]) -> None:
        """A row alone, when the disk is full: the room kept for it is given up first. Best effort."""
        with suppress(OSError):
            (self.path / _BALLAST).unlink(missing_ok=True)
        with suppress(StorageError):
            self._write_row(f"{row['run_id']}-{row['attempt']}.parquet", row)

    def check_space(self) -> None:
        """Whether a further run could be stored.

        Raises:
            StorageError: The disk is as good as full, or the dataset is gone.
        """
        self.make_folders()
        free = shutil.disk_usage(self.path).free
        if free < _LEAST_FREE:
            raise StorageError(
                f"the disk of {self.path} is full ({free // MIB} MiB free, a run needs {_LEAST_FREE // MIB})", GO_ON
            )

    def keep_log(self, run_id: str, attempt: int, log: Path, secrets: Sequence[str] = ()) -> None:
        """The engine's output, beside the tables, without these values.

        Raises:
            StorageError: It could not be written.
        """
        if log.is_file() and not log.is_symlink():
            self.make_folders()
            data = hidden_bytes(log.read_bytes(), secrets)
            self.put(self.path / "logs" / f"{run_id}-{attempt}.log", data)

    def drop_partials(self) -> None:
        """Remove unfinished files of a killed writer; only under the lock, when no other process writes."""
        for path in self.path.glob("*/.*.partial"):
            path.unlink(missing_ok=True)

    def drop_spool(self, folder: Path) -> None:
        """An attempt's working files, once it is stored."""
        shutil.rmtree(folder, ignore_errors=True)

    def write_progress(self, state: Mapping[str, Any], machine: str = "") -> None:
        """Write the current progress, or that of one machine of several; failures are ignored."""
        path = progress_file(self.path, machine) if machine else self.path / "progress.json"
        with suppress(StorageError):
            write_atomically(path, json.dumps(state).encode(), durable=False)

    def progress(self) -> Mapping[str, Any] | None:
        """The last progress written; None where there is none that can be read."""
        try:
            return read_document(self.path / "progress.json", PROGRESS, remedy="")
        except DatasetError:
            return None


def dataset_at(folder: Path) -> Dataset:
    """The dataset in a folder.

    Raises:
        DatasetError: There is none. The message names datasets inside the folder, or those beside it.
    """
    if (folder / "runs").is_dir() or (folder / "dataset.json").is_file():
        return Dataset(folder.absolute())
    near = folder if folder.is_dir() else folder.parent
    inside = sorted(str(found.parent) for found in near.glob("*/dataset.json"))
    remedy = f"There are: {', '.join(inside)}" if inside else "Name a dataset's folder, such as results/local"
    raise DatasetError(f"{folder} is not a dataset: it has no folder `runs`", remedy)


def existing(results_dir: Path, experiment: str) -> list[Dataset]:
    """Datasets of an experiment, oldest first."""
    found: list[tuple[int, Path]] = []
    if results_dir.is_dir():
        for path in results_dir.iterdir():
            name, _, number = path.name.partition("@")
            if name == experiment and (path / "dataset.json").is_file() and _is_number(number):
                found.append((int(number or 1), path))
    return [Dataset(path) for _, path in sorted(found)]


def _is_number(text: str) -> bool:
    """Whether a folder's name ends as those that sparkray makes: `²` is a digit, too, and no number."""
    return not text or (text.isascii() and text.isdecimal() and len(text) < _LONGEST_NUMBER)


def description(dataset: Dataset) -> Mapping[str, Any]:
    """The description of a dataset, `dataset.json`.

    Raises:
        DatasetError: It is none, or of a format that this version does not know.
    """
    path = dataset.path / "dataset.json"
    document = read_document(path, DESCRIPTION, remedy=_ELSEWHERE)
    if document["format"] != FORMAT:
        raise DatasetError(f"{path} is not of the format {FORMAT!r}", _ELSEWHERE)
    return document


def open_dataset(results_dir: Path, experiment: str, definition_sha256: str, *, fresh: bool = False) -> Dataset:
    """The newest dataset of this very definition, else a new one; always a new one when `fresh`.

    Raises:
        DatasetError: A dataset that is there cannot be read.
        StorageError: It cannot be written.
    """
    known = existing(results_dir, experiment)
    if not fresh:
        for dataset in reversed(known):
            document = description(dataset)
            if document.get("definition_sha256") == definition_sha256:
                if (newer := newer_schema(document)) is not None:
                    raise DatasetError(
                        f"{dataset.path} was written by a newer sparkray (schema {newer}; this one writes {SCHEMA_VERSION})",
                        "Update sparkray, or start a new folder: --fresh",
                    )
                dataset.make_folders()
                if not (dataset.path / _BALLAST).exists():
                    write_atomically(dataset.path / _BALLAST, b"\0" * _BALLAST_BYTES)
                return dataset
    path = _new_folder(results_dir, experiment, len(known) + 1)
    document = {
        "format": FORMAT,
        "schema": SCHEMA_VERSION,
        "experiment": experiment,
        "definition_sha256": definition_sha256,
        "created_at": datetime.now(UTC).isoformat(),
    }
    try:
        for table in (*TABLES, "logs", "spool"):
            with storage_errors(path):
                (path / table).mkdir()
        write_atomically(path / _BALLAST, b"\0" * _BALLAST_BYTES)
        write_atomically(path / "dataset.json", json.dumps(document, indent=1).encode())
    except StorageError:  # what is no dataset yet would only take its name
        shutil.rmtree(path, ignore_errors=True)
        raise
    return Dataset(path)


def _new_folder(results_dir: Path, experiment: str, number: int) -> Path:
    """A folder of this sweep's own, also where another one makes its own in the same moment. Raises StorageError."""
    with storage_errors(results_dir):
        results_dir.mkdir(parents=True, exist_ok=True)
    while True:
        path = results_dir / (experiment if number == 1 else f"{experiment}@{number}")
        number += 1
        with storage_errors(path), suppress(FileExistsError):
            path.mkdir()
            return path
