"""Results in Python: open a dataset, read its tables, compare its environments, write its report.

::

    import sparkray

    results = sparkray.load("results/local")
    results.runs                # one row a planned run (Polars data frame)
    results.compare()           # one row a comparison: ratio, interval, verdict
    results.report()            # writes the page and returns its path
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sparkray.errors import DatasetError

if TYPE_CHECKING:
    import polars as pl

    from sparkray.analysis import Analysis
    from sparkray.analysis.frames import Frames


@dataclass(frozen=True)
class Results:
    """An opened dataset. Reads files when a table is first asked for; never changes them.

    Attributes:
        path: The dataset's folder.
    """

    path: Path

    @property
    def runs(self) -> "pl.DataFrame":
        """Runs: a row for each planned run, its `ok` attempt if there is one, else its last.

        Columns and units: docs/reference/data.md. A quantity that was not measured is null.

        Raises:
            DatasetError: A file of the dataset cannot be read.
        """
        attempts = self._frames.attempts
        ok = self._frames.ok
        others = attempts.join(ok.select("run_id"), on="run_id", how="anti")
        last = others.sort("run_id", "attempt").unique("run_id", keep="last", maintain_order=True)
        return ok.select(attempts.columns).vstack(last.select(attempts.columns)).sort("position", "run_id")

    @property
    def requests(self) -> "pl.LazyFrame":
        """Requests of the runs that count, lazily: filter before you collect. Times in ms and ns, as the columns' names end.

        Raises:
            DatasetError: There is no run that is ok.
        """
        frame = self._frames.scan("requests", self._frames.ok)
        if frame is None:
            raise DatasetError(f"{self.path} has no requests: no run is ok", "See the reasons with: sparkray status")
        return frame

    def compare(self) -> "pl.DataFrame":
        """Comparisons: a row for each model, level, metric and environment against its reference.

        `ratio`, `low` and `high` are environment / reference with a 95 % interval, paired within blocks.
        Columns: docs/reference/analysis.md, table `comparisons`.

        Raises:
            DatasetError: A file of the dataset cannot be read.
        """
        return self._analysis.tables["comparisons"]

    def report(self, folder: str | Path | None = None) -> Path:
        """Write the page, its figures and tables. Returns the page's path.

        Args:
            folder: Where they go; `report` in the dataset's folder when None.

        Raises:
            StorageError: The folder cannot be written.
        """
        from sparkray.report import write_report  # noqa: PLC0415 - Matplotlib takes long to import

        return write_report(self._analysis, Path(folder) if folder is not None else self.path / "report").page

    @cached_property
    def _analysis(self) -> "Analysis":
        from sparkray.analysis import analyse  # noqa: PLC0415 - SciPy takes long to import; reading rows does not need it

        return analyse(self.path)

    @cached_property
    def _frames(self) -> "Frames":
        from sparkray.analysis.frames import open_frames  # noqa: PLC0415 - as above

        return open_frames(self.path)


def load(results_dir: str | Path) -> Results:
    """Open a dataset.

    Args:
        results_dir: A dataset's folder (`results/local`, `results/local@2`).

    Returns:
        The opened dataset. Nothing is read yet.

    Raises:
        DatasetError: The folder is not a dataset. The message names the datasets inside it, if there are any.
    """
    from sparkray.store import dataset_at  # noqa: PLC0415 - PyArrow takes long to import

    return Results(dataset_at(Path(results_dir)).path)
