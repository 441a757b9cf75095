"""Names that tables give to sparkray's columns (`aliases.yaml`), and units in headers. Pure."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice, product
from typing import Any
from unicodedata import combining, normalize

from sparkray.audit import statuses, values
from sparkray.audit.quantities import unit_of
from sparkray.audit.wordlists import word_list

_UNIT = re.compile(r"\s*(?:[(\[]\s*([^)\]]+?)\s*[)\]]|,\s*(\S.*?))\s*$")
_RATE_BEHIND = re.compile(r"\s+([a-z]+/s(?:ec(?:ond)?)?|tps)\s*$", re.IGNORECASE)
# What stands before the unit of a cell.
_RATE_OF_CELL = re.compile(r"^[~≈]?[\d.,+-]+\s*(?=k?\s*[a-z])(k\s*(?=t))?", re.IGNORECASE)
_TOKENS = re.compile(r"k?\s*(t/s|t\w*ps$|tok|jeton)", re.IGNORECASE)
_SAMPLE = 200
_NO_LETTERS = re.compile("[^a-z0-9\u0430-\u044f\u1100-\u11ff\u3041-\u30ff\u4e00-\u9fff]+")
_COUNTS = ("batch", "requests_asked", "requests_completed", "requests_failed")
# Objects of JSON around a value, which do not show what it is of: `metrics.tok_s`.
_AROUND = re.compile(
    r"^((metrics?|results?|perf(ormance)?|stats|statistics|summary|data|measurements?)\.)+", re.IGNORECASE
)
# The unit behind a name that says what it is of: `output_token_throughput_per_s`.
_PER_SECOND = re.compile(r"(?<=throughput)_(tok(en)?s?_)?per_s(ec(ond)?)?$")
_NAMED_UNIT = re.compile(r"_(ms|tok_s|req_s|gib)$")
_TARGET = {"ms": "ms", "tok_s": "tok/s", "req_s": "req/s", "gib": "GiB"}


def known_as(header: str, cells: Sequence[Any]) -> str | None:
    """Sparkray's name of a column by its header, if its cells and its unit can be of that quantity."""
    header = _AROUND.sub("", header)
    base, unit = _parts(header)
    unit = unit or _cells_unit(cells)
    dimension = unit_of(unit) if unit else None
    ours = (
        _aliases()["any"].get(_PER_SECOND.sub("", plain(header)))
        or _aliases()["any"].get(plain(header))
        or (_aliases()["any"].get(plain(base)) if unit else None)
    )
    if ours is None and dimension is not None and dimension[0] == "rate":
        of = "rates" if _TOKENS.match(unit or "") else "requests"
        ours = _aliases()[of].get(plain(base))
    if ours is None or (statuses.kind_of(header) and not _several(cells)) or not _FITS.get(ours, _any)(_sample(cells)):
        return None
    target = _target(ours)
    if target is None:
        return ours
    if dimension is not None:
        return ours if dimension[0] == target[0] else None
    # A time without a unit anywhere may be seconds or milliseconds.
    return ours if target[0] == "rate" or _shows_unit(header, ours) or _cells_have_unit(cells) else None


def with_unit(header: str, ours: str, cells: Sequence[Any]) -> Sequence[Any]:
    """Cells with the unit of their header, where that is not the one of sparkray's name."""
    unit, target = _header_unit(header), _target(ours)
    if ours == header or unit is None or target is None or unit_of(unit) == target:
        return cells
    return [cell if values.number(cell) is None else f"{cell} {unit}" for cell in cells]


def _header_unit(header: str) -> str | None:
    unit = _parts(header)[1]
    if unit is not None:
        return unit if unit_of(unit) else None
    tail = header.casefold().rpartition("_")[2]
    return tail if tail in ("ms", "s", "us", "ns", "sec", "seconds") and "tok" not in header.casefold() else None


def _shows_unit(header: str, ours: str) -> bool:
    return _header_unit(header) is not None or plain(header) == ours


def _cells_unit(cells: Sequence[Any]) -> str | None:
    """The rate that every cell of a sample has as its unit: `38.2 tok/s`."""
    texts = (cell.strip() for cell in _sample(cells) if isinstance(cell, str))
    units = {_RATE_OF_CELL.sub("", text) for text in texts if text and not _is_word(text)}
    unit = units.pop() if len(units) == 1 else ""
    known = unit_of(unit)
    return unit if "/" in unit or (known is not None and known[0] == "rate") else None


def _sample(cells: Sequence[Any]) -> list[Any]:
    """The first cells that have a value, wherever they begin."""
    return list(islice((cell for cell in cells if not values.missing(cell)), _SAMPLE))


def _is_word(text: str) -> bool:
    """Whether a cell has no value, or the word of a run that failed in its place."""
    return values.missing(text) or statuses.is_failure(text)


def _cells_have_unit(cells: Sequence[Any]) -> bool:
    return any(isinstance(cell, str) and cell.strip()[-1:].isalpha() and cell.strip()[:1].isdigit() for cell in cells)


@cache
def _parts(header: str) -> tuple[str, str | None]:
    """A header without its unit, and the unit: `Latency (s)`, `Throughput, tok/s`, `decode t/s`, `t/s`."""
    if unit_of(header) and "/" in header:
        return "", header
    match = _UNIT.search(header) or _RATE_BEHIND.search(header)
    return (header, None) if match is None else (header[: match.start()], next(filter(None, match.groups())))


def _target(ours: str) -> tuple[str, float] | None:
    match = _NAMED_UNIT.search(ours)
    return None if match is None else unit_of(_TARGET[match[1]])


@cache
def plain(header: str) -> str:
    """A header in lower case without accents, with `_` for anything but digits and letters (also East Asian, Russian)."""
    bare = "".join(one for one in normalize("NFKD", header.casefold()) if not combining(one))
    return _NO_LETTERS.sub("_", bare).strip("_")


def _any(_: Sequence[Any]) -> bool:
    return True


def _counts(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(values.integer(cell) is not None for cell in cells)


def _several(cells: Sequence[Any]) -> bool:
    """Whether cells count something, and are no flags of one run."""
    given = [cell for cell in cells if not values.missing(cell)]
    return _counts(given) and max(values.integer(cell) or 0 for cell in given) > 1


def _words(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(values.number(cell) is None and values.text(cell) is not None for cell in cells)


def _moments(cells: Sequence[Any]) -> bool:
    return bool(cells) and all(values.seconds(cell) is not None for cell in cells)


_FITS: Mapping[str, Callable[[Sequence[Any]], bool]] = {
    **dict.fromkeys(_COUNTS, _counts),
    **dict.fromkeys(("model", "environment", "gpu"), _words),
    "started_s": _moments,
}


@cache
def _aliases() -> Mapping[str, Mapping[str, str]]:
    """Sparkray's names by those of others: `any` column, and `rates`, which are known by a unit of tokens beside them."""
    source = word_list("aliases.yaml")
    for of in ("columns", "rates", "requests"):
        source[of] = {ours: [*map(plain, listed)] for ours, listed in source[of].items()}
    statistics = {f"{quantity}_{ours}_ms": quantity for quantity in source["times"] for ours in source["statistics"]}
    named = {alias: ours for ours, listed in source["columns"].items() for alias in (ours, *listed)}
    return {
        "any": {**{ours: ours for ours in statistics}, **dict(_times(source)), **named},
        **{
            of: {alias: ours for ours, listed in source[of].items() for alias in listed} for of in ("rates", "requests")
        },
    }


def _times(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """`p99_ttft`, `ttft_p99`, `mean_e2e_latency_s` and the like: a time, its statistic on either side, and a unit."""
    for (quantity, times), (ours, statistics) in product(source["times"].items(), source["statistics"].items()):
        for time, statistic in product(times, statistics):
            for name in dict.fromkeys((f"{statistic}_{time}".strip("_"), f"{time}_{statistic}".strip("_"))):
                for unit in ("", "_ms", "_s", "_sec"):
                    yield f"{name}{unit}", f"{quantity}_{ours}_ms"
