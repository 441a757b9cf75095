"""The search: propose a batch, measure it in one block, store the results, repeat; then a race of the best.

The storage alone decides what comes next, so that any driver can continue at any moment: first what dead drivers left, then
new configurations until `trials` are settled, then the finalists in blocks of their own. A batch stands in the attributes
of its trials before its first run; whoever takes up a trial of it goes on in the same block while that is close in time,
and else asks what its rows say. `submit` may be asked twice for one batch, if a driver was killed before the answers were
stored: whoever provides it answers from the rows of the first time.

Several machines have a loop each, on threads of one process: they share the study as drivers of several processes do, and
take their trials one after another, so that together they propose no more than was asked for.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from sparkray.config.docker import flag_words
from sparkray.errors import ConfigError
from sparkray.optimize.search.batch import Batches, Member
from sparkray.optimize.search.correct import corrected
from sparkray.optimize.search.feasible_space import FeasibleSpace
from sparkray.optimize.search.history import History, evaluated
from sparkray.optimize.search.propose import Proposer, best_guess
from sparkray.optimize.search.storage import open_storage, unstable
from sparkray.optimize.search.turns import SERIAL, TAKING, at_work, neighbours_of, process_of, take_up, this_driver
from sparkray.optimize.search.types import Alone, Crew, Found, Recall, Settings, Submit, Trial, Work, Worker, as_stored

# Proposals in a row that were measured already, after which the space is taken to be exhausted.
_TRIES = 20
# How long a driver waits for one that has signed the same configuration to give way, and how often it looks.
_CLAIM_S, _POLL_S = 10.0, 0.05
# How often a driver with nothing to do looks whether the others are done.
_WAIT_S = 1.0
Clock = Callable[[], float]
SamplerOf = Callable[[FeasibleSpace, Settings], BaseSampler]


def nothing() -> None:
    """Does nothing."""


def search(
    feasible_space: FeasibleSpace,
    submit: Submit,
    *,
    settings: Settings,
    recall: Recall = as_stored,
    let_go: Callable[[], None] = nothing,
    crew: Crew | None = None,
    storage: BaseStorage | None = None,
    sampler: SamplerOf = Proposer,
    clock: Clock = time.time,
) -> Found:
    """Searches until the trials are done, or goes on where a study of that name stopped.

    Args:
        feasible_space: What may be chosen.
        submit: Measures what is left of a batch.
        settings: Of the search.
        recall: What the rows say now of stored results; asked at the start and at the end, so that storage and rows agree.
        let_go: Called between batches while other drivers work on this machine, which one of them may wait for.
        crew: Further machines that measure batches, if there are any; asked only while configurations are explored.
        storage: An open one, in place of the one that the settings name.
        sampler: Makes the proposals.
        clock: s since the epoch.

    Raises:
        ConfigError: The storage cannot be opened, or holds a study of that name over other models.
    """
    study = open_study(feasible_space, settings, storage=storage, sampler=sampler)
    fewer, here = feasible_space.fewer_than(settings.trials), this_driver()
    settings = settings if fewer is None else replace(settings, trials=fewer)
    first = Worker(submit, here.host, here.boot, let_go)
    corrected(study, settings, recall)
    while True:
        history = History(study.get_trials(deepcopy=False), settings)
        explores = history.waiting or history.settled < settings.trials
        mine = crew if crew is not None and explores else Alone()
        mine.work(first, _work(study, feasible_space, settings=settings, clock=clock, crew=mine))
        if not corrected(study, settings, recall):
            return read(study, feasible_space, settings)


def _work(study: optuna.Study, feasible_space: FeasibleSpace, *, settings: Settings, clock: Clock, crew: Crew) -> Work:
    """What each worker does: it has a driver of its own."""

    def work(worker: Worker) -> None:
        driver = this_driver(next(SERIAL), worker.host).name
        with at_work(study, driver, clock=clock):
            _Loop(study, feasible_space, worker, settings=settings, driver=driver, clock=clock, crew=crew).run()

    return work


def open_study(
    feasible_space: FeasibleSpace,
    settings: Settings,
    *,
    storage: BaseStorage | None = None,
    sampler: SamplerOf = Proposer,
) -> optuna.Study:
    """The study of that name, made if there is none; its first trial is the baseline, at 0 by definition.

    Raises:
        ConfigError: The storage cannot be opened, or the study there is over other models.
    """
    study = optuna.create_study(
        study_name=settings.study,
        storage=open_storage(settings.storage) if storage is None else storage,
        sampler=sampler(feasible_space, settings),
        pruner=NopPruner(),  # search.race decides
        direction="maximize",
        load_if_exists=True,
    )
    known = study.user_attrs.get("models")
    if known is not None and known != list(settings.models):
        raise ConfigError(
            f"study {settings.study!r} is over other models than are asked for: {', '.join(known)}",
            "Name another storage (--storage FILE), or start over (--fresh)",
        )
    if known is None:
        study.set_user_attr("models", list(settings.models))
        with unstable():
            study.set_metric_names(["mean log ratio to the baseline"])
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(feasible_space.settled({}))
    return study


def read(study: optuna.Study, feasible_space: FeasibleSpace, settings: Settings) -> Found:
    """What a study has found so far."""
    history = History(study.get_trials(deepcopy=False), settings)
    found = evaluated(history, feasible_space)
    known = [noise.sd for model, noise in history.noise.items() if noise.df > _known_without(settings, model)]
    return Found(
        study=settings.study,
        evaluated=found,
        best=next((one for one in found if one.state == "complete" and one.log_ratios), None),
        noise=sum(known) / len(known) if known else None,
        evaluations=history.evaluations,
        abandoned=sum(1 for trial in history.trials if "abandoned" in trial.user_attrs),
        corrected=len(history.corrected),
    )


def _known_without(settings: Settings, model: str) -> float:
    """Degrees of freedom of a noise that was only guessed; none where it is known."""
    return -1.0 if model in settings.noise else History([], settings).noise[model].df


class _Loop:
    """One driver at one study, for one worker."""

    def __init__(
        self,
        study: optuna.Study,
        feasible_space: FeasibleSpace,
        worker: Worker,
        *,
        settings: Settings,
        driver: str,
        clock: Clock,
        crew: Crew,
    ) -> None:
        self._study, self._space, self._settings = study, feasible_space, settings
        self._driver, self._clock, self._crew, self._let_go = driver, clock, crew, worker.let_go
        self._batches = Batches(study, feasible_space, worker, settings=settings, clock=clock)

    def run(self) -> None:
        """Until nothing is left to do, here or at another driver's."""
        while True:
            with TAKING:
                take_up(self._study, self._study.get_trials(deepcopy=False), self._driver, now=self._clock())
                members = self._asked_new() or self._asked_finalists()
            if members:
                self._batches.measure(members)
            elif not self._history().lasting(self._driver):
                return
            else:
                time.sleep(_WAIT_S)
            if neighbours_of(self._study, self._driver, now=self._clock()):
                self._let_go()

    def _history(self) -> History:
        return History(self._study.get_trials(deepcopy=False), self._settings)

    def _asked_new(self) -> list[Member]:
        """Trials from the queue and new ones, as many as a block has room for; signed as ours."""
        members: list[Member] = []
        size, tries = None, 0
        while tries < _TRIES:
            history = self._history()
            size = self._batch_size(history, len(members)) if size is None else size
            explored = history.settled + history.underway >= self._settings.trials
            if not history.waiting and (len(members) >= size or explored):
                break
            member = self._asked()
            tries = 0 if member is not None or history.waiting else tries + 1
            members += [member] if member is not None else []
            if len(members) >= self._settings.per_block:
                break
        return members

    def _batch_size(self, history: History, asked: int) -> int:
        """Blocks of much the same size: 12 trials make two of 6, where a block has room for 8; at least one per worker."""
        left = max(1, self._settings.trials - history.settled - history.underway + asked)
        return -(-left // max(-(-left // self._settings.per_block), self._idle(history)))

    def _idle(self, history: History) -> int:
        """Workers that have no batch, this one among them."""
        busy = {str(trial.user_attrs.get("driver")) for trial in history.lasting(self._driver)}
        return self._crew.size() - sum(1 for name in busy if process_of(name) == process_of(self._driver))

    def _asked_finalists(self) -> list[Member]:
        """The most promising configurations that were not raced, once no other driver explores."""
        history = self._history()
        if history.lasting(self._driver):
            return []
        raced = sum(1 for c in history.by_key.values() if c.raced)
        members = []
        for choices in self._finalists(history, self._settings.finalists - raced):
            self._study.enqueue_trial(dict(choices), user_attrs={"again": True})
            members.append(self._asked())
        return [member for member in members if member is not None]

    def _finalists(self, history: History, most: int) -> list[Mapping[str, str]]:
        """Measured ones by their estimate, and the best that was not measured where it is thought better than all."""
        if most < 1:
            return []
        surrogate = history.surrogate(self._space)
        known = history.known(self._space, surrogate)
        promising: list[tuple[float, Mapping[str, str]]] = [
            (known.estimates[c.key], c.choices)
            for c in known.complete
            if not c.raced and not c.running and self._space.barred(c.choices) is None
        ]
        guess = best_guess(self._space, history, surrogate, self._settings.seed)
        if guess is not None:
            promising.append(guess)
        promising.sort(key=lambda one: -one[0])
        return [choices for _, choices in promising[:most]]

    def _asked(self) -> Member | None:
        """The next trial of Optuna, signed; None if there is nothing to measure in it, and then it is closed."""
        handle = self._study.ask()
        handle.set_user_attr("driver", self._driver)
        choices = self._space.choose(lambda name, labels: str(handle.suggest_categorical(name, labels)))
        barred = self._space.barred(choices)
        if barred is not None:
            self._give_up(handle, "barred", barred)
            return None
        key, options = self._space.key(choices), self._space.options(choices)
        trial = Trial(handle.number, options, f"container:trial-{key}", choices)
        attributes = {
            "environment": trial.environment,
            "flags": " ".join(flag_words(options)),
            "security": self._space.security(choices),
            "choices": choices,
            "key": key,  # last: with it, the trial is one of its configuration
        }
        for name, value in attributes.items():
            handle.set_user_attr(name, value)
        same_as = self._claimed(handle, key)
        if same_as is not None:
            self._give_up(handle, "same_as", same_as)
            return None
        if key == self._space.key({}):
            self._study.tell(handle, 0.0)
            return None
        return self._batches.taken(handle, trial)

    def _give_up(self, handle: optuna.Trial, why: str, value: object) -> None:
        """Closes a trial without a measurement; the attribute `why` says the reason."""
        handle.set_user_attr(why, value)
        self._study.tell(handle, state=TrialState.FAIL)

    def _claimed(self, handle: optuna.Trial, key: str) -> int | None:
        """The number of the trial that has the configuration in this one's place, or None, and then it is ours alone.

        Two drivers may propose one configuration at the same moment. Each has signed before it looks; of two that both
        have signed and not yet claimed, the lower number goes on and the higher gives way, and one that has claimed stays.
        """
        deadline = time.monotonic() + _CLAIM_S
        while True:
            mine = self._history().by_key[key]
            closed = [t for t in mine.closed if "again" not in handle.user_attrs]
            others = [t for t in mine.running if t.number != handle.number and "same_as" not in t.user_attrs]
            before = [t for t in others if "claimed" in t.user_attrs or t.number < handle.number]
            if closed or before:
                return (closed or before)[0].number
            if not others or time.monotonic() > deadline:
                handle.set_user_attr("claimed", value=True)
                return None
            time.sleep(_POLL_S)
