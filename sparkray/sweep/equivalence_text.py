"""Text about equivalent environments: in the plan, before a sweep, and after it."""

from typing import Any

from sparkray.plan import Study, equivalences, measured


def equivalence_lines(study: Study) -> list[str]:
    """A sentence for each: what it is, why, and what is done about it."""
    done = (
        "Measured once; --set experiment.fold=false measures both."
        if study.experiment.fold
        else "Measured all the same."
    )
    return [f"{found.sentence}. {done}" for found in equivalences(study)]


def equivalence_results(study: Study) -> list[str]:
    """A sentence for each that was left out, where the comparisons of the others stand."""
    run = {treatment.environment for treatment in measured(study)}
    return [
        f"{found.treatment} against {found.like}: equal by definition, not measured "
        f"({'; '.join(found.reasons) or 'the flags are the same'})"
        for found in equivalences(study)
        if found.treatment not in run
    ]


def equivalence_document(study: Study) -> list[dict[str, Any]]:
    """The same as data: `environment`, the one that it is `like`, `reasons`, and whether it has runs (`measured`)."""
    run = {treatment.environment for treatment in measured(study)}
    return [
        {
            "environment": found.treatment,
            "like": found.like,
            "reasons": list(found.reasons),
            "measured": found.treatment in run,
        }
        for found in equivalences(study)
    ]
