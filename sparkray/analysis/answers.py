"""Answers to the research questions that are about all models: the gap, the number of runs, whether it could be printed.

Every answer follows a rule that stands in its function.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sparkray.analysis.context import Protocol
from sparkray.analysis.counting import Tables, cell, chosen, count, fact, interval, models
from sparkray.analysis.text import Say, Text, enumerated, say, sentences

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Answer:
    """An answer: its verdict in a word, its sentences, and the traces that it stands on."""

    verdict: str
    text: Text
    supports: Sequence[str] = ()


def unanswered(why: Say, supports: Sequence[str] = ()) -> Answer:
    """That the data cannot answer, and why."""
    return Answer("unanswered", say("The data cannot answer this: {why}.", why=why), supports)


def _name(row: Row) -> str:
    return f"{row['model']} {row['level']}".rstrip()


def gap_closed(tables: Tables, metric: str) -> Answer:
    """Question 3, in mean: does configuration close the gap?

    No gap shown when no baseline container differs from the reference for the worse. Yes when each that does has an
    equivalent optimised one, and none is made worse; partly when at least one is closed or helped, whoever else is harmed;
    no when some are made worse and none is helped; else undecided. What is shown is so after Holm over models and levels;
    under looks nobody is called helped or harmed, and a gap is shown by the interval over all looks.
    """
    rows = [row for row in chosen(tables, "gap", metric=metric) if row.get("ratio") is not None]
    if not rows:
        return unanswered("no block holds both a container_baseline and a container_optimized run with a ratio")
    gaps, closed, helped, harmed = (
        [row for row in rows if row.get(name)] for name in ("gap_shown", "closed", "helps", "harms")
    )
    if not gaps:
        verdict = "no gap shown"
    elif len(closed) == len(gaps) and not harmed:
        verdict = "yes"
    elif helped or closed:
        verdict = "partly"
    else:
        verdict = "no" if harmed else "undecided"
    least, most = min(rows, key=lambda row: row["ratio"]), max(rows, key=lambda row: row["ratio"])
    text = say(
        "The baseline container is shown worse than the reference in {gaps} of {models}; there the optimised one is "
        "equivalent to the reference in {closed}. Over the baseline container its {metric} ratio lies between {least} and "
        "{most}{changed}.",
        gaps=count(tables, "gap", metric=metric, gap_shown=True),
        models=models(tables, "gap", metric=metric),
        closed=count(tables, "gap", metric=metric, closed=True),
        metric=metric,
        least=cell(least, "ratio", "ratio"),
        most=cell(most, "ratio", "ratio"),
        changed=_changed(tables, rows, metric),
    )
    supports = [str(row["trace"]) for row in rows]
    return Answer(verdict, sentences(text, _shares(gaps)), supports)


def _changed(tables: Tables, rows: Sequence[Row], metric: str) -> Text:
    """In how many models the optimised container is shown better or worse; nothing where that was not asked."""
    if all(row.get("helps") is None for row in rows):
        return ()
    return say(
        ": shown better in {helped}, worse in {harmed} (with Holm's correction)",
        helped=count(tables, "gap", metric=metric, helps=True),
        harmed=count(tables, "gap", metric=metric, harms=True),
    )


def _shares(gaps: Sequence[Row]) -> Text:
    """How much of a gap is closed, where one was shown: the least and the most."""
    known = [row for row in gaps if row.get("closed_pct") is not None]
    if not known:
        return ()
    ends = (min(known, key=lambda row: row["closed_pct"]), max(known, key=lambda row: row["closed_pct"]))
    told = [
        say(
            "{share} ({ends}) in {model}",
            share=cell(row, "closed_pct", "per_cent"),
            ends=interval(row, "closed_low_pct", "closed_high_pct", "per_cent"),
            model=_name(row),
        )
        for row in (ends if len(known) > 1 else ends[:1])
    ]
    return say("Of the gap is closed {told}.", told=enumerated(told, "to"))


def gap_spread(tables: Tables, metric: str) -> Answer:
    """Question 3, in variance: does configuration steady the runs?

    By the total spread of either container, blocks included, with Holm over models and levels. Yes when it is shown smaller
    somewhere and larger nowhere; no the other way round; partly when both; no difference shown when neither, which proves no
    equality.
    """
    rows = [row for row in chosen(tables, "gap", metric=metric) if row.get("sd_ratio") is not None]
    if not rows:
        return unanswered("no model has a spread of both containers")
    calmer, wilder = ([row for row in rows if row[name]] for name in ("calmer", "wilder"))
    verdict = {(True, False): "yes", (False, True): "no", (True, True): "partly"}.get(
        (bool(calmer), bool(wilder)), "no difference shown"
    )
    least, most = min(rows, key=lambda row: row["sd_ratio"]), max(rows, key=lambda row: row["sd_ratio"])
    text = say(
        "The total spread of the runs of the optimised container, that of the blocks included, is shown smaller than the "
        "baseline's in {calmer} and larger in {wilder} of {models} (Pitman and Morgan, with Holm's correction). The "
        "ratio of the spreads lies between {least} and {most}.",
        calmer=count(tables, "gap", metric=metric, calmer=True),
        wilder=count(tables, "gap", metric=metric, wilder=True),
        models=models(tables, "gap", metric=metric),
        least=cell(least, "sd_ratio", "significant"),
        most=cell(most, "sd_ratio", "significant"),
    )
    return Answer(verdict, text, [str(row["trace"]) for row in rows])


def enough(tables: Tables, protocol: Protocol, environment: str) -> Answer:
    """Question 4: is this N enough? Under looks: were they?

    Yes when every primary comparison was decided at the last n (at its last look); partly when some were; no when none was.
    """
    rows = [row for row in chosen(tables, "verdict_by_n", environment=environment) if row.get("verdict")]
    if not rows:
        return unanswered("no primary comparison has a verdict")
    histories: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        histories.setdefault((row["model"], row["level"], row["metric"]), []).append(row)
    last = [history[-1] for history in histories.values()]
    decided = [row for row in last if row["decided"]]
    verdict = "yes" if len(decided) == len(last) else "partly" if decided else "no"
    supports = [str(row["trace"]) for row in rows]
    ends = _ends(tables, environment)
    if protocol.sequential is not None:
        return Answer(verdict, say("{looks}. {ends}", looks=_by_look(tables, rows, environment), ends=ends), supports)
    settled = max((_settled_at(history) for history in histories.values()), key=lambda row: row["n"])
    planned = chosen(tables, "power_curve", environment=environment, n=protocol.planned)
    text = say(
        "Primary comparisons decided by number of pairs: {by_n}. No verdict changed after {settled} pairs. {ends}",
        by_n=_by_n(tables, rows, environment),
        settled=cell(settled, "n", "count"),
        ends=ends,
    )
    return Answer(verdict, sentences(text, _power(planned)), supports + [str(row["trace"]) for row in planned])


def _ends(tables: Tables, environment: str) -> Text:
    """How the primary comparisons stand at the end."""
    where = {"environment": environment, "primary": True}
    said = [
        say("{n} {verdict}", n=count(tables, "comparisons", **where, verdict=verdict), verdict=verdict)
        for verdict in ("equivalent", "different", "undecided")
    ]
    all_ = count(tables, "comparisons", **where)
    return say("At the end of {all} comparisons are {said}.", all=all_, said=enumerated(said))


def _by_n(tables: Tables, rows: Sequence[Row], environment: str) -> Text:
    """`2 of 6 at 5, 4 of 6 at 10`."""
    firsts = {row["n"]: row for row in reversed(rows)}
    where = {"environment": environment, "not_estimable": None}
    return enumerated(
        say(
            "{decided} of {all} at {n}",
            decided=count(tables, "verdict_by_n", environment=environment, n=n, decided=True),
            all=count(tables, "verdict_by_n", **where, n=n),
            n=cell(firsts[n], "n", "count"),
        )
        for n in sorted(firsts)
    )


def _by_look(tables: Tables, rows: Sequence[Row], environment: str) -> Text:
    """Look by look, of those that came to it; one that is decided comes to no further look."""
    firsts = {row["n"]: row for row in reversed(rows)}
    told = [
        say(
            "after {n} pairs {decided} of the {all} that came so far",
            n=cell(firsts[n], "n", "count"),
            decided=count(tables, "verdict_by_n", environment=environment, n=n, decided=True),
            all=count(tables, "verdict_by_n", environment=environment, n=n),
        )
        for n in sorted(firsts)
    ]
    return say("Decided at the looks, at intervals that hold at all of them: {told}", told=enumerated(told))


def _power(planned: Sequence[Row]) -> Text:
    """Power of the planned number of pairs, for the middle spread."""
    middle = [row for row in planned if row["spread"] == "median"]
    if not middle:
        return ()
    told = [
        say(
            "{metric}{level} {power} with a CV of {cv}",
            metric=row["metric"],
            level=f" at {row['level']}" if row["level"] else "",
            power=cell(row, "power", "share"),
            cv=cell(row, "cv_pct", "per_cent"),
        )
        for row in middle
    ]
    n = cell(middle[0], "n", "count")
    return say("The power of {n} pairs to call equal arms equivalent is: {told}.", n=n, told=enumerated(told))


def _settled_at(history: Sequence[Row]) -> Row:
    """The row from which on the verdict stayed as it is at the end."""
    settled = history[-1]
    for row in reversed(history):
        if row["verdict"] != history[-1]["verdict"]:
            break
        settled = row
    return settled


def publishable(tables: Tables, context: Mapping[str, Any]) -> Answer:
    """Question 5: are the findings publishable?

    No when a run is simulated or nothing could be compared; partly when a comparison is undecided or not estimable; else
    yes, as far as the statistics go.
    """
    compared = chosen(tables, "comparisons", primary=True)
    if not compared:
        return unanswered("nothing was compared")
    missing = [row for row in compared if row.get("ratio") is None]
    undecided = [row for row in compared if row.get("verdict") == "undecided"]
    verdict = "partly" if undecided or missing else "yes"
    if context["simulated"] or len(missing) == len(compared):
        verdict = "no"
    warned = [row for row in tables["checks"] if row["verdict"] != "pass"]
    said = [
        say("{n} {word}", n=count(tables, "comparisons", primary=True, verdict=word), word=word)
        for word in ("equivalent", "different", "undecided")
    ]
    said.append(say("{n} not estimable", n=count(tables, "comparisons", primary=True, ratio=None)))
    checks = enumerated(
        say("{check} {verdict} {n} times", check=row["check"], verdict=row["verdict"], n=cell(row, "count", "count"))
        for row in warned
    )
    text = say(
        "Of {all} primary comparisons are {said}; {tests}; {effects}checks other than passed: {checks}; {used} runs are "
        "used of {attempts} attempts{simulated}.",
        all=count(tables, "comparisons", primary=True),
        said=enumerated(said),
        tests=_tests(tables, looked=bool(context.get("sequential"))),
        effects=_effects(compared),
        checks=checks or "none",
        used=fact(context, "runs_used"),
        attempts=fact(context, "attempts"),
        simulated="; runs of this dataset are simulated: nothing of it may be published as a measurement"
        if context["simulated"]
        else "",
    )
    return Answer(verdict, text, [str(row["trace"]) for row in (*compared, *warned)])


def _tests(tables: Tables, *, looked: bool) -> Text:
    """How many tests are significant, of each kind that was made; a metric under looks has none."""
    kinds = {"significant_paired": "paired tests", "significant": "of the protocol's own tests"}
    made = [column for column in kinds if any(row.get(column) is not None for row in tables["comparisons"])]
    if not made:
        return ("looks were taken, so no p-value is given" if looked else "no comparison has a p-value",)
    told = enumerated(
        say("{n} {kind}", n=count(tables, "comparisons", **{column: True}), kind=kinds[column]) for column in made
    )
    left = " (metrics under looks have no p-value)" if looked else ""
    return say("after Holm's correction within their families {told} are significant{left}", told=told, left=left)


def _effects(compared: Sequence[Row]) -> Text:
    """The effects that are nearest to 0 and farthest from it."""
    known = [row for row in compared if row.get("hedges_g") is not None]
    if not known:
        return ()
    least, most = (extreme(known, key=lambda row: abs(row["hedges_g"])) for extreme in (min, max))
    return say(
        "the effect nearest to none is Hedges' g of {least}, the largest {most}; ",
        least=cell(least, "hedges_g", "effect"),
        most=cell(most, "hedges_g", "effect"),
    )
