"""Which dataset a verb is about: one that is named by its path, else the newest."""

from collections.abc import Callable
from pathlib import Path

from sparkray.errors import DatasetError
from sparkray.store import Dataset, dataset_at, existing


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
    return (dataset.path / "runs").stat().st_mtime, dataset.path.name


def newest(results_dir: Path, experiment: str | None) -> Dataset:
    """The newest dataset of an experiment, else the one of all that was written to last. Raises DatasetError."""
    found = datasets_of(results_dir, experiment)
    return existing(results_dir, experiment)[-1] if experiment and "@" not in experiment else found[-1]


def subject(dataset: Path | None, results_dir: Path, experiment: str | None) -> Dataset:
    """The dataset that is named by its folder, else `newest`. Raises DatasetError."""
    return newest(results_dir, experiment) if dataset is None else dataset_at(dataset)
