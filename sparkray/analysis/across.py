"""Across models: the ratio by size, architecture and precision, and what number of pairs would have been enough."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sparkray.analysis.context import Card, Cards, Protocol
from sparkray.analysis.keys import key
from sparkray.stats import NotEstimable
from sparkray.stats.paired import tost_power
from sparkray.stats.regression import line, pooled

Row = dict[str, Any]
_PAIRS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)


def size_rows(comparisons: Sequence[Row], cards: Cards) -> list[Row]:
    """`size` of the primary comparisons: each model, each group of models, and the slope over the logarithm of size."""
    rows: list[Row] = []
    for (environment, metric), found in _by_environment_and_metric(comparisons).items():
        known = [(row, cards.of(str(row["model"]))) for row in found]
        head = {"environment": environment, "metric": metric}
        rows += [_one(head, "size", str(row["model"]), (row, card)) for row, card in known]
        for group_by in ("architecture", "precision"):
            for group, members in _grouped(known, group_by):
                rows.append({**head, **_group(group_by, group, members)})
        rows.append({**head, **_slope(known)})
    return [{**row, "trace": _trace(row)} for row in rows]


def _by_environment_and_metric(comparisons: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    found: dict[tuple[str, str], list[Row]] = {}
    for row in comparisons:
        if row["primary"]:
            found.setdefault((row["environment"], row["metric"]), []).append(row)
    return found


def _trace(row: Row) -> str:
    return key("size", row["environment"], row["metric"], row["group_by"], row.get("level") or "", row["group"])


def _one(head: Row, group_by: str, group: str, member: tuple[Row, Card]) -> Row:
    """One model: the ratio of its comparison."""
    row, card = member
    numbers = {name: row.get(name) for name in ("ratio", "low", "high", "not_estimable")}
    return {
        **head,
        "group_by": group_by,
        "group": group,
        "level": row["level"],
        "params_b": card.params_b,
        "n_models": 1 if row.get("ratio") is not None else 0,
        **numbers,
    }


def _grouped(known: Sequence[tuple[Row, Card]], group_by: str) -> Iterator[tuple[str, list[tuple[Row, Card]]]]:
    """Members of each architecture or precision that a card tells."""
    groups: dict[str, list[tuple[Row, Card]]] = {}
    for row, card in known:
        name = getattr(card, group_by)
        if name is not None:
            groups.setdefault(str(name), []).append((row, card))
    yield from sorted(groups.items())


def _group(group_by: str, group: str, members: Sequence[tuple[Row, Card]]) -> Row:
    """What the models of a group say together: the random-effects mean of their log ratios."""
    head: Row = {"group_by": group_by, "group": group, "level": ""}
    rows = [row for row, _ in members if row.get("ratio") is not None]
    if not rows:
        return {**head, "n_models": 0, "not_estimable": "no model of this group has a ratio"}
    if len(rows) == 1:
        return {**head, "n_models": 1, **{name: rows[0][name] for name in ("ratio", "low", "high")}}
    effects = [math.log(row["ratio"]) for row in rows]
    found = pooled(effects, [row["sd_log"] / math.sqrt(row["n"]) for row in rows])
    if isinstance(found, NotEstimable):
        return {**head, "n_models": len(rows), "not_estimable": found.reason}
    low, high = found.mean.low, found.mean.high
    return {
        **head,
        "n_models": len(rows),
        "ratio": math.exp(found.mean.value),
        "low": None if low is None else math.exp(low),
        "high": None if high is None else math.exp(high),
    }


def _slope(known: Sequence[tuple[Row, Card]]) -> Row:
    """The line through the log ratios over log10 of the parameters; models are its points."""
    points = [(card.params_b, row["ratio"]) for row, card in known if card.params_b and row.get("ratio") is not None]
    head: Row = {"group_by": "slope", "group": "all", "level": "", "n_models": len(points)}
    found = line([math.log10(params) for params, _ in points], [math.log(ratio) for _, ratio in points])
    if isinstance(found, NotEstimable):
        return {**head, "not_estimable": found.reason}
    return {
        **head,
        "slope": found.slope.value,
        "slope_low": found.slope.low,
        "slope_high": found.slope.high,
        "p": found.p,
    }


def power_rows(comparisons: Sequence[Row], protocol: Protocol) -> list[Row]:
    """`power_curve`: the equivalence test at true ratio 1, for the least, middle and greatest spread of the models."""
    rows: list[Row] = []
    for (environment, metric), found in _by_environment_and_metric(comparisons).items():
        margin = protocol.margin(metric)
        spreads = [row["sd_log"] for row in found if row.get("sd_log") is not None]
        if margin is None or not spreads:
            continue
        for name, sd_log in _named(spreads).items():
            head = {"environment": environment, "metric": metric, "margin": margin, "spread": name}
            head["cv_pct"] = sd_log / math.sqrt(2) * 100
            for n in sorted({*_PAIRS, max(protocol.planned or 0, _PAIRS[0])}):
                trace = key("power_curve", environment, metric, name, n)
                rows.append({**head, "n": n, "power": tost_power(n, sd_log, margin), "trace": trace})
    return rows


def _named(spreads: Sequence[float]) -> Mapping[str, float]:
    return {"min": min(spreads), "median": float(np.median(spreads)), "max": max(spreads)}
