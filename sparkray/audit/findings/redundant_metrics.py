"""Two reported metrics that are algebraically one."""

from collections.abc import Iterator

from sparkray.audit.affine import Affine, affine_pairs
from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged

_ONE_THING = (
    frozenset({"process_rss_peak_gib", "process_pss_peak_gib"}),
    frozenset({"energy_j", "energy_integrated_j"}),
)
"""What sparkray measures twice, each by itself: they say one thing where no page is shared and the counter is sound."""


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for every pair of metrics that is affine with negligible residual.

    A dataset of sparkray's may hold one thing measured twice, and its names say so; how others came by theirs is not known.
    """
    if len(case.metrics) < 2:  # noqa: PLR2004 - a pair
        yield NotJudged("redundant_metrics", "fewer than two metrics hold values")
    for found in affine_pairs(case):
        if case.results.own and {found.x, found.y} in _ONE_THING:
            continue
        yield Finding(
            "redundant_metrics",
            "grave",
            f"{found.y} is computed from {found.x}, or both from one number: two reported effects are one",
            f"{_formula(found)}, greatest residual {found.residual:.2g} over {len(found.rows)} rows",
            found.rows,
        )


def _formula(found: Affine) -> str:
    if found.slope < 0:
        return f"{found.y} = {-found.slope:.4g} * ({-found.intercept / found.slope:.2f} - {found.x})"
    sign = "+" if found.intercept >= 0 else "-"
    return f"{found.y} = {found.slope:.4g} * {found.x} {sign} {abs(found.intercept):.5g}"
