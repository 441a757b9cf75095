"""Answers to the research questions that are about all models: the gap, the number of runs, whether it could be printed.

Every answer follows a rule that stands in its function: a verdict, a reason, and the numbers behind it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sparkray.analysis.context import Protocol
from sparkray.analysis.decisions import DECIDED, more_pairs_decide
from sparkray.analysis.differences import is_estimated

Row = Mapping[str, Any]
Tables = Mapping[str, Sequence[Row]]


@dataclass(frozen=True)
class Answer:
    """An answer: its verdict, why (a code, or the reason why nothing can be estimated), numbers, and its evidence."""

    verdict: str
    reason: str
    numbers: Mapping[str, Any] = field(default_factory=dict)
    supports: Sequence[str] = ()


def chosen(tables: Tables, name: str, /, **where: object) -> list[Row]:
    """Rows of a table that have these values; None asks for null."""
    return [row for row in tables[name] if all(row.get(column) == value for column, value in where.items())]


def unanswered(reason: str, supports: Sequence[str] = ()) -> Answer:
    """That the data cannot answer, and why."""
    return Answer("unanswered", reason, supports=supports)


def traces(*groups: Sequence[Row]) -> list[str]:
    """The traces of rows."""
    return [str(row["trace"]) for group in groups for row in group]


def extremes(rows: Sequence[Row], column: str) -> dict[str, float | None]:
    """The least and the greatest of a column; None where no row has it."""
    values = [row[column] for row in rows if row.get(column) is not None]
    return {"low": min(values, default=None), "high": max(values, default=None)}


def gap_closed(tables: Tables, environment: str, metric: str) -> Answer:
    """Question 3, in mean: does this container's configuration close the gap?

    `no gap shown` when no baseline container differs from the reference for the worse. Yes when each that does has an
    equivalent further one, and none is made worse; partly when at least one is closed or helped, whoever else is harmed;
    no when some are made worse and none is helped; else undecided. What is shown is so after Holm (`gap`);
    in a sequential design nobody is called helped or harmed, and a gap is shown by the interval over all interim analyses.
    """
    rows = [row for row in chosen(tables, "gap", environment=environment, metric=metric) if is_estimated(row)]
    if not rows:
        return unanswered("no_block_with_both_containers")
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
    known = [row for row in gaps if row.get("closed_pct") is not None]
    tested = any(row.get("helps") is not None for row in rows)
    numbers = {
        "comparisons": len(rows),
        "gaps": len(gaps),
        "closed": len(closed),
        "helped": len(helped) if tested else None,
        "harmed": len(harmed) if tested else None,
        **extremes(rows, "ratio"),
        **{f"difference_{end}": value for end, value in extremes(rows, "difference").items()},
        "closed_low_pct": min((row["closed_pct"] for row in known), default=None),
        "closed_high_pct": max((row["closed_pct"] for row in known), default=None),
    }
    return Answer(verdict, "gaps_closed", numbers, traces(rows))


def gap_spread(tables: Tables, environment: str, metric: str) -> Answer:
    """Question 3, in variance: does this container's configuration steady the runs?

    By the total spread of either container, blocks included, after Holm (`gap`). Yes when it is shown smaller
    somewhere and larger nowhere; no the other way round; partly when both; no difference shown when neither, which proves no
    equality.
    """
    rows = [r for r in chosen(tables, "gap", environment=environment, metric=metric) if r.get("sd_ratio") is not None]
    if not rows:
        return unanswered("no_spread_of_both_containers")
    calmer, wilder = ([row for row in rows if row[name]] for name in ("calmer", "wilder"))
    verdict = {(True, False): "yes", (False, True): "no", (True, True): "partly"}.get(
        (bool(calmer), bool(wilder)), "no difference shown"
    )
    numbers = {"comparisons": len(rows), "calmer": len(calmer), "wilder": len(wilder), **extremes(rows, "sd_ratio")}
    return Answer(verdict, "spread", numbers, traces(rows))


def enough(tables: Tables, protocol: Protocol, environment: str) -> Answer:
    """Question 4: is this N enough? In a sequential design: were its interim analyses?

    Yes when every planned comparison was decided at the last n (at its last interim analysis), those of lost models and of
    planned ones without any run among them; partly when some were; no when none was.
    """
    rows = [row for row in chosen(tables, "verdict_by_n", environment=environment) if row.get("verdict")]
    if not rows:
        return unanswered("no_verdict")
    histories: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        histories.setdefault((row["model"], row["level"], row["metric"]), []).append(row)
    last = [history[-1] for history in histories.values()]
    decided = [row for row in last if row["decided"]]
    compared = chosen(tables, "comparisons", environment=environment, primary=True)
    lost = [row for row in compared if not row.get("verdict")]
    lost += _without_runs(compared, protocol)
    planned_comparisons = sum(bool(row.get("verdict")) for row in compared) + len(lost)
    verdict = "yes" if len(decided) == planned_comparisons else "partly" if decided else "no"
    numbers: dict[str, Any] = {
        "comparisons": planned_comparisons,
        **{word: sum(row.get("verdict") == word for row in compared) for word in (*DECIDED, "undecided")},
        "not_estimable": len(lost),
        "lost": list(dict.fromkeys(f"{row['model']} {row['level'] or ''}".rstrip() for row in lost)),
        **_paired_against_unpaired(compared),
        "by_n": _by_n(rows),
    }
    if protocol.sequential is not None:
        return Answer(verdict, "sequential", numbers, traces(rows))
    planned = chosen(tables, "power_curve", environment=environment, n=protocol.planned)
    power = [row for row in planned if row["spread"] == "median"]
    needed = [row["pairs_needed"] for row in compared if more_pairs_decide(row)]
    numbers |= {
        "settled": max(_settled_at(history)["n"] for history in histories.values()),
        "planned": protocol.planned,
        "power": min((row["power"] for row in power), default=None),
        "pairs_needed": max(needed, default=None),
        "decidable": len(needed),
        "near_edge": sum(
            row.get("verdict") == "undecided" and row.get("pairs_needed") is not None and not more_pairs_decide(row)
            for row in compared
        ),
    }
    return Answer(verdict, "fixed", numbers, traces(rows, planned))


def _without_runs(compared: Sequence[Row], protocol: Protocol) -> list[Row]:
    """The comparisons of planned models that have no row, at each level of the load that was measured."""
    there = {(row["model"], row["level"]) for row in compared}
    levels = dict.fromkeys(row["level"] for row in compared)
    absent = [(model, level) for model in protocol.models for level in levels if (model, level) not in there]
    return [{"model": model, "level": level} for model, level in absent for _ in protocol.primary]


def _paired_against_unpaired(compared: Sequence[Row]) -> dict[str, Any]:
    """What the first primary metric takes to show its planned effect: pairs, and runs an arm without blocks.

    Of the model that needs the most pairs.
    """
    known = [row for row in compared if row.get("pairs_a_priori") is not None]
    of_first = [row for row in known if row["metric"] == known[0]["metric"]]
    if not of_first:
        return {}
    most = max(of_first, key=lambda row: row["pairs_a_priori"])
    names = ("planned_effect", "pairs_a_priori", "runs_a_priori", "a_priori_cv_pct", "a_priori_run_cv_pct")
    return {**{name: most[name] for name in names}, "a_priori_model": most["model"], "a_priori_metric": most["metric"]}


def _by_n(rows: Sequence[Row]) -> list[dict[str, int]]:
    """How many were decided of those that had so many pairs."""
    return [
        {"n": n, "decided": sum(row["n"] == n and row["decided"] for row in rows), "of": sum(r["n"] == n for r in rows)}
        for n in sorted({row["n"] for row in rows})
    ]


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
        return unanswered("nothing_compared")
    counts = {word: sum(row.get("verdict") == word for row in compared) for word in (*DECIDED, "undecided")}
    missing = sum(not is_estimated(row) for row in compared)
    verdict = "partly" if counts["undecided"] or missing else "yes"
    reason = "undecided" if verdict == "partly" else "decided"
    if missing == len(compared):
        verdict, reason = "no", "nothing_estimable"
    if context["simulated"]:
        verdict, reason = "no", "simulated"
    effects = [abs(row["hedges_g"]) for row in compared if row.get("hedges_g") is not None]
    warned = [row for row in tables["checks"] if row["verdict"] != "pass"]
    numbers = {
        "comparisons": len(compared),
        **counts,
        "not_estimable": missing,
        "significant_paired": _significant(tables, "significant_paired"),
        "significant": _significant(tables, "significant"),
        "effect_low": min(effects, default=None),
        "effect_high": max(effects, default=None),
        "warned": sum(row["count"] for row in warned),
        "used": context["runs_used"],
        "attempts": context["attempts"],
    }
    return Answer(verdict, reason, numbers, traces(compared, warned))


def _significant(tables: Tables, column: str) -> int | None:
    """How many tests are significant after Holm; None where none was made (interim analyses give no p-value)."""
    made = [row[column] for row in tables["comparisons"] if row.get(column) is not None]
    return sum(made) if made else None
