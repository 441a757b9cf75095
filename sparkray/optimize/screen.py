"""The screen: native, the baseline, and every level that can act alone, each once in every block."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from sparkray.analysis.optimized import Effect, Level, LevelState
from sparkray.config.feasible_levels import LevelVerdict, unresolved
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.config.space import apply_level
from sparkray.optimize.context import OptimizationContext, changed_words
from sparkray.optimize.effects import compare
from sparkray.optimize.rows import Rows, must_run, rows_of
from sparkray.optimize.runner import StudyRunner
from sparkray.plan import Treatment, definition_sha256, make_plan
from sparkray.stats.screen import LevelEffect
from sparkray.store import Dataset

NO_OP = "the process gets exactly what the baseline's gets"


@dataclass(frozen=True)
class Screened:
    """Results of the screen.

    Attributes:
        dataset: Its own.
        levels: Every level of the space.
        measured: Effects by level (`factor=level`).
        by_model: The same on each model alone, by model and level.
        overhead: Baseline against native.
        models: Those that the baseline runs.
        verdicts: Levels that remain feasible: none that does nothing, fails or harms.
        simulated: Whether runs are of a simulated engine.
        rows: The stored runs.
    """

    dataset: Dataset
    levels: tuple[Level, ...]
    measured: Mapping[str, LevelEffect]
    by_model: Mapping[str, Mapping[str, LevelEffect]]
    overhead: Effect
    models: tuple[str, ...]
    verdicts: tuple[LevelVerdict, ...]
    simulated: bool
    rows: Rows


def screen(context: OptimizationContext, runner: StudyRunner) -> Screened:
    """Measures what is left of the screen, and judges.

    Raises:
        SparkrayError: No further run is possible, or native or the baseline does not run.
        InterruptedSweepError: The user asked to stop.
    """
    ends = (Treatment(NATIVE), context.baseline)
    alone = {f"container:{v.name}": v for v in context.verdicts if v.alone and not unresolved(v.options)}
    levels = {name: context.level(verdict) for name, verdict in alone.items()}
    study = context.stage("screen", ends, context.runs)
    dataset = runner.dataset(study, definition_sha256(study))
    excluded = runner.able(study, dataset, list(levels.values()))
    kept = {name: treatment for name, treatment in levels.items() if name not in excluded}
    runner.say(
        f"screen: {len(kept)} levels beside native and the baseline, {context.runs} blocks a model; data in {dataset.path}"
    )

    def idle(rows: Rows) -> dict[str, str]:
        return {name: NO_OP for name, treatment in kept.items() if rows.same_state(treatment, context.baseline)}

    whole = context.stage("screen", (*ends, *kept.values()), context.runs)
    failed = runner.rounds(whole, dataset, always=(NATIVE, CONTAINER_BASELINE), drop=idle)
    rows = rows_of(dataset, make_plan(whole))
    must_run(rows, CONTAINER_BASELINE, dataset.path, [card.name for card in context.study.cards])
    return _judged(context, dataset, rows, idle=set(idle(rows)), out={**excluded, **failed})


def _judged(
    context: OptimizationContext, dataset: Dataset, rows: Rows, *, idle: set[str], out: Mapping[str, str]
) -> Screened:
    """Rows of a finished screen, and why environments are out of it."""
    alone = {v.name: f"container:{v.name}" for v in context.verdicts if v.alone}
    arms = {name: environment for name, environment in alone.items() if environment not in {*out, *idle}}
    found = compare(context, rows, arms)
    models = tuple(found.by_model)
    levels = []
    for verdict in context.verdicts:
        level = _level(context, verdict, idle=idle, out=out)
        if level.state == "measured" and verdict.name in found.effects:
            level = replace(
                level,
                effect=replace(found.effects[verdict.name][0], environment=level.environment),
                by_model={
                    model: replace(one, environment=level.environment)
                    for model, one in found.on_each(verdict.name).items()
                },
                reason=_in_part(rows, level.environment, models),
            )
        levels.append(replace(level, advice=advice_of(level)))
    return Screened(
        dataset=dataset,
        levels=tuple(levels),
        measured={name: one for name, (_, one) in found.effects.items()},
        by_model={model: {name: one for name, (_, one) in mine.items()} for model, mine in found.by_model.items()},
        overhead=found.overhead,
        models=models,
        verdicts=tuple(_remaining(v, level) for v, level in zip(context.verdicts, levels, strict=True)),
        simulated=any(row["simulated"] for row in rows.ok),
        rows=rows,
    )


def _level(context: OptimizationContext, verdict: LevelVerdict, *, idle: set[str], out: Mapping[str, str]) -> Level:
    environment, before = f"container:{verdict.name}", context.baseline.options
    state, reason = _state(verdict, environment, idle=idle, out=out)
    return Level(
        factor=verdict.factor,
        level=verdict.level,
        environment=environment,
        flags="" if unresolved(verdict.options) else changed_words(before, apply_level(before, verdict.options)),
        security=verdict.security,
        why=context.space.factor(verdict.factor).why,
        state=state,
        reason=reason,
        effect=None,
        advice="",
    )


def _in_part(rows: Rows, environment: str, models: Sequence[str]) -> str | None:
    """Why a level does not always work: it fails in some blocks of models that the baseline runs; None otherwise."""
    bad = {pair: row for pair, row in rows.failures(environment).items() if pair[0] in models}
    if not bad:
        return None
    (model, block), last = max(bad.items(), key=lambda item: item[0][1])
    blocks = len(bad) + len(rows.of(environment))
    return f"failed in {len(bad)} of {blocks} blocks; the last, {model} in block {block}: {last['status']}, {last['reason']}"


def _state(
    verdict: LevelVerdict, environment: str, *, idle: set[str], out: Mapping[str, str]
) -> tuple[LevelState, str | None]:
    if environment in idle:
        return "no-op", NO_OP
    if environment in out:
        ran = out[environment].startswith("none of its")
        return ("failed" if ran else "excluded"), out[environment]
    if not verdict.feasible:
        return "excluded", verdict.reason
    return ("measured", None) if verdict.alone else ("search only", verdict.reason)


def _remaining(verdict: LevelVerdict, level: Level) -> LevelVerdict:
    """A verdict with what the screen shows against it: such a level is not searched."""
    if not verdict.feasible or level.state == "search only":
        return verdict
    reason = level.reason
    for where, one in (("", level.effect), *((f" on {model}", one) for model, one in level.by_model.items())):
        if one is not None and one.harms and one.verdict == "different":
            reason = reason or f"it harms alone{where}: {one.gain_pct:+.1f} %"
    return verdict if reason is None else replace(verdict, feasible=False, alone=False, reason=reason)


def advice_of(level: Level) -> str:
    """What to do about a level in production, as a code: `report/templates/text/flags.j2` words it."""
    if level.state != "measured":
        return level.state.replace("-", "_").replace(" ", "_")
    return "unreliable" if level.reason else _measured_advice(level.effect)


def _measured_advice(effect: Effect | None) -> str:
    if effect is None or effect.ratio is None:
        return "too_few"
    different = effect.verdict == "different"
    if effect.harms or effect.helps:
        return (
            ("avoid" if effect.harms else "candidate")
            if different
            else ("avoid_small" if effect.harms else "gain_small")
        )
    if different:  # not shown once all levels are counted, whatever it is by itself
        return "loss_by_chance" if (effect.gain_pct or 0.0) < 0.0 else "gain_by_chance"
    return effect.verdict or "undecided"
