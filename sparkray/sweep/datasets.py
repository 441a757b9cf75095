"""Which dataset a verb is about: one that is named by its path, else the newest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from sparkray.errors import DatasetError
from sparkray.store import Dataset, existing

F = TypeVar("F", bound=Callable[..., Any])


def dataset_argument(function: F) -> F:
    """`DATASET`, a folder; not required."""
    return click.argument("dataset", required=False, type=click.Path(path_type=Path, file_okay=False))(function)


def dataset_at(folder: Path) -> Dataset:
    """The dataset in a folder.

    Raises:
        DatasetError: There is none. The message names datasets inside the folder, or those beside it.
    """
    if (folder / "runs").is_dir():
        return Dataset(folder.absolute())
    near = folder if folder.is_dir() else folder.parent
    inside = sorted(str(found.parent) for found in near.glob("*/dataset.json"))
    remedy = f"There are: {', '.join(inside)}" if inside else "Name a dataset's folder, such as results/local"
    raise DatasetError(f"{folder} is not a dataset: it has no folder `runs`", remedy)


def newest(results_dir: Path, experiment: str | None) -> Dataset:
    """The newest dataset of an experiment, else the one of all that was written to last.

    `experiment` may carry the number of a `--fresh` dataset (`local@3`).

    Raises:
        DatasetError: There is none.
    """
    if experiment is not None:
        if "@" in experiment and (results_dir / experiment / "dataset.json").is_file():
            return Dataset((results_dir / experiment).absolute())
        found = existing(results_dir, experiment)
        if found:
            return found[-1]
    names = {path.parent.name.partition("@")[0] for path in results_dir.glob("*/dataset.json")}
    if experiment is None and names:
        known = [dataset for name in names for dataset in existing(results_dir, name)]
        return max(known, key=lambda dataset: ((dataset.path / "runs").stat().st_mtime, dataset.path.name))
    there = f"There are: {', '.join(sorted(names))}" if names else "Measure something first: sparkray quick"
    of = f" of {experiment!r}" if experiment else ""
    raise DatasetError(
        f"no dataset{of} in {results_dir.absolute()}", f"{there}; or name another folder: --results-dir DIR"
    )
