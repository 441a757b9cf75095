"""`verdict_by_n`: the verdict as it would have stood after fewer blocks; with interim analyses, at each of them."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

from sparkray.analysis.arms import Arms
from sparkray.analysis.comparison import checked_columns, judged
from sparkray.analysis.context import Margin, Protocol
from sparkray.analysis.differences import COLUMNS, by_difference, checks_of, difference_columns, ratio_of, scale_of
from sparkray.analysis.interim import InterimAnalyses
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.stats import NotEstimable
from sparkray.stats.assumptions import Checked
from sparkray.stats.differences import Difference
from sparkray.stats.paired import paired_ratio

if TYPE_CHECKING:
    from sparkray.stats.sequential import Interim

Row = dict[str, Any]
_STEP = 5
_SHOWN = (*COLUMNS[:3], "ratio", "low", "high", "verdict", "not_estimable")


def verdict_rows(compared: Sequence[Arms], protocol: Protocol, interim: InterimAnalyses) -> list[Row]:
    """The primary comparisons that have a margin: after the first 5, 10, 15 ... blocks, or at each interim analysis."""
    shown = [
        (arms, margin, scale_of(arms, margin, interim=bool(interim.of(arms))))
        for arms in compared
        if (margin := protocol.margins_of(arms.metric)) and arms.metric in protocol.primary
    ]
    first = [(few, margin, scale) for arms, margin, scale in shown if not interim.of(arms) for few in _first(arms)]
    checks = checks_of(first, protocol.seed, beside=False)
    counted = (_counted(*one, found, protocol.seed) for one, found in zip(first, checks, strict=True))
    rows: list[Row] = []
    for arms, _, scale in shown:
        analyses = interim.of(arms)
        for n, found in _at_interim(analyses, scale) if analyses else islice(counted, len(_numbers(arms))):
            head = {**arms.cell.columns, "metric": arms.metric, "n": n}
            trace = provenance_id("verdict_by_n", *arms.cell.columns.values(), arms.metric, n)
            verdict = found.get("verdict")
            rows.append({**head, "trace": trace, "decided": verdict and verdict != "undecided", **found})
    return rows


def _numbers(arms: Arms) -> list[int]:
    return sorted({*range(_STEP, arms.n, _STEP), arms.n})


def _first(arms: Arms) -> Iterator[Arms]:
    return (arms.first(n) for n in _numbers(arms))


def _counted(few: Arms, margin: Margin, scale: Difference | None, found: Checked | None, seed: int) -> tuple[int, Row]:
    if scale is not None:
        _, row, _ = by_difference(few, scale, None, seed, found=found)
        return few.n, {name: row[name] for name in _SHOWN if name in row}
    if found is None or margin.relative is None:
        return few.n, judged(paired_ratio(*few.paired), margin.relative)
    return few.n, checked_columns(found, margin.relative)


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
