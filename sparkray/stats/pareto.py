"""Who is beaten in nothing: the Pareto front of several measures."""

from collections.abc import Mapping, Sequence
from typing import Literal

Better = Literal["higher", "lower"]


def pareto_front(rows: Sequence[Mapping[str, float | None]], better: Mapping[str, Better]) -> tuple[int, ...]:
    """Places of the rows that no other row dominates: is at least as good in everything and better in something.

    A measure that some row lacks is compared by none: with null for worst, a row would be dominated for want of data.

    Args:
        rows: Measures by name, any units; None is no data.
        better: Direction of each measure that is compared.

    Returns:
        Places in ascending order; rows that are equal in everything are on the front together.
    """
    told = [name for name in better if all(row.get(name) is not None for row in rows)]
    points = [
        tuple(value if better[name] == "higher" else -value for name in told if (value := row[name]) is not None)
        for row in rows
    ]
    return tuple(place for place, point in enumerate(points) if not any(_dominates(other, point) for other in points))


def compared(rows: Sequence[Mapping[str, float | None]], better: Mapping[str, Better]) -> tuple[str, ...]:
    """Names of the measures that every row has, in the order of `better`."""
    return tuple(name for name in better if all(row.get(name) is not None for row in rows))


def _dominates(one: tuple[float, ...], other: tuple[float, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
