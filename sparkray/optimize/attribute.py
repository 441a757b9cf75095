"""Attribution: one layer of isolation added to the chroot or taken from the container at a time, in shared blocks.

The primary metrics and the peak of memory are attributed, each from the rows of the same runs.
"""

from collections.abc import Hashable, Mapping
from dataclasses import asdict, replace
from typing import Any

from sparkray.analysis.optimized import Attributed, Attributions
from sparkray.config.isolation import LAYER_TITLES, AttributionSteps
from sparkray.metrics import BY_NAME
from sparkray.optimize.context import MEMORY, OptimizationContext
from sparkray.optimize.effects import of_model
from sparkray.optimize.rows import Rows, rows_of
from sparkray.optimize.runner import StudyRunner
from sparkray.plan import definition_sha256, make_plan, treatments_of
from sparkray.schema import unit_of
from sparkray.stats.attribution import Attribution, attribute
from sparkray.store import Dataset

TITLES = {"chroot": "chroot into the image", "all": "all added layers at once"}


def attribute_layers(context: OptimizationContext, runner: StudyRunner) -> tuple[Dataset, Attributions]:
    """Measures what is left of the attribution steps, and attributes. Returns its dataset and the document's part.

    Raises:
        SparkrayError: No further run is possible.
        InterruptedSweepError: The user asked to stop.
    """
    steps = context.attribution_steps()
    treatments = treatments_of(steps)
    ends = tuple(t for t in treatments if t.environment in (steps.first, steps.last))
    study = context.stage("attribute", ends, context.runs)
    dataset = runner.dataset(study, definition_sha256(study))
    excluded = runner.able(study, dataset, [t for t in treatments if t not in ends])
    kept = [t for t in treatments if t.environment not in excluded]
    runner.say(
        f"attribute: {len(kept)} environments from {steps.first} to {steps.last}, {context.runs} blocks a model; "
        f"data in {dataset.path}"
    )
    whole = context.stage("attribute", kept, context.runs)
    failed = runner.rounds(whole, dataset, always=(steps.first, steps.last))
    rows = rows_of(dataset, make_plan(whole))
    made = tuple(
        attributed(steps, rows, card.name, metric)
        for card in context.study.cards
        for metric in dict.fromkeys((*context.study.experiment.primary_metrics, MEMORY))
    )
    return dataset, Attributions({**TITLES, **LAYER_TITLES}, _excluded(steps, {**excluded, **failed}), made)


def attributed(steps: AttributionSteps, rows: Rows, model: str, metric: str) -> Attributed:
    """One metric of one model over the attribution steps."""
    arms: dict[str, Mapping[Hashable, float | None]] = {
        arm.environment: dict(of_model(rows.values(arm.environment, metric), model)) for arm in steps.arms
    }
    found = attribute(arms, steps.steps, first=steps.first, last=steps.last)
    return Attributed(model, metric, unit_of(metric), BY_NAME[metric].better, values_of(found))


def values_of(found: Attribution) -> dict[str, Any]:
    """The statistics' own values; `shows` of each step beside it."""
    plain: dict[str, Any] = asdict(replace(found, interactions={}))
    plain["interactions"] = {layer: asdict(one) for layer, one in found.interactions.items()}
    for step, one in zip(plain["steps"], found.steps, strict=True):
        step["shows"] = one.shows
    return plain


def _excluded(steps: AttributionSteps, out: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """What was not measured, with why: by design, by Docker, by its runs."""
    planned = [asdict(one) for one in steps.excluded]
    tried = [
        {"layer": arm.layer or "", "direction": "add" if arm.isolation else "leave", "reason": out[arm.environment]}
        for arm in steps.arms
        if arm.environment in out
    ]
    return (*planned, *tried)
