"""A time to the first token that collapses after the first arm: later arms found the prompts in a prefix cache."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from sparkray.audit.case import THROUGHPUT, Case, labels, numbers, of_arm, reference_first
from sparkray.audit.finding import Finding, NotJudged

_TTFT = ("ttft_mean_ms", "ttft_p50_ms", "ttft_p99_ms")
_PER_TOKEN = ("itl_mean_ms", "itl_p50_ms", "tpot_mean_ms", "tpot_p50_ms", THROUGHPUT)
_COLLAPSES, _ALIKE = 2.5, 1.25
_LEAST_RUNS = 2


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave where the first token takes 2.5 times as long in one arm while the tokens after it take as long in both.

    The prefill of the same prompts on the same machine does not differ so much by the environment; a prefix cache that the
    first arm filled does.
    """
    ttft = next((name for name in _TTFT if name in case.metrics), None)
    rest = next((name for name in _PER_TOKEN if name in case.metrics), None)
    if ttft is None or rest is None:
        yield NotJudged("warm_cache/metric")
        return
    items: list[dict[str, Any]] = []
    rows: list[str] = []
    for model, frame in case.by_model():
        reference, *others = reference_first(frame["environment"].unique().to_list())
        for other in others:
            arms = [of_arm(frame, arm) for arm in (reference, other)]
            first = [numbers(arm, ttft) for arm in arms]
            after = [numbers(arm, rest) for arm in arms]
            if min(len(values) for values in (*first, *after)) < _LEAST_RUNS:
                continue
            if _ratio(first) >= _COLLAPSES and _ratio(after) <= _ALIKE:
                means = [float(np.mean(values)) for values in first]
                items.append({"model": model, "arms": [reference, other], "means": means, "rest": _ratio(after)})
                rows += [row for arm in arms for row in labels(arm)]
    if items:
        yield Finding("warm_cache", {"ttft": ttft, "metric": rest, "items": items}, "grave", tuple(rows))


def _ratio(pair: list[np.ndarray]) -> float:
    means = sorted(float(np.mean(values)) for values in pair)
    return means[1] / means[0] if means[0] > 0 else 1.0
