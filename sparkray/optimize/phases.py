"""An optimisation before its first run: every level with what is done about it, and what each stage costs."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sparkray.config.experiment import Experiment
from sparkray.config.feasible_levels import LevelVerdict, unresolved
from sparkray.config.site import NATIVE
from sparkray.config.space import apply_level
from sparkray.optimize.context import MOST_CONFIRM, OptimizationContext, changed_words
from sparkray.plan import PlannedRun, Study, Treatment, make_plan, treatments_of
from sparkray.timing import Timing, known_dataset
from sparkray.units import format_duration

CANDIDATES = 3
"""Most that the confirmation has (`search.shortlist`)."""


@dataclass(frozen=True)
class Phase:
    """What a stage comes to. `most`: it may need less, as a search that is soon sure does. Hours by kind of cooldown."""

    stage: str
    treatments: int
    blocks: int
    runs: int
    most: bool
    hours: Mapping[str, float]
    measured: bool

    def text(self) -> str:
        """A line of the plan."""
        hours = " or ".join(
            f"{format_duration(3600 * value)}{f' ({kind} cooldown)' if len(set(self.hours.values())) > 1 else ''}"
            for kind, value in (self.hours if len(set(self.hours.values())) > 1 else _first(self.hours)).items()
        )
        bound = "at most " if self.most else ""
        arms = f"{self.treatments} environments x {self.blocks} blocks" if self.blocks else f"{self.treatments} trials"
        return f"{self.stage:<10} {arms}: {bound}{self.runs} runs, about {hours}"


def _first(hours: Mapping[str, float]) -> Mapping[str, float]:
    return dict([next(iter(hours.items()))])


def phases(context: OptimizationContext, results_dir: Path) -> tuple[Phase, ...]:
    """Every stage, with measured times where its dataset has some."""
    ends = [Treatment(NATIVE), context.baseline]
    alone = [v for v in context.verdicts if v.alone]
    levels = [
        context.level(v)
        if not unresolved(v.options)
        else context.treatment(f"container:{v.name}", context.baseline.options)
        for v in alone
    ]
    candidates = [context.treatment(f"container:combined-{n}", context.baseline.options) for n in range(CANDIDATES)]
    return (
        _phase(context.stage("screen", (*ends, *levels), context.runs), "screen", results_dir),
        _search(context, results_dir),
        _phase(context.stage("confirm", (*ends, *candidates), context.confirm_runs), "confirm", results_dir, most=True),
        _phase(
            context.stage("attribute", treatments_of(context.attribution_steps()), context.runs),
            "attribute",
            results_dir,
        ),
    )


def _phase(study: Study, stage: str, results_dir: Path, *, most: bool = False) -> Phase:
    every = _unfolded(study)
    runs = make_plan(every)
    timing = Timing(study, known_dataset(study, results_dir))
    return Phase(
        stage, len(study.treatments), study.experiment.runs, len(runs), most, _hours(timing, runs), timing.measured
    )


def _unfolded(study: Study) -> Study:
    """Stand-ins for environments that are not known yet are alike by their flags, and count all the same."""
    return replace(study, experiment=replace(study.experiment, fold=False))


def _search(context: OptimizationContext, results_dir: Path) -> Phase:
    """Trials in blocks with their baselines, and the race of the finalists, where nothing is stopped early."""
    from sparkray.optimize.search import Settings  # noqa: PLC0415 - Optuna takes long to import
    from sparkray.optimize.search.stage import definition_of, feasible_space_of  # noqa: PLC0415 - likewise

    study = context.stage("search", (context.baseline,), 1)
    models = tuple(card.name for card in context.study.cards)
    runs = Settings("", "", context.request.trials, models).most_runs
    timing = Timing(study, known_dataset(study, results_dir, definition_of(context, feasible_space_of(context))))
    each = make_plan(study)
    whole = {kind: runs * value / len(each) for kind, value in _hours(timing, each).items()}
    return Phase("search", context.request.trials, 0, runs, True, whole, timing.measured)


def _hours(timing: Timing, runs: Sequence[PlannedRun]) -> dict[str, float]:
    return {kind: sum(timing.total_s(run, kind) for run in runs) / 3600 for kind in ("adaptive", "fixed")}


def level_document(context: OptimizationContext, verdict: LevelVerdict) -> dict[str, Any]:
    """One level and what is done with it, as data."""
    before = context.baseline.options
    known = not unresolved(verdict.options)
    return {
        "factor": verdict.factor,
        "level": verdict.level,
        "done": "screen" if verdict.alone else ("search only" if verdict.feasible else "struck"),
        "reason": verdict.reason or None,
        "security": verdict.security,
        "flags": changed_words(before, apply_level(before, verdict.options)) if known else None,
        "why": context.space.factor(verdict.factor).why,
    }


def optimisation_document(context: OptimizationContext, planned: Sequence[Phase]) -> dict[str, Any]:
    """The whole plan as data."""
    return {
        "experiment": context.study.experiment.name,
        "site": context.study.site.name,
        "space": context.space.name,
        "host": "this machine" if context.here else "assumed, as the space describes it",
        "models": [card.name for card in context.study.cards],
        "metric": context.metric,
        "margin": context.margin,
        "levels": [level_document(context, verdict) for verdict in context.verdicts],
        "ladder": {
            "rungs": [arm.environment for arm in context.attribution_steps().arms],
            "struck": [vars(excluded) for excluded in context.attribution_steps().excluded],
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
        "hours": {kind: round(value, 2) for kind, value in _total(planned).items()},
    }


def _total(planned: Sequence[Phase]) -> dict[str, float]:
    return {kind: math.fsum(one.hours[kind] for one in planned) for kind in ("adaptive", "fixed")}


def optimisation_lines(context: OptimizationContext, planned: Sequence[Phase], *, levels: bool = True) -> Iterator[str]:
    """The plan for people; `levels`: every level and every rung, too."""
    models = ", ".join(card.name for card in context.study.cards)
    yield (
        f"{context.study.experiment.name} on site {context.study.site.name}: {models}; {context.metric}, margin "
        f"{context.margin:.1%}; space {context.space.name}, judged for "
        f"{'this machine' if context.here else 'the machine that it describes'}"
    )
    if levels:
        yield from _level_lines(context)
        yield from _ladder_lines(context)
    for one in planned:
        yield one.text()
    yield from _fewer_lines(context)
    total = _total(planned)
    hours = " or ".join(dict.fromkeys(f"{value:.1f} h" + _kind(kind, total) for kind, value in total.items()))
    basis = "measured runs and estimates" if any(one.measured for one in planned) else "estimates"
    expected = expected_hours_text(context.study.experiment)
    yield f"at most {sum(one.runs for one in planned)} runs, about {hours}, by {basis}{expected}"


def expected_hours_text(experiment: Experiment) -> str:
    """How long its file expects the whole experiment to take; nothing where it does not say."""
    hours = experiment.expected_hours
    return "" if hours is None else f"; {experiment.name} as a whole was expected to take {hours:g} h"


def _fewer_lines(context: OptimizationContext) -> Iterator[str]:
    """What a confirmation of fewer blocks than a whole one has can show."""
    if context.looks is None and context.confirm_runs < MOST_CONFIRM:
        wider = _half_width(context.confirm_runs) / _half_width(MOST_CONFIRM)
        yield (
            f"the confirmation has {context.confirm_runs} blocks a model, a whole one {MOST_CONFIRM}: what a gain has "
            f"beyond the margin must be {wider:.1f} times as large to be shown (--confirm-runs {MOST_CONFIRM})"
        )


def _half_width(blocks: int) -> float:
    """Of the confirmation's interval, in standard deviations of one log ratio."""
    from scipy import special  # noqa: PLC0415 - it takes long to import

    return float(special.stdtrit(blocks - 1, 0.975)) / math.sqrt(blocks)


def _kind(kind: str, total: Mapping[str, float]) -> str:
    return f" with {kind} cooldown" if len(set(total.values())) > 1 else ""


def _level_lines(context: OptimizationContext) -> Iterator[str]:
    words = {"screen": "screen", "search only": "search", "struck": "struck"}
    before = ""
    for verdict in context.verdicts:
        told = level_document(context, verdict)
        if verdict.factor != before:
            yield f"{verdict.factor}: {told['why']}"
            before = verdict.factor
        grade = "" if verdict.security == "none" else f"  [{verdict.security}]"
        reason = f"  {told['reason']}" if told["reason"] else ""
        yield f"  {words[told['done']]:<7} {verdict.name:<26} {told['flags'] or ''}{grade}{reason}"


def _ladder_lines(context: OptimizationContext) -> Iterator[str]:
    steps = context.attribution_steps()
    yield f"attribution steps from {steps.first} to {steps.last}: {', '.join(arm.environment for arm in steps.arms)}"
    for excluded in steps.excluded:
        way = "not added alone" if excluded.direction == "add" else "not taken away alone"
        yield f"  excluded {excluded.layer:<26} {way}: {excluded.reason}"
