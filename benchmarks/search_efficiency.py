"""The search of Docker options against simpler ones, on simulated machines whose truth is known.

Each repetition draws a machine: ten factors, among them levels with real gains (0.5 to 4 %), two that gain only together,
two that gain apart and not together, levels with real harm (5 to 60 %), one over a memory constraint, one whose container
fails, a factor that acts only under another's level, and levels that do nothing. A run has log-normal noise of the given
CV; a pair's log ratio has that of its baseline too. Runs of the baseline count. Strategies:

    ours      sparkray.search, eight evaluations to a block's baseline run, a third of the runs of ofat
    ours own  the same with a baseline run beside every evaluation, and no more runs
    ofat      each level alone, 10 runs, baseline in each block; the levels whose 95 % interval lies above 1, combined
    random    uniform, one evaluation a trial, blocks as ours, the best observed; as many runs as ours
    tpe       Optuna's TPE (multivariate, grouped), else as random

Printed: median and 90th percentile of the true loss of the chosen configuration against the best feasible one, and how
often it is within 1 %. A choice that violates the constraint or fails has lost everything. Targets at CV <= 1 %: within
1 % in at least 90 % of the repetitions with at most a third of the runs of ofat. Then, with every level doing nothing,
how often a confirmation of the shortlist on fresh runs (30 blocks, margin 1 %) crowns a winner: at most 5 % at any noise.
Ends with status 1 where a target is missed.

    python benchmarks/search_efficiency.py [--repetitions 200] [--cvs 0.3,1,10] [--share 0.333]
"""

import argparse
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import optuna
from optuna.storages import InMemoryStorage

from sparkray.search import Found, Ground, Instance, Result, Settings, Trial, ground, search, shortlist
from sparkray.search.propose import tpe
from sparkray.spec.docker import DockerOptions
from sparkray.spec.offer import judge
from sparkray.spec.space import BASELINE, Factor, HostFacts, Space
from sparkray.stats.paired import decide, ratio_of_logs

RUNS_A_LEVEL, PER_BLOCK, MARGIN = 10, 8, 0.01
CONFIRM_BLOCKS = 30
LOST = 1.0
"""Loss of a configuration that cannot be used."""
WITHIN, OFTEN, THIRD, FALSE = 0.01, 0.90, 1 / 3, 0.05
Choices = dict[str, str]


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

    def truth(self, choices: Choices) -> float | None:
        """The true log ratio to the baseline; None for a configuration that cannot be used."""
        chosen = {(name, label) for name, label in choices.items() if label != BASELINE}
        if chosen & (self.over | self.fails):
            return None
        value = math.fsum(self.effects.get(level, 0.0) for level in chosen)
        return value + math.fsum(gain for pair, gain in self.pairs.items() if set(pair) <= chosen)


def make_ground() -> Ground:
    return ground(SPACE, BASELINE_OPTIONS, judge(SPACE, BASELINE_OPTIONS, workload="offline", host=FACTS))


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
    """Runs a machine: counts what is run, and shares a block's baseline run among its configurations."""

    def __init__(self, machine: Machine, rng: np.random.Generator, *, shared: bool = True) -> None:
        self.machine, self.runs, self._rng, self._shared = machine, 0, rng, shared
        self._sd = math.sqrt(math.log1p(machine.cv**2))
        self._baselines: dict[Instance, float] = {}

    def _noise(self) -> float:
        self.runs += 1
        return float(self._rng.normal(0.0, self._sd))

    def submit(self, trial: Trial, instance: Instance) -> Result:
        """One run of a configuration, against the block's baseline."""
        choices = dict(trial.choices)
        usable = {k: v for k, v in choices.items() if (k, v) not in self.machine.over | self.machine.fails}
        noise = self._noise()
        if any(level in self.machine.fails for level in choices.items()):
            return Result(None, reason="the container ended with status 1")
        if instance not in self._baselines or not self._shared:
            self._baselines[instance] = self._noise()
        over = any(level in self.machine.over for level in choices.items())
        value = (self.machine.truth(usable) or 0.0) + noise - self._baselines[instance]
        return Result(value, {"memory": 1.0 if over else -1.0})


def instances(count: int) -> tuple[Instance, ...]:
    return tuple(Instance("model", block) for block in range(count))


def found_by(ground_: Ground, bench: Bench, *, runs: int, seed: int, shared: bool = True) -> Found:
    """The room's own search, its noise unknown to it."""
    evaluations = runs * PER_BLOCK // (PER_BLOCK + 1) if shared else runs // 2
    settings = Settings(
        "simulated",
        "memory:",
        trials=runs,
        instances=instances(evaluations // PER_BLOCK if shared else evaluations),
        seed=seed,
        evaluations=evaluations,
        per_block=PER_BLOCK if shared else 1,
        shared=shared,
    )
    return search(ground_, bench.submit, settings=settings, storage=InMemoryStorage())


def ours(ground_: Ground, bench: Bench, *, runs: int, seed: int) -> Choices:
    return _best(found_by(ground_, bench, runs=runs, seed=seed))


def ours_own(ground_: Ground, bench: Bench, *, runs: int, seed: int) -> Choices:
    alone = Bench(bench.machine, np.random.default_rng([seed, 3]), shared=False)
    chosen = _best(found_by(ground_, alone, runs=runs, seed=seed, shared=False))
    bench.runs = alone.runs
    return chosen


def _best(found: Found) -> Choices:
    return dict(found.best.choices) if found.best and (found.best.estimate or 0.0) > 0 else {}


def ofat(ground_: Ground, bench: Bench, **_: int) -> Choices:
    """Every level alone, then the levels that were seen to gain, combined."""
    winners: dict[str, tuple[float, str]] = {}
    for axis in ground_.axes:
        for label, verdict in axis.levels.items():
            choices = {axis.name: label} if verdict.alone else {"ipc": "private", axis.name: label}
            trial = Trial(0, ground_.options(choices), "", choices)
            results = [bench.submit(trial, instance) for instance in instances(RUNS_A_LEVEL)]
            logs = [r.log_ratio for r in results if r.log_ratio is not None and r.constraints["memory"] <= 0]
            if len(logs) < RUNS_A_LEVEL:
                continue
            ratio = ratio_of_logs(np.array(logs))
            if ratio.ci95[0] > 1 and math.log(ratio.ratio) > winners.get(axis.name, (0.0, ""))[0]:
                winners[axis.name] = math.log(ratio.ratio), label
    chosen = {name: label for name, (_, label) in winners.items()}
    return {"ipc": "private", **chosen} if "shm_size" in chosen else chosen


def _one_each(ground_: Ground, bench: Bench, *, runs: int, sampler: optuna.samplers.BaseSampler) -> Choices:
    study = optuna.create_study(sampler=sampler, direction="maximize", storage=InMemoryStorage())
    best: tuple[float, Choices] = (0.0, {})
    for number in range(runs * PER_BLOCK // (PER_BLOCK + 1)):
        handle = study.ask()
        choices = ground_.choose(lambda name, labels, h=handle: str(h.suggest_categorical(name, labels)))  # type: ignore[misc]
        result = bench.submit(Trial(0, DockerOptions(), "", choices), Instance("model", number // PER_BLOCK))
        if result.log_ratio is None:
            study.tell(handle, state=optuna.trial.TrialState.FAIL)
            continue
        handle.set_constraint("memory", result.constraints["memory"])
        study.tell(handle, result.log_ratio)
        if result.constraints["memory"] <= 0 and result.log_ratio > best[0]:
            best = result.log_ratio, choices
    return best[1]


def random(ground_: Ground, bench: Bench, *, runs: int, seed: int) -> Choices:
    return _one_each(ground_, bench, runs=runs, sampler=optuna.samplers.RandomSampler(seed=seed))


def plain_tpe(ground_: Ground, bench: Bench, *, runs: int, seed: int) -> Choices:
    return _one_each(ground_, bench, runs=runs, sampler=tpe(seed, 10))


STRATEGIES: dict[str, Callable[..., Choices]] = {
    "ours": ours,
    "ours own": ours_own,
    "ofat": ofat,
    "random": random,
    "tpe": plain_tpe,
}


def best_truth(ground_: Ground, machine: Machine) -> float:
    """The true log ratio of the best usable configuration, by trying every level that has a part in any effect."""
    matters = {*machine.effects, *(level for pair in machine.pairs for level in pair)}
    tried: list[Choices] = [{}]
    for axis in ground_.axes:
        labels = [BASELINE, *(label for label in axis.levels if (axis.name, label) in matters)]
        labels += ["private"] if axis.name == "ipc" and "private" not in labels else []
        tried = [{**before, axis.name: label} for before in tried for label in labels]
    truths = [machine.truth(ground_.settled(choices)) for choices in tried]
    return max(value for value in truths if value is not None)


def loss(ground_: Ground, machine: Machine, chosen: Choices, best: float) -> float:
    """Relative, against the best: 0 is none."""
    value = machine.truth(ground_.settled(chosen))
    return LOST if value is None else round(-math.expm1(value - best), 9) + 0.0  # rounding makes no loss


@dataclass(frozen=True)
class Row:
    """Losses of a strategy over repetitions, and its mean runs."""

    losses: Sequence[float]
    runs: float

    @property
    def within(self) -> float:
        """Share of repetitions within the target."""
        return float(np.mean(np.asarray(self.losses) <= WITHIN))


def budget_of(ground_: Ground, share: float) -> tuple[int, int]:
    """Runs of one-factor-at-a-time, and the share of them that the others get."""
    full = RUNS_A_LEVEL * (sum(len(axis.levels) for axis in ground_.axes) + 1)
    return full, int(share * full)


def measured(name: str, cv: float, repetitions: int, share: float) -> Row:
    """A strategy on as many machines as there are repetitions; the same machines for every strategy."""
    ground_ = make_ground()
    _, budget = budget_of(ground_, share)
    losses, runs = [], []
    for repetition in range(repetitions):
        machine = draw(np.random.default_rng([repetition, 1]), cv)
        bench = Bench(machine, np.random.default_rng([repetition, 2]))
        chosen = STRATEGIES[name](ground_, bench, runs=budget, seed=repetition)
        losses.append(loss(ground_, machine, chosen, best_truth(ground_, machine)))
        runs.append(bench.runs)
    return Row(losses, float(np.mean(runs)))


def confirmed(ground_: Ground, found: Found, bench: Bench) -> bool:
    """Whether any of the shortlist is called different from the baseline and better, over fresh blocks of all of them."""
    candidates = shortlist(ground_, found)
    logs = [
        [
            bench.submit(Trial(0, one.options, one.environment, one.choices), Instance("model", 1000 + block)).log_ratio
            for one in candidates
        ]
        for block in range(CONFIRM_BLOCKS)
    ]
    ratios = [ratio_of_logs(np.array(values, dtype=np.float64)) for values in zip(*logs, strict=True)]
    return any(decide(ratio, MARGIN).verdict == "different" and ratio.ratio > 1 for ratio in ratios)


def false_winners(cv: float, repetitions: int, share: float) -> float:
    """How often a winner is crowned on a machine on which no flag does anything."""
    ground_ = make_ground()
    _, budget = budget_of(ground_, share)
    crowned = 0
    for repetition in range(repetitions):
        bench = Bench(null(cv), np.random.default_rng([repetition, 4]))
        found = found_by(ground_, bench, runs=budget, seed=repetition)
        crowned += confirmed(ground_, found, bench)
    return crowned / repetitions


def show_losses(cvs: Sequence[float], repetitions: int, share: float) -> list[str]:
    """The table of losses; what missed its target."""
    ground_ = make_ground()
    full, budget = budget_of(ground_, share)
    print(
        f"{repetitions} machines, {len(ground_.axes)} factors; one factor at a time: {full} runs; the others: {budget}\n"
    )
    print(
        f"{'CV %':>5}  {'strategy':<9}{'runs':>6}{'median loss %':>15}{'90th pct. %':>13}{'within 1 %':>12}{'unusable':>10}"
    )
    missed = []
    for cv in cvs:
        for name in STRATEGIES:
            row = measured(name, cv / 100, repetitions, share)
            usable = [100 * value for value in row.losses]
            print(
                f"{cv:>5g}  {name:<9}{row.runs:>6.0f}{np.median(usable):>15.2f}{np.quantile(usable, 0.9):>13.2f}"
                f"{row.within:>12.1%}{np.mean(np.asarray(row.losses) >= LOST):>10.1%}",
                flush=True,
            )
            if name == "ours" and cv <= 1 and (row.within < OFTEN or row.runs > THIRD * full):
                error = math.sqrt(row.within * (1 - row.within) / repetitions)
                missed.append(
                    f"CV {cv:g} %: within 1 % in {row.within:.1%} (se {error:.1%}) of {row.runs:.0f} runs each"
                )
    return missed


def show_null(cvs: Sequence[float], repetitions: int, share: float) -> list[str]:
    """How often noise is crowned; what missed its target, two Monte-Carlo errors allowed."""
    print("\nno flag does anything: a winner is crowned after the confirmation")
    most = FALSE + 2 * math.sqrt(FALSE * (1 - FALSE) / repetitions)
    missed = []
    for cv in cvs:
        crowned = false_winners(cv / 100, repetitions, share)
        print(f"{cv:>5g}  {crowned:>6.1%}", flush=True)
        if crowned > most:
            missed.append(f"CV {cv:g} %: noise is crowned in {crowned:.1%}")
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--cvs", default="0.3,1,10")
    parser.add_argument("--share", type=float, default=THIRD)
    asked = parser.parse_args()
    optuna.logging.set_verbosity(logging.WARNING)
    cvs = tuple(float(cv) for cv in asked.cvs.split(","))
    missed = show_losses(cvs, asked.repetitions, asked.share) + show_null(cvs, asked.repetitions, asked.share)
    print("\n" + ("missed:\n  " + "\n  ".join(missed) if missed else "all targets held"))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
