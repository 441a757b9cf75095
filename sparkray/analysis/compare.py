"""Every environment against its reference: the paired ratio and its verdict, and beside it the study's own protocol."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sparkray.analysis.arms import Arms
from sparkray.analysis.comparison import BESIDE, assumption_columns, judged, judged_checked
from sparkray.analysis.context import DEFAULT_SEED, Protocol
from sparkray.analysis.describe import why_none
from sparkray.analysis.families import MADE_OF, adjust
from sparkray.analysis.frames import Frames
from sparkray.analysis.interim import VOID, InterimAnalyses
from sparkray.analysis.planned import power_columns
from sparkray.analysis.powered import power_checked
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.reasons import Why, as_text, note
from sparkray.analysis.robust import Tests, protocol_columns, robust_columns, tests_of
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.assumptions import Checked
from sparkray.stats.paired import Ratio, outlook, paired_ratio

if TYPE_CHECKING:
    from sparkray.stats.sequential import Interim

Row = dict[str, Any]


def compared(
    frames: Frames, arms: Arms, margin: float | None, interim: "Interim | None" = None, *, seed: int = DEFAULT_SEED
) -> tuple[Ratio | NotEstimable, Row, Checked | None]:
    """The one comparison, which tables, terminal and interim analyses share: columns of `comparisons` without tests.

    Args:
        frames: The dataset, for the reason where an arm has no value.
        arms: What is compared.
        margin: Relative margin of the verdict; None for no verdict.
        interim: The last interim analysis. Its repeated intervals hold at all of them at once, which those of a fixed
            number of pairs do not.
        seed: Of the bootstrap.

    Returns:
        The ratio by Student's t, its columns, and what was checked of a fixed number of pairs where there is a verdict.
    """
    result: Ratio | NotEstimable
    row: Row = {**arms.cell.columns, "against": arms.against.environment, "metric": arms.metric}
    row |= {"better": BY_NAME[arms.metric].better, "n": arms.n, "margin": margin}
    if interim is None:
        result = paired_ratio(*arms.paired)
    elif interim.ratio is None or interim.ci95 is None or interim.ci90 is None or interim.sd_log is None:
        result = NotEstimable(interim.reason)
    else:
        result = Ratio(interim.n, interim.ratio, interim.ci95, interim.ci90, interim.sd_log)
    if isinstance(result, NotEstimable):
        result = _lacking(frames, arms) or result
    found = None
    if interim is None and margin is not None and isinstance(result, Ratio):
        columns, found = judged_checked(result, arms.logs_in_time, margin, seed=seed, beside=True)
        row |= columns
    else:
        row |= judged(result, None)
    if interim is not None:
        row |= {"n": arms.used(interim).n, "verdict": interim.verdict, "pairs_needed": interim.pairs_needed}
        row |= {"verdict_reason": interim.unmet, "assumptions": interim.assumptions}
    return result, row, found


def comparison_rows(frames: Frames, every: Sequence[Arms], protocol: Protocol, interim: InterimAnalyses) -> list[Row]:
    """`comparisons`, p-values adjusted within their families."""
    used = [arms if (last := interim.last(arms)) is None else arms.used(last) for arms in every]
    tests = tests_of(every, used, protocol.seed)
    rows = [
        _comparison(frames, arms, protocol, last=interim.last(arms), used=pairs, tests=made)
        for arms, pairs, made in zip(every, used, tests, strict=True)
    ]
    adjust(rows, protocol)
    return rows


def _comparison(
    frames: Frames, arms: Arms, protocol: Protocol, *, last: "Interim | None", used: Arms, tests: Tests
) -> Row:
    """One row. With interim analyses, whatever is paired is of the pairs of the last one, which are `used`."""
    why: Why = {}
    result, row, found = compared(frames, arms, protocol.margin(arms.metric), last, seed=protocol.seed)
    row |= {
        "primary": arms.metric in protocol.primary,
        "pairs_planned": protocol.planned,
        "power_checked": power_checked(frames, (arms.against, arms.cell), arms.metric),
        "trace": provenance_id("comparisons", *arms.cell.columns.values(), arms.metric),
        **protocol_columns(tests, why),
    }
    if isinstance(result, Ratio):
        row |= power_columns(result, used, protocol, why) | robust_columns(used, tests, protocol, why)
        if found is not None:
            row |= assumption_columns(found, why)
        else:
            note(why, BESIDE, "interim_beside" if last is not None else "no_margin")
            note(why, ("assumptions",), "no_margin")
    for reason, columns in VOID.items() if last is not None else ():
        note(why, [column for column in columns if column not in why], reason)
        row |= dict.fromkeys(columns)
    _explain(row, protocol, why)
    return {**row, "why_null": as_text(why)}


def _explain(row: Row, protocol: Protocol, why: Why) -> None:
    """Explain a null `pairs_needed`, and null columns that are computed from a p-value."""
    if row.get("ratio") is not None and row.get("pairs_needed") is None:
        decided = "decided" if row.get("verdict") else "no_margin"
        unmet = row.get("verdict_reason") or row.get("assumptions") in ("not_independent", "neither")
        open_ = "needed_assumes" if unmet else outlook(None, row["n"])
        note(why, ("pairs_needed",), open_ if row.get("verdict") == "undecided" else decided)
    for p, columns in MADE_OF.items():
        if protocol.family(row["metric"]) is None:
            note(why, ("family", *columns), "not_in_family")
        elif row.get(p) is None and p in why:
            note(why, columns, why[p])


def _lacking(frames: Frames, arms: Arms) -> NotEstimable | None:
    """That an arm has no value at all, and why."""
    if len(arms.a) and len(arms.b):
        return None
    lacking = arms.against if not len(arms.a) else arms.cell
    return why_none(frames, lacking).at(lacking.environment)
