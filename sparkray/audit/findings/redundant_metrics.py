"""Two reported metrics that are algebraically one."""

from collections.abc import Iterator

from sparkray.audit.affine import Affine, affine_pairs
from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for every pair of metrics that is affine with negligible residual."""
    if len(case.metrics) < 2:  # noqa: PLR2004 - a pair
        yield NotJudged("redundant_metrics", "fewer than two metrics hold values")
    for found in affine_pairs(case):
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
