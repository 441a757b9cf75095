"""The ladder: one layer of isolation added to the chroot or taken from the container at a time, in shared blocks.

What is attributed are the primary metrics and the peak of memory, which the study before this one saw all of the difference
in: each from the rows of the same runs.
"""

from collections.abc import Hashable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from sparkray.analysis.optimized import Attributed
from sparkray.analysis.optimized import Ladder as LadderDocument
from sparkray.config.isolation import LAYER_TITLES, AttributionSteps
from sparkray.metrics import BY_NAME
from sparkray.optimize.context import MEMORY, OptimizationContext
from sparkray.optimize.rows import Rows, rows_of
from sparkray.optimize.runner import StudyRunner
from sparkray.plan import definition_sha256, make_plan, treatments_of
from sparkray.stats.attribution import Attribution, attribute, sentence
from sparkray.store import Dataset

UNITS = {"_tok_s": "tok/s", "_ms": "ms", "_gib": "GiB", "_req_s": "req/s", "_s": "s"}
TITLES = {"chroot": "chroot into the image", "all": "all added layers at once"}


@dataclass(frozen=True)
class Climbed:
    """What the ladder found, as the document has it."""

    dataset: Dataset
    told: LadderDocument


def climb(context: OptimizationContext, runner: StudyRunner) -> Climbed:
    """Measures what is left of the ladder, and attributes.

    Raises:
        SparkrayError: No further run is possible.
        InterruptedSweepError: Somebody asked for the end.
    """
    steps = context.attribution_steps()
    treatments = treatments_of(steps)
    ends = tuple(t for t in treatments if t.environment in (steps.first, steps.last))
    between = [t for t in treatments if t not in ends]
    study = context.stage("attribute", ends, context.runs)
    dataset = runner.dataset(study, definition_sha256(study))
    excluded = runner.able(study, dataset, between)
    kept = [t for t in treatments if t.environment not in excluded]
    runner.say(
        f"attribute: {len(kept)} arms from {steps.first} to {steps.last}, {context.runs} blocks a model; "
        f"data in {dataset.path}"
    )
    whole = context.stage("attribute", kept, context.runs)
    failed = runner.rounds(whole, dataset, always=(steps.first, steps.last))
    rows = rows_of(dataset, make_plan(whole))
    told = tuple(
        attributed(steps, rows, card.name, metric)
        for card in context.study.cards
        for metric in dict.fromkeys((*context.study.experiment.primary_metrics, MEMORY))
    )
    return Climbed(dataset, LadderDocument(titles_of(), _struck(steps, {**excluded, **failed}), told))


def titles_of() -> dict[str, str]:
    """Layers in words."""
    return {**TITLES, **LAYER_TITLES}


def unit_of(metric: str) -> str:
    """The unit at the end of a metric's name, as it is read; empty where it has none of those."""
    return next((unit for end, unit in UNITS.items() if metric.endswith(end)), "")


def attributed(steps: AttributionSteps, rows: Rows, model: str, metric: str) -> Attributed:
    """One metric of one model along the ladder."""
    arms: dict[str, Mapping[Hashable, float | None]] = {}
    for arm in steps.arms:
        values = rows.values(arm.environment, metric)
        arms[arm.environment] = {pair: value for pair, value in values.items() if pair[0] == model}
    found = attribute(arms, steps.steps, first=steps.first, last=steps.last)
    unit = unit_of(metric)
    return Attributed(
        model=model,
        metric=metric,
        unit=unit,
        better=BY_NAME[metric].better,
        found=values_of(found),
        sentences={
            way: sentence(found, unit=unit, names=titles_of(), direction=way)
            for way in ("add", "leave")
            if found.balance(way) is not None
        },
    )


def values_of(found: Attribution) -> dict[str, Any]:
    """The statistics' own values; `shows` of each step beside it."""
    plain: dict[str, Any] = asdict(replace(found, interactions={}))
    plain["interactions"] = {layer: asdict(one) for layer, one in found.interactions.items()}
    for step, one in zip(plain["steps"], found.steps, strict=True):
        step["shows"] = one.shows
    return plain


def _struck(steps: AttributionSteps, out: Mapping[str, str]) -> tuple[Mapping[str, str], ...]:
    """What was not measured, with why: by the design of the ladder, by Docker, by its runs."""
    planned = [asdict(one) for one in steps.excluded]
    ways = {arm.environment: ("add" if arm.isolation else "leave", arm.layer or "") for arm in steps.arms}
    tried = [
        {"layer": ways[name][1], "direction": ways[name][0], "reason": why} for name, why in out.items() if name in ways
    ]
    return (*planned, *tried)
