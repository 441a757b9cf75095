"""Base classes of samplers: defaults, and following the target's process tree."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sparkray.telemetry import Row, Target
from sparkray.telemetry._proc import PROC, OpenFile, Stat, Tree


class Base:
    """Defaults for the parts of `Sampler` that a sampler does not need."""

    unavailable: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Do nothing: no handle is open."""

    def attach(self, target: Target) -> None:
        """Do nothing: the host's metrics do not depend on the target."""

    @abstractmethod
    def capture(self) -> Any:  # noqa: ANN401 - see `Sampler`
        """Read raw data without parsing it; None when there is nothing to read."""

    def rows(self, captured: Any) -> Sequence[Row]:  # noqa: ANN401 - see `Sampler`
        """The capture itself, for samplers whose captures are rows already."""
        made: Sequence[Row] = captured
        return made

    def sample(self) -> Sequence[Row]:
        """Capture and parse at once."""
        captured = self.capture()
        return [] if captured is None else self.rows(captured)


class FileSampler(Base):
    """A sampler of files that stay open from enter to exit, by any key."""

    def __init__(self) -> None:
        self._files: dict[Any, OpenFile] = {}

    def __exit__(self, *exc: object) -> None:
        """Close them."""
        files, self._files = self._files, {}
        for file in files.values():
            file.close()


class Follower:
    """The process tree of the current target."""

    def __init__(self, proc: Path = PROC) -> None:
        self.proc = proc
        self.tree: Tree | None = None

    def follow(self, target: Target) -> None:
        """Follow another target, or none."""
        self.close()
        self.tree = None if target.pid is None else Tree(target.pid, proc=self.proc)

    def read(self) -> list[Stat]:
        """Processes of the tree; empty without a target or when its tree has ended."""
        return [] if self.tree is None else self.tree.read()

    def close(self) -> None:
        """Stop following."""
        if self.tree is not None:
            self.tree.close()
        self.tree = None


class TreeSampler(Base):
    """A sampler of the target's process tree."""

    def __init__(self, *, proc: Path = PROC) -> None:
        self.follower = Follower(proc)

    def attach(self, target: Target) -> None:
        """Follow the tree of the target's process."""
        self.follower.follow(target)

    def __exit__(self, *exc: object) -> None:
        """Stop following."""
        self.follower.close()
