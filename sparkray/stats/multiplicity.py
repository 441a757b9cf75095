"""P-values adjusted for how many tests a family holds; each is compared with the family's error rate as it is.

Where a test was not estimable there is None, which stays None and does not count: no test was made. By hand: each is a few
lines, and SciPy has one of them, in a module that takes half a second to import.
"""

from collections.abc import Callable, Sequence

import numpy as np

from sparkray.stats.samples import Vector


def bonferroni(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p times the number of tests, at most 1: holds the chance of any false alarm in the family (Dunn 1961)."""
    return _adjusted(p_values, lambda made: made * len(made))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down: holds what Bonferroni holds, and rejects at least as much.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """

    def step_down(made: Vector) -> Vector:
        order = np.argsort(made, kind="stable")
        stepped = np.maximum.accumulate(made[order] * np.arange(len(made), 0, -1))
        return np.asarray(stepped[np.argsort(order)])

    return _adjusted(p_values, step_down)


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Step-up that holds the expected share of false alarms among the alarms.

    Benjamini and Hochberg (1995), "Controlling the false discovery rate", J. R. Statist. Soc. B 57.
    """

    def step_up(made: Vector) -> Vector:
        order = np.argsort(-made, kind="stable")
        stepped = np.minimum.accumulate(made[order] * len(made) / np.arange(len(made), 0, -1))
        return np.asarray(stepped[np.argsort(order)])

    return _adjusted(p_values, step_up)


def _adjusted(p_values: Sequence[float | None], rule: Callable[[Vector], Vector]) -> list[float | None]:
    """The rule applied to the p-values that exist, at most 1 each, in the order of the input."""
    made = np.array([p for p in p_values if p is not None], dtype=np.float64)
    if not np.all((made >= 0) & (made <= 1)):
        raise ValueError(f"a p-value outside 0 to 1 among {made.tolist()}")
    adjusted = iter(np.minimum(rule(made), 1.0).tolist() if len(made) else ())
    return [None if p is None else next(adjusted) for p in p_values]
