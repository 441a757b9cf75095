"""A study as configurations: all trials whose options come to the same are one. Reads, never writes."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from optuna.trial import FrozenTrial, TrialState

from sparkray.search.ground import Ground
from sparkray.search.race import Noise, mean, pooled_noise
from sparkray.search.surrogate import Observation, Surrogate
from sparkray.search.words import Evaluated, Instance, Settings, State

SQRT2 = 2**0.5
_OPEN = (TrialState.RUNNING, TrialState.WAITING)
_FAILED_LOG, _FAILED_SD = -0.7, 0.3
"""What the surrogate is told of a configuration without a number: about half the throughput, and not for sure."""


@dataclass
class Configuration:
    """All that is known of one configuration. `values` are log ratios by step (index of the instance)."""

    key: str
    choices: Mapping[str, str]
    trials: list[FrozenTrial] = field(default_factory=list)
    values: dict[int, float] = field(default_factory=dict)
    facts: dict[int, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def closed(self) -> list[FrozenTrial]:
        """Trials that came to an end of their own."""
        return [t for t in self.trials if t.state.is_finished() and not _void(t)]

    @property
    def running(self) -> list[FrozenTrial]:
        """Trials that a driver has."""
        return [t for t in self.trials if t.state == TrialState.RUNNING]

    @property
    def begun(self) -> list[int]:
        """Steps that were being measured when their driver died: their runs may be there."""
        steps = (t.user_attrs.get("measuring") for t in self.trials)
        return sorted({step for step in steps if step is not None and step not in self.facts})

    @property
    def constraints(self) -> dict[str, float]:
        """The worst seen of each; at most 0 is feasible."""
        worst: dict[str, float] = {}
        for facts in self.facts.values():
            for name, value in facts["constraints"].items():
                worst[name] = max(value, worst.get(name, value))
        return worst

    @property
    def state(self) -> State | None:
        """What became of it; None while it is open."""
        if not self.closed:
            return None
        if self.reason_failed is not None:
            return "failed"
        if any(value > 0 for value in self.constraints.values()):
            return "infeasible"
        return "stopped" if self.closed[-1].state == TrialState.PRUNED else "complete"

    @property
    def reason_failed(self) -> str | None:
        """Why an evaluation had no number."""
        reasons = [facts["reason"] for facts in self.facts.values() if facts["log_ratio"] is None]
        return str(reasons[-1] or "no reason was given") if reasons else None

    @property
    def usable(self) -> bool:
        """Whether it has numbers and nothing speaks against it."""
        return bool(self.values) and self.state in ("complete", "stopped")


def _void(trial: FrozenTrial) -> bool:
    """Closed without a measurement of its own: its driver died, or another trial had the configuration."""
    return "abandoned" in trial.user_attrs or "same_as" in trial.user_attrs


class History:
    """The configurations of a study as it stands."""

    def __init__(self, trials: Sequence[FrozenTrial], settings: Settings) -> None:
        self.trials, self._settings = trials, settings
        self.by_key: dict[str, Configuration] = {}
        for trial in trials:
            if "key" in trial.user_attrs:
                self._add(trial)
        groups = [list(c.values.values()) for c in self.by_key.values() if c.choices]
        self.noise: Noise = pooled_noise(groups, settings.noise)
        self.repeats = sum(max(0, len(group) - 1) for group in groups)

    def _add(self, trial: FrozenTrial) -> None:
        attrs = trial.user_attrs
        known = self.by_key.setdefault(attrs["key"], Configuration(attrs["key"], attrs["choices"]))
        known.trials.append(trial)
        for step, facts in attrs.get("evaluations", {}).items():
            known.facts[int(step)] = facts
            if facts["log_ratio"] is not None:
                known.values[int(step)] = facts["log_ratio"]

    @property
    def evaluations(self) -> int:
        """Calls of `submit` that were answered."""
        return sum(len(configuration.facts) for configuration in self.by_key.values())

    @property
    def settled(self) -> int:
        """Configurations that were measured and closed."""
        return sum(1 for c in self.by_key.values() if c.closed and c.facts)

    @property
    def underway(self) -> int:
        """Configurations that are open and were never closed."""
        return sum(1 for c in self.by_key.values() if not c.closed and any(t.state in _OPEN for t in c.trials))

    @property
    def waiting(self) -> bool:
        """Whether a trial is in the queue."""
        return any(trial.state == TrialState.WAITING for trial in self.trials)

    def next_step(self, own: Configuration) -> int | None:
        """Where a configuration is measured next: its model with the fewest evaluations, in the first block with room.

        Where every block is full, in the one with the fewest; None where the configuration was everywhere.
        """
        if own.begun:
            return own.begun[0]
        instances = self._settings.instances
        uses = Counter(step for c in self.by_key.values() for step in c.facts)
        had = Counter(instances[step].model for step in own.facts)
        free = [step for step in range(len(instances)) if step not in own.facts]
        places = {model: place for place, model in enumerate(self._settings.models)}
        return min(
            (step for step in free if had[instances[step].model] < self._settings.depth),
            key=lambda step: (
                had[instances[step].model],
                places[instances[step].model],
                max(0, uses[step] - self._settings.per_block + 1),
                step,
            ),
            default=None,
        )

    def leader_values(self, besides: str) -> dict[int, float] | None:
        """Log ratios by step of the best configuration that is not `besides`; None where the baseline is better."""
        usable = [c for c in self.by_key.values() if c.values and c.state == "complete" and c.key != besides]
        best = max(usable, key=lambda c: mean(c.values) or 0.0, default=None)
        if best is None or (mean(best.values) or 0.0) < 0.0:
            return None
        return best.values

    def surrogate(self, ground: Ground) -> Surrogate:
        """Fitted to everything that was measured."""
        labels = {axis.name: axis.labels for axis in ground.axes}
        error, common = (self.noise.sd / SQRT2,) * 2 if self._settings.shared else (self.noise.sd, 0.0)
        return Surrogate(labels, list(self._observations(error)), common)

    def _observations(self, error: float) -> Iterator[Observation]:
        for c in self.by_key.values():
            if c.reason_failed is not None:
                yield Observation(c.choices, min(c.facts), _FAILED_LOG, _FAILED_SD)
            else:
                yield from (Observation(c.choices, step, value, error) for step, value in c.values.items())

    def estimates(self, ground: Ground) -> dict[str, tuple[float, float]]:
        """(mean, sd) of every measured configuration by key, drawn to what its levels gave elsewhere."""
        keys = [c.key for c in self.by_key.values() if c.values]
        if not keys:
            return {}
        surrogate = self.surrogate(ground)
        means, sds = surrogate.predict(surrogate.encode([self.by_key[key].choices for key in keys]))
        return {key: (float(m), float(s)) for key, m, s in zip(keys, means, sds, strict=True)}


def evaluated(history: History, ground: Ground, instances: Sequence[Instance]) -> tuple[Evaluated, ...]:
    """Every configuration that was measured, the best first, those without a number last."""
    estimates = history.estimates(ground)
    found = [_evaluated(c, ground, instances, estimates) for c in history.by_key.values() if c.state is not None]
    return tuple(sorted(found, key=_order))


def _order(one: Evaluated) -> tuple[bool, float]:
    usable = one.state in ("complete", "stopped") and one.estimate is not None
    return not usable, -(one.estimate if one.estimate is not None else -np.inf)


def _evaluated(
    c: Configuration, ground: Ground, instances: Sequence[Instance], estimates: Mapping[str, tuple[float, float]]
) -> Evaluated:
    last: Mapping[str, Any] = c.facts[max(c.facts)] if c.facts else {}
    metrics = [facts["metrics"] for facts in c.facts.values() if facts["metrics"]]
    names = dict.fromkeys(name for each in metrics for name in each)
    state: State = c.state or "stopped"
    stopped = c.trials[-1].user_attrs.get("stopped")
    against = ", ".join(f"{name} {value:+.3g}" for name, value in c.constraints.items() if value > 0)
    return Evaluated(
        trials=tuple(t.number for t in c.trials),
        environment=c.trials[0].user_attrs["environment"],
        options=ground.options(c.choices),
        choices=c.choices,
        security=ground.security(c.choices),
        state=state,
        log_ratios={instances[step]: value for step, value in sorted(c.values.items()) if step < len(instances)},
        mean=mean(c.values),
        estimate=estimates[c.key][0] if c.key in estimates else None,
        reason={"failed": c.reason_failed, "infeasible": against, "stopped": stopped}.get(state),
        constraints=c.constraints,
        run_ids=tuple(run for _, facts in sorted(c.facts.items()) for run in facts["run_ids"]),
        docker_command=last.get("docker_command"),
        effective_state=last.get("effective_state"),
        metrics={name: float(np.mean([each[name] for each in metrics if name in each])) for name in names},
    )
