"""Which environment to use: a rule on the verdicts, for each comparison, each model and the whole study.

The rule asks about speed first, then about memory; `reason` names the branch that ended it:

1. `speed_worse`: a primary metric of speed is worse beyond its margin. Outcome `avoid`.
2. `speed_undecided`, `no_speed_metric`: speed is not known well enough. Outcome `open`.
3. `memory_worse`: memory is larger beyond its margin. Outcome `use_if_memory`.
4. `memory_undecided`. Outcome `memory_open`.
5. `speed_better`, `within_margins`. Outcome `use`.

A model gets the environment with the best outcome over all levels of the load, each level counting by its worst. Of two
that are as good it is the simpler one, unless the tuned container is shown better than the baseline (table `gap`).
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sparkray.analysis.differences import is_above
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.config.site import CONTAINER_OPTIMIZED

Row = dict[str, Any]
Tables = Mapping[str, Sequence[Mapping[str, Any]]]
# Best first.
OUTCOMES = ("use", "use_if_memory", "memory_open", "open", "avoid")
TAKEN = OUTCOMES[:3]
DECIDED = ("equivalent", "different")
_MEMORY = "_gib"


def decision_rows(tables: Tables) -> list[Row]:
    """`decisions`: a row for each model, level and environment with a primary comparison."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for row in tables["comparisons"]:
        if row["primary"]:
            groups.setdefault((row["model"], row["level"], row["environment"]), []).append(row)
    return [_decision(tables, where, compared) for where, compared in groups.items()]


def _decision(tables: Tables, where: tuple[str, str, str], compared: Sequence[Mapping[str, Any]]) -> Row:
    outcome, reason, behind = _ruled(compared)
    needed = [row["pairs_needed"] for row in behind if more_pairs_decide(row)]
    return {
        **dict(zip(("model", "level", "environment"), where, strict=True)),
        "against": compared[0]["against"],
        "outcome": outcome,
        "reason": reason,
        "metrics": json.dumps([row["metric"] for row in behind]),
        "extra_gib": _extra_gib(tables, where, compared),
        "pairs_needed": max(needed) if len(needed) == len(behind) and needed else None,
        "supports": json.dumps([row["trace"] for row in compared]),
        "trace": provenance_id("decisions", *where),
    }


def more_pairs_decide(row: Mapping[str, Any]) -> bool:
    """Whether more pairs than were made would decide, if the arms are alike; not known near the margin's edge."""
    return row.get("pairs_needed") is not None and row["pairs_needed"] > row["n"]


def _ruled(compared: Sequence[Mapping[str, Any]]) -> tuple[str, str, Sequence[Mapping[str, Any]]]:
    """Outcome, reason, and the comparisons that the reason is about."""
    memory = [row for row in compared if is_memory(row["metric"])]
    speed = [row for row in compared if not is_memory(row["metric"])]
    if worse := [row for row in speed if _differs(row, better=False)]:
        return "avoid", "speed_worse", worse
    undecided = [row for row in speed if row.get("verdict") not in DECIDED]
    if undecided or not speed:
        return "open", "speed_undecided" if speed else "no_speed_metric", undecided
    if larger := [row for row in memory if _differs(row, better=False)]:
        return "use_if_memory", "memory_worse", larger
    if left := [row for row in memory if row.get("verdict") not in DECIDED]:
        return "memory_open", "memory_undecided", left
    faster = [row for row in speed if _differs(row, better=True)]
    return "use", "speed_better" if faster else "within_margins", faster or compared


def is_memory(metric: str) -> bool:
    """Whether a metric is an amount of memory."""
    return metric.endswith(_MEMORY)


def _differs(row: Mapping[str, Any], *, better: bool) -> bool:
    """Whether a comparison is different, and that way."""
    if row.get("verdict") != "different" or row["better"] == "neither":
        return False
    return (is_above(row) == (row["better"] == "higher")) is better


def _extra_gib(tables: Tables, where: tuple[str, str, str], compared: Sequence[Mapping[str, Any]]) -> float | None:
    """Mean memory of the environment less that of its reference, GiB."""
    metric = next((row["metric"] for row in compared if is_memory(row["metric"])), None)
    model, level, environment = where
    means = {
        row["environment"]: row.get("mean")
        for row in tables["descriptive"]
        if (row["model"], row["level"], row["metric"]) == (model, level, metric)
    }
    here, there = means.get(environment), means.get(compared[0]["against"])
    return None if here is None or there is None else here - there


def recommendation_rows(tables: Tables, decisions: Sequence[Row]) -> list[Row]:
    """`recommendations`: a row for each model."""
    models: dict[str, dict[str, list[Row]]] = {}
    for row in decisions:
        models.setdefault(row["model"], {}).setdefault(row["environment"], []).append(row)
    return [_recommended(tables, model, by_arm) for model, by_arm in models.items()]


def _recommended(tables: Tables, model: str, by_arm: Mapping[str, Sequence[Row]]) -> Row:
    worst = {name: max(rows, key=lambda row: OUTCOMES.index(row["outcome"])) for name, rows in by_arm.items()}
    gaps = [row for row in tables["gap"] if (row["model"], row["environment"]) == (model, CONTAINER_OPTIMIZED)]
    helped = any(row.get("helps") for row in gaps)

    def rank(name: str) -> tuple[int, bool]:
        return OUTCOMES.index(worst[name]["outcome"]), helped and name != CONTAINER_OPTIMIZED

    best, *others = sorted(worst, key=rank)
    chosen = worst[best]
    other = worst[others[0]] if others else None
    taken = chosen["outcome"] in TAKEN
    return {
        "model": model,
        "environment": best if taken else chosen["against"] if chosen["outcome"] == "avoid" else None,
        "outcome": "reference" if chosen["outcome"] == "avoid" else chosen["outcome"],
        "judged": best,
        "level": chosen["level"],
        "levels": len(by_arm[best]),
        **{name: chosen[name] for name in ("against", "reason", "metrics", "extra_gib", "pairs_needed")},
        "other": other and other["environment"],
        "other_reason": other and other["reason"],
        "supports": json.dumps([row["trace"] for rows in by_arm.values() for row in rows]),
        "trace": provenance_id("recommendations", model),
    }


def study_rows(tables: Tables, recommendations: Sequence[Row]) -> list[Row]:
    """`study`: the decision over all models in one row; no row where nothing was compared.

    `outcome` is `all` (one environment for every model), `most` (for some), `open` (for none, and none is excluded),
    or `reference` (no container is recommended to anybody).
    """
    if not recommendations:
        return []
    named = [row["environment"] for row in recommendations if row["outcome"] in TAKEN]
    judged = named or [row["judged"] for row in recommendations]
    focus = max(dict.fromkeys(judged), key=judged.count)
    mine = [row for row in recommendations if row["environment"] == focus and row["outcome"] in TAKEN]
    opened = [row for row in recommendations if row["outcome"] == "open"]
    outcome = ("all" if len(mine) == len(recommendations) else "most") if mine else "open" if opened else "reference"
    extra = [row["extra_gib"] for row in recommendations if row["judged"] == focus and row["extra_gib"] is not None]
    needed = [row["pairs_needed"] for row in opened if row["pairs_needed"] is not None]
    return [
        {
            "outcome": outcome,
            "environment": focus,
            "against": recommendations[0]["against"],
            "models": len(recommendations),
            "recommended": len(mine),
            "open": len(opened),
            "reference": sum(row["outcome"] == "reference" for row in recommendations),
            "extra_low_gib": min(extra, default=None),
            "extra_high_gib": max(extra, default=None),
            "pairs_needed": max(needed, default=None),
            **_speed(tables, focus),
            "supports": json.dumps([row["trace"] for row in recommendations]),
            "trace": provenance_id("study", "all"),
        }
    ]


def _speed(tables: Tables, environment: str) -> Row:
    """How the first primary metric of speed lies over the models: least and greatest ratio, and the verdicts."""
    rows = [
        row
        for row in tables["comparisons"]
        if row["primary"] and row["environment"] == environment and not is_memory(row["metric"])
    ]
    first = [row for row in rows if row["metric"] == rows[0]["metric"]]
    known = [row for row in first if row.get("ratio") is not None]
    if not known:
        return {"metric": first[0]["metric"] if first else None, "comparisons": len(first), "equivalent": 0}
    least, most = min(known, key=lambda row: row["ratio"]), max(known, key=lambda row: row["ratio"])
    return {
        "metric": first[0]["metric"],
        "margin": first[0]["margin"],
        "comparisons": len(first),
        "equivalent": sum(row.get("verdict") == "equivalent" for row in first),
        "different": sum(row.get("verdict") == "different" for row in first),
        "ratio_low": least["ratio"],
        "ratio_high": most["ratio"],
        "low": min(row["low"] for row in known),
        "high": max(row["high"] for row in known),
        "pairs": min(row["n"] for row in known),
    }
