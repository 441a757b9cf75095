"""Further machines of a search, and where their runs are stored."""

from collections.abc import Callable
from dataclasses import dataclass

from sparkray.optimize.runner import StudyRunner
from sparkray.optimize.search.types import Worker
from sparkray.store import Dataset

# Folder inside the dataset of a search: `machines/HOST/` holds the dataset of a further machine.
MACHINES = "machines"


@dataclass(frozen=True)
class Companion:
    """A further machine that can help.

    Attributes:
        host: Its name.
        boot: The id of its boot.
        runner: Runs studies there.
    """

    host: str
    boot: str
    runner: StudyRunner


@dataclass(frozen=True)
class Helper:
    """A further machine at work.

    Attributes:
        worker: As the search sees it.
        runner: Runs studies there.
        ready: Makes it ready.
    """

    worker: Worker
    runner: StudyRunner
    ready: Callable[[], object]


def datasets_of(home: Dataset) -> dict[str, Dataset]:
    """Datasets of further machines inside that of a search, by host."""
    paths = sorted(home.path.glob(f"{MACHINES}/*/*/dataset.json"))
    return {path.parent.parent.name: Dataset(path.parent) for path in paths}
