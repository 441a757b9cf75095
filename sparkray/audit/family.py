"""Metrics that are statistics of one quantity: what moves its mean moves its percentiles, and is one finding. Pure."""

import re
from collections.abc import Iterator, Mapping

_STATISTIC = re.compile(r"_(mean|median|p\d{1,3}|min|max|peak)(?=_|$)")


def families(p_values: Mapping[str, float]) -> Iterator[tuple[str, str, list[str]]]:
    """(clearest metric, label, all metrics) of each quantity: metrics that are alike but for the statistic in their name.

    Args:
        p_values: Of each metric; the clearest has the smallest.
    """
    members: dict[str, list[str]] = {}
    for metric in p_values:
        members.setdefault(_STATISTIC.sub("", metric), []).append(metric)
    for metrics in members.values():
        best = min(metrics, key=p_values.__getitem__)
        others = ", ".join(metric for metric in metrics if metric != best)
        yield best, f"{best} (and {others})" if others else best, metrics
