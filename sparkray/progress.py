"""Progress of runs, as the code that makes them reports it. The command line shows it; tests record it."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol, Self

from sparkray.plan import PlannedRun


class Progress(Protocol):
    """Counts the runs of a study and reports each.

    Attributes:
        done: Runs that have ended.
        total: Runs in all.
        left_s: Estimated time until the last run ends, s.
        later_s: Estimated time of runs that follow those which `expect` counts, s.
    """

    done: int
    total: int
    left_s: float
    later_s: float

    def __enter__(self) -> Self:
        """Starts to show it."""
        ...

    def __exit__(self, *_: object) -> None:
        """Ends it."""
        ...

    def say(self, line: str) -> None:
        """Shows a message."""
        ...

    def expect(self, left_s: float) -> None:
        """Sets the estimated time that is left, s, apart from `later_s`."""
        ...

    def begin(self, planned: PlannedRun) -> None:
        """A run starts."""
        ...

    def end(self, planned: PlannedRun, row: Mapping[str, Any]) -> None:
        """An attempt at a run has ended, with any status."""
        ...

    def again(self, planned: PlannedRun, why: str) -> None:
        """A run will be measured again."""
        ...

    def count(self, number: int) -> None:
        """So many more runs have ended; below 0: so many no longer count."""
        ...

    def leave_out(self, count: int, lines: Sequence[str]) -> None:
        """Runs that are not needed any more, and why."""
        ...


class Reporter(Protocol):
    """Where a command reports: messages, and one progress display at a time."""

    def say(self, line: str) -> None:
        """Shows a message."""
        ...

    def progress(self, total: int, done: int) -> Progress:
        """Progress of `total` runs, of which `done` have ended."""
        ...

    def machine(self, host: str) -> Progress:
        """Progress of a further machine: messages with its name, without a bar."""
        ...
