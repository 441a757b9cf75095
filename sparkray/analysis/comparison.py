"""The columns of a paired comparison, computed once for tables, terminal, interim analyses and `optimize`. Pure."""

from collections.abc import Mapping
from typing import Any

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio, decide, outlook

Row = dict[str, Any]


def judged(result: Ratio | NotEstimable, margin: float | None) -> Row:
    """A paired ratio as columns, with the verdict of a fixed number of pairs where there is a margin."""
    if isinstance(result, NotEstimable):
        return {"not_estimable": result.reason}
    row = numbers(result)
    if margin is None:
        return row
    decision = decide(result, margin)
    return {**row, "verdict": decision.verdict, "pairs_needed": decision.pairs_needed}


def numbers(result: Ratio) -> Row:
    """A paired ratio as columns, without a verdict."""
    return {
        "ratio": result.ratio,
        "low": result.ci95[0],
        "high": result.ci95[1],
        "low90": result.ci90[0],
        "high90": result.ci90[1],
        "sd_log": result.sd_log,
        "excludes_one": result.excludes_one,
        "p_paired": result.p,
    }


def sentence(row: Mapping[str, Any]) -> str:
    """What a comparison shows, in a sentence that claims no equality which was not shown."""
    model = f"{row['model']} {row.get('level') or ''}".rstrip()
    what = f"{model}, {row['metric']}: {row['environment']} against {row['against']}"
    if row.get("ratio") is None:
        return f"{what}: not estimable, {row['not_estimable']}."
    text = f"{what} is a ratio of {row['ratio']:.4f} (95 % CI {row['low']:.4f} to {row['high']:.4f}, {row['n']} pairs)"
    if row.get("verdict") is None:
        return f"{text}."
    margin = f"{row['margin']:.1%}"
    if row["verdict"] == "equivalent":
        real = ", though the difference is real" if row["excludes_one"] else ""
        return f"{text}: equivalent within {margin}{real}."
    if row["verdict"] == "different":
        return f"{text}: different by more than {margin}."
    seen = (
        "a difference is shown, its size against the margin is not"
        if row["excludes_one"]
        else "no difference is shown, and no equality either"
    )
    return f"{text}: undecided at {margin}; {seen}; {outlook(row['pairs_needed'], row['n'])}."
