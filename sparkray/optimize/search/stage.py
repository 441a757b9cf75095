"""The search: the room of that name asks for batches, this joins it to the machine.

A batch is one block of one model: the baseline once and each of its trials once, in random order. The block's number is the
search's, the ids of its runs follow from it, so that whoever takes a batch up after a kill, or is asked for it twice, finds
the very runs that were made for it. The bookkeeping of trials is the search's; numbers are those of the rows, now.
"""

import math
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sparkray.analysis.optimized import Search
from sparkray.config.feasible_levels import unresolved
from sparkray.config.site import CONTAINER_BASELINE
from sparkray.errors import HostError
from sparkray.optimize.context import MEMORY, OptimizationContext
from sparkray.optimize.effects import noise_of
from sparkray.optimize.rows import FAILED, Row, Rows, all_rows
from sparkray.optimize.runner import StudyRunner
from sparkray.optimize.screen import Screened
from sparkray.optimize.search import (
    Batch,
    FeasibleSpace,
    Found,
    Result,
    Settings,
    Worker,
    default_storage,
    feasible_space,
    importance,
    open_storage,
    search,
    without_password,
)
from sparkray.optimize.search import present as in_study
from sparkray.optimize.search.evaluations import KV_CACHE, search_document
from sparkray.optimize.search.machines import Companion, Helper, datasets_of
from sparkray.plan import PlannedRun, Study, Treatment, canonical_sha256, definition_sha256, run_id_of
from sparkray.progress import Progress
from sparkray.store import Dataset, description, existing

# Times that a block's baseline is measured again, where checks refuse it.
_TRIES = 3
# A trial may take a tenth more memory than its baseline, and what other programs move meanwhile.
MEMORY_FACTOR, MEMORY_SLACK_GIB = 1.1, 0.25
# Numbers of blocks that a study has for itself: one over all models, and one over those that were there, in one dataset.
_STUDY_BLOCKS = 1 << 20
_UNKNOWN = Result(None, answered=False, reason="it was not measured")


@dataclass(frozen=True)
class Searched:
    """Results of the search. `found` is None where the feasible space has nothing to choose from."""

    dataset: Dataset
    feasible_space: FeasibleSpace
    found: Found | None
    document: Search | None

    @property
    def folders(self) -> dict[str, str]:
        """Where its runs lie, and what other machines measured for it."""
        others = {f"search on {host}": str(other.path) for host, other in datasets_of(self.dataset).items()}
        return {"search": str(self.dataset.path), **others}


@dataclass
class BlockRunner:
    """Answers batches through the session of one machine, in its dataset. `home`: that of the search, if it is another."""

    context: OptimizationContext
    runner: StudyRunner
    dataset: Dataset
    progress: Progress
    home: Dataset | None = None

    def submit(self, batch: Batch) -> list[Result]:
        """Measure the runs of one block that are still missing; none where the block is complete.

        Raises:
            SparkrayError: No further run is possible, or the baseline does not run.
            InterruptedSweepError: Somebody asked for the end.
        """
        self.runner.stop_if_asked()
        treatments = {t.environment: self.context.treatment(t.environment, t.options) for t in batch.trials}
        alone = self._alone
        plan = plan_of(alone, (self.context.baseline, *treatments.values()), batch.model, batch.block)
        excluded: Mapping[str, str] = {}
        if not batch.over:
            excluded = self.runner.able(alone, self.dataset, list(treatments.values()))
            kept = [t for name, t in treatments.items() if name not in excluded]
            study = self.context.stage("search", (self.context.baseline, *kept), self.context.runs)
            self._measured(study, [run for run in plan.values() if run.environment not in excluded])
        rows = self._everything() if batch.over else all_rows(self.dataset)
        base = rows.last(plan[CONTAINER_BASELINE].run_id)
        return [
            Result(None, reason=f"this host refuses it: {excluded[trial.environment]}")
            if trial.environment in excluded
            else self._result(rows, plan[trial.environment].run_id, base)
            for trial in batch.trials
        ]

    @property
    def _alone(self) -> Study:
        """The search with nothing but the baseline."""
        return self.context.stage("search", (self.context.baseline,), self.context.runs)

    def ready(self) -> None:
        """The machine can measure. Raises SparkrayError, InterruptedSweepError."""
        self.runner.turn(self._alone, self.dataset)

    def helper(self, companion: Companion) -> Helper[Worker]:
        """A bench like this one at another machine, for the search to use."""
        there = companion.runner
        progress = there.reporter.machine(companion.host)
        block_runner = BlockRunner(self.context, there, dataset_of(self.context, there), progress, self.dataset)
        return Helper(
            Worker(block_runner.submit, companion.host, companion.boot, there.let_go), there, block_runner.ready
        )

    def _everything(self) -> Rows:
        """What all machines measured: a block that is over may be another one's."""
        home = self.home or self.dataset
        return all_rows(home, *datasets_of(home).values())

    def recall(self, results: Sequence[Result]) -> list[Result | None]:
        """What the rows say now. Of runs that are not here, another command's, what was told stands."""
        rows = self._everything()
        return [self._recalled(rows, result) for result in results]

    def _recalled(self, rows: Rows, result: Result) -> Result | None:
        if result.run_id is None or rows.last(result.run_id) is None:
            return result
        base = None if result.baseline_id is None else rows.last(result.baseline_id)
        now = self._result(rows, result.run_id, base)
        return now if now.answered else None

    def _result(self, rows: Rows, run_id: str, base: Row | None) -> Result:
        """Of a run; none where its model was not there for the baseline either."""
        row = rows.last(run_id)
        if row is not None and row["status"] in FAILED and not rows.fails(row):
            return Result(None, answered=False, reason=f"{row['status']}: {row['reason']}")
        return result_of(self.context, row, base)

    def _measured(self, study: Study, plan: list[PlannedRun]) -> None:
        """Until the baseline's run is ok and each trial's was tried. Raises HostError when the baseline has none."""
        base = next(run for run in plan if run.environment == CONTAINER_BASELINE)
        for number in range(_TRIES):
            todo = _open(plan, base, all_rows(self.dataset), first=number == 0)
            if not todo:
                return
            self.progress.total += len(todo)
            self.runner.measure(study, self.dataset, todo, self.progress, plan=plan)
        last = all_rows(self.dataset).last(base.run_id)
        if last is None or last["status"] != "ok":
            why = f"{last['status']}, {last['reason']}" if last else "no run was made"
            raise HostError(
                f"the baseline's run {base.run_id} is not ok ({why}): its block has nothing to be compared with",
                f"Look into {self.dataset.path}; the same command goes on",
            )


def _open(plan: list[PlannedRun], base: PlannedRun, rows: Rows, *, first: bool) -> list[PlannedRun]:
    """Runs to make: the baseline's until it is ok, a trial's until it was tried; one that was refused before, once more."""
    found = []
    for run in plan:
        last = rows.last(run.run_id)
        status = "interrupted" if last is None else str(last["status"])
        doubtful = last is not None and status != "ok" and not rows.fails(last)
        if status == "interrupted" or (run == base and status != "ok") or (first and doubtful):
            found.append(run)
    return found


def plan_of(study: Study, treatments: Sequence[Treatment], model: str, block: int) -> dict[str, PlannedRun]:
    """The runs of one block of a model by environment, in random order by seed, model and block.

    Each run has a place of its own by lot, so that the order of the others is the same whoever is left out.
    """
    level, card, seed = study.experiment.levels[0], study.card(model), study.experiment.seed
    order = sorted(treatments, key=lambda t: random.Random(f"{seed} {model} {block} {t.environment}").random())  # noqa: S311 - reproducible, not secret
    return {
        treatment.environment: PlannedRun(
            run_id=run_id_of(study, card, treatment, block=block, level=level),
            block=block,
            position=place,
            model=model,
            environment=treatment.environment,
            replicate=block + 1,
            level=str(level),
        )
        for place, treatment in enumerate(order)
    }


def result_of(context: OptimizationContext, row: Row | None, reference: Row | None) -> Result:
    """What two rows of one block say of a trial; nothing, where one of them is missing or was refused by a check."""
    if row is None or row["status"] not in ("ok", *FAILED):
        return _UNKNOWN if row is None else Result(None, answered=False, reason=f"{row['status']}: {row['reason']}")
    origin: dict[str, Any] = {
        "run_id": str(row["run_id"]),
        "attempt": int(row["attempt"]),
        "docker_command": row["docker_command"],
        "effective_state": row["effective_state"],
    }
    if row["status"] != "ok":
        return Result(None, reason=f"{row['status']}: {row['reason']}", **origin)
    if reference is None or reference["status"] != "ok":
        return Result(None, answered=False, reason="the baseline's run of its block does not count")
    if reference["host"] != row["host"]:
        return Result(None, answered=False, reason="the baseline's run of its block is another machine's")
    origin |= {"baseline_id": str(reference["run_id"]), "baseline_attempt": int(reference["attempt"])}
    mine, base = row[context.metric], reference[context.metric]
    if mine is None or base is None or min(mine, base) <= 0:
        return Result(None, reason=f"{context.metric} is {mine}, the baseline's {base}: no ratio", **origin)
    sign = 1.0 if context.better == "higher" else -1.0
    metrics = {name: float(row[name]) for name in (context.metric, MEMORY, KV_CACHE) if row[name] is not None}
    return Result(sign * math.log(mine / base), constraints=_constraints(row, reference), metrics=metrics, **origin)


def _constraints(row: Row, reference: Row) -> dict[str, float]:
    """At most 0 is feasible. Security is none of them: what was not allowed is not offered."""
    if row[MEMORY] is None or reference[MEMORY] is None:
        return {}
    limit = MEMORY_FACTOR * reference[MEMORY] + MEMORY_SLACK_GIB
    return {"memory_over_limit_gib": float(row[MEMORY]) - limit}


def feasible_space_of(context: OptimizationContext, screened: Screened | None = None) -> FeasibleSpace:
    """What there is to choose from: all that this machine can honour, less what the screen speaks against."""
    feasible = [v for v in context.verdicts if v.feasible and not unresolved(v.options)]
    barred = [v.name for v in screened.verdicts if not v.feasible] if screened else []
    return feasible_space(context.space, context.baseline.options, feasible, barred=barred)


@contextmanager
def present(context: OptimizationContext, dataset: Dataset) -> Iterator[None]:
    """Signs of life in the study from the first stage on.

    Another command that searches on this machine lets go of it between batches, for one that waits for its turn.
    """
    feasible = feasible_space_of(context)
    where = context.request.storage or default_storage(dataset.path)
    if not feasible.open_axes:
        yield
        return
    with in_study(open_storage(where), study_name(context, feasible, dataset)):
        yield


def searched(context: OptimizationContext, screened: Screened, runner: StudyRunner, dataset: Dataset) -> Searched:
    """Carries the search on to its end, and tells what it found.

    Args:
        context: What the optimisation is of.
        screened: What the screen found.
        runner: Runs studies on the machine.
        dataset: That of the search.

    Raises:
        ConfigError: The storage cannot be opened.
        SparkrayError: No further run is possible.
        InterruptedSweepError: Somebody asked for the end.
    """
    feasible = feasible_space_of(context, screened)
    if not feasible.open_axes:
        runner.say("search: nothing is left to choose from")
        return Searched(dataset, feasible, None, None)
    settings = settings_of(context, screened, feasible, dataset)
    axes = ", ".join(f"{axis.name} ({len(axis.open) - 1})" for axis in feasible.open_axes)
    where = without_password(settings.storage)
    runner.say(f"search: {settings.trials} trials over {axes}; study {settings.study!r} in {where}")
    with runner.reporter.progress(0, 0) as progress:
        block_runner = BlockRunner(context, runner, dataset, progress)
        storage = open_storage(settings.storage)
        found = search(
            feasible,
            block_runner.submit,
            settings=settings,
            recall=block_runner.recall,
            let_go=runner.let_go,
            crew=runner.crew(lambda: [block_runner.helper(one) for one in runner.companions(context, dataset)]),
            storage=storage,
        )
    shares = importance(found, feasible)
    rows = all_rows(dataset, *datasets_of(dataset).values())
    return Searched(dataset, feasible, found, search_document(context, found, settings, rows, shares))


def dataset_of(context: OptimizationContext, runner: StudyRunner) -> Dataset:
    """That of the search."""
    study = context.stage("search", (context.baseline,), context.runs)
    return runner.dataset(study, definition_of(context, feasible_space_of(context)))


def definition_of(context: OptimizationContext, feasible: FeasibleSpace) -> str:
    """What may stand in one dataset. Another study begins its blocks anew, which must not find the baselines of this one."""
    models = [card.name for card in context.study.cards]
    return canonical_sha256([definition_sha256(context.stage("search", (), 1)), feasible.definition, models])


def study_name(
    context: OptimizationContext, feasible: FeasibleSpace, dataset: Dataset, models: Sequence[str] | None = None
) -> str:
    """What may be chosen, the models and what runs are is fixed in one study: others are another, and so is --fresh.

    What the screen found of levels is no part of it, so that machines of one kind share a study whatever their screens say.
    `models` are those that were there; all that were asked for where that is not known yet.
    """
    definition = definition_of(context, feasible)
    alike = [
        one.path
        for one in existing(dataset.path.parent, dataset.path.name.partition("@")[0])
        if description(one).get("definition_sha256") == definition
    ]
    asked = [card.name for card in context.study.cards]
    identity = [definition, alike.index(dataset.path), asked if models is None else list(models)]
    return f"{context.name}-search-{canonical_sha256(identity)[:8]}"


def settings_of(
    context: OptimizationContext, screened: Screened, feasible: FeasibleSpace, dataset: Dataset
) -> Settings:
    """How the search is done."""
    models = screened.models
    noise = {model: noise_of(screened.by_model.get(model, {})) for model in models}
    missing = [place for place, card in enumerate(context.study.cards) if card.name not in models]
    return Settings(
        study=study_name(context, feasible, dataset, models),
        storage=context.request.storage or default_storage(dataset.path),
        trials=context.request.trials,
        models=models,
        seed=context.study.experiment.seed,
        noise={model: sd for model, sd in noise.items() if sd is not None},
        first_block=sum(_STUDY_BLOCKS << place for place in missing),
    )
