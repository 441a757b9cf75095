"""Two reported metrics that are algebraically one."""

from collections.abc import Iterator
from dataclasses import asdict

from sparkray.audit.affine import affine_pairs
from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged

# What sparkray measures twice, each by itself: equal where no page is shared and the counter works.
_SAME_QUANTITY = (
    frozenset({"process_rss_peak_gib", "process_pss_peak_gib"}),
    frozenset({"energy_j", "energy_integrated_j"}),
)


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for every pair of metrics that is affine with negligible residual.

    A dataset of sparkray's may hold one quantity measured twice, as its names show; how others computed theirs is unknown.
    """
    if len(case.metrics) < 2:  # noqa: PLR2004 - a pair
        yield NotJudged("redundant_metrics/few")
    for pair in affine_pairs(case):
        if not (case.results.own and {pair.x, pair.y} in _SAME_QUANTITY):
            yield Finding("redundant_metrics", asdict(pair) | {"rows": len(pair.rows)}, "grave", pair.rows)
