"""An optimisation before its first run: every level with what is done about it, and what each stage costs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparkray.config.feasible_levels import LevelVerdict, unresolved
from sparkray.config.site import NATIVE
from sparkray.config.space import apply_level
from sparkray.optimize.context import MOST_CONFIRM, OptimizationContext, changed_words
from sparkray.plan import PlannedRun, Study, Treatment, make_plan, treatments_of
from sparkray.stats import special
from sparkray.timing import Timing, known_dataset

# Most that the confirmation has (`search.shortlist`).
CANDIDATES = 3


@dataclass(frozen=True)
class Phase:
    """What a stage costs. `most`: it may need less, as a search that is soon sure does. Hours by kind of cooldown."""

    stage: str
    treatments: int
    blocks: int
    runs: int
    most: bool
    hours: Mapping[str, float]
    measured: bool


def phases(context: OptimizationContext, results_dir: Path) -> tuple[Phase, ...]:
    """Every stage, with measured times where its dataset has some."""
    ends, same = (Treatment(NATIVE), context.baseline), context.baseline.options
    levels = [
        context.treatment(f"container:{v.name}", same) if unresolved(v.options) else context.level(v)
        for v in context.verdicts
        if v.alone
    ]
    candidates = [context.treatment(f"container:combined-{n}", same) for n in range(CANDIDATES)]
    steps = treatments_of(context.attribution_steps())
    whole = (
        _phase(context.stage("screen", (*ends, *levels), context.runs), results_dir),
        _search(context, results_dir),
        replace(_phase(context.stage("confirm", (*ends, *candidates), context.confirm_runs), results_dir), most=True),
        _phase(context.stage("attribute", steps, context.runs), results_dir),
    )
    return whole[:-1] if "attribution" in context.request.skip else whole


def _phase(study: Study, results_dir: Path) -> Phase:
    # stand-ins for environments that are not known yet are alike by their flags, and count all the same
    runs = make_plan(replace(study, experiment=replace(study.experiment, fold=False)))
    timing = Timing(study, known_dataset(study, results_dir))
    stage = study.experiment.name.rpartition("-")[2]
    hours = _hours(timing, runs)
    return Phase(stage, len(study.treatments), study.experiment.runs, len(runs), False, hours, timing.measured)


def _search(context: OptimizationContext, results_dir: Path) -> Phase:
    """Trials in blocks with their baselines, and the race of the finalists, where nothing is stopped early."""
    from sparkray.optimize.search import Settings  # noqa: PLC0415 - Optuna takes long to import
    from sparkray.optimize.search.stage import definition_of, feasible_space_of  # noqa: PLC0415 - likewise

    study = context.stage("search", (context.baseline,), 1)
    trials, models = context.request.trials, tuple(card.name for card in context.study.cards)
    runs = Settings("", "", trials, models).most_runs
    timing = Timing(study, known_dataset(study, results_dir, definition_of(context, feasible_space_of(context))))
    each = make_plan(study)
    whole = {kind: runs * value / len(each) for kind, value in _hours(timing, each).items()}
    return Phase("search", trials, 0, runs, True, whole, timing.measured)


def _hours(timing: Timing, runs: Sequence[PlannedRun]) -> dict[str, float]:
    return {kind: sum(timing.total_s(run, kind) for run in runs) / 3600 for kind in ("adaptive", "fixed")}


def level_document(context: OptimizationContext, verdict: LevelVerdict) -> dict[str, Any]:
    """One level and what is done with it, as data."""
    before = context.baseline.options
    known = not unresolved(verdict.options)
    return {
        "factor": verdict.factor,
        "level": verdict.level,
        "done": "screen" if verdict.alone else ("search only" if verdict.feasible else "excluded"),
        "reason": verdict.reason or None,
        "security": verdict.security,
        "flags": changed_words(before, apply_level(before, verdict.options)) if known else None,
        "why": context.space.factor(verdict.factor).why,
    }


def optimisation_document(context: OptimizationContext, planned: Sequence[Phase]) -> dict[str, Any]:
    """The whole plan as data."""
    steps = context.attribution_steps()
    total = {kind: math.fsum(one.hours[kind] for one in planned) for kind in ("adaptive", "fixed")}
    return {
        "experiment": context.study.experiment.name,
        "site": context.study.site.name,
        "space": context.space.name,
        "host": "this machine" if context.here else "assumed, as the space describes it",
        "models": [card.name for card in context.study.cards],
        "metric": context.metric,
        "margin": context.margin,
        "levels": [level_document(context, verdict) for verdict in context.verdicts],
        "attribution": {
            "environments": [arm.environment for arm in steps.arms],
            "excluded": [vars(excluded) for excluded in steps.excluded],
        },
        "stages": [
            {
                "stage": one.stage,
                "treatments": one.treatments,
                "blocks": one.blocks or None,
                "runs": one.runs,
                "at_most": one.most,
                "hours": {kind: round(value, 2) for kind, value in one.hours.items()},
                "by": "measured runs" if one.measured else "estimates",
            }
            for one in planned
        ],
        "runs": sum(one.runs for one in planned),
        "hours": {kind: round(value, 2) for kind, value in total.items()},
    }


def wider_intervals(context: OptimizationContext) -> float | None:
    """How many times as large a gain beyond the margin must be as with `MOST_CONFIRM` blocks; None with as many."""
    if context.interim is not None or context.confirm_runs >= MOST_CONFIRM:
        return None
    return _half_width(context.confirm_runs) / _half_width(MOST_CONFIRM)


def _half_width(blocks: int) -> float:
    """Of the confirmation's interval, in standard deviations of one log ratio."""
    return float(special.stdtrit(blocks - 1, 0.975)) / math.sqrt(blocks)
