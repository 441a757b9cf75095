"""A memory metric that includes page cache with nothing that separates it, or that lacks the GPU's memory in one arm."""

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from sparkray.audit.affine import affine_pairs
from sparkray.audit.case import Case, labels, numbers, of_arm, reference_first
from sparkray.audit.finding import Finding, NotJudged
from sparkray.audit.names import plain
from sparkray.config.model import needed_gib
from sparkray.config.model_name import parse_name
from sparkray.units import gib

COUNTS_CACHE = ("engine_reported_peak_gib", "host_free_drop_peak_gib")
SEPARATES_CACHE = ("host_available_drop_peak_gib", "page_cache_before_gib")
_IN_USE = re.compile(r"(^|_)(mem(ory)?|rss|vram)(_|$)|container_mem|docker_stats")
_OTHER_MEMORY = re.compile(
    r"free|avail|cache|swap|total|limit|pct|percent|util|bandwidth|clock|host|engine_reported|temp|_s$|_ms$"
)
_LEAST_BITS = 4.0
_LEAST_GIB = 2.0
_NEAR_TOTAL = 0.05


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave when such a metric differs between arms by 2 GiB and 2 % and nothing recorded separates the page cache.

    Grave too when any metric of memory in use is above the weights of the model in one arm, and below half of them and a
    quarter of the other arm in another: what a cgroup or a process counts does not hold the GPU's memory.
    """
    yield from _by_size(case)
    metrics = [name for name in COUNTS_CACHE if name in case.metrics]
    if not metrics:
        if not any(_is_use(name) for name in case.metrics):
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


def _is_use(metric: str) -> bool:
    return bool(_IN_USE.search(plain(metric))) and not _OTHER_MEMORY.search(plain(metric))


def _by_size(case: Case) -> Iterator[Finding]:
    for metric in filter(_is_use, case.metrics):
        items: list[dict[str, Any]] = []
        rows: list[str] = []
        for model, frame in case.by_model():
            weights = _weights_gib(case, str(frame["model_name"][0]))
            means = {
                arm: float(np.mean(of))
                for arm in frame["environment"].unique()
                if len(of := numbers(of_arm(frame, arm), metric))
            }
            if weights is None or len(means) < 2:  # noqa: PLR2004 - a comparison
                continue
            least, most = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
            if means[most] >= weights and means[least] < min(weights, means[most] / 2) / 2:
                items.append(
                    {"model": model, "arms": [most, least], "means": [means[most], means[least]], "weights": weights}
                )
                rows += labels(frame)
        if items:
            yield Finding("ambiguous_memory/size", {"metric": metric, "items": items}, "grave", tuple(rows))


def _weights_gib(case: Case, name: str) -> float | None:
    """The weights of a model, by its card, else by the parameters in its name at 4 bits."""
    card = case.card(name)
    needed = None if card is None else needed_gib(card)
    if needed is not None:
        return needed
    parsed = parse_name(name)
    bits = parsed.weights.bits if parsed.weights else _LEAST_BITS
    return None if parsed.params_total is None else gib(parsed.params_total * bits / 8)


def _total(case: Case, metric: str) -> dict[str, Any] | None:
    """The metric that vanishes where this one reaches the machine's memory: then this one is total minus free."""
    memory = None if case.site is None else case.site.memory_gib
    for pair in affine_pairs(case):
        if pair.x == metric and pair.slope < 0 and memory is not None:
            zero = -pair.intercept / pair.slope
            if abs(zero - memory) < _NEAR_TOTAL * memory:
                return {"y": pair.y, "gib": zero}
    return None
