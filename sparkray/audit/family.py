"""Metrics that are statistics of one quantity: what moves its mean moves its percentiles, and is one finding. Pure."""

import re
from collections.abc import Iterable, Iterator, Sequence

_STATISTIC = re.compile(r"_(mean|median|p\d{1,3}|min|max|peak)(?=_|$)")


def families(metrics: Iterable[str]) -> Iterator[list[str]]:
    """Metrics by quantity, in their order: those that are alike but for the statistic in their name."""
    found: dict[str, list[str]] = {}
    for metric in metrics:
        found.setdefault(_STATISTIC.sub("", metric), []).append(metric)
    yield from found.values()


def told(best: str, members: Sequence[str]) -> str:
    """How a family is called, after the member that shows something best."""
    others = [metric for metric in members if metric != best]
    return f"{best} (and {', '.join(others)})" if others else best
