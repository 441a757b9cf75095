"""Where an arm's memory goes: the drop of available memory in known parts and what is left over, then the page cache.

Arithmetic on means of peaks. Peaks of different parts need not fall together and mapped files are in PSS, so what is left
over may lie below 0; it is told and not hidden. Where the GPU has memory of its own, that is no part of what the host lacks.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.keys import key
from sparkray.report.derived.fit import GPUS, memory_of

AVAILABLE, FREE = "host_available_drop_peak_gib", "host_free_drop_peak_gib"
GPU, PSS = "gpu_process_peak_gib", "process_pss_peak_gib"
UNEXPLAINED, PAGE_CACHE = "unexplained", "page_cache"
PARTS: Mapping[str, str] = {
    GPU: "GPU memory of the processes",
    PSS: "memory of the processes (PSS)",
    UNEXPLAINED: "not explained",
    AVAILABLE: "drop of available memory",
    PAGE_CACHE: "page cache and what else can be reclaimed",
    FREE: "drop of free memory",
}
TOTALS = (AVAILABLE, FREE)
_SCHEMA = {
    "trace": pl.String(),
    "model": pl.String(),
    "level": pl.String(),
    "environment": pl.String(),
    "part": pl.String(),
    "begin_gib": pl.Float64(),
    "value_gib": pl.Float64(),
    "supports": pl.String(),
    "source": pl.String(),
}


def memory_split(analysis: Analysis) -> pl.DataFrame:
    """One row a part of a cell, in the order in which they are stacked; a cell without a drop of available memory: none."""
    means: dict[tuple[str, str, str], dict[str, float]] = {}
    for row in analysis.tables["memory"].iter_rows(named=True):
        means.setdefault((row["model"], row["level"], row["environment"]), {})[row["part"]] = row["mean"]
    unified = memory_of(analysis.context) != GPUS
    rows = [
        _row(cell, part, (begin, value), found)
        for cell, found in means.items()
        if AVAILABLE in found
        for part, begin, value in _stacked(found, unified=unified)
    ]
    return pl.DataFrame(rows, schema=_SCHEMA)


def _stacked(found: Mapping[str, float], *, unified: bool) -> Iterator[tuple[str, float, float]]:
    """(part, where it begins, its length), GiB."""
    begin = 0.0
    for part in (*((GPU,) if unified else ()), PSS):
        if part in found:
            yield part, begin, found[part]
            begin += found[part]
    yield UNEXPLAINED, begin, found[AVAILABLE] - begin
    yield AVAILABLE, 0.0, found[AVAILABLE]
    if FREE in found:
        yield PAGE_CACHE, found[AVAILABLE], found[FREE] - found[AVAILABLE]
        yield FREE, 0.0, found[FREE]


_SOURCES = {
    UNEXPLAINED: f"{AVAILABLE} less the parts above it",
    PAGE_CACHE: f"{FREE} less {AVAILABLE}",
}


def _row(cell: tuple[str, str, str], part: str, ends: tuple[float, float], measured: Collection[str]) -> dict[str, Any]:
    begin, value = ends
    where = dict(zip(("model", "level", "environment"), cell, strict=True))
    source = f"means over runs in `memory`: {_SOURCES.get(part, part)}; peaks need not fall together"
    used = (
        (part,) if part in PARTS and part not in _SOURCES else (GPU, PSS, AVAILABLE) if part == UNEXPLAINED else TOTALS
    )
    supports = json.dumps([key("memory", *cell, one) for one in used if one in measured])
    numbers = {"begin_gib": begin, "value_gib": value, "supports": supports, "source": source}
    return {"trace": f"memory_split/{'/'.join(cell)}/{part}", **where, "part": part, **numbers}
