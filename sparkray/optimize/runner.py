"""What the stages need of whatever runs their studies. `workflows.study_runner` implements it; tests simulate it."""

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from sparkray.optimize.rows import Rows
from sparkray.plan import PlannedRun, Study, Treatment
from sparkray.progress import Progress, Reporter
from sparkray.store import Dataset

if TYPE_CHECKING:  # it brings Optuna, which takes long to import
    from sparkray.optimize.context import OptimizationContext
    from sparkray.optimize.search.machines import Companion, Helper
    from sparkray.optimize.search.types import Crew, Worker


class InterruptedSweepError(Exception):
    """The user asked to stop. Finished runs are stored."""


def drop_none(_: Rows) -> Mapping[str, str]:
    """Every environment is kept."""
    return {}


def never_over(_: Rows) -> bool:
    """Every planned run is made."""
    return False


class StudyRunner(Protocol):
    """Runs studies on one machine, each in its dataset, and resumes them.

    Methods that run something raise SparkrayError when no further run is possible and InterruptedSweepError when the user
    asked to stop.

    Attributes:
        asked: Set when the user asks to stop.
        reporter: Where to report.
    """

    asked: threading.Event
    reporter: Reporter

    def dataset(self, study: Study, definition: str, *, fresh: bool = False) -> Dataset:
        """The dataset of a stage; a new one with `fresh`, or when the command was given `--fresh`."""
        ...

    def say(self, line: str) -> None:
        """Shows a message."""
        ...

    def turn(self, study: Study, dataset: Dataset) -> object:
        """Makes the machine ready for a study."""
        ...

    def able(self, study: Study, dataset: Dataset, candidates: Sequence[Treatment]) -> dict[str, str]:
        """Containers that Docker on this host refuses, name to reason."""
        ...

    def rounds(
        self,
        study: Study,
        dataset: Dataset,
        *,
        always: Sequence[str],
        drop: Callable[[Rows], Mapping[str, str]] = drop_none,
        over: Callable[[Rows], bool] = never_over,
    ) -> dict[str, str]:
        """Makes every run that is not done, block by block. Returns environments that were given up, name to reason."""
        ...

    def measure(
        self,
        study: Study,
        dataset: Dataset,
        todo: Sequence[PlannedRun],
        progress: Progress,
        *,
        plan: Sequence[PlannedRun],
    ) -> None:
        """Makes some runs of a plan."""
        ...

    def companions(self, context: "OptimizationContext", home: Dataset) -> "Sequence[Companion]":
        """Further machines that can help with a search whose dataset is `home`."""
        ...

    def crew(self, find_helpers: "Callable[[], Sequence[Helper[Worker]]]") -> "Crew":
        """This machine and those that `find_helpers` names, to work on one search."""
        ...

    def let_go(self) -> None:
        """Frees the machine for a moment, for another command that waits for it."""
        ...

    def release(self) -> None:
        """Frees the machine."""
        ...

    def stop_if_asked(self) -> None:
        """Raises InterruptedSweepError after a signal."""
        ...
