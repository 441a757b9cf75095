"""Which dataset a verb is about: one that is named by its path, else the newest."""

from collections.abc import Callable
from pathlib import Path

import click

from sparkray.errors import DatasetError
from sparkray.store import Dataset, dataset_at, description, existing
from sparkray.store.documents import newer_schema


def datasets_of(
    results_dir: Path, experiment: str | None, *, key: Callable[[Dataset], object] | None = None
) -> list[Dataset]:
    """Those of an experiment, else all, the one written to last at the end.

    Args:
        results_dir: Where they are.
        experiment: Its name, or one `--fresh` dataset of it (`local@3`).
        key: Another order.

    Raises:
        DatasetError: There is none.
    """
    if experiment is not None and "@" in experiment and (results_dir / experiment / "dataset.json").is_file():
        return [Dataset((results_dir / experiment).absolute())]
    names = sorted({path.parent.name.partition("@")[0] for path in results_dir.glob("*/dataset.json")})
    found = [one for name in ([experiment] if experiment else names) for one in existing(results_dir, name)]
    if not found:
        there = f"There are: {', '.join(names)}" if names else "Measure something first: sparkray quick"
        of = f" of {experiment!r}" if experiment else ""
        raise DatasetError(
            f"no dataset{of} in {results_dir.absolute()}", f"{there}; or name another folder: --results-dir DIR"
        )
    return sorted(found, key=key or _written)  # type: ignore[arg-type]


def _written(dataset: Dataset) -> tuple[float, str]:
    folder = dataset.path / "runs"
    return (folder if folder.is_dir() else dataset.path).stat().st_mtime, dataset.path.name


def newest(results_dir: Path, experiment: str | None) -> Dataset:
    """The newest dataset of an experiment, else the one of all that was written to last. Raises DatasetError.

    One without any run, as an interrupted command leaves, is taken only where there is no other.
    """
    found = datasets_of(results_dir, experiment)
    if experiment and "@" not in experiment:
        found = existing(results_dir, experiment)
    return next((one for one in reversed(found) if any((one.path / "runs").glob("*.parquet"))), found[-1])


def subject(dataset: Path | None, results_dir: Path, experiment: str | None) -> Dataset:
    """The dataset that is named by its folder, else `newest`. Warns of a newer schema. Raises DatasetError."""
    found = newest(results_dir, experiment) if dataset is None else dataset_at(dataset)
    newer = newer_schema(description(found)) if (found.path / "dataset.json").is_file() else None
    if newer is not None:
        click.echo(
            f"sparkray: {found.path} was written by a newer sparkray (schema {newer}): what it means may have changed",
            err=True,
        )
    return found
