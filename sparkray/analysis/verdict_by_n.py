"""`verdict_by_n`: the verdict as it would have stood after fewer blocks; with interim analyses, at each of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sparkray.analysis.arms import Arms
from sparkray.analysis.comparison import judged, judged_checked
from sparkray.analysis.context import Margin, Protocol
from sparkray.analysis.differences import COLUMNS, by_difference, difference_columns, ratio_of, scale_of
from sparkray.analysis.interim import InterimAnalyses
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.stats import NotEstimable
from sparkray.stats.differences import Difference
from sparkray.stats.paired import paired_ratio

if TYPE_CHECKING:
    from sparkray.stats.sequential import Interim

Row = dict[str, Any]
_STEP = 5
_SHOWN = (*COLUMNS[:3], "ratio", "low", "high", "verdict", "not_estimable")


def verdict_rows(compared: Sequence[Arms], protocol: Protocol, interim: InterimAnalyses) -> list[Row]:
    """The primary comparisons that have a margin: after the first 5, 10, 15 ... blocks, or at each interim analysis."""
    rows: list[Row] = []
    for arms in compared:
        margin = protocol.margins_of(arms.metric)
        if not margin or arms.metric not in protocol.primary:
            continue
        analyses = interim.of(arms)
        scale = scale_of(arms, margin, interim=bool(analyses))
        counted = _at_interim(analyses, scale) if analyses else _counted(arms, margin, scale, protocol.seed)
        for n, found in counted:
            head = {**arms.cell.columns, "metric": arms.metric, "n": n}
            trace = provenance_id("verdict_by_n", *arms.cell.columns.values(), arms.metric, n)
            verdict = found.get("verdict")
            rows.append({**head, "trace": trace, "decided": verdict and verdict != "undecided", **found})
    return rows


def _counted(arms: Arms, margin: Margin, scale: Difference | None, seed: int) -> Iterator[tuple[int, Row]]:
    for n in sorted({*range(_STEP, arms.n, _STEP), arms.n}):
        few = arms.first(n)
        if scale is not None:
            _, row, _ = by_difference(few, scale, None, seed)
            yield n, {name: row[name] for name in _SHOWN if name in row}
            continue
        result = paired_ratio(*few.paired)
        if isinstance(result, NotEstimable) or margin.relative is None:
            yield n, judged(result, margin.relative)
        else:
            yield n, judged_checked(result, few.logs_in_time, margin.relative, seed=seed, beside=False)[0]


def _at_interim(analyses: Sequence["Interim"], scale: Difference | None) -> Iterator[tuple[int, Row]]:
    for found in analyses:
        ratio = ratio_of(found)
        if isinstance(ratio, NotEstimable):
            yield found.n, {"verdict": found.verdict, "not_estimable": found.reason}
        elif scale is not None:
            columns = difference_columns(ratio, scale)
            yield found.n, {"verdict": found.verdict, **{name: columns[name] for name in COLUMNS[:3]}}
        else:
            yield found.n, {"ratio": ratio.ratio, "low": ratio.ci95[0], "high": ratio.ci95[1], "verdict": found.verdict}
