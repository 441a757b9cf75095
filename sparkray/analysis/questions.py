"""The five research questions of the study before this one, answered from the data in words with their numbers.

Every answer follows a rule that stands in its function. What the data cannot answer is said so, with the reason. An answer
is words and numbers, each number a cell of a table or a count of rows (`parts`); `answer` is the same as a reader sees it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sparkray.analysis.across import GROUPINGS
from sparkray.analysis.answers import Answer, enough, gap_closed, gap_spread, publishable, unanswered
from sparkray.analysis.context import Protocol
from sparkray.analysis.counting import CONFIDENCE, Tables, cell, chosen, interval
from sparkray.analysis.keys import key
from sparkray.analysis.text import Text, enumerated, plain, say, serialised
from sparkray.config.site import CONTAINER_OPTIMIZED

Row = dict[str, Any]
_ALPHA = 0.05
_LEAST_GROUPS = 2


class Where(NamedTuple):
    """What an answer is of; empty where it is of all."""

    environment: str = ""
    metric: str = ""
    level: str = ""
    aspect: str = ""


def question_rows(tables: Tables, protocol: Protocol, context: Mapping[str, Any]) -> list[Row]:
    """`questions`, in order of question, environment, metric and level of the load."""
    compared = chosen(tables, "comparisons", primary=True)
    environments = list(dict.fromkeys(str(row["environment"]) for row in compared))
    places = _places(compared, protocol)
    rows = [_row(1, where, _sizes(tables, protocol, where)) for where in places]
    rows += [_row(2, where, _groups(tables, where)) for where in places]
    if not environments:
        nobody = unanswered("there is but one environment with runs")
        rows += [_row(number, Where(), nobody) for number in (1, 2, 4)]
    for metric in protocol.primary:
        rows.append(_row(3, Where(CONTAINER_OPTIMIZED, metric, aspect="mean"), gap_closed(tables, metric)))
        rows.append(_row(3, Where(CONTAINER_OPTIMIZED, metric, aspect="variance"), gap_spread(tables, metric)))
    rows += [_row(4, Where(environment), enough(tables, protocol, environment)) for environment in environments]
    rows.append(_row(5, Where(), publishable(tables, context)))
    return sorted(rows, key=lambda row: int(row["question"]))


def _places(compared: Sequence[Mapping[str, Any]], protocol: Protocol) -> list[Where]:
    """Where something was compared, by environment, metric and level: an environment need not have every level."""
    there = dict.fromkeys(Where(str(row["environment"]), row["metric"], str(row["level"])) for row in compared)
    environments = list(dict.fromkeys(where.environment for where in there))
    levels = list(dict.fromkeys(where.level for where in there))
    whole = (Where(e, metric, level) for e in environments for metric in protocol.primary for level in levels)
    return [where for where in whole if where in there]


def _row(question: int, where: Where, answer: Answer) -> Row:
    return {
        "question": question,
        **where._asdict(),
        "answer": plain(answer.text),
        "parts": serialised(answer.text),
        "supports": json.dumps(list(answer.supports)),
        "verdict": answer.verdict,
        "trace": key("questions", question, *where),
    }


def _sizes(tables: Tables, protocol: Protocol, where: Where) -> Answer:
    """Question 1: is the overhead consistent over model sizes?

    Yes when the whole interval of the slope, taken over the range of sizes, stays inside the margin; no when the interval
    excludes 0 and does not; else undecided.
    """
    here = {"environment": where.environment, "metric": where.metric, "level": where.level}
    [slope] = chosen(tables, "size", group_by="slope", **here)
    measured = [row for row in chosen(tables, "size", group_by="size", **here) if row.get("ratio") is not None]
    sized = [row for row in measured if row["params_b"]]
    if slope.get("slope") is None:
        why = say("no line through sizes and ratios, {why}", why=cell(slope, "not_estimable", "words"))
        return unanswered(why, [str(slope["trace"])])
    least, most = min(sized, key=lambda row: row["params_b"]), max(sized, key=lambda row: row["params_b"])
    span = math.log10(most["params_b"] / least["params_b"])
    bound = math.log1p(protocol.margin(where.metric) or 0.0)
    if max(abs(slope["slope_low"]), abs(slope["slope_high"])) * span <= bound:
        verdict, meaning = "yes", "over this range of sizes the ratio stays alike within the margin"
    elif slope["slope_low"] * slope["slope_high"] > 0:
        verdict, meaning = "no", "the ratio depends on size by more than the margin allows to ignore"
    else:
        verdict, meaning = "undecided", "neither a dependence on size nor its absence is shown"
    text = say(
        "{n} models{left} from {least} to {most} billion parameters: for ten times the parameters the {metric} ratio of "
        "{environment} changes by a factor of {factor} ({confidence} CI {ends}, p {p}): {meaning}.",
        n=cell(slope, "n_models", "count"),
        left=_left_out(slope),
        least=cell(least, "params_b", "number3"),
        most=cell(most, "params_b", "number3"),
        metric=where.metric,
        environment=where.environment,
        factor=cell(slope, "slope", "factor"),
        confidence=CONFIDENCE,
        ends=interval(slope, "slope_low", "slope_high", "factor"),
        p=cell(slope, "p", "p_is"),
        meaning=meaning,
    )
    return Answer(verdict, text, [str(row["trace"]) for row in (slope, *measured)])


def _left_out(row: Mapping[str, Any]) -> Text:
    """That models have no ratio, in brackets; nothing where all have."""
    if not row["models_left_out"]:
        return ()
    return say(" ({k} without a ratio left out)", k=cell(row, "models_left_out", "count"))


def _groups(tables: Tables, where: Where) -> Answer:
    """Question 2: do architectures and precisions differ?

    Yes when a difference between two architectures or two precisions has a p below 5 % after Holm, over all differences that
    are asked, in a model in which models of one group differ too (`stats.subgroups`); no difference shown when none has,
    which proves no equality; cannot be told when no difference can be tested, with the reason.
    """
    told: list[Text] = []
    tested: list[Mapping[str, Any]] = []
    supports: list[str] = []
    for group_by in GROUPINGS:
        here = {"environment": where.environment, "metric": where.metric, "level": where.level, "group_by": group_by}
        groups, contrasts = chosen(tables, "size", **here), chosen(tables, "contrasts", **here)
        tested += [row for row in contrasts if row.get("p") is not None]
        supports += [str(row["trace"]) for row in (*groups, *contrasts)]
        told.append(say("by {kind}, {said}", kind=group_by, said=_grouped(groups, contrasts)))
    about = say("the {metric} ratio of {environment}", metric=where.metric, environment=where.environment)
    if not tested:
        text = say("It cannot be told of {about}: {told}.", about=about, told=enumerated(told, "and"))
        return Answer("cannot be told", text, supports)
    clear = any(row["p_holm"] < _ALPHA for row in tested)
    meaning = (
        "a difference is shown after Holm's correction over all that were tested"
        if clear
        else "no difference is shown after Holm's correction over all that were tested, which proves no equality"
    )
    text = say("Of {about}, {told}: {meaning}.", about=about, told=enumerated(told, "and"), meaning=meaning)
    return Answer("yes" if clear else "no difference shown", text, supports)


def _grouped(groups: Sequence[Mapping[str, Any]], contrasts: Sequence[Mapping[str, Any]]) -> Text:
    """Groups with their means, how models scatter inside of them, and the differences."""
    there = [row for row in groups if row["n_models"]]
    if len(there) < _LEAST_GROUPS:
        return (
            say("there is but the group {name}", name=there[0]["group"]) if there else say("no model's card tells it")
        )
    lost = next((row for row in contrasts if row.get("p") is None), None)
    if lost is not None:
        return say("{why}", why=cell(lost, "not_estimable", "words"))
    means = enumerated(
        say(
            "{name} {ratio} ({ends}; {n} models{left})"
            if row["n_models"] > 1
            else "{name} {ratio} ({ends}; {n} model{left})",
            name=row["group"],
            ratio=cell(row, "ratio", "ratio"),
            ends=interval(row, "low", "high", "ratio"),
            n=cell(row, "n_models", "count"),
            left=_left_out(row),
        )
        for row in there
    )
    least = min(contrasts, key=lambda row: row["p_holm"])
    return say(
        "{means}, inside of groups log ratios differ from model to model with a standard deviation of {tau} (I squared "
        "{i2}), and the clearest difference is {second} over {first}: {ratio} ({ends}; p after Holm {p})",
        means=means,
        tau=cell(there[0], "tau", "significant"),
        i2=cell(there[0], "i2_pct", "per_cent"),
        first=least["first"],
        second=least["second"],
        ratio=cell(least, "ratio", "ratio"),
        ends=interval(least, "low", "high", "ratio"),
        p=cell(least, "p_holm", "p_is"),
    )
