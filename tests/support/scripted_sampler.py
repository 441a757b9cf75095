"""A sampler with scripted values, for testing the recorder and its callers without a machine to sample."""

from collections.abc import Callable, Sequence
from typing import Self

from sparkray.telemetry import Row, Target
from sparkray.telemetry._base import Base


class Scripted(Base):
    """Calls `answer` at every sample with the target (None until one is attached). `answer` may raise."""

    def __init__(self, name: str, period_s: float, answer: Callable[[Target | None], Sequence[Row]]) -> None:
        self.name, self.period_s, self._answer = name, period_s, answer
        self.target: Target | None = None
        self.entered = 0
        self.samples = 0

    def __enter__(self) -> Self:
        self.entered += 1
        return self

    def __exit__(self, *exc: object) -> None:
        self.entered -= 1

    def attach(self, target: Target) -> None:
        """Store the target."""
        self.target = target

    def capture(self) -> Sequence[Row]:
        """The result of `answer`."""
        self.samples += 1
        return self._answer(self.target)
