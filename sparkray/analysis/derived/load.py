"""Which load to serve at: the smallest beyond which throughput no longer grows by more than its margin. Means alone.

`at_largest`: it is the largest that was measured, so throughput may grow beyond it. Levels of the load have blocks of their
own, so two of them cannot be compared in pairs; the rule reads means.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.schema import DERIVED, frame_of

THROUGHPUT, LATENCY = "output_throughput_tok_s", "latency_mean_ms"
_LEAST_LEVELS = 2


def load(analysis: Analysis) -> pl.DataFrame:
    """One row a model and environment that has several levels of the load."""
    margin = (analysis.context.get("margins") or {}).get(THROUGHPUT)
    described = analysis.tables["descriptive"].filter(pl.col("mean").is_not_null() & (pl.col("level") != ""))
    means: dict[tuple[str, str], dict[str, dict[str, float]]] = {}
    for row in described.filter(pl.col("metric").is_in([THROUGHPUT, LATENCY])).iter_rows(named=True):
        of_cell = means.setdefault((row["model"], row["environment"]), {})
        of_cell.setdefault(row["level"], {})[row["metric"]] = row["mean"]
    rows = []
    for (model, environment), found in means.items():
        levels = sorted((level for level in found if THROUGHPUT in found[level]), key=size_of)
        if margin is not None and len(levels) >= _LEAST_LEVELS:
            rows.append(_row((model, environment), levels, found, margin))
    return frame_of(DERIVED["load"], rows)


def size_of(level: str) -> tuple[int, ...]:
    """The numbers in a level's name, requests in flight first: the order of levels by load."""
    named = dict(re.findall(r"(\w+)=(\d+)", level))
    return tuple(int(named.get(name, 0)) for name in ("concurrency", "batch"))


def _row(
    where: tuple[str, str], levels: Sequence[str], found: Mapping[str, Mapping[str, float]], margin: float
) -> dict[str, Any]:
    model, environment = where
    speeds = [found[level][THROUGHPUT] for level in levels]
    place = next(i for i, speed in enumerate(speeds) if max(speeds[i:]) <= speed * (1 + margin))
    most = max(range(len(levels)), key=lambda i: speeds[i])
    return {
        "trace": provenance_id("load", model, environment),
        "model": model,
        "environment": environment,
        "level": levels[place],
        "throughput_tok_s": speeds[place],
        "latency_ms": found[levels[place]].get(LATENCY),
        "most_tok_s": speeds[most],
        "most_level": levels[most],
        "left_pct": (speeds[most] / speeds[place] - 1) * 100,
        "at_largest": place == len(levels) - 1,
        "supports": json.dumps(
            [provenance_id("descriptive", model, level, environment, THROUGHPUT) for level in levels]
        ),
    }
