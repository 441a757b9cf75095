"""Where an arm's memory goes: the drop of available memory in known parts and what is left over, then the page cache.

Arithmetic on means of peaks: `unexplained` is the drop of available memory less the parts above it, `page_cache` the drop of
free memory less that of available memory. Peaks of different parts need not fall together and mapped files are in PSS, so
what is left over may lie below 0. Where the GPU has memory of its own, that is no part of what the host lacks.
"""

import json
from collections.abc import Collection, Iterator, Mapping
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.derived.fit import GPUS, memory_of
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.schema import DERIVED, frame_of

AVAILABLE, FREE = "host_available_drop_peak_gib", "host_free_drop_peak_gib"
GPU, PSS = "gpu_process_peak_gib", "process_pss_peak_gib"
UNEXPLAINED, PAGE_CACHE = "unexplained", "page_cache"
# In the order in which they are stacked.
PARTS = (GPU, PSS, UNEXPLAINED, AVAILABLE, PAGE_CACHE, FREE)
TOTALS = (AVAILABLE, FREE)


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
    return frame_of(DERIVED["memory_split"], rows)


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


def _row(cell: tuple[str, str, str], part: str, ends: tuple[float, float], measured: Collection[str]) -> dict[str, Any]:
    begin, value = ends
    where = dict(zip(("model", "level", "environment"), cell, strict=True))
    used = {UNEXPLAINED: (GPU, PSS, AVAILABLE), PAGE_CACHE: TOTALS}.get(part, (part,))
    supports = json.dumps([provenance_id("memory", *cell, one) for one in used if one in measured])
    numbers = {"begin_gib": begin, "value_gib": value, "supports": supports}
    return {"trace": f"memory_split/{'/'.join(cell)}/{part}", **where, "part": part, **numbers}
