"""Across models, at one level of the load: the ratio by size, architecture and precision, and what number of pairs would do.

The model is the unit. A level of the load is no further model: each has its own regression and its own groups.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sparkray.analysis.context import GROUPINGS, Card, Cards, Protocol
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.reasons import Why, as_text, note
from sparkray.stats import NotEstimable
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import tost_power
from sparkray.stats.regression import line, pooled
from sparkray.stats.samples import Estimate, from_log
from sparkray.stats.subgroups import Group, Subgroups, subgroups

Row = dict[str, Any]
Member = tuple[Row, Card]
_PAIRS = (2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 40, 50, 75, 100)


def size_rows(comparisons: Sequence[Row], cards: Cards) -> list[Row]:
    """`size` of the primary comparisons: each model, each group of models, all of them, and the slope over their size."""
    rows: list[Row] = []
    for head, found in _apart(comparisons):
        known = [(row, cards.of(str(row["model"]))) for row in found]
        rows += [{**head, **_one(member)} for member in known]
        for group_by in GROUPINGS:
            groups = _grouped(known, group_by)
            fit = _fit(groups)
            rows += [{**head, **_group(group_by, name, members, fit)} for name, members in groups.items()]
        rows += [{**head, **_all(known)}, {**head, **_slope(known)}]
    named = ("environment", "metric", "group_by", "level", "group")
    return [{**row, "trace": provenance_id("size", *(row[name] for name in named))} for row in rows]


def _apart(comparisons: Sequence[Row]) -> Iterator[tuple[Row, list[Row]]]:
    """The primary comparisons by environment, metric and level of the load."""
    found: dict[tuple[str, str, str], list[Row]] = {}
    for row in comparisons:
        if row["primary"]:
            found.setdefault((row["environment"], row["metric"], row["level"]), []).append(row)
    for (environment, metric, level), rows in found.items():
        yield {"environment": environment, "metric": metric, "level": level}, rows


def _one(member: Member) -> Row:
    """One model: the ratio of its comparison."""
    row, card = member
    numbers = {name: row.get(name) for name in ("ratio", "low", "high", "not_estimable")}
    estimated = row.get("ratio") is not None
    head = {"group_by": "size", "group": row["model"], "params_b": card.params_b}
    return {**head, "n_models": int(estimated), "models_left_out": int(not estimated), **numbers}


def _grouped(known: Sequence[Member], group_by: str) -> dict[str, list[Member]]:
    """Members of each architecture or precision by the cards, in order of name."""
    groups: dict[str, list[Member]] = {}
    for row, card in known:
        name = getattr(card, group_by)
        if name is not None:
            groups.setdefault(str(name), []).append((row, card))
    return dict(sorted(groups.items()))


def _effects(members: Sequence[Member]) -> list[tuple[float, float]]:
    """Log ratio and its standard error of each model that has one."""
    there = [row for row, _ in members if row.get("ratio") is not None]
    return [(math.log(row["ratio"]), row["sd_log"] / math.sqrt(row["n"])) for row in there]


def _fit(groups: Mapping[str, Sequence[Member]]) -> Subgroups | NotEstimable:
    """The groups that have a model with a ratio, together: they share the variance between models."""
    there = {name: effects for name, members in groups.items() if (effects := _effects(members))}
    return subgroups(there) if there else NotEstimable("no_model_has_ratio")


def _group(group_by: str, name: str, members: Sequence[Member], fit: Subgroups | NotEstimable) -> Row:
    """What the models of a group say together."""
    count = len(_effects(members))
    head: Row = {"group_by": group_by, "group": name, "n_models": count, "models_left_out": len(members) - count}
    if not count:
        return {**head, "not_estimable": "no_ratio_in_group"}
    if isinstance(fit, NotEstimable):
        return {**head, "not_estimable": fit.reason}
    found: Group = fit.groups[name]
    spread: Row = {"q": found.q, "q_p": found.q_p, "i2_pct": fit.i2_pct, "tau": fit.tau}
    why: Why = {}
    if found.q is None:
        note(why, ("q", "q_p"), "one_model")
    return {**head, **_ratio(found.mean), **spread, "why_null": as_text(why)}


def _ratio(mean: Estimate) -> Row:
    """A mean log ratio turned back."""
    ends = (mean.value, mean.low, mean.high)
    return dict(zip(("ratio", "low", "high"), (None if end is None else from_log(end) for end in ends), strict=True))


def _all(known: Sequence[Member]) -> Row:
    """What all models say together, allowing that they differ."""
    effects = _effects(known)
    head: Row = {
        "group_by": "all",
        "group": "all",
        "n_models": len(effects),
        "models_left_out": len(known) - len(effects),
    }
    found = pooled([effect for effect, _ in effects], [error for _, error in effects])
    if isinstance(found, NotEstimable):
        return {**head, "not_estimable": found.reason}
    every, fit = found
    return {**head, **_ratio(every.mean), "q": every.q, "q_p": every.q_p, "i2_pct": fit.i2_pct, "tau": fit.tau}


def _slope(known: Sequence[Member]) -> Row:
    """The line through the log ratios over log10 of the parameters; models are its points."""
    points = [(card.params_b, row["ratio"]) for row, card in known if card.params_b and row.get("ratio") is not None]
    head: Row = {"group_by": "slope", "group": "all"}
    head |= {"n_models": len(points), "models_left_out": len(known) - len(points)}
    found = line([math.log10(params) for params, _ in points], [math.log(ratio) for _, ratio in points])
    if isinstance(found, NotEstimable):
        return {**head, "not_estimable": found.reason}
    slope = {"slope": found.slope.value, "slope_low": found.slope.low, "slope_high": found.slope.high, "p": found.p}
    return {**head, "params_b": 10**found.centre_x, **_ratio(found.centre), **slope}


def contrast_rows(comparisons: Sequence[Row], cards: Cards) -> list[Row]:
    """`contrasts`: every pair of architectures and of precisions, p with Holm over all of them at one level."""
    rows: list[Row] = []
    for head, found in _apart(comparisons):
        known = [(row, cards.of(str(row["model"]))) for row in found]
        asked = [row for group_by in GROUPINGS for row in _contrasts(known, group_by)]
        for row, p in zip(asked, holm([row.get("p") for row in asked]), strict=True):
            trace = provenance_id("contrasts", *head.values(), row["group_by"], row["first"], row["second"])
            rows.append({**head, **row, "p_holm": p, "trace": trace})
    return rows


def _contrasts(known: Sequence[Member], group_by: str) -> Iterator[Row]:
    groups = {name: members for name, members in _grouped(known, group_by).items() if _effects(members)}
    fit = _fit(groups)
    names = list(groups)
    if isinstance(fit, NotEstimable):
        for place, first in enumerate(names):
            for second in names[place + 1 :]:
                yield {"group_by": group_by, "first": first, "second": second, "not_estimable": fit.reason}
        return
    for found in fit.contrasts:
        models = fit.groups[found.first].n + fit.groups[found.second].n
        head: Row = {"group_by": group_by, "first": found.first, "second": found.second, "n_models": models}
        yield {**head, **_ratio(found.difference), "df": fit.df, "tau": fit.tau, "p": found.p}


def power_rows(comparisons: Sequence[Row], protocol: Protocol) -> list[Row]:
    """`power_curve`: the equivalence test at true ratio 1, for the least, middle and greatest spread of the models."""
    rows: list[Row] = []
    for head, found in _apart(comparisons):
        margin = protocol.margin(head["metric"])
        spreads = [row["sd_log"] for row in found if row.get("sd_log") is not None]
        if margin is None or not spreads:
            continue
        for name, sd_log in _named(spreads).items():
            curve = {**head, "margin": margin, "spread": name, "cv_pct": sd_log / math.sqrt(2) * 100}
            for n in sorted({*_PAIRS, max(protocol.planned or 0, _PAIRS[0])}):
                trace = provenance_id("power_curve", *head.values(), name, n)
                rows.append({**curve, "n": n, "power": tost_power(n, sd_log, margin), "trace": trace})
    return rows


def _named(spreads: Sequence[float]) -> Mapping[str, float]:
    return {"min": min(spreads), "median": float(np.median(spreads)), "max": max(spreads)}
