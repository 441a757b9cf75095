"""Simulated machines whose truth is known, for what is said of the search of Docker options."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sparkray.config.docker import DockerOptions
from sparkray.config.feasible_levels import judge
from sparkray.config.space import BASELINE, Factor, HostFacts, Space
from sparkray.optimize.search import Batch, FeasibleSpace, Result, feasible_space

LOST = 1.0
"""Loss of a configuration that cannot be used."""
DRIFT = 0.1
"""Sd of one step of a machine's walk, in CVs of a run."""
Choices = Mapping[str, str]


def _factor(name: str, levels: dict[str, dict[str, object]], **more: object) -> Factor:
    return Factor(name, levels, "simulated", **more)  # type: ignore[arg-type]


SPACE = Space(
    "simulated",
    "ten factors",
    (
        _factor("ipc", {"private": {"ipc": "private"}}),
        _factor(
            "shm_size",
            {"8g": {"shm_size": "8g"}, "32g": {"shm_size": "32g"}, "60g": {"shm_size": "60g"}},
            needs={"ipc": ("private",)},
        ),
        _factor(
            "cpuset",
            {"fast": {"cpuset_cpus": "5-9,15-19"}, "half": {"cpuset_cpus": "0-9"}, "one": {"cpuset_cpus": "5"}},
        ),
        _factor("cpus", {"1": {"cpus": 1.0}, "8": {"cpus": 8.0}}),
        _factor("memory", {"8g": {"memory": "8g"}, "64g": {"memory": "64g"}}),
        _factor("seccomp", {"unconfined": {"security_opt": ["seccomp=unconfined"]}}),
        _factor("pid", {"host": {"pid": "host"}}),
        _factor("init", {"yes": {"init": True}}),
        _factor("log_driver", {"none": {"log_driver": "none"}, "journald": {"log_driver": "journald"}}),
        _factor("runtime", {"crun": {"runtime": "crun"}}),
    ),
)
BASELINE_OPTIONS = DockerOptions(ipc="host", ulimit_memlock=-1)
FACTS = HostFacts(cpus="0-19", performance_cpus="5-9,15-19", memory_gib=119.6)


@dataclass(frozen=True)
class Machine:
    """A truth: log effects of levels and of pairs of levels, levels over the constraint, levels that fail."""

    effects: dict[tuple[str, str], float]
    pairs: dict[tuple[tuple[str, str], tuple[str, str]], float]
    over: frozenset[tuple[str, str]]
    fails: frozenset[tuple[str, str]]
    cv: float

    def speed(self, choices: Choices) -> float:
        """The true log ratio to the baseline, whether it can be used or not."""
        chosen = {(name, label) for name, label in choices.items() if label != BASELINE}
        value = math.fsum(self.effects.get(level, 0.0) for level in chosen)
        return value + math.fsum(gain for pair, gain in self.pairs.items() if set(pair) <= chosen)

    def truth(self, choices: Choices) -> float | None:
        """The same; None for a configuration that cannot be used."""
        return None if set(choices.items()) & (self.over | self.fails) else self.speed(choices)


def make_feasible_space() -> FeasibleSpace:
    return feasible_space(SPACE, BASELINE_OPTIONS, judge(SPACE, BASELINE_OPTIONS, workload="offline", host=FACTS))


def draw(rng: np.random.Generator, cv: float) -> Machine:
    """A machine: which levels gain, harm, fail or do nothing is drawn, how many of each is not."""
    plain = [(f.name, label) for f in SPACE.factors if f.name != "shm_size" for label in f.levels]
    by_factor = {name: [level for level in plain if level[0] == name] for name in {level[0] for level in plain}}
    names = [str(name) for name in rng.permutation(sorted(by_factor))]
    one = {name: by_factor[name][int(rng.integers(len(by_factor[name])))] for name in names}
    effects = {one[name]: float(rng.uniform(0.005, 0.04)) for name in names[:4]}
    rest = [level for level in plain if level not in one.values()]
    harmful = [rest[int(i)] for i in rng.permutation(len(rest))]
    for level, low in zip(harmful[:3], (0.05, 0.3, 0.5), strict=True):
        effects[level] = math.log1p(-float(rng.uniform(low, low + 0.1)))
    effects["shm_size", str(rng.choice(["8g", "32g", "60g"]))] = float(rng.uniform(0.005, 0.03))
    pairs = {
        (one[names[0]], one[names[1]]): -float(rng.uniform(0.005, 0.03)),
        (one[names[4]], one[names[5]]): float(rng.uniform(0.01, 0.03)),
    }
    return Machine(effects, pairs, frozenset({one[names[6]]}), frozenset({one[names[7]]}), cv)


def null(cv: float) -> Machine:
    """A machine on which no flag does anything."""
    return Machine({}, {}, frozenset(), frozenset(), cv)


class Bench:
    """Runs a machine in blocks, and counts what is run.

    Args:
        machine: The truth.
        rng: Of noise, drift and order.
        drift: Sd of one step of the machine's walk, in CVs of a run.
    """

    def __init__(self, machine: Machine, rng: np.random.Generator, *, drift: float = DRIFT) -> None:
        self.machine, self.runs, self._rng = machine, 0, rng
        self._sd = math.sqrt(math.log1p(machine.cv**2))
        self._drift, self._walked = drift * self._sd, 0.0

    def block(self, many: Sequence[Choices]) -> list[float | None]:
        """Log speeds of the baseline and of configurations, each run once, in random order; None for one that fails."""
        logs: list[float | None] = [None] * (len(many) + 1)
        for place in self._rng.permutation(len(logs)):
            choices = many[place - 1] if place else {}
            self.runs += 1
            self._walked += float(self._rng.normal(0.0, self._drift))
            if not set(choices.items()) & self.machine.fails:
                logs[place] = self.machine.speed(choices) + self._walked + float(self._rng.normal(0.0, self._sd))
        return logs

    def results(self, many: Sequence[Choices]) -> list[Result]:
        """A block as the search is told of it."""
        base, *logs = self.block(many)
        found = []
        for choices, log in zip(many, logs, strict=True):
            over = bool(set(choices.items()) & self.machine.over)
            if log is None or base is None:
                found.append(Result(None, reason="the container ended with status 1"))
            else:
                found.append(Result(log - base, constraints={"memory": 1.0 if over else -1.0}))
        return found

    def submit(self, batch: Batch) -> list[Result]:
        """A batch of the search."""
        return self.results([trial.choices for trial in batch.trials])


def best_truth(feasible: FeasibleSpace, machine: Machine) -> float:
    """The true log ratio of the best usable configuration, by trying every level that has a part in any effect."""
    matters = {*machine.effects, *(level for pair in machine.pairs for level in pair)}
    tried: list[dict[str, str]] = [{}]
    for axis in feasible.axes:
        labels = [BASELINE, *(label for label in axis.levels if (axis.name, label) in matters)]
        labels += ["private"] if axis.name == "ipc" and "private" not in labels else []
        tried = [{**before, axis.name: label} for before in tried for label in labels]
    truths = [machine.truth(feasible.settled(choices)) for choices in tried]
    return max(value for value in truths if value is not None)


def loss(feasible: FeasibleSpace, machine: Machine, chosen: Choices, best: float) -> float:
    """Relative, against the best: 0 is none."""
    value = machine.truth(feasible.settled(chosen))
    return LOST if value is None else round(-math.expm1(value - best), 9) + 0.0  # rounding makes no loss
