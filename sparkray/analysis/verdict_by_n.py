"""`verdict_by_n`: the verdict as it would have stood after fewer blocks; with interim analyses, at each of them."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from sparkray.analysis.arms import Arms
from sparkray.analysis.comparison import judged, judged_checked
from sparkray.analysis.context import Protocol
from sparkray.analysis.interim import InterimAnalyses
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.stats import NotEstimable
from sparkray.stats.paired import paired_ratio

if TYPE_CHECKING:
    from sparkray.stats.sequential import Interim

Row = dict[str, Any]
_STEP = 5


def verdict_rows(compared: Sequence[Arms], protocol: Protocol, interim: InterimAnalyses) -> list[Row]:
    """The primary comparisons that have a margin: after the first 5, 10, 15 ... blocks, or at each interim analysis."""
    rows: list[Row] = []
    for arms in compared:
        margin = protocol.margin(arms.metric)
        if margin is None or arms.metric not in protocol.primary:
            continue
        analyses = interim.of(arms)
        for n, found in _at_interim(analyses) if analyses else _counted(arms, margin, protocol.seed):
            head = {**arms.cell.columns, "metric": arms.metric, "n": n}
            trace = provenance_id("verdict_by_n", *arms.cell.columns.values(), arms.metric, n)
            verdict = found.get("verdict")
            rows.append({**head, "trace": trace, "decided": verdict and verdict != "undecided", **found})
    return rows


def _counted(arms: Arms, margin: float, seed: int) -> Iterator[tuple[int, Row]]:
    for n in sorted({*range(_STEP, arms.n, _STEP), arms.n}):
        few = arms.first(n)
        result = paired_ratio(*few.paired)
        if isinstance(result, NotEstimable):
            yield n, judged(result, margin)
        else:
            yield n, judged_checked(result, few.logs_in_time, margin, seed=seed, beside=False)[0]


def _at_interim(analyses: Sequence["Interim"]) -> Iterator[tuple[int, Row]]:
    for found in analyses:
        if found.ratio is None or found.ci95 is None:
            yield found.n, {"verdict": found.verdict, "not_estimable": found.reason}
        else:
            low, high = found.ci95
            yield found.n, {"ratio": found.ratio, "low": low, "high": high, "verdict": found.verdict}
