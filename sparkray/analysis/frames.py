"""A dataset's folder as frames: which attempt stands for a run, and where its requests and samples lie.

Only what is asked for is read, column by column, and requests and samples are never held whole. A file of an attempt is
named after it (`<run_id>-<attempt>.parquet`); files of other names (several attempts merged into one) are filtered.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from sparkray.analysis.cache import PACKAGE, Listing, kept, listing
from sparkray.analysis.schema import polars_types
from sparkray.analysis.sound import must_be_sound
from sparkray.errors import DatasetError
from sparkray.metrics import BY_NAME
from sparkray.store import Dataset, description
from sparkray.store.documents import STUDY, read_document
from sparkray.store.tables import TABLES

REFERENCE_ORDER = ("native", "host", "container_baseline", "container_optimized")
CELL = ("model", "level", "environment")
_REMEDY = "Remove the file: its run is measured again"
KEYS = ("run_id", "attempt")
_FILES = ("image", "image_digest", "rootfs_digest")
_READ = (*KEYS, *CELL, *_FILES, "block", "replicate", "position", "status", "host", "started_at", "ended_at")
Vector = NDArray[np.float64]
_COLUMN_OF: Mapping[str, int] = {name: number for number, name in enumerate(BY_NAME)}


def rank(environment: str) -> int:
    """Place of an environment in tables; the first that is there is the reference."""
    return REFERENCE_ORDER.index(environment) if environment in REFERENCE_ORDER else len(REFERENCE_ORDER)


@dataclass(frozen=True)
class Cell:
    """Where a run belongs beside its block."""

    model: str
    level: str
    environment: str

    @property
    def key(self) -> str:
        """The part of a trace that names it."""
        return f"{self.model}/{self.level}/{self.environment}"

    @property
    def columns(self) -> dict[str, str]:
        """The three columns that every table begins with."""
        return {"model": self.model, "level": self.level, "environment": self.environment}


@dataclass(frozen=True)
class CellRuns:
    """The ok runs of a cell as arrays, in order of block.

    Attributes:
        block: Shape (n,), each block once.
        order: Shape (n,), place in time among all attempts.
        ended: Shape (n,), when each had ended, microseconds; 0 where the row does not say.
        cluster: Shape (n,), what each block nests in.
        machine: Shape (n,), what each was measured on; empty where the row does not say.
        values: Shape (n, metrics), a column for each of `sparkray.metrics`; NaN where a run has no value.
    """

    block: NDArray[np.int64]
    order: Vector
    ended: NDArray[np.int64]
    cluster: NDArray[np.str_]
    machine: NDArray[np.str_]
    values: Vector

    def __len__(self) -> int:
        return len(self.block)

    def at(self, places: Sequence[int]) -> "CellRuns":
        """Some of the runs, at least one, by their places."""
        return CellRuns(**{name: array[places] for name, array in vars(self).items()})

    def column(self, metric: str) -> Vector:
        """One metric, shape (n,), NaN where a run has no value."""
        return self.values[:, _COLUMN_OF[metric]]

    def of(self, metric: str) -> Vector:
        """The values that there are of one metric."""
        column = self.column(metric)
        return column[~np.isnan(column)]


@dataclass(frozen=True)
class Frames:
    """A dataset, opened.

    Attributes:
        path: Its folder.
        document: `experiment.json`: the experiment, its cards, its site; empty for a dataset without it.
        attempts: Every stored attempt but warm-ups, one row each, with all columns of `runs` and two more: `order`, its
            place in time among all attempts, and `cluster`, what its block nests in: the machine where there are several,
            else the day (UTC).
        listings: The files of every table (`listings_of`); none where the rows are in memory alone.
    """

    path: Path
    document: Mapping[str, Any]
    attempts: pl.DataFrame
    listings: Mapping[str, Listing] = field(default_factory=dict)

    @cached_property
    def ok(self) -> pl.DataFrame:
        """The runs that count, one row each, in order of model, level and block.

        Of several attempts the first that is ok stands for a run; of several runs in one place of one block (the same
        place was planned again with other flags) the newest.
        """
        return (
            self.attempts.filter(pl.col("status") == "ok")
            .sort("attempt")
            .unique("run_id", keep="first", maintain_order=True)
            .sort("order")
            .unique([*CELL, "block"], keep="last", maintain_order=True)
            .sort("model", "level", "block", "environment")
        )

    @cached_property
    def cells(self) -> list[Cell]:
        """Every cell that an attempt was made for, ok or not, the reference first within model and level."""
        found = (Cell(*row) for row in self.attempts.select(CELL).unique().iter_rows())
        return sorted(found, key=lambda cell: (cell.model, cell.level, rank(cell.environment), cell.environment))

    @cached_property
    def _frames_by_cell(self) -> Mapping[Cell, pl.DataFrame]:
        parts = self.ok.partition_by(CELL, as_dict=True, maintain_order=True)
        return {Cell(*map(str, key)): frame for key, frame in parts.items()}

    @cached_property
    def _runs_by_cell(self) -> Mapping[Cell, CellRuns]:
        runs = _arrays(self.ok)  # of all cells at once, as Polars takes as long for one
        places = self.ok.select(CELL).with_row_index("place").group_by(CELL).agg("place")
        return {Cell(*cell): runs.at(rows) for *cell, rows in places.iter_rows()}

    @cached_property
    def _none(self) -> pl.DataFrame:
        return self.ok.clear()

    def frame_of(self, cell: Cell) -> pl.DataFrame:
        """The ok runs of a cell, in order of block; an empty frame when there are none."""
        return self._frames_by_cell.get(cell, self._none)

    def runs_of(self, cell: Cell) -> CellRuns:
        """The same as arrays."""
        return self._runs_by_cell[cell] if cell in self._runs_by_cell else _arrays(self._none)

    def reference_of(self, cell: Cell) -> Cell | None:
        """The cell that this one is compared with; None for the reference itself."""
        alike = [other for other in self.cells if (other.model, other.level) == (cell.model, cell.level)]
        return alike[0] if alike and alike[0] != cell else None

    def scan(self, table: str, runs: pl.DataFrame) -> pl.LazyFrame | None:
        """The rows of some attempts in `requests` or `samples`, lazily; None when nothing of them is stored.

        Args:
            table: `requests`, `samples` or `checks`.
            runs: Attempts, columns run_id and attempt at least.
        """
        files = self.files_of(table, runs)
        if not files.files:
            return None
        rows = scan_files(files.paths, table)
        if files.names <= self._names:
            return rows
        return rows.join(runs.lazy().select(KEYS), on=KEYS, how="semi")

    def files_of(self, table: str, runs: pl.DataFrame) -> Listing:
        """The files of a table that may hold rows of some attempts: their own, and those that are of no single attempt.

        Args:
            table: `requests`, `samples` or `checks`.
            runs: Attempts, columns run_id and attempt at least.
        """
        there, own = self.listings[table], _file_names(runs)
        return replace(there, files=tuple(f for f in there.files if f[0] in own or f[0] not in self._names))

    @cached_property
    def _names(self) -> frozenset[str]:
        """Names of the files of single attempts."""
        return _file_names(self.attempts)


def _arrays(frame: pl.DataFrame) -> CellRuns:
    values = frame.select(*BY_NAME).to_numpy()
    return CellRuns(
        frame["block"].fill_null(-1).to_numpy(),
        frame["order"].cast(pl.Float64).to_numpy(),
        frame["ended_at"].dt.epoch("us").fill_null(0).to_numpy(),
        frame["cluster"].to_numpy().astype(np.str_),
        frame["host"].fill_null("").to_numpy().astype(np.str_),
        values.astype(np.float64),
    )


def _file_names(attempts: pl.DataFrame) -> frozenset[str]:
    return frozenset(f"{run_id}-{attempt}.parquet" for run_id, attempt in attempts.select(KEYS).iter_rows())


def scan_files(paths: Sequence[Path], table: str) -> pl.LazyFrame:
    """Files of a table, perhaps none, a column that an older version did not write being null."""
    schema = polars_types(TABLES[table])
    if not paths:
        return pl.LazyFrame(schema=schema)
    return pl.scan_parquet(list(paths), schema=schema, missing_columns="insert", extra_columns="ignore", glob=False)


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """A file of a folder that is no Parquet as DatasetError, by its name."""
    try:
        yield
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _broken(folder) or DatasetError(f"{folder} cannot be read: {error}", _REMEDY) from None


def _broken(folder: Path) -> DatasetError | None:
    """What is wrong with the first file that cannot be read, or is not of the folder's table."""
    from sparkray.store.parquet import rows_of  # noqa: PLC0415 - PyArrow takes long to import; Polars reads what is sound

    for path in sorted(folder.glob("*.parquet")):
        try:
            rows_of(path, folder.name)
        except DatasetError as error:
            return error
    return None


def listings_of(path: Path) -> dict[str, Listing]:
    """The files of every table of a dataset. Raises DatasetError."""
    return {table: listing(path / table) for table in TABLES}


def open_frames(path: Path, listings: Mapping[str, Listing] | None = None) -> Frames:
    """A dataset's folder, its runs read.

    Args:
        path: The folder.
        listings: The files of its tables, where they have just been listed.

    Raises:
        DatasetError: It is no dataset, or a file in it cannot be read.
    """
    description(Dataset(path))
    listings = listings_of(path) if listings is None else listings
    files = listings["runs"]

    def read() -> pl.DataFrame:
        with reading(files.folder):
            made = scan_files(files.paths, "runs").collect()
        must_be_sound(made, files.folder)
        return made

    frame = kept(files, read, code=PACKAGE)
    # A warm-up is no replicate, whatever became of it.
    return Frames(path, _document(path), _completed(frame.filter(pl.col("replicate").ne_missing(0))), listings)


def frames_of_rows(rows: Iterable[Mapping[str, Any]], run_ids: Collection[str]) -> Frames:
    """The runs of a plan from rows in memory, as far as comparisons and interim analyses read them.

    Args:
        rows: Rows of `runs`; a column that is missing is null.
        run_ids: Runs of the plan; other rows are left out.
    """
    kept = [row for row in rows if row["run_id"] in run_ids]
    columns = {name: [row.get(name) for row in kept] for name in (*_READ, *BY_NAME)}
    schema = _runs_schema()
    known = pl.DataFrame(columns, schema={name: schema[name] for name in columns})
    return Frames(Path(), {}, _completed(pl.concat([pl.DataFrame(schema=schema), known], how="diagonal")))


def _completed(attempts: pl.DataFrame) -> pl.DataFrame:
    """The attempts in the order in which they were made, with `order` and `cluster`."""
    machines = attempts["host"].n_unique() > 1
    cluster = pl.col("host") if machines else pl.col("started_at").dt.date().cast(pl.String)
    return (
        attempts.with_columns(pl.col("level").fill_null(""), cluster.fill_null("").alias("cluster"))
        .sort("started_at", "position", "run_id", "attempt", nulls_last=True)
        .with_row_index("order")
    )


def _runs_schema() -> dict[str, pl.DataType]:
    return polars_types(TABLES["runs"])


def _document(path: Path) -> Mapping[str, Any]:
    """`experiment.json`, or nothing where an older version wrote none."""
    file = path / "experiment.json"
    if not file.exists():
        return {}
    document = read_document(file, STUDY, remedy="Remove it: margins are then the defaults")
    return {name: value for name, value in document.items() if value is not None}


def metrics_with_data(frames: Frames) -> list[str]:
    """The metrics that at least one ok run has, in the order of `metrics`."""
    present = frames.ok.select(pl.col(*BY_NAME).is_not_null().any())
    return [name for name in present.columns if present[name].item()] if frames.ok.height else []
