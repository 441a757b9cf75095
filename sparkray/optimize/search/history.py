"""A study as configurations: all trials whose options come to the same are one. Reads, never writes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from sparkray.optimize.search.failure_attribution import FailureAttribution
from sparkray.optimize.search.feasible_space import FeasibleSpace
from sparkray.optimize.search.race import Noise, mean, pooled_noise
from sparkray.optimize.search.surrogate import Observations, Surrogate
from sparkray.optimize.search.types import Evaluated, Place, Settings, State

SQRT2 = 2**0.5
_OPEN = (TrialState.RUNNING, TrialState.WAITING)
# Of trials that were closed without a measurement of their own: the driver died, another trial had the configuration, it may
# be chosen no more, or it was put into the queue again.
_VOID = ("abandoned", "same_as", "barred", "put_back")


@dataclass
class Configuration:
    """All that is known of one configuration. `facts` are its results by model and block, as they are stored.

    `models` are those that it is to be measured on.
    """

    key: str
    choices: Mapping[str, str]
    models: tuple[str, ...]
    trials: list[FrozenTrial] = field(default_factory=list)
    facts: dict[Place, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def values(self) -> dict[Place, float]:
        """Log ratios."""
        return {place: facts["log_ratio"] for place, facts in self.facts.items() if facts["log_ratio"] is not None}

    @property
    def closed(self) -> list[FrozenTrial]:
        """Trials that came to an end of their own."""
        return [t for t in self.trials if t.state.is_finished() and not any(name in t.user_attrs for name in _VOID)]

    @property
    def running(self) -> list[FrozenTrial]:
        """Trials that a driver has."""
        return [t for t in self.trials if t.state == TrialState.RUNNING]

    @property
    def raced(self) -> bool:
        """Whether it is or was a finalist."""
        return any(name in trial.user_attrs for trial in self.trials for name in ("again", "raced"))

    @property
    def constraints(self) -> dict[str, float]:
        """The worst observed of each; at most 0 is feasible."""
        worst: dict[str, float] = {}
        for facts in self.facts.values():
            for name, value in facts["constraints"].items():
                worst[name] = max(value, worst.get(name, value))
        return worst

    @property
    def feasible(self) -> bool:
        """Whether no constraint was observed broken."""
        return all(value <= 0 for value in self.constraints.values())

    @property
    def state(self) -> State | None:
        """What became of it; None while it is open."""
        if not self.closed:
            return None
        if self.reason_failed is not None:
            return "failed"
        if not self.feasible:
            return "infeasible"
        if self.closed[-1].state == TrialState.PRUNED:
            return "stopped"
        unmeasured = not self.everywhere and (self.facts or "refused" in self.closed[-1].user_attrs)
        return "refused" if unmeasured else "complete"

    @property
    def everywhere(self) -> bool:
        """Whether there is a result on every model."""
        return {model for model, _ in self.facts} >= set(self.models)

    @property
    def reason_failed(self) -> str | None:
        """Why there was no number."""
        reasons = [facts["reason"] for facts in self.facts.values() if facts["log_ratio"] is None]
        return str(reasons[-1] or "no reason was given") if reasons else None

    @property
    def bad(self) -> bool:
        """Whether it failed or broke a constraint, however it was closed."""
        return self.reason_failed is not None or not self.feasible


class History:
    """The configurations of a study as it stands."""

    def __init__(self, trials: Sequence[FrozenTrial], settings: Settings) -> None:
        self.trials, self._settings = trials, settings
        self.corrected = {number for trial in trials for number in trial.user_attrs.get("corrects", ())}
        self.by_key: dict[str, Configuration] = {}
        for trial in trials:
            if "key" in trial.user_attrs and trial.number not in self.corrected:
                self._add(trial)
        self.noise: dict[str, Noise] = {}
        for model in settings.models:
            groups = [[v for place, v in c.values.items() if place[0] == model] for c in self.by_key.values()]
            self.noise[model] = pooled_noise(groups, settings.noise.get(model))

    def _add(self, trial: FrozenTrial) -> None:
        attrs = trial.user_attrs
        known = self.by_key.setdefault(
            attrs["key"], Configuration(attrs["key"], attrs["choices"], self._settings.models)
        )
        known.trials.append(trial)
        known.facts.update({(facts["model"], facts["block"]): facts for facts in attrs.get("evaluations", ())})

    @property
    def evaluations(self) -> int:
        """Results that are stored."""
        return sum(len(configuration.facts) for configuration in self.by_key.values())

    @property
    def settled(self) -> int:
        """Configurations that were measured and closed."""
        return sum(1 for c in self.by_key.values() if c.closed and (c.facts or c.state == "refused"))

    @property
    def underway(self) -> int:
        """Configurations that are open and were never closed."""
        return sum(1 for c in self.by_key.values() if not c.closed and any(t.state in _OPEN for t in c.trials))

    @property
    def waiting(self) -> bool:
        """Whether a trial is in the queue."""
        return any(trial.state == TrialState.WAITING for trial in self.trials)

    def lasting(self, mine: str) -> list[FrozenTrial]:
        """Trials that other drivers have."""
        running = [t for t in self.trials if t.state == TrialState.RUNNING]
        return [t for t in running if t.user_attrs.get("driver") != mine]

    def surrogate(self, feasible_space: FeasibleSpace) -> Surrogate:
        """Fitted to every log ratio that was measured, of what broke a constraint too."""
        observed = [(c.choices, place, value) for c in self.by_key.values() for place, value in c.values.items()]
        places = {place: number for number, place in enumerate(dict.fromkeys(place for _, place, _ in observed))}
        return Surrogate(
            [len(axis.labels) for axis in feasible_space.axes],
            Observations(
                x=feasible_space.encode([choices for choices, _, _ in observed]),
                values=np.array([value for _, _, value in observed], dtype=np.float64),
                block=np.array([places[place] for _, place, _ in observed], dtype=np.int64),
                error=np.array([self.noise[place[0]].sd / SQRT2 for _, place, _ in observed], dtype=np.float64),
                df=min(noise.df for noise in self.noise.values()),
            ),
        )

    def failure_attribution(self) -> FailureAttribution:
        """Which levels may be behind what failed or broke a constraint."""
        known = [c for c in self.by_key.values() if c.facts]
        return FailureAttribution([c.choices for c in known if not c.bad], [c.choices for c in known if c.bad])

    def known(self, feasible_space: FeasibleSpace, surrogate: Surrogate | None = None) -> "Known":
        """What all results together say."""
        fitted = surrogate or self.surrogate(feasible_space)
        own = [c for c in self.by_key.values() if c.values]
        means = fitted.predict(feasible_space.encode([c.choices for c in own]))[0]
        factor = fitted.noise_factor**0.5
        return Known(
            estimates={c.key: float(mean_) for c, mean_ in zip(own, means, strict=True)},
            noise={model: Noise(factor * noise.sd, noise.df) for model, noise in self.noise.items()},
            complete=tuple(c for c in own if c.state == "complete"),
        )


@dataclass(frozen=True)
class Known:
    """What all results together say.

    Attributes:
        estimates: The log ratio of every measured configuration by key, drawn to what its levels gave elsewhere.
        noise: Of one log ratio by model, as far as it is from what was told or guessed.
        complete: Configurations that have a number and nothing against them.
    """

    estimates: Mapping[str, float]
    noise: Mapping[str, Noise]
    complete: tuple[Configuration, ...]

    @property
    def df(self) -> float:
        """What the noise rests on."""
        return min(noise.df for noise in self.noise.values())

    def leader(self, besides: str) -> Configuration | None:
        """The best complete configuration that is not `besides`, by its estimate; None where the baseline is better."""
        others = [c for c in self.complete if c.key != besides]
        best = max(others, key=lambda c: self.estimates[c.key], default=None)
        return best if best is not None and self.estimates[best.key] > 0.0 else None


def evaluated(history: History, feasible_space: FeasibleSpace) -> tuple[Evaluated, ...]:
    """Every configuration that was measured, the best first, those without a number last."""
    estimates = history.known(feasible_space).estimates
    found = [_evaluated(c, feasible_space, estimates) for c in history.by_key.values() if c.state is not None]
    return tuple(sorted(found, key=_order))


def _order(one: Evaluated) -> tuple[bool, float]:
    usable = one.state in ("complete", "stopped") and one.estimate is not None
    return not usable, -(one.estimate if one.estimate is not None else -np.inf)


def _evaluated(c: Configuration, feasible_space: FeasibleSpace, estimates: Mapping[str, float]) -> Evaluated:
    last: Mapping[str, Any] = list(c.facts.values())[-1] if c.facts else {}
    metrics = [facts["metrics"] for facts in c.facts.values() if facts["metrics"]]
    names = dict.fromkeys(name for each in metrics for name in each)
    state: State = c.state or "stopped"
    attrs = c.closed[-1].user_attrs if c.closed else {}
    against = ", ".join(f"{name} {value:+.3g}" for name, value in c.constraints.items() if value > 0)
    reasons = {"failed": c.reason_failed, "infeasible": against}
    return Evaluated(
        trials=tuple(t.number for t in c.trials),
        environment=c.trials[0].user_attrs["environment"],
        options=feasible_space.options(c.choices),
        choices=c.choices,
        security=feasible_space.security(c.choices),
        state=state,
        log_ratios=c.values,
        mean=mean(c.values),
        estimate=estimates.get(c.key),
        reason=reasons.get(state, attrs.get(state)),
        constraints=c.constraints,
        run_ids=tuple(run for facts in c.facts.values() for run in (facts["run_id"], facts["baseline_id"]) if run),
        docker_command=last.get("docker_command"),
        effective_state=last.get("effective_state"),
        metrics={name: float(np.mean([each[name] for each in metrics if name in each])) for name in names},
    )
