"""Equivalent environments as data; `templates/equivalence.j2` words them."""

from typing import Any

from sparkray.plan import Study, equivalences, measured


def equivalence_document(study: Study) -> list[dict[str, Any]]:
    """`environment`, the one that it is `like`, `reasons`, and whether it has runs (`measured`)."""
    run = {treatment.environment for treatment in measured(study)}
    return [
        {"environment": one.treatment, "like": one.like, "reasons": list(one.reasons), "measured": one.treatment in run}
        for one in equivalences(study)
    ]
