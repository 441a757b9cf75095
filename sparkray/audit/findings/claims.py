"""Conclusions of the study, where the input has them: p-values without correction, equality without a test of it."""

from collections.abc import Iterator

from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged

_LEVEL = 0.05


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for several p-values without correction, and for equality that rests on a p above 5 % or on nothing."""
    claims = case.results.claims
    if claims is None:
        yield NotJudged("uncorrected_p_values/unknown")
        yield NotJudged("equality_without_test/unknown")
        return
    tests = [claim for claim in claims if claim.p is not None]
    hits = [claim for claim in tests if not claim.correction and claim.p is not None and claim.p < _LEVEL]
    if len(tests) > 1 and hits:
        items = [{"claim": repr(claim.text), "p": claim.p} for claim in hits]
        values = {"tests": len(tests), "chance": 1 - (1 - _LEVEL) ** len(tests), "items": items}
        yield Finding("uncorrected_p_values", values, "grave")
    for claim in claims:
        if claim.kind == "equality" and not claim.equivalence_test:
            yield Finding("equality_without_test", {"claim": repr(claim.text), "p": claim.p}, "grave")
