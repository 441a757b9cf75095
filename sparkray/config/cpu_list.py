"""Lists of CPUs or memory nodes as the kernel and Docker write them (`0-3,6`). Pure."""

from collections.abc import Iterable


def cpu_numbers(text: str) -> frozenset[int]:
    """The numbers of a list.

    Raises:
        ValueError: The text is not a list of numbers.
    """
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def cpu_list(numbers: Iterable[int]) -> str:
    """The list of some numbers, with spans (`5-9,15-19`)."""
    every = set(numbers)
    starts = sorted(number for number in every if number - 1 not in every)
    ends = sorted(number for number in every if number + 1 not in every)
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in zip(starts, ends, strict=True))
