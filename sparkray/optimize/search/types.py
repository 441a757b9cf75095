"""Types of the search: batches, results, workers, settings, configurations."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from sparkray.config.docker import DockerOptions
from sparkray.config.flag import Security

# Measured to the end, on every model; stopped early as hopeless; measured, but against a constraint; no number; no run that
# counts on some model.
State = Literal["complete", "stopped", "infeasible", "failed", "refused"]
# (model, block).
Place = tuple[str, int]


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
class Batch:
    """Configurations that share a block: each once, in random order with one run of the baseline.

    Attributes:
        model: Of which model.
        block: A number that no other batch of the study has.
        trials: The configurations.
        over: The block is too old to continue: its rows are read, and nothing is measured.
    """

    model: str
    block: int
    trials: tuple[Trial, ...]
    over: bool = False


@dataclass(frozen=True)
class Result:
    """What one configuration gave in one block.

    Attributes:
        log_ratio: ln(trial / baseline of the same block) of the objective, turned so that higher is better; None if the
            container failed, or nothing is known.
        answered: Whether anything is known: not where a check refused the run, and nobody measured it again.
        constraints: By name; at most 0 is feasible.
        run_id: The trial's run.
        attempt: The attempt at it that counts.
        baseline_id: The run of the baseline that it is held against.
        baseline_attempt: Likewise.
        docker_command: The line that makes the container.
        effective_state: What the process really got, JSON.
        reason: Why there is no number.
        metrics: Raw metrics of the trial's run, by name.
    """

    log_ratio: float | None
    answered: bool = True
    constraints: Mapping[str, float] = field(default_factory=dict)
    run_id: str | None = None
    attempt: int | None = None
    baseline_id: str | None = None
    baseline_attempt: int | None = None
    docker_command: str | None = None
    effective_state: str | None = None
    reason: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)

    @property
    def run_ids(self) -> tuple[str, ...]:
        """The runs behind it, the trial's first."""
        return tuple(name for name in (self.run_id, self.baseline_id) if name is not None)


# Measures what is left of a batch; a result for each of its trials, in their order.
Submit = Callable[[Batch], Sequence[Result]]
# Stored results as the rows have them now; None where a run of it no longer counts.
Recall = Callable[[Sequence[Result]], Sequence[Result | None]]


@dataclass(frozen=True)
class Worker:
    """A machine that measures batches.

    Attributes:
        submit: Has it measure one.
        host: Its name.
        boot: The id of its boot: a block is gone on with only where it was begun.
        let_go: Called between batches while others wait for it.
    """

    submit: Submit
    host: str
    boot: str
    let_go: Callable[[], None]


# Gives batch after batch to a worker, until nothing is left to do; may be called for several at once, each on a thread.
Work = Callable[[Worker], None]


class Crew(Protocol):
    """The workers of a search."""

    def size(self) -> int:
        """How many take part now."""
        ...

    def work(self, first: Worker, work: Work) -> None:
        """Has all of them work, the first on this thread. Raises the first error of any."""
        ...


class Alone:
    """The first worker and no other."""

    def size(self) -> int:
        """One."""
        return 1

    def work(self, first: Worker, work: Work) -> None:
        """Raises what it raises."""
        work(first)


def as_stored(results: Sequence[Result]) -> Sequence[Result | None]:
    """For rows that never change."""
    return results


@dataclass(frozen=True)
class Settings:
    """How a search is done.

    Attributes:
        study: Its name in the storage; the same name goes on where it stopped.
        storage: See `search.storage.open_storage`.
        trials: Distinct configurations to evaluate, over all drivers; those that failed count. Several drivers that
            take their last at the same moment may make a few more.
        models: Each configuration is measured on each, in this order.
        seed: Of the proposals.
        noise: Standard deviation of one log ratio by model, as the screen found it; what is not named is learnt.
        finalists: Configurations that are measured again at the end.
        rounds: How often, at most.
        per_block: Configurations to a block, beside its baseline.
        first_block: Blocks are numbered from here.
    """

    study: str
    storage: str
    trials: int
    models: tuple[str, ...]
    seed: int = 0
    noise: Mapping[str, float] = field(default_factory=dict)
    finalists: int = 4
    rounds: int = 1
    per_block: int = 8
    first_block: int = 0

    def __post_init__(self) -> None:
        least = {"trials": self.trials, "models": len(self.models), "per_block": self.per_block}
        few = [name for name, count in least.items() if count < 1]
        if few:
            raise ValueError(f"{few[0]} {least[few[0]]}: one at least")

    @property
    def most_runs(self) -> int:
        """Runs that a search makes where nothing fails and nothing is stopped early, the baseline's among them."""
        batches = -(-self.trials // self.per_block)
        return len(self.models) * (self.trials + batches + self.rounds * (min(self.finalists, self.trials) + 1))


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
        log_ratios: By model and block, higher is better.
        mean: Of the log ratios, each model counting alike; None without one.
        estimate: The mean drawn towards what its levels gave in other configurations (`search.surrogate`); None without.
        reason: Why it failed, was stopped or is infeasible.
        constraints: The worst of each.
        run_ids: Its runs, each followed by that of the baseline that it is held against.
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
    log_ratios: Mapping[Place, float]
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
        noise: Estimated sd of one log ratio; None where it is unknown.
        evaluations: Results that are stored.
        abandoned: Trials whose driver died and that were taken up by another trial.
        corrected: Trials whose stored numbers the rows no longer bear out, and that another trial replaced.
    """

    study: str
    evaluated: tuple[Evaluated, ...]
    best: Evaluated | None
    noise: float | None
    evaluations: int
    abandoned: int
    corrected: int = 0
