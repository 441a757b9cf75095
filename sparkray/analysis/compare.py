"""Every environment against its reference: the paired ratio and its verdict, and beside it the study's own protocol."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sparkray.analysis.arms import Arms
from sparkray.analysis.comparison import BESIDE, assumption_columns, checked_columns, judged
from sparkray.analysis.context import DEFAULT_SEED, Margin, Protocol
from sparkray.analysis.describe import why_none
from sparkray.analysis.differences import (
    DIFFERENCE,
    RATIO,
    by_difference,
    checks_of,
    is_estimated,
    note_scale,
    ratio_of,
    scale_of,
)
from sparkray.analysis.families import MADE_OF, adjust
from sparkray.analysis.frames import Frames
from sparkray.analysis.interim import VOID, InterimAnalyses
from sparkray.analysis.planned import planned_power, power_columns
from sparkray.analysis.powered import power_checked
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.reasons import Why, as_text, note
from sparkray.analysis.robust import Tests, protocol_columns, robust_columns, tests_of
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.assumptions import Checked, checked, tolerated
from sparkray.stats.paired import Ratio, outlook, paired_ratio

if TYPE_CHECKING:
    from sparkray.stats.sequential import Interim

Row = dict[str, Any]


def compared(
    frames: Frames,
    arms: Arms,
    margin: Margin,
    interim: "Interim | None" = None,
    *,
    seed: int = DEFAULT_SEED,
    found: Checked | None = None,
) -> tuple[Ratio | NotEstimable, Row, Checked | None]:
    """The one comparison, which tables, terminal and interim analyses share: columns of `comparisons` without tests.

    Args:
        frames: The dataset, for the reason where an arm has no value.
        arms: What is compared.
        margin: Those of the verdict; without any there is none.
        interim: The last interim analysis. Its repeated intervals hold at all of them at once, which those of a fixed
            number of pairs do not.
        seed: Of the bootstrap.
        found: What was checked of a fixed number of pairs, where that is known already (`differences.checks_of`).

    Returns:
        The ratio by Student's t, its columns, and what was checked of a fixed number of pairs where there is a verdict.
    """
    scale = scale_of(arms, margin, interim=interim is not None)
    row: Row = {**arms.cell.columns, "against": arms.against.environment, "metric": arms.metric}
    row |= {"better": BY_NAME[arms.metric].better, "n": arms.n, "judged_by": RATIO if scale is None else DIFFERENCE}
    row["margin"] = margin.relative if scale is None else None
    if scale is None:
        result, columns, found = _by_ratio(arms, margin.relative, interim, seed, found=found)
    else:
        result, columns, found = by_difference(arms, scale, interim, seed, found=found)
    if "not_estimable" in columns:
        result = _lacking(frames, arms) or result
        columns = {"not_estimable": result.reason} if isinstance(result, NotEstimable) else columns
    row |= columns
    if interim is not None:
        row |= {"n": arms.used(interim).n, "verdict": interim.verdict, "pairs_needed": interim.pairs_needed}
        row |= {"verdict_reason": interim.unmet, "assumptions": interim.assumptions}
    return result, row, found


def _by_ratio(
    arms: Arms, margin: float | None, interim: "Interim | None", seed: int, *, found: Checked | None
) -> tuple[Ratio | NotEstimable, Row, Checked | None]:
    if found is not None and margin is not None:
        return found.student, checked_columns(found, margin), found
    result: Ratio | NotEstimable = paired_ratio(*arms.paired) if interim is None else ratio_of(interim)
    if interim is not None or margin is None or isinstance(result, NotEstimable):
        return result, judged(result, None), None
    found = checked(result, arms.logs_in_time, seed=seed)
    return result, checked_columns(found, margin), found


def comparison_rows(frames: Frames, every: Sequence[Arms], protocol: Protocol, interim: InterimAnalyses) -> list[Row]:
    """`comparisons`, p-values adjusted within their families."""
    used = [arms if (last := interim.last(arms)) is None else arms.used(last) for arms in every]
    tests = tests_of(every, used, protocol)
    fixed = {place: arms for place, arms in enumerate(every) if interim.last(arms) is None}
    margins = [protocol.margins_of(arms.metric) for arms in fixed.values()]
    asked = [(arms, margin, scale_of(arms, margin)) for arms, margin in zip(fixed.values(), margins, strict=True)]
    found = dict(zip(fixed, checks_of(asked, protocol.seed, beside=True), strict=True))
    rows = [
        _comparison(frames, arms, protocol, last=interim.last(arms), used=pairs, tests=made, found=found.get(place))
        for place, (arms, pairs, made) in enumerate(zip(every, used, tests, strict=True))
    ]
    adjust(rows, protocol)
    return rows


def _comparison(
    frames: Frames,
    arms: Arms,
    protocol: Protocol,
    *,
    last: "Interim | None",
    used: Arms,
    tests: Tests,
    found: Checked | None,
) -> Row:
    """One row. With interim analyses, whatever is paired is of the pairs of the last one, which are `used`."""
    why: Why = {}
    result, row, found = compared(frames, arms, protocol.margins_of(arms.metric), last, seed=protocol.seed, found=found)
    row |= {
        "primary": arms.metric in protocol.primary,
        "pairs_planned": protocol.planned,
        "power_checked": power_checked(frames, (arms.against, arms.cell), arms.metric),
        "trace": provenance_id("comparisons", *arms.cell.columns.values(), arms.metric),
        **protocol_columns(tests, why),
    }
    if isinstance(result, Ratio):
        row |= power_columns(result, used, protocol, why) | robust_columns(used, tests, protocol, why)
    elif is_estimated(row):
        row |= planned_power(None, used, protocol, why)
    if is_estimated(row):
        row |= _assumptions(row, found, why, interim=last is not None)
    note_scale(row, why)
    if row.get("verdict") == "equivalent" and row["judged_by"] == RATIO:
        row["tolerates"] = tolerated((row["low90"], row["high90"]), row["n"], row["margin"])
    elif is_estimated(row):
        note(why, ("tolerates",), "no_equivalent_ratio")
    for reason, columns in VOID.items() if last is not None else ():
        note(why, [column for column in columns if column not in why], reason)
        row |= dict.fromkeys(columns)
    _explain(row, protocol, why)
    return {**row, "why_null": as_text(why)}


def _assumptions(row: Row, found: Checked | None, why: Why, *, interim: bool) -> Row:
    """What was checked of the pairs; the intervals beside are those of ratios."""
    if found is None:
        note(why, BESIDE, "interim_beside" if interim else "no_margin")
        note(why, ("assumptions",), "no_margin")
        return {}
    if row["judged_by"] == RATIO:
        return assumption_columns(found, why)
    note(why, BESIDE[2:], "of_difference")
    checked = {"ratio_shapiro_p": found.assumptions.shapiro_p, "ratio_lag1_p": found.assumptions.lag1_p}
    note(why, [name for name, p in checked.items() if p is None], "few_for_check")
    return checked


def _explain(row: Row, protocol: Protocol, why: Why) -> None:
    """Explain a null `pairs_needed`, and null columns that are computed from a p-value."""
    if is_estimated(row) and row.get("pairs_needed") is None:
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
