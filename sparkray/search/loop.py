"""The search: ask, measure, tell, and know when a configuration has had enough.

What comes next is told by the storage alone, so that any driver goes on at any moment: first what dead drivers left, then
new configurations until `trials` are settled, then the finalists on more instances, each against the best of the others.
`submit` may be asked twice for one evaluation, if a driver was killed after it answered and before the answer was stored:
whoever provides it answers from the rows of the first time.
"""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from itertools import count

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import BaseSampler
from optuna.storages import BaseStorage
from optuna.trial import TrialState

from sparkray.errors import ConfigError
from sparkray.search.drivers import at_work, take_up, this_driver
from sparkray.search.ground import Ground
from sparkray.search.history import Configuration, History, evaluated
from sparkray.search.propose import Proposer
from sparkray.search.race import hopeless, mean
from sparkray.search.storage import open_storage, unstable
from sparkray.search.words import Found, Result, Settings, Submit, Trial
from sparkray.spec.docker import flag_words

_SERIAL = count()
_TRIES = 20
"""Proposals in a row that were measured already, after which the ground is taken to be known."""
_KEPT = 0.15
"""Share of a bounded number of evaluations that is kept for the finalists."""
_KNOWN_DF = 4.0
"""Below it the noise is a guess, and a configuration is measured twice so that it is learnt."""
_OTHER_MODELS = 0.1
"""Log ratio that a configuration may be behind on some models while others have not been asked."""
_CLAIM_S, _POLL_S = 10.0, 0.05
"""How long a driver waits for one that has signed the same configuration to give way, and how often it looks."""
Clock = Callable[[], float]
SamplerOf = Callable[[Ground, Settings], BaseSampler]


def search(
    ground: Ground,
    submit: Submit,
    *,
    settings: Settings,
    storage: BaseStorage | None = None,
    sampler: SamplerOf = Proposer,
    clock: Clock = time.time,
) -> Found:
    """Searches until the trials are done, or goes on where a study of that name stopped.

    Args:
        ground: What may be chosen.
        submit: Measures one configuration on one instance; called from `settings.workers` threads at once.
        settings: Of the search.
        storage: An open one, in place of the one that the settings name.
        sampler: Makes the proposals.
        clock: s since the epoch.

    Raises:
        ConfigError: The storage cannot be opened, or holds a study of that name over other instances.
    """
    study = open_study(ground, settings, storage=storage, sampler=sampler)
    driver = this_driver(next(_SERIAL)).name
    with at_work(study, driver, clock=clock):
        work = _Work(study, ground, submit, settings=settings, driver=driver, clock=clock)
        if settings.workers == 1:
            work.run()
        else:
            with ThreadPoolExecutor(settings.workers) as pool:
                for done in [pool.submit(work.run) for _ in range(settings.workers)]:
                    done.result()
    return read(study, ground, settings)


def open_study(
    ground: Ground, settings: Settings, *, storage: BaseStorage | None = None, sampler: SamplerOf = Proposer
) -> optuna.Study:
    """The study of that name, made if there is none; its first trial is the baseline, at 0 by definition.

    Raises:
        ConfigError: The storage cannot be opened, or the study there is over other instances.
    """
    study = optuna.create_study(
        study_name=settings.study,
        storage=open_storage(settings.storage) if storage is None else storage,
        sampler=sampler(ground, settings),
        pruner=NopPruner(),  # search.race decides
        direction="maximize",
        load_if_exists=True,
    )
    asked = [[instance.model, instance.block] for instance in settings.instances]
    known = study.user_attrs.get("instances", [])
    if known[: len(asked)] != asked[: len(known)]:
        raise ConfigError(
            f"study {settings.study!r} is over other instances than are asked for", "Give it another name, or --fresh"
        )
    if len(known) < len(asked):
        study.set_user_attr("instances", asked)
        with unstable():
            study.set_metric_names(["mean log ratio to the baseline"])
    if not study.get_trials(deepcopy=False):
        study.enqueue_trial(ground.settled({}))
    return study


def read(study: optuna.Study, ground: Ground, settings: Settings) -> Found:
    """What a study has found so far."""
    history = History(study.get_trials(deepcopy=False), settings)
    found = evaluated(history, ground, settings.instances)
    return Found(
        study=settings.study,
        evaluated=found,
        best=next((one for one in found if one.state == "complete"), None),
        noise=history.noise.sd if history.repeats or settings.noise is not None else None,
        evaluations=history.evaluations,
        abandoned=sum(1 for trial in history.trials if "abandoned" in trial.user_attrs),
    )


class _Work:
    """One driver at one study. Asking is done by one thread at a time, measuring by all."""

    def __init__(
        self, study: optuna.Study, ground: Ground, submit: Submit, *, settings: Settings, driver: str, clock: Clock
    ) -> None:
        self._study, self._ground, self._submit = study, ground, submit
        self._settings, self._driver, self._clock = settings, driver, clock
        self._asking = threading.Lock()

    def run(self) -> None:
        """Until nothing is left to do."""
        while True:
            with self._asking:
                asked = self._next()
            if asked is None:
                return
            self._measure(*asked)

    def _history(self) -> History:
        return History(self._study.get_trials(deepcopy=False), self._settings)

    def _next(self) -> tuple[optuna.Trial, Trial] | None:
        """A trial that is signed as ours; None at the end."""
        take_up(self._study, self._study.get_trials(deepcopy=False), self._driver, now=self._clock())
        for _ in range(_TRIES):
            history = self._history()
            if not (history.waiting or self._explores(history)):
                break
            found = self._asked()
            if found is not None:
                return found
        while self._queue_finalist():
            found = self._asked()
            if found is not None:
                return found
        return None

    def _explores(self, history: History) -> bool:
        """Whether a new configuration is wanted."""
        most = self._settings.evaluations
        affordable = most is None or history.evaluations + history.underway < most * (1 - _KEPT)
        return affordable and history.settled + history.underway < self._settings.trials

    def _asked(self) -> tuple[optuna.Trial, Trial] | None:
        """The next trial of Optuna, signed; None if there is nothing to measure in it, and then it is closed."""
        handle = self._study.ask()
        handle.set_user_attr("driver", self._driver)
        choices = self._ground.choose(lambda name, labels: str(handle.suggest_categorical(name, labels)))
        key, options = self._ground.key(choices), self._ground.options(choices)
        trial = Trial(handle.number, options, f"container:trial-{key}", choices)
        handle.set_user_attr("environment", trial.environment)
        handle.set_user_attr("flags", " ".join(flag_words(options)))
        handle.set_user_attr("security", self._ground.security(choices))
        handle.set_user_attr("choices", choices)
        handle.set_user_attr("key", key)  # last: with it, the trial is one of its configuration
        same_as = self._claimed(handle, key)
        if same_as is not None:
            handle.set_user_attr("same_as", same_as)
            self._study.tell(handle, state=TrialState.FAIL)
            return None
        if key == self._ground.key({}):
            self._study.tell(handle, 0.0)
            return None
        for step, value in sorted(self._history().by_key[key].values.items()):
            handle.report(value, step)
        return handle, trial

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

    def _queue_finalist(self) -> bool:
        """Puts the most promising configuration that was not raced to the end into the queue; whether there was one."""
        history = self._history()
        most = self._settings.evaluations
        raced = [c for c in history.by_key.values() if any("again" in t.user_attrs for t in c.trials)]
        if (most is not None and history.evaluations >= most) or len(raced) >= self._settings.finalists:
            return False
        estimates = history.estimates(self._ground)
        wanted = [
            c
            for c in history.by_key.values()
            if c.state == "complete"
            and c.values
            and c not in raced
            and not c.running
            and history.next_step(c) is not None
        ]
        if not wanted:
            return False
        best = max(wanted, key=lambda c: estimates[c.key][0])
        self._study.enqueue_trial(dict(best.choices), user_attrs={"again": True})
        return True

    def _measure(self, handle: optuna.Trial, trial: Trial) -> None:
        """One trial to its end."""
        again = "again" in handle.user_attrs
        while True:
            history = self._history()
            own = history.by_key[self._ground.key(trial.choices)]
            reason = self._enough(history, own, again=again)
            if reason is not None:
                self._close(handle, own, reason)
                return
            step = history.next_step(own)
            if step is None:
                self._close(handle, own, "complete")
                return
            handle.set_user_attr("measuring", step)
            result = self._submit(trial, self._settings.instances[step])
            self._store(handle, step, result)

    def _store(self, handle: optuna.Trial, step: int, result: Result) -> None:
        """All of one evaluation in one attribute, so that a kill leaves all of it or nothing."""
        evaluations = {**handle.user_attrs.get("evaluations", {}), str(step): asdict(result)}
        handle.set_user_attr("evaluations", evaluations)
        if result.log_ratio is not None:
            handle.report(result.log_ratio, step)

    def _enough(self, history: History, own: Configuration, *, again: bool) -> str | None:
        """Why a configuration is not measured further: `failed`, `infeasible`, `complete`, or the reason to stop it."""
        if own.reason_failed is not None:
            return "failed"
        if any(value > 0 for value in own.constraints.values()):
            return "infeasible"
        if not own.values:
            return None
        models = len(self._settings.models)
        slack = 0.0 if len(own.values) % models == 0 else _OTHER_MODELS
        leader = history.leader_values(own.key)
        behind = hopeless(own.values, leader, history.noise, shared=self._settings.shared, slack=slack)
        if behind is not None:
            return behind
        most = self._settings.evaluations
        if most is not None and history.evaluations >= most:
            return "complete"
        wanted = 2 if history.noise.df < _KNOWN_DF else 1
        return None if again or len(own.values) < wanted * models else "complete"

    def _close(self, handle: optuna.Trial, own: Configuration, reason: str) -> None:
        for name, value in own.constraints.items():
            handle.set_constraint(name, value)
        last = own.facts[max(own.facts)]
        runs = [run for _, facts in sorted(own.facts.items()) for run in facts["run_ids"]]
        told = {"runs": runs, "docker_command": last["docker_command"], "effective_state": last["effective_state"]}
        for name, value in told.items():
            handle.set_user_attr(name, value)
        if reason == "failed":
            handle.set_user_attr("reason", own.reason_failed)
            self._study.tell(handle, state=TrialState.FAIL)
        elif reason in ("complete", "infeasible"):
            self._study.tell(handle, mean(own.values))
        else:
            handle.set_user_attr("stopped", reason)
            self._study.tell(handle, state=TrialState.PRUNED)
