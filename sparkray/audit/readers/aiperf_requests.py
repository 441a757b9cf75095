"""Requests of one run of aiperf, a JSON line each: the run is what they come to."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparkray.audit.content import Content
from sparkray.audit.reading import Asked, Reading
from sparkray.audit.values import number

LABEL = "aiperf per request"
TRIED = "a file made up after the documented structure"
_TIMES = {"time_to_first_token": "ttft", "request_latency": "latency", "inter_token_latency": "itl"}
_NS = 1e9


def read(content: Content, asked: Asked) -> Reading | None:
    """One run; None where the lines are no requests."""
    listed = content.tree if isinstance(content.tree, list) and not content.table else []
    requests = [item for item in listed if isinstance(item, Mapping) and _is_request(item)]
    if not requests:
        return None
    kept = [item for item in requests if item["metadata"].get("benchmark_phase", "profiling") == "profiling"]
    done = [item for item in kept if not item.get("error")]
    row: dict[str, Any] = {
        **dict.fromkeys(asked.columns),
        "requests_asked": len(kept),
        "requests_completed": len(done),
        "requests_failed": len(kept) - len(done),
        "started_s": min((item["metadata"]["request_start_ns"] for item in kept), default=None),
    }
    span = _span_s(done)
    tokens = [_metric(item, "output_sequence_length") for item in done]
    if span and all(count is not None for count in tokens):
        row["output_throughput_tok_s"] = sum(count or 0 for count in tokens) / span
        row["request_throughput_req_s"] = len(done) / span
    for theirs, ours in _TIMES.items():
        row |= _statistics([value for item in done if (value := _metric(item, theirs)) is not None], ours)
    return Reading(LABEL, [row], family="aiperf", rank=2)


def _is_request(item: Mapping[str, Any]) -> bool:
    metadata = item.get("metadata")
    return isinstance(metadata, Mapping) and "request_start_ns" in metadata and isinstance(item.get("metrics"), Mapping)


def _metric(item: Mapping[str, Any], name: str) -> float | None:
    metric = item["metrics"].get(name)
    return number(metric.get("value")) if isinstance(metric, Mapping) else None


def _span_s(done: Sequence[Mapping[str, Any]]) -> float | None:
    """From the first submission to the last end."""
    starts = [item["metadata"]["request_start_ns"] for item in done]
    ends = [item["metadata"].get("request_end_ns") for item in done]
    if not done or any(end is None for end in ends):
        return None
    return float(max(ends) - min(starts)) / _NS


def _statistics(values: Sequence[float], name: str) -> dict[str, float]:
    if not values:
        return {}
    quantiles = {f"{name}_p{q}_ms": float(np.percentile(values, q)) for q in (50, 95, 99)}
    return {f"{name}_mean_ms": float(np.mean(values)), **quantiles}
