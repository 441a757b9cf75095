"""What samplers have alike: most have nothing to open or to close, and some follow the target's process tree."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

from sparkray.telemetry import Row, Target
from sparkray.telemetry._proc import PROC, Stat, Tree


class Base:
    """Defaults for the parts of `Sampler` that a sampler does not need, and looking and reading in one."""

    unavailable: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held open."""

    def attach(self, target: Target) -> None:
        """The host looks the same whatever runs."""

    @abstractmethod
    def capture(self) -> Any:  # noqa: ANN401 - see `Sampler`
        """Reads, and no more than that. None when there is nothing to see."""

    def rows(self, captured: Any) -> Sequence[Row]:  # noqa: ANN401 - see `Sampler`
        """What was seen, for a sampler whose looks are rows already."""
        found: Sequence[Row] = captured
        return found

    def sample(self) -> Sequence[Row]:
        """The rows of a look taken now, for who wants to know at once."""
        captured = self.capture()
        return [] if captured is None else self.rows(captured)


class Follower:
    """The process tree of whatever target there is."""

    def __init__(self, proc: Path = PROC) -> None:
        self.proc = proc
        self.tree: Tree | None = None

    def follow(self, target: Target) -> None:
        """Follows another target, or none."""
        self.close()
        self.tree = None if target.pid is None else Tree(target.pid, proc=self.proc)

    def read(self) -> list[Stat]:
        """The processes of the tree; none without a target or when its tree is gone."""
        return [] if self.tree is None else self.tree.read()

    def close(self) -> None:
        """Follows nothing."""
        if self.tree is not None:
            self.tree.close()
        self.tree = None


class TreeSampler(Base):
    """A sampler of the target's process tree."""

    def __init__(self, *, proc: Path = PROC) -> None:
        self.follower = Follower(proc)

    def attach(self, target: Target) -> None:
        """Follows the tree of the target's process."""
        self.follower.follow(target)

    def __exit__(self, *exc: object) -> None:
        """Follows nothing from then on."""
        self.follower.close()
