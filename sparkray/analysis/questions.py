"""The five research questions, answered from the data: a verdict, a reason code and the numbers behind it.

Every answer follows a rule that stands in its function. What the data cannot answer is `unanswered`, with the reason. The
words are in the templates of the report.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sparkray.analysis.answers import (
    Answer,
    Row,
    Tables,
    chosen,
    enough,
    gap_closed,
    gap_spread,
    publishable,
    traces,
    unanswered,
)
from sparkray.analysis.context import GROUPINGS, Protocol
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.config.site import CONTAINER_OPTIMIZED

_ALPHA = 0.05
_LEAST_GROUPS = 2
_LEAST_MODELS = 3


class Where(NamedTuple):
    """What an answer is of; empty where it is of all."""

    environment: str = ""
    metric: str = ""
    level: str = ""
    aspect: str = ""


def question_rows(tables: Tables, protocol: Protocol, context: Mapping[str, Any]) -> list[dict[str, Any]]:
    """`questions`, in order of question, environment, metric and level of the load."""
    compared = chosen(tables, "comparisons", primary=True)
    environments = list(dict.fromkeys(str(row["environment"]) for row in compared))
    places = _places(compared, protocol)
    rows = [_row(1, where, _sizes(tables, protocol, where)) for where in places]
    rows += [_row(2, where, _groups(tables, where)) for where in places]
    if not environments:
        rows += [_row(number, Where(), unanswered("one_environment")) for number in (1, 2, 4)]
    # asked of the optimised container where there is no further one, so that the data's silence is shown
    for name in dict.fromkeys(str(row["environment"]) for row in tables["gap"]) or (CONTAINER_OPTIMIZED,):
        for metric in protocol.primary:
            rows.append(_row(3, Where(name, metric, aspect="mean"), gap_closed(tables, name, metric)))
            rows.append(_row(3, Where(name, metric, aspect="variance"), gap_spread(tables, name, metric)))
    rows += [_row(4, Where(environment), enough(tables, protocol, environment)) for environment in environments]
    rows.append(_row(5, Where(), publishable(tables, context)))
    return sorted(rows, key=lambda row: int(row["question"]))


def _places(compared: Sequence[Row], protocol: Protocol) -> list[Where]:
    """Where something was compared, by environment, metric and level: an environment need not have every level."""
    there = dict.fromkeys(Where(str(row["environment"]), row["metric"], str(row["level"])) for row in compared)
    environments = list(dict.fromkeys(where.environment for where in there))
    levels = list(dict.fromkeys(where.level for where in there))
    whole = (Where(e, metric, level) for e in environments for metric in protocol.primary for level in levels)
    return [where for where in whole if where in there]


def _row(question: int, where: Where, answer: Answer) -> dict[str, Any]:
    return {
        "question": question,
        **where._asdict(),
        "verdict": answer.verdict,
        "reason": answer.reason,
        "numbers": json.dumps(answer.numbers, allow_nan=False),
        "supports": json.dumps(list(answer.supports)),
        "trace": provenance_id("questions", question, *where),
    }


def _sizes(tables: Tables, protocol: Protocol, where: Where) -> Answer:
    """Question 1: is the overhead consistent over model sizes?

    Taken is the interval of the change over the range of sizes. Yes: all of it is inside the margin. No: all of it is
    beyond the margin, on one side. Undecided: else.
    """
    here = {"environment": where.environment, "metric": where.metric, "level": where.level}
    [slope] = chosen(tables, "size", group_by="slope", **here)
    measured = [row for row in chosen(tables, "size", group_by="size", **here) if row.get("ratio") is not None]
    sizes = [row["params_b"] for row in measured if row["params_b"]]
    if len(measured) < _LEAST_MODELS:
        return unanswered("too_few_models", traces([slope]))
    if slope.get("slope") is None:
        return unanswered(str(slope["not_estimable"]), traces([slope]))
    span = math.log10(max(sizes) / min(sizes))
    bound = math.log1p(protocol.margin(where.metric) or 0.0)
    low, high = slope["slope_low"] * span, slope["slope_high"] * span
    if -bound <= low and high <= bound:
        verdict, reason = "yes", "alike_within_margin"
    elif low > bound or high < -bound:
        verdict, reason = "no", "depends_on_size"
    else:
        verdict, reason = "undecided", "neither_shown"
    numbers = {
        "models": slope["n_models"],
        "left_out": slope["models_left_out"],
        "least_b": min(sizes),
        "most_b": max(sizes),
        **{name: slope[name] for name in ("slope", "slope_low", "slope_high", "p")},
    }
    return Answer(verdict, reason, numbers, traces([slope], measured))


def _groups(tables: Tables, where: Where) -> Answer:
    """Question 2: do architectures and precisions differ?

    Yes when a difference between two architectures or two precisions has a p below 5 % after Holm, over all differences that
    are asked, in a model in which models of one group differ too (`stats.subgroups`); no difference shown when none has,
    which proves no equality; cannot be told when no difference can be tested, with the reason.
    """
    tested: list[Row] = []
    supports: list[str] = []
    lost: list[str] = []
    left_out = 0
    for group_by in GROUPINGS:
        here = {"environment": where.environment, "metric": where.metric, "level": where.level, "group_by": group_by}
        groups, contrasts = chosen(tables, "size", **here), chosen(tables, "contrasts", **here)
        supports += traces(groups, contrasts)
        left_out = max(left_out, sum(row["models_left_out"] or 0 for row in groups))
        tested += [row for row in contrasts if row.get("p") is not None]
        if sum(bool(row["n_models"]) for row in groups) < _LEAST_GROUPS:
            lost.append(f"one_{group_by}")
        lost += [str(row["not_estimable"]) for row in contrasts if row.get("p") is None][:1]
    if not tested:
        return Answer("cannot be told", lost[0] if lost else "no_group", supports=supports)
    clearest = min(tested, key=lambda row: row["p_holm"])
    shown = clearest["p_holm"] < _ALPHA
    names = ("group_by", "first", "second", "ratio", "low", "high", "p_holm", "n_models")
    numbers = {"tested": len(tested), "left_out": left_out, **{name: clearest[name] for name in names}}
    return Answer("yes" if shown else "no difference shown", "clearest_contrast", numbers, supports)
