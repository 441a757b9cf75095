"""P-values adjusted for how many tests a family holds.

An adjusted p is compared with the family's error rate as it stands. Where a test was not estimable there is None, which
stays None and does not count: no test was made. The order of the answer is the order of the question. A line each:
`statsmodels` has all three, knows no None, and takes more than a second to import.
"""

from collections.abc import Callable, Sequence

import numpy as np

from sparkray.stats.samples import Vector


def bonferroni(p_values: Sequence[float | None]) -> list[float | None]:
    """Each p times the number of tests, at most 1: holds the chance of any false alarm in the family (Dunn 1961)."""
    return _adjusted(p_values, lambda ordered: ordered * len(ordered))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down: holds what Bonferroni holds, and rejects at least as much.

    Holm (1979), "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    return _adjusted(p_values, lambda ordered: np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)))


def benjamini_hochberg(p_values: Sequence[float | None]) -> list[float | None]:
    """Step-up that holds the expected share of false alarms among the alarms.

    Benjamini and Hochberg (1995), "Controlling the false discovery rate", J. R. Statist. Soc. B 57.
    """

    def step_up(ordered: Vector) -> Vector:
        scaled = ordered * len(ordered) / np.arange(1, len(ordered) + 1)
        return np.asarray(np.minimum.accumulate(scaled[::-1])[::-1])

    return _adjusted(p_values, step_up)


def _adjusted(p_values: Sequence[float | None], rule: Callable[[Vector], Vector]) -> list[float | None]:
    """The rule applied to the p-values in ascending order, each put back in its place."""
    places = [place for place, p in enumerate(p_values) if p is not None]
    made = np.array([p for p in p_values if p is not None], dtype=np.float64)
    if not np.all((made >= 0) & (made <= 1)):
        raise ValueError(f"a p-value outside 0 to 1 among {made.tolist()}")
    found: list[float | None] = [None] * len(p_values)
    order = np.argsort(made, kind="stable")
    for place, value in zip(order, np.minimum(rule(made[order]), 1.0), strict=True):
        found[places[int(place)]] = float(value)
    return found
