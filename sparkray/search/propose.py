"""Which configuration is asked for next: designed first trials, then proposals of a surrogate, every fourth of TPE.

TPE alone (multivariate, grouped for the conditional space) learns from the order of the values and needs many trials to
see that two small effects add; the surrogate (`search.surrogate`) sees effects of levels in every run, and takes effects
for sums of levels and pairs, which TPE does not. This is an Optuna sampler, so that the study is an ordinary one.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sparkray.search.ground import Ground
from sparkray.search.history import History
from sparkray.search.storage import unstable
from sparkray.search.surrogate import climbed
from sparkray.search.words import Settings

DESIGNED = 8
"""First trials: levels in balanced random order, half the factors as the baseline has them."""
_TURN = 4
"""One trial in so many is TPE's."""
_STARTS = 12
Sampler = Callable[[], BaseSampler]


def tpe(seed: int, startup: int = DESIGNED) -> TPESampler:
    """Optuna's sampler as this room uses it."""
    with unstable():
        return TPESampler(n_startup_trials=startup, multivariate=True, group=True, seed=seed)


class Proposer(BaseSampler):
    """Designed trials, then the surrogate and TPE in turn.

    Args:
        ground: What may be chosen.
        settings: Of the search.
    """

    def __init__(self, ground: Ground, settings: Settings) -> None:
        self._ground, self._settings = ground, settings
        self._tpe = tpe(settings.seed)
        self._distributions = {axis.name: CategoricalDistribution(axis.labels) for axis in ground.axes}

    def reseed_rng(self) -> None:
        """For drivers that were forked."""
        self._tpe.reseed_rng()

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every axis: which of them a trial asks for depends on what it chose before."""
        del study, trial
        return dict(self._distributions)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A label for every axis; those that cannot act are not asked for."""
        del search_space
        if trial.number >= DESIGNED and trial.number % _TURN == 0:
            chosen: dict[str, Any] = self._tpe.sample_relative(
                study, trial, self._tpe.infer_relative_search_space(study, trial)
            )
            if chosen and self._ground.key(chosen) not in _history(study, self._settings).by_key:
                return chosen
        rng = np.random.default_rng([self._settings.seed, trial.number])
        if trial.number < DESIGNED:
            return self._designed(trial.number)
        return self._from_surrogate(study, rng)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 - Optuna's own signature
        """What the relative sampling left out, as TPE does it."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:  # noqa: ANN401
        """TPE's own bookkeeping."""
        self._tpe.after_trial(study, trial, state, values)

    def _designed(self, number: int) -> dict[str, str]:
        """Each factor runs through its levels in a random order, with the baseline's between them."""
        chosen = {}
        for place, axis in enumerate(self._ground.axes):
            rng = np.random.default_rng([self._settings.seed, place])
            levels = list(rng.permutation(list(axis.levels)))
            cycle = [label for level in levels for label in (level, axis.labels[0])]
            chosen[axis.name] = str(cycle[(number + int(rng.integers(len(cycle)))) % len(cycle)])
        return chosen

    def _from_surrogate(self, study: Study, rng: np.random.Generator) -> dict[str, str]:
        """The configuration with the highest upper bound that was not measured yet, the weight of doubt drawn anew."""
        history = _history(study, self._settings)
        surrogate = history.surrogate(self._ground)
        sizes = [len(axis.labels) for axis in self._ground.axes]
        doubt = float(rng.choice([0.0, 0.5, 1.0, 2.0]))

        starts = [rng.integers(sizes) for _ in range(_STARTS)]
        measured = surrogate.encode([c.choices for c in history.by_key.values() if c.values] or [{}])
        means, _ = surrogate.predict(measured)
        starts += list(measured[np.argsort(-means)[:3]])
        found = climbed(surrogate, sizes, lambda mean, sd: mean + doubt * sd, np.array(starts))
        mean, sd = surrogate.predict(found)
        for place in np.argsort(-(mean + doubt * sd)):
            choices = self._named(found[place])
            known = history.by_key.get(self._ground.key(choices))
            if known is None:
                return choices
        return self._near(found[int(np.argmax(mean))], sizes, history, surrogate)

    def _near(self, x: Any, sizes: list[int], history: History, surrogate: Any) -> dict[str, str]:  # noqa: ANN401
        """The best unmeasured configuration one change away; the same one again where there is none."""
        around = []
        for place, size in enumerate(sizes):
            for label in range(size):
                other = np.array(x)
                other[place] = label
                if self._ground.key(self._named(other)) not in history.by_key:
                    around.append(other)
        if not around:
            return self._named(x)
        means, sds = surrogate.predict(np.array(around))
        return self._named(around[int(np.argmax(means + sds))])

    def _named(self, x: Any) -> dict[str, str]:  # noqa: ANN401 - a row of places
        return {axis.name: axis.labels[int(place)] for axis, place in zip(self._ground.axes, x, strict=True)}


def _history(study: Study, settings: Settings) -> History:
    return History(study.get_trials(deepcopy=False), settings)
