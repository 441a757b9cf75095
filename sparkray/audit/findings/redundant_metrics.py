"""Two reported metrics that are algebraically one."""

from collections.abc import Iterator

from sparkray.audit.affine import affine_pairs
from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for every pair of metrics that is affine with negligible residual."""
    if len(case.metrics) < 2:  # noqa: PLR2004 - a pair
        yield NotJudged("redundant_metrics", "fewer than two metrics hold values")
    for found in affine_pairs(case):
        form = f"{found.y} = {found.slope:.4g} * {found.x} {'+' if found.intercept >= 0 else '-'} {abs(found.intercept):.5g}"
        zero = f" = {found.slope:.4g} * ({found.x} - {-found.intercept / found.slope:.2f})"
        if found.slope < 0:
            zero = f" = {-found.slope:.4g} * ({-found.intercept / found.slope:.2f} - {found.x})"
        yield Finding(
            "redundant_metrics",
            "grave",
            f"{found.y} is computed from {found.x}, or both from one number: two reported effects are one",
            f"{form}{zero}, greatest residual {found.residual:.2g} over {len(found.rows)} rows",
            found.rows,
        )
