"""Statistics: one subject a file, arrays in, typed results out. Pure; every formula with its source.

What cannot be estimated is a `NotEstimable` with the reason, never NaN.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class NotEstimable:
    """Why there is no number."""

    reason: str
