"""The five research questions of the study before this one, answered from the data in words with their numbers.

Every answer follows a rule that stands in its function. What the data cannot answer is said so, with the reason.
"""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sparkray.analysis.context import Protocol
from sparkray.analysis.keys import key
from sparkray.spec.site import CONTAINER_BASELINE, CONTAINER_OPTIMIZED

Row = dict[str, Any]
Tables = Mapping[str, Sequence[Row]]
_ALPHA = 0.05
_LEAST_GROUPS = 2


def question_rows(tables: Tables, protocol: Protocol, context: Mapping[str, Any]) -> list[Row]:
    """`questions`, in order of question, environment and metric."""
    compared = [row for row in tables["comparisons"] if row["primary"]]
    environments = list(dict.fromkeys(row["environment"] for row in compared))
    rows: list[Row] = []
    for answer in (_sizes, _groups):
        for environment in environments:
            rows += [answer(tables, protocol, environment, metric) for metric in protocol.primary]
    rows += [_gap(tables, metric) for metric in protocol.primary]
    rows += [_enough(tables, protocol, environment) for environment in environments]
    rows.append(_publishable(tables, compared, context))
    if not environments:
        rows = [_unanswered(number, "", "", "there is but one environment with runs") for number in (1, 2)] + rows
        rows.insert(-1, _unanswered(4, "", "", "there is but one environment with runs"))
    return rows


def _row(question: int, where: tuple[str, str], verdict: str, answer: str, supports: Sequence[str]) -> Row:
    environment, metric = where
    return {
        "question": question,
        "environment": environment,
        "metric": metric,
        "answer": answer,
        "supports": json.dumps(list(supports)),
        "verdict": verdict,
        "trace": key("questions", question, environment, metric),
    }


def _unanswered(question: int, environment: str, metric: str, why: str) -> Row:
    return _row(question, (environment, metric), "unanswered", f"The data cannot answer this: {why}.", ())


def _sizes(tables: Tables, protocol: Protocol, environment: str, metric: str) -> Row:
    """Question 1: is the overhead consistent over model sizes?

    Yes when the whole interval of the slope, taken over the range of sizes, stays inside the margin; no when the interval
    excludes 0 and does not; else undecided.
    """
    rows = [r for r in tables["size"] if (r["environment"], r["metric"]) == (environment, metric)]
    slope = next((row for row in rows if row["group_by"] == "slope"), None)
    sizes = [r["params_b"] for r in rows if r["group_by"] == "size" and r["params_b"] and r.get("ratio") is not None]
    if slope is None or slope.get("slope") is None:
        why = slope.get("not_estimable") if slope else "nothing was compared"
        return _unanswered(1, environment, metric, f"no line through sizes and ratios, {why}")
    span = math.log10(max(sizes) / min(sizes))
    bound = math.log1p(protocol.margin(metric) or 0.0)
    ends = [slope["slope_low"] * span, slope["slope_high"] * span]
    if max(map(abs, ends)) <= bound:
        verdict = "yes"
    else:
        verdict = "no" if slope["slope_low"] * slope["slope_high"] > 0 else "undecided"
    factor, low, high = (math.exp(slope[name]) for name in ("slope", "slope_low", "slope_high"))
    meaning = {
        "yes": "over this range of sizes the ratio stays alike within the margin",
        "no": "the ratio depends on size by more than the margin allows to ignore",
        "undecided": "neither a dependence on size nor its absence is shown",
    }[verdict]
    answer = (
        f"{slope['n_models']} models from {min(sizes):.3g} to {max(sizes):.3g} billion parameters: for ten times the "
        f"parameters the {metric} ratio of {environment} changes by a factor of {factor:.4f} (95 % CI {low:.4f} to "
        f"{high:.4f}, p = {slope['p']:.2g}): {meaning}."
    )
    return _row(
        1, (environment, metric), verdict, answer, [r["trace"] for r in rows if r["group_by"] in ("slope", "size")]
    )


def _groups(tables: Tables, protocol: Protocol, environment: str, metric: str) -> Row:
    """Question 2: do architectures and precisions differ?

    Yes when the 95 % intervals of two groups do not overlap, a strict rule; no when all intervals lie inside the margin;
    else undecided. A group of one model cannot be told from that model, and is said so.
    """
    rows = [
        r
        for r in tables["size"]
        if (r["environment"], r["metric"]) == (environment, metric) and r["group_by"] in ("architecture", "precision")
    ]
    parts, verdicts = [], []
    for group_by in ("architecture", "precision"):
        groups = [r for r in rows if r["group_by"] == group_by and r.get("low") is not None]
        if len(groups) < _LEAST_GROUPS:
            parts.append(f"by {group_by}: {len(groups)} group with an interval, nothing to compare")
            continue
        listed = ", ".join(
            f"{r['group']} {r['ratio']:.4f} ({r['low']:.4f} to {r['high']:.4f}, {_models(r['n_models'])})"
            for r in groups
        )
        parts.append(f"by {group_by}: {listed}")
        apart = max(r["low"] for r in groups) > min(r["high"] for r in groups)
        bound = 1 + (protocol.margin(metric) or 0.0)
        inside = all(1 / bound <= r["low"] and r["high"] <= bound for r in groups)
        verdicts.append("yes" if apart else "no" if inside else "undecided")
    if not verdicts:
        return _unanswered(2, environment, metric, "; ".join(parts))
    verdict = "yes" if "yes" in verdicts else "no" if set(verdicts) == {"no"} else "undecided"
    meaning = {
        "yes": "two groups have intervals that do not overlap; a group of one model cannot be told from its size",
        "no": "every group lies within the margin of 1",
        "undecided": "no two groups are shown to differ, and not all are shown to be alike",
    }[verdict]
    answer = f"The {metric} ratio of {environment} {'; '.join(parts)}: {meaning}."
    return _row(2, (environment, metric), verdict, answer, [r["trace"] for r in rows])


def _models(count: int) -> str:
    return f"{count} model{'s' if count != 1 else ''}"


def _gap(tables: Tables, metric: str) -> Row:
    """Question 3: does configuration close the gap, in mean and in variance?

    Yes when every model whose baseline container differs from native for the worse has an equivalent optimised one;
    partly when it helps at least one; no when it helps none and harms some, or all models are decided without help; else
    undecided.
    """
    rows = [row for row in tables["gap"] if row["metric"] == metric and row.get("ratio") is not None]
    if not rows:
        return _unanswered(
            3, CONTAINER_OPTIMIZED, metric, "no block holds both a container_baseline and a container_optimized run"
        )
    where = {(r["model"], r["level"], r["environment"]): r for r in tables["comparisons"] if r["metric"] == metric}
    gaps = [r for r in rows if _is_worse(where.get((r["model"], r["level"], CONTAINER_BASELINE), {}))]
    closed = [
        r for r in gaps if where.get((r["model"], r["level"], CONTAINER_OPTIMIZED), {}).get("verdict") == "equivalent"
    ]
    helped, harmed = ([r for r in rows if r[name]] for name in ("helps", "harms"))
    calmer = [r for r in rows if (r.get("sd_ratio_high") or 1.0) < 1]
    wilder = [r for r in rows if (r.get("sd_ratio_low") or 1.0) > 1]
    verdict = _gap_verdict(len(gaps), len(closed), len(helped), len(harmed))
    ratios = [row["ratio"] for row in rows]
    answer = (
        f"Mean: the baseline container is shown worse than the reference in {len(gaps)} of {_models(len(rows))}; the "
        f"optimised one is equivalent to the reference in {len(closed)} of these. Against the baseline container its "
        f"{metric} ratio lies between {min(ratios):.4f} and {max(ratios):.4f}, better in {len(helped)}, worse in "
        f"{len(harmed)}. Variance: its spread from run to run is shown smaller in {len(calmer)} and larger in "
        f"{len(wilder)} of {len(rows)}."
    )
    supports = [r["trace"] for r in rows] + [
        r["trace"] for k, r in where.items() if k[2] in (CONTAINER_BASELINE, CONTAINER_OPTIMIZED)
    ]
    return _row(3, (CONTAINER_OPTIMIZED, metric), verdict, answer, supports)


def _gap_verdict(gaps: int, closed: int, helped: int, harmed: int) -> str:
    if not gaps:
        return "no gap shown"
    if closed == gaps:
        return "yes"
    if helped:
        return "partly"
    return "no" if harmed else "undecided"


def _is_worse(row: Mapping[str, Any]) -> bool:
    """Whether a comparison shows the environment on the bad side of its reference."""
    if not row.get("excludes_one") or row["better"] == "neither":
        return False
    return bool((row["ratio"] < 1) == (row["better"] == "higher"))


def _enough(tables: Tables, protocol: Protocol, environment: str) -> Row:
    """Question 4: is this N enough?

    Yes when every primary comparison was decided at the last n; partly when some were; no when none was.
    """
    rows = [row for row in tables["verdict_by_n"] if row["environment"] == environment and row.get("verdict")]
    if not rows:
        return _unanswered(4, environment, "", "no primary comparison has a verdict")
    histories: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        histories.setdefault((row["model"], row["level"], row["metric"]), []).append(row)
    last = [history[-1] for history in histories.values()]
    decided = [row for row in last if row["verdict"] != "undecided"]
    verdict = "yes" if len(decided) == len(last) else "partly" if decided else "no"
    by_n = ", ".join(
        f"{sum(1 for r in rows if r['n'] == n and r['verdict'] != 'undecided')} of "
        f"{sum(1 for r in rows if r['n'] == n)} at {n}"
        for n in sorted({row["n"] for row in rows})
    )
    settled = max(_settled_at(history) for history in histories.values())
    power = [
        f"{r['metric']}: {r['power']:.0%} with a CV of {r['cv_pct']:.2g} %"
        for r in tables["power_curve"]
        if r["environment"] == environment and r["spread"] == "median" and r["n"] == protocol.planned
    ]
    planned = (
        f" The power of {protocol.planned} pairs to call equal arms equivalent is {'; '.join(power)}." if power else ""
    )
    answer = (
        f"Primary comparisons decided by number of pairs: {by_n}. No verdict changed after {settled} pairs. At the end "
        f"{len(decided)} of {len(last)} are decided.{planned}"
    )
    supports = [r["trace"] for r in rows] + [
        r["trace"] for r in tables["power_curve"] if r["environment"] == environment and r["n"] == protocol.planned
    ]
    return _row(4, (environment, ""), verdict, answer, supports)


def _settled_at(history: Sequence[Row]) -> int:
    """The number of pairs from which on the verdict stayed as it is at the end."""
    settled = history[-1]
    for row in reversed(history):
        if row["verdict"] != history[-1]["verdict"]:
            break
        settled = row
    return int(settled["n"])


def _publishable(tables: Tables, compared: Sequence[Row], context: Mapping[str, Any]) -> Row:
    """Question 5: are the findings publishable?

    No when a run is simulated or nothing could be compared; partly when a comparison is undecided or not estimable; else
    yes, as far as the statistics go.
    """
    if not compared:
        return _unanswered(5, "", "", "nothing was compared")
    counts = {
        word: sum(1 for row in compared if row.get("verdict") == word)
        for word in ("equivalent", "different", "undecided")
    }
    listing = ", ".join(f"{count} are {word}" for word, count in counts.items())
    missing = [row for row in compared if row.get("ratio") is None]
    significant = sum(1 for row in compared if row.get("p_holm") is not None and row["p_holm"] < _ALPHA)
    effects = [abs(row["hedges_g"]) for row in compared if row.get("hedges_g") is not None]
    warned = [row for row in tables["checks"] if row["verdict"] != "pass"]
    simulated = context["simulated"]
    verdict = "no" if simulated or len(missing) == len(compared) else "yes"
    if verdict == "yes" and (counts["undecided"] or missing):
        verdict = "partly"
    parts = [
        f"Of {len(compared)} primary comparisons {listing} and {len(missing)} not estimable",
        f"{significant} independent tests are significant after Holm's correction",
    ]
    if effects:
        parts.append(f"effects (Hedges' g, absolute) reach from {min(effects):.2g} to {max(effects):.2g}")
    listed = ", ".join(f"{row['check']} {row['verdict']} {row['count']} times" for row in warned)
    parts.append(f"checks other than passed: {listed or 'none'}")
    parts.append(f"{context['runs_used']} runs are used of {sum(context['status_counts'].values())} attempts")
    if simulated:
        parts.append("runs of this dataset are simulated: nothing of it may be published as a measurement")
    supports = [row["trace"] for row in compared] + [row["trace"] for row in warned]
    return _row(5, ("", ""), verdict, "; ".join(parts) + ".", supports)
