"""Hours of a plan before it starts: with a fixed number of pairs, and with interim analyses."""

from collections.abc import Mapping
from typing import Any

from sparkray.config.experiment import Sequential
from sparkray.plan import Study, measured
from sparkray.stats.operating import expected_pairs
from sparkray.stats.sequential import Design

# Numbers of pairs at which the sequential design that a plan compares with has its interim analyses.
INTERIM_PAIRS = (4, 6, 8, 10, 12, 15, 20, 25, 30)
CVS_PCT = (0.3, 1.0)
_LEAST_RUNS = 3


def protocol_hours(study: Study, hours: Mapping[str, float]) -> list[dict[str, Any]]:
    """Hours of the whole plan under each design and kind of cooldown; `pairs` is the expected number a model.

    `hours` are those of all runs by kind of cooldown (`fixed`, `adaptive`; the same where the protocol has none).

    The sequential design is the experiment's own, else one with `INTERIM_PAIRS`. Its expectation is for equal arms with that
    CV of every primary metric; metrics are taken for independent, which overstates it.
    """
    most = study.experiment.runs
    protocols: list[tuple[str, float]] = [(f"fixed N = {most}", float(most))]
    protocols += [(f"sequential, CV {cv} %", pairs) for cv, pairs in _expected(study).items()]
    return [
        {"design": name, "cooldown": kind, "pairs": round(pairs, 1), "hours": round(whole * pairs / most, 2)}
        for name, pairs in protocols
        for kind, whole in hours.items()
    ]


def _expected(study: Study) -> dict[float, float]:
    """Expected pairs by CV; nothing where a sequential design could decide nothing."""
    experiment, arms = study.experiment, len(measured(study))
    margins = [experiment.margins[name] for name in experiment.primary_metrics if name in experiment.margins]
    if experiment.runs < _LEAST_RUNS or arms < 2 or not margins:  # noqa: PLR2004 - a comparison is of two
        return {}
    own = experiment.sequential or Sequential((*(n for n in INTERIM_PAIRS if n < experiment.runs), experiment.runs))
    designs = [Design(own.looks, margin, spending=own.spending) for margin in margins]
    return {cv: min(expected_pairs(designs, cv_pct=cv, arms=arms), float(experiment.runs)) for cv in CVS_PCT}
