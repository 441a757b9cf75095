"""Where a function of one number crosses 0. SciPy's finders are as good, and take long to import."""

from collections.abc import Callable

_MOST_STEPS = 200


def root(function: Callable[[float], float], low: float, high: float, *, within: float = 1e-12) -> float:
    """A root between two places where the function has different signs.

    The Illinois form of regula falsi: Dowell and Jarratt (1971), BIT 11. It keeps the root between its ends, and each three
    steps about triple the digits of a smooth function.

    Args:
        function: Continuous.
        low: One end.
        high: The other.
        within: Steps smaller than this, absolute or relative, end it.

    Raises:
        ValueError: The function has the same sign at both ends.
    """
    old, new = low, high
    at_old, at_new = function(old), function(new)
    if at_old * at_new > 0:
        raise ValueError(f"the function has the same sign at {low} and {high}")
    for _ in range(_MOST_STEPS):
        if at_new == 0 or abs(new - old) <= within * max(1.0, abs(new)):
            break
        place = new - at_new * (new - old) / (at_new - at_old)
        step, at_place = abs(place - new), function(place)
        if at_place * at_new < 0:
            old, at_old = new, at_new
        else:
            at_old /= 2
        new, at_new = place, at_place
        if step <= within * max(1.0, abs(new)):
            break
    return new
