"""Units, size and duration formats, and spelling suggestions. Pure.

Memory is binary (KiB, MiB, GiB), everything else decimal (GB/s).
"""

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

KIB = 1024
MIB = 1024**2
GIB = 1024**3
NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000

_SIZE = re.compile(r"(-?\d+(?:\.\d+)?)\s*([bkmgt]?)(?:i?b)?", re.IGNORECASE)
_ALIKE, _CANDIDATES, _LONGEST_NAME = 0.6, 8, 200
_MOST_BYTES = 2**63 - 1
_NUMBER = re.compile(r"\d+(?:\.\d+)?[^\W\d_]?")
"""With the letter after it: the 4 of Qwen3-4B is not the 4 of FP4."""
_PART = re.compile(r"[^\W\d_]+")
_FACTORS = {"": 1, "b": 1, "k": KIB, "m": MIB, "g": GIB, "t": GIB * KIB}


def parse_size(text: str | int) -> int:
    """Bytes of a size in Docker's notation: `64m`, `1.5g`, `67108864`.

    Raises:
        ValueError: The text is not a size.
    """
    match = None if isinstance(text, int) else _SIZE.fullmatch(text.strip())
    if match is None and not isinstance(text, int):
        raise ValueError(f"{short(text)} is not a size: write bytes, or a number with k, m or g")
    count = int(text) if match is None else int(Decimal(match[1]) * _FACTORS[match[2].lower()])
    if abs(count) > _MOST_BYTES:
        raise ValueError(f"{short(text)} is more bytes than 64 bits count")
    return count


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


def shorten(text: str, most: int = 300) -> str:
    """A text for a message; of a long one its beginning and its length."""
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


def short(value: object, most: int = 200) -> str:
    """A value as Python writes it, for a message; of a long one its beginning and its length."""
    try:
        return shorten(repr(value), most)
    except (ValueError, RecursionError):  # an int of more digits than Python writes, a list that holds itself
        return f"a {type(value).__name__} too large to show"


def reason_of(error: BaseException, most: int = 300) -> str:
    """Why something failed, in one line for a message: of the operating system's errors the reason without the path."""
    return shorten(getattr(error, "strerror", None) or " ".join(str(error).split()), most)


def encodable(text: str) -> str:
    """A text without halves of surrogate pairs, which JSON can name and no file can hold."""
    return text.encode(errors="replace").decode()


def some(items: Sequence[str], most: int = 20, *, separator: str = ", ", total: int | None = None) -> str:
    """A list for a message, bounded: `a, b and 214 more`. `total`: how many there are, where `items` are only the first."""
    left = (len(items) if total is None else total) - min(most, len(items))
    return separator.join(items[:most]) + (f" and {left:,} more" if left else "")


def did_you_mean(word: str, known: Iterable[str], *, exact_numbers: bool = False) -> str | None:
    """The most similar known word, or None.

    Every part must be similar: Phi-3-medium is not a typo of Phi-3-mini.

    Args:
        word: What was written.
        known: What there is.
        exact_numbers: Whether a number is a size or a version, and no typo: Qwen2.5-7B is not Qwen2.5-72B.
    """
    if len(word) > _LONGEST_NAME:
        return None  # the search takes the square of the length
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
