"""The columns of a paired comparison, computed once for tables, terminal, interim analyses and `optimize`. Pure."""

from typing import Any

from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio, decide

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
