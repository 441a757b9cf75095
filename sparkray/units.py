"""Numbers with units, and the two text helpers that every message needs. Pure.

Memory is binary (KiB, MiB, GiB), bandwidth and everything else decimal (GB/s), as the design's column names say.
"""

import difflib
import re
from collections.abc import Iterable

KIB = 1024
MIB = 1024**2
GIB = 1024**3
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_SIZE = re.compile(r"(-?\d+)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_FACTORS = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": GIB * KIB}


def parse_size(text: str | int) -> int:
    """Bytes of a size as Docker writes it: `64m`, `32g`, `67108864`.

    Raises:
        ValueError: The text is no size.
    """
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is no size: write bytes, or a number with k, m or g")
    return int(match[1]) * _FACTORS[match[2].lower()]


def format_size(count: int) -> str:
    """The shortest exact form of a size in bytes that `parse_size` reads back (`67108864` -> `64m`)."""
    for suffix, factor in (("g", GIB), ("m", MIB), ("k", KIB)):
        if count and count % factor == 0:
            return f"{count // factor}{suffix}"
    return str(count)


def gib(count: float) -> float:
    """Bytes in GiB."""
    return count / GIB


def format_duration(seconds: float) -> str:
    """`75` -> `1m15s`; hours without seconds."""
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours}h{minutes:02d}m"
    return f"{minutes}m{rest:02d}s" if minutes else f"{rest}s"


def did_you_mean(word: str, known: Iterable[str]) -> str | None:
    """The known word nearest to one that is not known, or None when nothing is near."""
    folded = {name.casefold(): name for name in known}
    near = difflib.get_close_matches(word.casefold(), list(folded), n=1, cutoff=0.6)
    return folded[near[0]] if near else None
