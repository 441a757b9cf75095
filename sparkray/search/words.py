"""What a search asks for, is told, and finds. Optuna's words stop at this room's door."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from sparkray.spec.docker import DockerOptions, Security

State = Literal["complete", "stopped", "infeasible", "failed"]
"""Measured to the end; stopped early as hopeless; measured, but against a constraint; no number."""


@dataclass(frozen=True)
class Trial:
    """What is to be measured.

    Attributes:
        number: Optuna's number of the trial.
        options: The complete flags: the baseline's with the choices in place.
        environment: `container:trial-<hash>`; equal options have equal names.
        choices: Level by factor; factors that cannot act beside the others are left out.
    """

    number: int
    options: DockerOptions
    environment: str
    choices: Mapping[str, str]


@dataclass(frozen=True)
class Instance:
    """One paired evaluation: a block of one model."""

    model: str
    block: int


@dataclass(frozen=True)
class Result:
    """What one evaluation gave.

    Attributes:
        log_ratio: ln(trial / baseline of the same block) of the objective, turned so that higher is better; None if the
            container failed.
        constraints: By name; at most 0 is feasible.
        run_ids: The runs behind it.
        docker_command: The line that makes the container.
        effective_state: What the process really got, JSON.
        reason: Why there is no number.
        metrics: Raw metrics of the trial's run, by name.
    """

    log_ratio: float | None
    constraints: Mapping[str, float] = field(default_factory=dict)
    run_ids: tuple[str, ...] = ()
    docker_command: str | None = None
    effective_state: str | None = None
    reason: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)


Submit = Callable[[Trial, Instance], Result]


@dataclass(frozen=True)
class Settings:
    """How a search is done.

    Attributes:
        study: Its name in the storage; the same name goes on where it stopped.
        storage: See `search.storage.open_storage`.
        trials: Distinct configurations to evaluate, over all drivers; those that failed count. Several drivers that
            take their last at the same moment may make one more each.
        instances: Blocks in the order in which they are opened; evaluations beyond `per_block` open the next one.
        seed: Of the proposals.
        evaluations: Most calls of `submit` in the whole study; None is as many as there is use for.
        noise: Standard deviation of one log ratio, as the screen found it; None learns it from repeats.
        workers: Evaluations at once in this driver.
        finalists: Configurations that are raced at the end.
        depth: Most evaluations of one configuration on one model.
        per_block: Evaluations that share a block before the next is opened, so that they stay close in time.
        shared: Whether evaluations of one instance share the baseline's run; else each has its own.
    """

    study: str
    storage: str
    trials: int
    instances: tuple[Instance, ...]
    seed: int = 0
    evaluations: int | None = None
    noise: float | None = None
    workers: int = 1
    finalists: int = 4
    depth: int = 8
    per_block: int = 8
    shared: bool = False

    def __post_init__(self) -> None:
        least = {"trials": self.trials, "instances": len(self.instances), "workers": self.workers, "depth": self.depth}
        few = [name for name, count in least.items() if count < 1]
        if few:
            raise ValueError(f"{few[0]} {least[few[0]]}: one at least")

    @property
    def models(self) -> tuple[str, ...]:
        """The models of the instances, each once."""
        return tuple(dict.fromkeys(instance.model for instance in self.instances))


@dataclass(frozen=True)
class Evaluated:
    """One configuration and all that is known of it.

    Attributes:
        trials: Numbers of Optuna's trials of it, the first first.
        environment: Its name as a treatment.
        options: Its complete flags.
        choices: Level by factor.
        security: Worst grade of its choices.
        state: What became of it.
        log_ratios: By instance, higher is better.
        mean: Of the log ratios; None without one.
        estimate: The mean drawn towards what its levels gave in other configurations (`search.surrogate`); None without.
        reason: Why it failed, was stopped or is infeasible.
        constraints: The worst seen of each.
        run_ids: Every run of it.
        docker_command: The line that makes the container.
        effective_state: What the process really got, JSON.
        metrics: Means of the raw metrics.
    """

    trials: tuple[int, ...]
    environment: str
    options: DockerOptions
    choices: Mapping[str, str]
    security: Security
    state: State
    log_ratios: Mapping[Instance, float]
    mean: float | None
    estimate: float | None
    reason: str | None
    constraints: Mapping[str, float]
    run_ids: tuple[str, ...]
    docker_command: str | None
    effective_state: str | None
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Found:
    """What a search found. Exploratory: only a confirmation on fresh runs decides.

    Attributes:
        study: Name of the study.
        evaluated: Configurations, the best first, those without a number last.
        best: The best feasible one; None when nothing was.
        noise: Estimated sd of one log ratio; None without repeats.
        evaluations: Calls of `submit` whose answer is stored.
        abandoned: Trials whose driver died and that were taken up by another trial.
    """

    study: str
    evaluated: tuple[Evaluated, ...]
    best: Evaluated | None
    noise: float | None
    evaluations: int
    abandoned: int
