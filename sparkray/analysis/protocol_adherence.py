"""Protocol adherence: order in blocks, waits, page cache and the files of each arm, as the rows recorded them.

An experiment declares these; this is what happened. What was not recorded is null or empty.
"""

from typing import Any

import polars as pl

from sparkray.analysis.arm_files import bits_of, files_of
from sparkray.analysis.frames import Frames, rank
from sparkray.config.site import own_images

_LEAST_ARMS = 2


def adherence_of(frames: Frames) -> dict[str, Any]:
    """The adherence of the ok runs, as plain values."""
    files = files_of(frames, own_images(frames.document.get("site")))
    return {
        "order": _order(frames),
        "gate_wait_s": _spread(frames.ok, "gate_wait_s"),
        "gate_temp_c": _spread(frames.ok, "gpu_temp_gate_c"),
        "page_cache_dropped": _answers(frames.ok, "page_cache_dropped"),
        "files": files,
        "bits": bits_of(files),
    }


def _order(frames: Frames) -> dict[str, Any]:
    """In how many blocks of two arms and more each arm came first."""
    blocks = (
        frames.ok.sort("order")
        .group_by("model", "level", "block", maintain_order=True)
        .agg(pl.len().alias("arms"), pl.col("environment").first())
        .filter(pl.col("arms") >= _LEAST_ARMS)
    )
    first = dict(blocks["environment"].value_counts().iter_rows())
    return {"blocks": blocks.height, "first": {name: first[name] for name in sorted(first, key=rank)}}


def _spread(runs: pl.DataFrame, column: str) -> dict[str, Any]:
    """How many runs have a value in a column, and the least, median and greatest."""
    values = runs[column].drop_nulls()
    if values.is_empty():
        return {"runs": 0}
    return {"runs": len(values), "min": values.min(), "median": values.median(), "max": values.max()}


def _answers(runs: pl.DataFrame, column: str) -> dict[str, int]:
    """How many runs have true, false and null in a column."""
    values = runs[column]
    yes, known = int(values.fill_null(value=False).sum()), len(values) - values.null_count()
    return {"yes": yes, "no": known - yes, "not_recorded": values.null_count()}
