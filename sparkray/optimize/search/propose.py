"""Which configuration is asked for next: a designed first batch, then draws from a surrogate, one in eight of TPE.

TPE alone (multivariate, grouped for the conditional space) learns from the order of the values and needs many trials to
see that two small effects add; the surrogate (`search.surrogate`) sees effects of levels in every run, and takes effects
for sums of levels and pairs, which TPE does not. Each configuration of a batch is the best under effects that are drawn
as the data leave them open (Thompson 1933, Biometrika 25), so that a batch is diverse and doubt is spent where it may
matter. This is an Optuna sampler, so that the study is an ordinary one.
"""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler, TPESampler
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from sparkray.config.space import BASELINE
from sparkray.optimize.search.failure_attribution import Levels
from sparkray.optimize.search.feasible_space import FeasibleSpace, Places
from sparkray.optimize.search.history import History
from sparkray.optimize.search.storage import unstable
from sparkray.optimize.search.surrogate import Surrogate, hill_climb, neighbours
from sparkray.optimize.search.types import Settings
from sparkray.stats.samples import Vector

# First trials.
DESIGNED = 8
# How much of a factor's column in the design is not the baseline's, at most.
_CHANGED = 0.4
_DESIGNS, _DOUBLE = 300, 1e3
# One trial in so many is TPE's.
_TURN = 8
_STARTS = 3
_NEVER = -1e9
Sampler = Callable[[], BaseSampler]


def tpe(seed: int, startup: int = DESIGNED) -> TPESampler:
    """Optuna's sampler as this room uses it."""
    with unstable():
        return TPESampler(n_startup_trials=startup, multivariate=True, group=True, seed=seed)


class Proposer(BaseSampler):
    """See the module.

    Args:
        feasible_space: What may be chosen.
        settings: Of the search.
    """

    def __init__(self, feasible_space: FeasibleSpace, settings: Settings) -> None:
        self._space, self._settings = feasible_space, settings
        self._tpe = tpe(settings.seed)
        self._distributions = {axis.name: CategoricalDistribution(axis.labels) for axis in feasible_space.axes}
        self._design = designed(feasible_space, DESIGNED, settings.seed)
        self._fitted: tuple[tuple[int, int], Surrogate] | None = None

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
        history = History(study.get_trials(deepcopy=False), self._settings)
        place = trial.number - 1  # the first is the baseline's
        if place < len(self._design):
            return self._whole(self._design[place])
        if place % _TURN == _TURN - 1:
            asked = self._tpe.infer_relative_search_space(study, trial)
            chosen: Mapping[str, str] = self._tpe.sample_relative(study, trial, asked)
            settled = self._space.settled(self._allowed(chosen))
            if chosen and self._space.key(settled) not in history.by_key:
                return self._whole(settled)
        return self._whole(self._from_surrogate(history, trial.number))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:  # noqa: ANN401 - Optuna's own signature
        """What the relative sampling left out, as TPE does it."""
        return self._tpe.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Any) -> None:  # noqa: ANN401
        """TPE's own bookkeeping."""
        self._tpe.after_trial(study, trial, state, values)

    def _whole(self, choices: Mapping[str, str]) -> dict[str, Any]:
        return {name: choices.get(name, BASELINE) for name in self._distributions}

    def _allowed(self, choices: Mapping[str, str]) -> dict[str, str]:
        """TPE knows nothing of what is barred."""
        open_ = {axis.name: axis.open for axis in self._space.axes}
        return {name: label if label in open_[name] else BASELINE for name, label in choices.items()}

    def _surrogate(self, history: History) -> Surrogate:
        """Fitted once to a batch: the trials that are under way tell nothing yet."""
        known = (history.evaluations, len(history.corrected))
        if self._fitted is None or self._fitted[0] != known:
            self._fitted = known, history.surrogate(self._space)
        return self._fitted[1]

    def _from_surrogate(self, history: History, number: int) -> dict[str, str]:
        """The best under effects and culprits that are drawn anew and was not measured yet; else any that was not."""
        rng = np.random.default_rng([self._settings.seed, number])
        surrogate = self._surrogate(history)
        effects = surrogate.draw(rng)
        score = _score(self._space, surrogate, effects, history.failure_attribution().draw(rng))
        found = _best(self._space, history, surrogate, score, rng)
        around = self._space.settle(neighbours(found, _open_places(self._space)))
        for place in np.argsort(-score(around), kind="stable"):
            choices = self._space.named(around[place])
            if self._space.key(choices) not in history.by_key:
                return choices
        return self._space.choose(lambda name, _: str(rng.choice(self._open(name))))

    def _open(self, name: str) -> tuple[str, ...]:
        return next(axis.open for axis in self._space.axes if axis.name == name)


def best_guess(
    feasible_space: FeasibleSpace, history: History, surrogate: Surrogate, seed: int
) -> tuple[float, Mapping[str, str]] | None:
    """The best predicted gain and its configuration; None if that one is measured already, or is no gain."""
    rng = np.random.default_rng([seed, len(history.trials)])
    score = _score(feasible_space, surrogate, surrogate.effects, history.failure_attribution().draw(rng))
    found = _best(feasible_space, history, surrogate, score, rng)
    choices = feasible_space.named(found)
    value = float(score(found[None, :])[0])
    return None if feasible_space.key(choices) in history.by_key or value <= 0.0 else (value, choices)


def _best(
    feasible_space: FeasibleSpace,
    history: History,
    surrogate: Surrogate,
    score: Callable[[Places], Vector],
    rng: np.random.Generator,
) -> Places:
    """The highest that is reached from the baseline, from the best that were measured, and from anywhere."""
    open_places = _open_places(feasible_space)
    known = [c.choices for c in history.by_key.values() if c.values and not c.bad]
    starts = [feasible_space.encode([{}])[0]]
    if known:
        measured = feasible_space.encode(known)
        starts += list(measured[np.argsort(-surrogate.predict(measured)[0])[:_STARTS]])
    starts.append(np.array([int(rng.choice(places)) for places in open_places], dtype=np.int64))
    found = np.array([hill_climb(start, open_places, feasible_space.settle, score) for start in starts])
    return np.asarray(found[int(np.argmax(score(found)))])


def _open_places(feasible_space: FeasibleSpace) -> list[list[int]]:
    return [[axis.labels.index(label) for label in axis.open] for axis in feasible_space.axes]


def _score(
    feasible_space: FeasibleSpace, surrogate: Surrogate, effects: Vector, culprits: tuple[Levels, ...]
) -> Callable[[Places], Vector]:
    """Log ratios under these effects; what has all levels of a culprit is out."""
    encoded = [
        [(column, axis.labels.index(dict(culprit)[axis.name])) for column, axis in enumerate(feasible_space.axes)
         if axis.name in dict(culprit)]
        for culprit in culprits
    ]  # fmt: skip

    def score(x: Places) -> Vector:
        values = surrogate.value(x, effects)
        for levels in encoded:
            values = np.where(np.all([x[:, column] == place for column, place in levels], axis=0), _NEVER, values)
        return values

    return score


def designed(feasible_space: FeasibleSpace, runs: int, seed: int) -> list[dict[str, str]]:
    """First configurations, in which levels are met about equally often and as independently of each other as can be.

    More levels than runs cannot be orthogonal: of many balanced designs the one is taken that has the fewest doubles, and
    then the least sum of squared inner products of its columns (a supersaturated design; Booth & Cox 1962, Technometrics
    4).
    """
    rng = np.random.default_rng(seed)
    best: tuple[float, list[dict[str, str]]] | None = None
    for _ in range(_DESIGNS):
        columns = [_column(places, runs, rng) for places in _open_places(feasible_space)]
        x = np.stack(columns, axis=1) if columns else np.zeros((runs, 0), dtype=np.int64)
        settled = feasible_space.settle(x)
        apart = len({feasible_space.key(feasible_space.named(row)) for row in settled} - {feasible_space.key({})})
        worth = _crowding(settled, [len(axis.labels) for axis in feasible_space.axes]) + _DOUBLE * (runs - apart)
        if best is None or worth < best[0]:
            best = worth, [feasible_space.named(row) for row in settled]
    return best[1] if best else []


def _column(places: list[int], runs: int, rng: np.random.Generator) -> Places:
    """Levels in turn over a share of the runs, the baseline's in the rest, in random order."""
    levels = rng.permutation([place for place in places if place])
    count = min(round(_CHANGED * runs), runs * len(levels))
    column = np.zeros(runs, dtype=np.int64)
    for place in range(count):
        column[place] = levels[place % len(levels)]
    return rng.permutation(column)


def _crowding(x: Places, sizes: list[int]) -> float:
    """Sum of squared inner products of the centred columns of all levels."""
    levels = [x[:, column] == place for column, size in enumerate(sizes) for place in range(1, size)]
    if not levels:
        return 0.0
    centred = np.array(levels, dtype=np.float64)
    centred -= centred.mean(axis=1, keepdims=True)
    products = centred @ centred.T
    return float(np.sum(np.triu(products, 1) ** 2))
