"""What the study concluded, where the input carries it: p-values without correction, equality without a test of it."""

from collections.abc import Iterator

from sparkray.audit.case import Case
from sparkray.audit.finding import Finding, NotJudged

_LEVEL = 0.05


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Grave for several p-values without correction, and for equality that rests on a p above 5 % or on nothing."""
    claims = case.results.claims
    if claims is None:
        yield NotJudged("uncorrected_p_values", "the input carries no claims, so no p-values")
        yield NotJudged("equality_without_test", "the input carries no claims of equality")
        return
    tested = [claim for claim in claims if claim.p is not None]
    bare = [claim for claim in tested if not claim.correction]
    hits = [claim for claim in bare if claim.p is not None and claim.p < _LEVEL]
    if len(tested) > 1 and hits:
        chance = 1 - (1 - _LEVEL) ** len(tested)
        yield Finding(
            "uncorrected_p_values",
            "grave",
            f"{len(tested)} tests and no correction: with no effect at all, one below 5 % has a chance of {chance:.0%}",
            "; ".join(f"{claim.said!r} p = {claim.p:.3g}" for claim in hits),
        )
    for claim in claims:
        if claim.kind == "equality" and not claim.equivalence_test:
            shown = "no p-value" if claim.p is None else f"p = {claim.p:.3g} of a test for a difference"
            yield Finding(
                "equality_without_test",
                "grave",
                "equality is claimed without an equivalence test against a margin: not to have seen a difference shows none",
                f"{claim.said!r}: {shown}",
            )
