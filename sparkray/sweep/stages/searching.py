"""The search: the room of that name asks for configurations, this joins it to the machine.

Each evaluation is one fresh block of two runs, the baseline and the trial in random order. Its number is drawn from the
trial's configuration, so that whoever takes an evaluation up after a kill, or is asked for it twice, finds the very runs
that were made for it. The bookkeeping of trials is the search's; runs are found again by their ids, as in any sweep.
"""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.analysis.optimized import Search, Tried
from sparkray.errors import HostError, PreflightError
from sparkray.metrics import BY_NAME
from sparkray.plan import PlannedRun, Study, canonical_sha256, definition_sha256, run_id_of
from sparkray.search import (
    Evaluated,
    Found,
    Ground,
    Instance,
    Result,
    Settings,
    Trial,
    default_storage,
    ground,
    importance,
    open_storage,
    open_study,
    search,
)
from sparkray.spec.offer import unresolved
from sparkray.spec.site import CONTAINER_BASELINE
from sparkray.spec.space import grade, isolation_rank
from sparkray.stats import NotEstimable
from sparkray.stats.pareto import Better, compared, pareto_front
from sparkray.store import Dataset
from sparkray.sweep.show import Display
from sparkray.sweep.stages.effects import noise_of
from sparkray.sweep.stages.measuring import Measuring, Row, Rows, rows_of
from sparkray.sweep.stages.scene import EVALUATIONS_PER_TRIAL, MEMORY, Scene, changed_words
from sparkray.sweep.stages.screening import Screened

_SLOTS = 64
"""Instances that one configuration has block numbers for."""
_DIGITS = 5
"""Hexadecimal, of a configuration's hash: two that share them share a baseline run, which harms nothing."""
_TRIES = 3
MEMORY_FACTOR, MEMORY_SLACK_GIB = 1.1, 0.25
"""A trial may take a tenth more memory than its baseline, and what other programs move meanwhile."""
KV_CACHE = "kv_cache_gib"


@dataclass(frozen=True)
class Searched:
    """What the search found. `ground` is what it had to choose from; `found` is None where that was nothing."""

    dataset: Dataset
    ground: Ground
    found: Found | None
    told: Search | None


@dataclass
class Bench:
    """Answers evaluations through the session, in the dataset of the search."""

    scene: Scene
    measuring: Measuring
    dataset: Dataset
    display: Display

    def submit(self, trial: Trial, instance: Instance) -> Result:
        """One block of two runs, or the answer of the rows that are there.

        Raises:
            SparkrayError: No further run is possible, or the baseline does not run.
            InterruptedSweepError: Somebody asked for the end.
        """
        study = self.scene.stage(
            "search", (self.scene.baseline, self.scene.treatment(trial.environment, trial.options)), self.scene.runs
        )
        block = block_of(trial.environment, instance.block)
        plan = plan_of(study, instance.model, block)
        base = next(run for run in plan if run.environment == CONTAINER_BASELINE)
        mine = next(run for run in plan if run.environment != CONTAINER_BASELINE)
        try:
            self._measured(study, plan, base)
        except PreflightError as error:
            return Result(None, reason=f"this host refuses it: {error.message}")
        rows = rows_of(self.dataset)
        reference, row = rows.last(base.run_id), rows.last(mine.run_id)
        if reference is None or row is None:
            raise HostError(f"the runs of {trial.environment} in block {block} are not in {self.dataset.path}")
        return result_of(self.scene, row, reference)

    def _measured(self, study: Study, plan: list[PlannedRun], base: PlannedRun) -> None:
        """Until the baseline's run is ok and the trial's has an answer. Raises HostError when the baseline has none."""
        for _ in range(_TRIES):
            todo = _open(plan, base, rows_of(self.dataset))
            if not todo:
                return
            self.display.total += len(todo)
            self.measuring.measure(study, self.dataset, todo, self.display, plan=plan)
        last = rows_of(self.dataset).last(base.run_id)
        if last is None or last["status"] != "ok":
            why = f"{last['status']}, {last['reason']}" if last else "no run was made"
            raise HostError(
                f"the baseline's run {base.run_id} is not ok ({why}): a trial has nothing to be compared with"
            )


def _open(plan: list[PlannedRun], base: PlannedRun, rows: Rows) -> list[PlannedRun]:
    """Runs to make: the baseline's until it is ok, the trial's until it has ended, however."""
    found = []
    for run in plan:
        last = rows.last(run.run_id)
        if last is None or last["status"] == "interrupted" or (run == base and last["status"] != "ok"):
            found.append(run)
    return found


def block_of(environment: str, instance: int) -> int:
    """The block of one evaluation of a configuration (`container:trial-<hash>`)."""
    return int(environment.rpartition("-")[2][:_DIGITS], 16) * _SLOTS + instance % _SLOTS


def plan_of(study: Study, model: str, block: int) -> list[PlannedRun]:
    """The runs of one block of a model, in random order by seed, model and block."""
    level, card = study.experiment.levels[0], study.card(model)
    order = list(study.treatments)
    random.Random(f"{study.experiment.seed} {model} {block}").shuffle(order)  # noqa: S311 - reproducible, not secret
    return [
        PlannedRun(
            run_id=run_id_of(study, card, treatment, block=block, level=level),
            block=block,
            position=place,
            model=model,
            environment=treatment.environment,
            replicate=block + 1,
            level=str(level),
        )
        for place, treatment in enumerate(order)
    ]


def result_of(scene: Scene, row: Row, reference: Row) -> Result:
    """What two rows of one block say of a trial."""
    runs = (str(row["run_id"]), str(reference["run_id"]))
    told: dict[str, Any] = {
        "run_ids": runs,
        "docker_command": row["docker_command"],
        "effective_state": row["effective_state"],
    }
    if row["status"] != "ok":
        return Result(None, reason=f"{row['status']}: {row['reason']}", **told)
    mine, base = row[scene.metric], reference[scene.metric]
    if mine is None or base is None or min(mine, base) <= 0:
        return Result(None, reason=f"{scene.metric} is {mine}, the baseline's {base}: no ratio", **told)
    sign = 1.0 if scene.better == "higher" else -1.0
    metrics = {name: float(row[name]) for name in BY_NAME if row[name] is not None}
    return Result(sign * math.log(mine / base), constraints=_constraints(row, reference), metrics=metrics, **told)


def _constraints(row: Row, reference: Row) -> dict[str, float]:
    """At most 0 is feasible. Security is none of them: what was not allowed is not offered."""
    if row[MEMORY] is None or reference[MEMORY] is None:
        return {}
    limit = MEMORY_FACTOR * reference[MEMORY] + MEMORY_SLACK_GIB
    return {"memory_over_limit_gib": float(row[MEMORY]) - limit}


def searched(scene: Scene, screened: Screened, measuring: Measuring) -> Searched:
    """Carries the search on to its end, and tells what it found.

    Raises:
        ConfigError: The storage cannot be opened.
        SparkrayError: No further run is possible.
        InterruptedSweepError: Somebody asked for the end.
    """
    offered = tuple(v for v in screened.verdicts if not unresolved(v.options))
    chosen_from = ground(scene.space, scene.baseline.options, offered)
    study = scene.stage("search", (scene.baseline,), scene.runs)
    dataset = measuring.dataset(study, definition_sha256(study), fresh=measuring.options.fresh)
    if not chosen_from.axes:
        measuring.say("search: nothing is left to choose from")
        return Searched(dataset, chosen_from, None, None)
    settings = settings_of(scene, screened, chosen_from, dataset)
    axes = ", ".join(f"{axis.name} ({len(axis.levels)})" for axis in chosen_from.axes)
    measuring.say(f"search: {settings.trials} trials over {axes}; study {settings.study!r} in {settings.storage}")
    with Display(measuring.out, 0, 0) as display:
        bench = Bench(scene, measuring, dataset, display)
        storage = open_storage(settings.storage)
        found = search(chosen_from, bench.submit, settings=settings, storage=storage)
    shares = importance(open_study(chosen_from, settings, storage=storage))
    return Searched(dataset, chosen_from, found, _told(scene, found, settings, dataset, shares))


def settings_of(scene: Scene, screened: Screened, chosen_from: Ground, dataset: Dataset) -> Settings:
    """How the search is done. Another ground is another study, since what may be chosen is fixed in one; so is --fresh."""
    axes = {axis.name: list(axis.labels) for axis in chosen_from.axes}
    definition = [axes, dataset.path.name, definition_sha256(scene.stage("search", (), 1))]
    return Settings(
        study=f"{scene.name}-search-{canonical_sha256(definition)[:8]}",
        storage=scene.asked.storage or default_storage(dataset.path),
        trials=scene.asked.trials,
        instances=tuple(Instance(model, block) for block in range(scene.runs) for model in screened.models),
        seed=scene.study.experiment.seed,
        evaluations=EVALUATIONS_PER_TRIAL * scene.asked.trials,
        noise=noise_of(screened.measured),
    )


def _told(
    scene: Scene, found: Found, settings: Settings, dataset: Dataset, shares: dict[str, float] | NotEstimable
) -> Search:
    better: dict[str, Better] = {scene.metric: "higher", MEMORY: "lower", KV_CACHE: "higher", "isolation": "lower"}
    own = _baseline_metrics(dataset)
    usable = [one for one in found.evaluated if one.state in ("complete", "stopped") and one.mean is not None]
    measures = [_measures(scene, one, one.metrics or own) for one in usable]
    front = {usable[place].environment for place in pareto_front(measures, better)}
    return Search(
        study=found.study,
        storage=settings.storage,
        evaluations=found.evaluations,
        noise_pct=None if found.noise is None else 100 * math.expm1(found.noise),
        abandoned=found.abandoned,
        tried=tuple(_tried(scene, one, on_front=one.environment in front) for one in found.evaluated),
        front_of={name: better[name] for name in compared(measures, better)} if measures else {},
        importance=None if isinstance(shares, NotEstimable) else shares,
        importance_reason=shares.reason if isinstance(shares, NotEstimable) else None,
    )


def _baseline_metrics(dataset: Dataset) -> Mapping[str, float]:
    """Means of the baseline's runs beside all trials."""
    rows = list(rows_of(dataset).of(CONTAINER_BASELINE).values())
    told = {name: [float(row[name]) for row in rows if row[name] is not None] for name in (MEMORY, KV_CACHE)}
    return {name: sum(values) / len(values) for name, values in told.items() if values}


def _measures(scene: Scene, one: Evaluated, metrics: Mapping[str, float]) -> dict[str, float | None]:
    """What a configuration is compared by: its gain over the baseline of its own blocks as a factor, means of the rest."""
    return {
        scene.metric: None if one.mean is None else math.exp(one.mean),
        MEMORY: metrics.get(MEMORY),
        KV_CACHE: metrics.get(KV_CACHE),
        "isolation": float(isolation_rank(grade(one.options))),
    }


def _tried(scene: Scene, one: Evaluated, *, on_front: bool) -> Tried:
    kept = (scene.metric, MEMORY, KV_CACHE)
    return Tried(
        environment=one.environment,
        trials=one.trials,
        flags=changed_words(scene.baseline.options, one.options),
        choices=dict(one.choices),
        security=one.security,
        state=one.state,
        n=len(one.log_ratios),
        ratio=None if one.mean is None else math.exp(one.mean),
        estimate=None if one.estimate is None else math.exp(one.estimate),
        reason=one.reason,
        run_ids=one.run_ids,
        docker_command=one.docker_command,
        metrics={name: one.metrics[name] for name in kept if name in one.metrics},
        on_front=on_front,
    )
