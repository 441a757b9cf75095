"""Every environment against its reference: the paired ratio and its verdict, and beside it the study's own protocol."""

from collections.abc import Sequence
from typing import Any

from sparkray.analysis.arms import Arms
from sparkray.analysis.comparison import judged, numbers, sentence
from sparkray.analysis.context import Protocol
from sparkray.analysis.describe import why_none
from sparkray.analysis.families import MADE_OF, adjust
from sparkray.analysis.frames import Frames
from sparkray.analysis.interim import VOID, Looks
from sparkray.analysis.keys import key
from sparkray.analysis.planned import power_columns
from sparkray.analysis.powered import power_checked
from sparkray.analysis.reasons import Why, as_text, note
from sparkray.analysis.robust import protocol_columns, robust_columns
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio, outlook, paired_ratio

Row = dict[str, Any]


def comparison_rows(frames: Frames, compared: Sequence[Arms], protocol: Protocol, looks: Looks) -> list[Row]:
    """`comparisons`, p-values adjusted within their families."""
    rows = [_comparison(frames, arms, protocol, looks) for arms in compared]
    adjust(rows, protocol)
    return rows


def _comparison(frames: Frames, arms: Arms, protocol: Protocol, looks: Looks) -> Row:
    """One row. Under looks, whatever is paired is of the pairs of the last one."""
    taken, used = looks.of(arms), looks.used(arms)
    why: Why = {}
    row: Row = {
        **arms.cell.columns,
        "against": arms.against.environment,
        "metric": arms.metric,
        "better": BY_NAME[arms.metric].better,
        "primary": arms.metric in protocol.primary,
        "n": used.n,
        "margin": protocol.margin(arms.metric),
        "pairs_planned": protocol.planned,
        "power_checked": power_checked(frames, (arms.against, arms.cell), arms.metric),
        "trace": key("comparisons", *arms.cell.columns.values(), arms.metric),
        **protocol_columns(arms, protocol.seed, why),
    }
    result, judged = _by_looks(frames, arms, looks) if taken else _by_pairs(frames, arms, protocol)
    row |= judged
    if isinstance(result, NotEstimable):
        row["not_estimable"] = result.reason
    else:
        row |= power_columns(result, used, protocol, why) | robust_columns(used, protocol, why)
    for reason, columns in VOID.items() if taken else ():
        note(why, [column for column in columns if column not in why], reason)
        row |= dict.fromkeys(columns)
    _tell(row, protocol, why)
    return {**row, "why_null": as_text(why)}


def _tell(row: Row, protocol: Protocol, why: Why) -> None:
    """Why there are no further pairs to ask for, and nothing made of a p-value."""
    if row.get("ratio") is not None and row.get("pairs_needed") is None:
        decided = "decided" if row.get("verdict") else "no margin was fixed"
        note(why, ("pairs_needed",), outlook(None, row["n"]) if row.get("verdict") == "undecided" else decided)
    for p, columns in MADE_OF.items():
        if protocol.family(row["metric"]) is None:
            note(why, ("family", *columns), "this metric is in no family")
        elif row.get(p) is None and p in why:
            note(why, columns, why[p])


def _by_pairs(frames: Frames, arms: Arms, protocol: Protocol) -> tuple[Ratio | NotEstimable, Row]:
    """The ratio of every pair, and the verdict of a fixed number of them."""
    result: Ratio | NotEstimable = paired_ratio(*arms.paired)
    if isinstance(result, NotEstimable):
        result = _lacking(frames, arms) or result
    row = judged(result, protocol.margin(arms.metric))
    head = {**arms.cell.columns, "against": arms.against.environment, "metric": arms.metric, "n": arms.n}
    return result, {**row, "sentence": sentence({**head, "margin": protocol.margin(arms.metric), **row})}


def _by_looks(frames: Frames, arms: Arms, looks: Looks) -> tuple[Ratio | NotEstimable, Row]:
    """What the looks decided, in place of a fixed number of pairs: estimates and intervals of the last one.

    Repeated intervals hold at all looks at once, which those of a fixed number of pairs do not once somebody has looked.
    """
    found = looks.of(arms)[-1]
    row: Row = {
        "verdict": found.verdict,
        "pairs_needed": found.pairs_needed,
        "sentence": f"{arms.about}: {found.reason}.",
    }
    if found.ratio is None or found.ci95 is None or found.ci90 is None or found.sd_log is None:
        return _lacking(frames, arms) or NotEstimable(found.reason), row
    result = Ratio(found.n, found.ratio, found.ci95, found.ci90, found.sd_log)
    return result, row | numbers(result)


def _lacking(frames: Frames, arms: Arms) -> NotEstimable | None:
    """That an arm has no value at all, and why."""
    if len(arms.a) and len(arms.b):
        return None
    lacking = arms.against if not len(arms.a) else arms.cell
    return NotEstimable(f"{lacking.environment}: {why_none(frames, lacking)}")
