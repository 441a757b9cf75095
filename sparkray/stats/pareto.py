"""The Pareto front of several measures: the rows that no other row beats in everything."""

from collections.abc import Mapping, Sequence
from typing import Literal

Better = Literal["higher", "lower"]
Rows = Sequence[Mapping[str, float | None]]


def pareto_front(rows: Rows, better: Mapping[str, Better]) -> tuple[int, ...]:
    """Places of the rows that no other row dominates: is at least as good in everything and better in something.

    A measure that some row lacks is not compared: with null as the worst, a row would be dominated for lack of data.

    Args:
        rows: Measures by name, any units; None is no data.
        better: Direction of each measure that is compared.

    Returns:
        Places in ascending order; rows that are equal in everything are on the front together.
    """
    signs = {name: 1 if better[name] == "higher" else -1 for name in compared(rows, better)}
    points = [tuple(sign * (row[name] or 0.0) for name, sign in signs.items()) for row in rows]
    return tuple(place for place, point in enumerate(points) if not any(_dominates(other, point) for other in points))


def compared(rows: Rows, better: Mapping[str, Better]) -> tuple[str, ...]:
    """Names of the measures that every row has, in the order of `better`."""
    return tuple(name for name in better if all(row.get(name) is not None for row in rows))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
