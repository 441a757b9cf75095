"""A sampler made of values: for trying the recorder, and what stands above it, without a machine to sample."""

from collections.abc import Callable, Sequence
from typing import Self

from sparkray.telemetry import Row, Target
from sparkray.telemetry._base import Base


class Scripted(Base):
    """Asks `answer` at every sample. `answer` is handed the target, None until one is attached, and may raise."""

    def __init__(self, name: str, period_s: float, answer: Callable[[Target | None], Sequence[Row]]) -> None:
        self.name, self.period_s, self._answer = name, period_s, answer
        self.target: Target | None = None
        self.entered = 0
        self.samples = 0

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *exc: object) -> None:
        """Counts how often it is open."""
        self.entered -= 1

    def attach(self, target: Target) -> None:
        """Remembers the target."""
        self.target = target

    def capture(self) -> Sequence[Row]:
        """Whatever `answer` says."""
        self.samples += 1
        return self._answer(self.target)
