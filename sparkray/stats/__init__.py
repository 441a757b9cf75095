"""Statistics: one subject a file, arrays in, typed results out. Pure; every formula with its source.

What cannot be estimated is a `NotEstimable` with the reason, never NaN.
"""

from dataclasses import dataclass
from typing import Self

from sparkray.stats.reasons import coded, located


@dataclass(frozen=True)
class NotEstimable:
    """Why there is no number, as a code with its values (`reasons`)."""

    reason: str

    @classmethod
    def of(cls, code: str, **values: object) -> Self:
        """The reason of that code in `reasons.yaml`."""
        return cls(coded(code, **values))

    def at(self, where: str) -> "NotEstimable":
        """The same, with the part that it is about."""
        return NotEstimable(located(self.reason, where))
