"""A "peak memory" that includes page cache, without a column that separates the two."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sparkray.audit.affine import affine_pairs
from sparkray.audit.case import Case, labels, numbers, of_arm, reference_first
from sparkray.audit.finding import Finding, NotJudged

COUNTS_CACHE = ("engine_reported_peak_gib", "host_free_drop_peak_gib")
SEPARATES_CACHE = ("host_available_drop_peak_gib", "page_cache_before_gib")
_LEAST_GIB = 2.0
_NEAR_TOTAL = 0.05


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave when such a metric differs between arms by 2 GiB and 2 % and nothing recorded separates the page cache."""
    metrics = [name for name in COUNTS_CACHE if name in case.metrics]
    if not metrics:
        yield NotJudged("ambiguous_memory/none")
    elif not any(numbers(case.ok, name).size for name in SEPARATES_CACHE):
        for metric in metrics:
            if items := list(_differences(case, metric)):
                models = {item["model"] for item in items}
                rows = tuple(row for model, frame in case.by_model() if model in models for row in labels(frame))
                values = {"metric": metric, "items": items, "total": _total(case, metric)}
                yield Finding("ambiguous_memory", values, "grave", rows)


def _differences(case: Case, metric: str) -> Iterator[dict[str, Any]]:
    for model, frame in case.by_model():
        reference, *others = reference_first(frame["environment"].unique().to_list())
        base = numbers(of_arm(frame, reference), metric)
        for other in others:
            values = numbers(of_arm(frame, other), metric)
            if not len(base) or not len(values):
                continue
            gib = float(np.mean(values) - np.mean(base))
            if abs(gib) > max(_LEAST_GIB, 0.02 * abs(float(np.mean(base)))):
                yield {"model": model, "other": other, "gib": gib, "reference": reference}


def _total(case: Case, metric: str) -> dict[str, Any] | None:
    """The metric that vanishes where this one reaches the machine's memory: then this one is total minus free."""
    memory = None if case.site is None else case.site.memory_gib
    for pair in affine_pairs(case):
        if pair.x == metric and pair.slope < 0 and memory is not None:
            zero = -pair.intercept / pair.slope
            if abs(zero - memory) < _NEAR_TOTAL * memory:
                return {"y": pair.y, "gib": zero}
    return None
