"""What each machine of a cluster measures now: a file for each beside the dataset's own `progress.json`, for `status`."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from sparkray.errors import DatasetError
from sparkray.store.documents import PROGRESS, read_document

_PREFIX = "progress-"


def progress_file(dataset: Path, machine: str) -> Path:
    """Where the progress of a machine lies."""
    return dataset / f"{_PREFIX}{machine}.json"


def end_progress(dataset: Path, machine: str) -> None:
    """The machine measures nothing now."""
    with suppress(OSError):
        progress_file(dataset, machine).unlink(missing_ok=True)


def progress_of_machines(dataset: Path) -> dict[str, Mapping[str, Any]]:
    """The last progress of each machine that measures, by name; one that cannot be read is left out."""
    found = {}
    for path in sorted(dataset.glob(f"{_PREFIX}*.json")):
        with suppress(DatasetError):
            found[path.stem.removeprefix(_PREFIX)] = read_document(path, PROGRESS, remedy="")
    return found
