"""Further machines of a search, and where their runs are stored."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from sparkray.optimize.runner import StudyRunner
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


class HasHost(Protocol):
    """Something of a machine."""

    @property
    def host(self) -> str:
        """The machine's name."""
        ...


class Stoppable(Protocol):
    """Work on a machine that can be stopped. `asked` is set to ask for its end."""

    asked: threading.Event

    def say(self, line: str) -> None:
        """Shows a message."""
        ...

    def release(self) -> None:
        """Frees the machine."""
        ...


W = TypeVar("W", bound=HasHost)


@dataclass(frozen=True)
class Helper(Generic[W]):
    """A machine at work.

    Attributes:
        worker: As the work sees it.
        runner: Stops it and reports for it.
        ready: Makes it ready.
    """

    worker: W
    runner: Stoppable
    ready: Callable[[], object]


def datasets_of(home: Dataset) -> dict[str, Dataset]:
    """Datasets of further machines inside that of a search, by host."""
    paths = sorted(home.path.glob(f"{MACHINES}/*/*/dataset.json"))
    return {path.parent.parent.name: Dataset(path.parent) for path in paths}
