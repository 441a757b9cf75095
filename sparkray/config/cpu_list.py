"""Lists of CPUs or memory nodes as the kernel and Docker write them (`0-3,6`). Pure."""

import re
from collections.abc import Iterable

from sparkray.units import short, shorten

_LIST = re.compile(r"\d+(-\d+)?(,\d+(-\d+)?)*", re.ASCII)
_MOST = 65535  # the kernel counts 8,192 at most


def cpu_numbers(text: str) -> frozenset[int]:
    """The numbers of a list.

    Raises:
        ValueError: The text is not a list of numbers.
    """
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        if not _LIST.fullmatch(part):
            raise ValueError(f"{shorten(part)} is neither a number nor a span of numbers")
        if max(int(first[:10]), int((last or first)[:10])) > _MOST:
            raise ValueError(f"{shorten(part)} is above {_MOST}")
        numbers.update(range(int(first), int(last or first) + 1))
    return frozenset(numbers)


def cpu_list(numbers: Iterable[int]) -> str:
    """The list of some numbers, with spans (`5-9,15-19`)."""
    every = set(numbers)
    starts = sorted(number for number in every if number - 1 not in every)
    ends = sorted(number for number in every if number + 1 not in every)
    return ",".join(str(low) if low == high else f"{low}-{high}" for low, high in zip(starts, ends, strict=True))


def not_a_list(text: str) -> str | None:
    """What is wrong with a list that a user wrote; None where nothing is."""
    if not _LIST.fullmatch(text):
        return f"{short(text)} is not a list of numbers: write 0-3 or 0,2,5-7"
    if any(int(number[:10]) > _MOST for number in re.findall(r"\d+", text)):
        return f"{short(text)} has a number above {_MOST}"
    spans = [part.split("-") for part in text.split(",")]
    turned = next((span for span in spans if int(span[0]) > int(span[-1])), None)
    return None if turned is None else f"{text!r} counts down: write {turned[1]}-{turned[0]}"
