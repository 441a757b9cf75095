"""Units, size and duration formats, and spelling suggestions. Pure.

Memory is binary (KiB, MiB, GiB), everything else decimal (GB/s).
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable
from decimal import Decimal

KIB = 1024
MIB = 1024**2
GIB = 1024**3
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_ALIKE, _CANDIDATES = 0.6, 8
_NUMBER = re.compile(r"\d+(?:\.\d+)?[^\W\d_]?")
"""With the letter after it: the 4 of Qwen3-4B is not the 4 of FP4."""
_PART = re.compile(r"[^\W\d_]+")
_FACTORS = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": GIB * KIB}


def parse_size(text: str | int) -> int:
    """Bytes of a size in Docker's notation: `64m`, `1.5g`, `67108864`.

    Raises:
        ValueError: The text is not a size.
    """
    if isinstance(text, int):
        return text
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write bytes, or a number with k, m or g")
    return int(Decimal(match[1]) * _FACTORS[match[2].lower()])


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


def did_you_mean(word: str, known: Iterable[str], *, exact_numbers: bool = False) -> str | None:
    """The most similar known word, or None.

    Every part must be similar: Phi-3-medium is not a typo of Phi-3-mini.

    Args:
        word: What was written.
        known: What there is.
        exact_numbers: Whether a number is a size or a version, and no typo: Qwen2.5-7B is not Qwen2.5-72B.
    """
    asked = word.casefold()
    folded = {name.casefold(): name for name in known}
    if asked in folded:
        return folded[asked]
    near = difflib.get_close_matches(asked, list(folded), n=_CANDIDATES, cutoff=_ALIKE)
    if exact_numbers:
        numbers = Counter(_NUMBER.findall(asked))
        near = [name for name in near if numbers <= Counter(_NUMBER.findall(name))]
    best = max(
        near, key=lambda name: _likeness(asked, name), default=None
    )  # of equals the first: the nearest as a whole
    return folded[best] if best is not None and _likeness(asked, best) >= _ALIKE else None


def _likeness(asked: str, name: str) -> float:
    """Similarity of the least similar part of the word."""
    parts = _PART.findall(name)
    ratios = (
        max(difflib.SequenceMatcher(None, part, other).ratio() for other in (*parts, "".join(parts)))
        for part in _PART.findall(asked)
    )
    return min(ratios, default=1.0)
