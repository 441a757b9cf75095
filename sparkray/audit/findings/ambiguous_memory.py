"""A "peak memory" that counts page cache, told apart from nothing."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from sparkray.audit.affine import affine_pairs
from sparkray.audit.case import Case, labels, numbers, reference_first
from sparkray.audit.finding import Finding, NotJudged

COUNTS_CACHE = ("engine_reported_peak_gib", "host_free_drop_peak_gib")
TELLS_CACHE = ("host_available_drop_peak_gib", "page_cache_before_gib")
_LEAST_GIB = 2.0
_NEAR_TOTAL = 0.05


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave when such a metric differs between arms by 2 GiB and 2 % while nothing recorded tells page cache apart."""
    there = [name for name in COUNTS_CACHE if name in case.metrics]
    if not there:
        yield NotJudged("ambiguous_memory", "no memory metric of total less free")
        return
    if any(name in case.ok.columns and case.ok[name].null_count() < len(case.ok) for name in TELLS_CACHE):
        return
    for metric in there:
        found = [difference for model, frame in case.by_model() for difference in _differences(model, frame, metric)]
        if found:
            yield Finding(
                "ambiguous_memory",
                "grave",
                f"{metric} differs between arms, and counts page cache wherever it is total less free (on unified memory "
                "CUDA's free is the kernel's MemFree): without available memory or page cache beside it, the difference "
                "may be file cache and no cost of the environment",
                f"{'; '.join(text for text, _ in found)}{_total(case, metric)}",
                tuple(row for _, rows in found for row in rows),
            )


def _differences(model: str, frame: pl.DataFrame, metric: str) -> Iterator[tuple[str, tuple[str, ...]]]:
    reference, *others = reference_first(frame["environment"].unique().to_list())
    base = numbers(frame.filter(pl.col("environment") == reference), metric)
    for other in others:
        values = numbers(frame.filter(pl.col("environment") == other), metric)
        if not len(base) or not len(values):
            continue
        difference = float(np.mean(values) - np.mean(base))
        if abs(difference) > max(_LEAST_GIB, 0.02 * abs(float(np.mean(base)))):
            yield f"{model}: {other} {difference:+.2f} GiB against {reference}", labels(frame)


def _total(case: Case, metric: str) -> str:
    memory = None if case.site is None else case.site.memory_gib
    for pair in affine_pairs(case):
        if pair.x != metric or pair.slope >= 0 or memory is None:
            continue
        zero = -pair.intercept / pair.slope
        if abs(zero - memory) < _NEAR_TOTAL * memory:
            return f"; {pair.y} vanishes where it reaches {zero:.2f} GiB, the machine's memory: it is total less free"
    return ""
