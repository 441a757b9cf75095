"""What most samplers have alike: nothing to open, nothing to close, a target that may come later."""

from typing import Self

from sparkray.telemetry import Target


class Base:
    """Defaults for the parts of `Sampler` that a sampler does not need."""

    unavailable: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        """Nothing is held open."""

    def attach(self, target: Target) -> None:
        """The host looks the same whatever runs."""
