"""The search of Docker options against simpler ones, on simulated machines whose truth is known.

Each repetition draws a machine: ten factors, among them levels with real gains (0.5 to 4 %), two that gain only together,
two that gain apart and not together, levels with real harm (5 to 60 %), one over a memory constraint, one whose container
fails, a factor that acts only under another's level, and levels that do nothing. A run has log-normal noise of the given
CV, and the machine drifts: its speed walks at random from run to run, inside blocks and between them. Every run counts,
those of the baseline and those that fail. Strategies:

    ours      sparkray.optimize.search as `optimize` calls it, without what a screen reports, in a third of the runs of ofat
    ofat      each level alone, 10 blocks of all of them and the baseline; those whose 95 % interval lies above 1, combined
    random    uniform, one run a trial, eight and the baseline to a block, the best observed; as many runs as ours
    tpe       Optuna's TPE (multivariate, grouped), else as random

A third is what the search alone takes. `optimize` spends a screen before it, and both together are more than ofat takes: the
screen is for what each level does by itself, which a search does not tell. Its runs are printed beside the others'.

Printed: median and 90th percentile of the true loss of the chosen configuration against the best feasible one, and how
often it is within 1 %. A choice that violates the constraint or fails has lost everything. Targets at CV <= 1 %: within
1 % in at least 90 % of the repetitions with at most a third of the runs of ofat. Then, with every level doing nothing,
how often screen, search, shortlist and confirmation on fresh runs, all as `optimize` does them, crown a winner: at most
5 % at any noise. Ends with status 1 where a target is missed.

    python benchmarks/search_efficiency.py [--repetitions 200] [--cvs 0.3,1,10] [--share 0.333] [--drift 0.1] [--jobs 1]
"""

import argparse
import logging
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import optuna
from optuna.storages import InMemoryStorage
from simulated_machines import DRIFT, LOST, Bench, Choices, best_truth, draw, loss, make_feasible_space, null

from sparkray.optimize.confirm import RISK
from sparkray.optimize.search import FeasibleSpace, Found, Settings, search, shortlist
from sparkray.optimize.search.propose import tpe
from sparkray.stats.paired import ratio_of_logs
from sparkray.stats.screen import beyond_margin, screen_effects

RUNS_A_LEVEL, MARGIN = 10, 0.01
CONFIRM_BLOCKS = (12, 30)
"""What `optimize --runs 4` and a whole one have."""
WITHIN, OFTEN, THIRD, FALSE = 0.01, 0.90, 1 / 3, 0.05


def settings_within(runs: int, seed: int) -> Settings:
    """Those of `optimize --trials N`, N being as many as so many runs allow."""
    made = (Settings("simulated", "memory:", trials, ("model",), seed=seed) for trials in range(runs, 0, -1))
    return next(settings for settings in made if settings.most_runs <= runs)


def found_by(feasible: FeasibleSpace, bench: Bench, *, runs: int, seed: int) -> Found:
    """The room's own search, its noise unknown to it."""
    return search(feasible, bench.submit, settings=settings_within(runs, seed), storage=InMemoryStorage())


def ours(feasible: FeasibleSpace, bench: Bench, *, runs: int, seed: int) -> Choices:
    found = found_by(feasible, bench, runs=runs, seed=seed)
    return found.best.choices if found.best and (found.best.estimate or 0.0) > 0 else {}


def levels_alone(feasible: FeasibleSpace) -> dict[str, Choices]:
    """Every level as the only change, with what it needs."""
    return {
        f"{axis.name}={label}": {axis.name: label} if verdict.alone else {"ipc": "private", axis.name: label}
        for axis in feasible.axes
        for label, verdict in axis.levels.items()
    }


def ofat(feasible: FeasibleSpace, bench: Bench, **_: int) -> Choices:
    """Every level alone, then the levels that were seen to gain, combined."""
    alone = levels_alone(feasible)
    blocks = [bench.results(list(alone.values())) for _ in range(RUNS_A_LEVEL)]
    winners: dict[str, tuple[float, str]] = {}
    for name, results in zip(alone, zip(*blocks, strict=True), strict=True):
        factor, _, label = name.partition("=")
        logs = [r.log_ratio for r in results if r.log_ratio is not None and r.constraints["memory"] <= 0]
        if len(logs) < RUNS_A_LEVEL:
            continue
        ratio = ratio_of_logs(np.array(logs))
        if ratio.ci95[0] > 1 and math.log(ratio.ratio) > winners.get(factor, (0.0, ""))[0]:
            winners[factor] = math.log(ratio.ratio), label
    chosen = {name: label for name, (_, label) in winners.items()}
    return {"ipc": "private", **chosen} if "shm_size" in chosen else chosen


def _one_each(feasible: FeasibleSpace, bench: Bench, *, runs: int, sampler: optuna.samplers.BaseSampler) -> Choices:
    study = optuna.create_study(sampler=sampler, direction="maximize", storage=InMemoryStorage())
    best: tuple[float, Choices] = (0.0, {})
    while (room := min(8, runs - bench.runs - 1)) > 0:
        handles = [study.ask() for _ in range(room)]
        many = [
            feasible.choose(lambda name, labels, h=handle: str(h.suggest_categorical(name, labels)))  # type: ignore[misc]
            for handle in handles
        ]
        for handle, choices, result in zip(handles, many, bench.results(many), strict=True):
            if result.log_ratio is None:
                study.tell(handle, state=optuna.trial.TrialState.FAIL)
                continue
            handle.set_constraint("memory", result.constraints["memory"])
            study.tell(handle, result.log_ratio)
            if result.constraints["memory"] <= 0 and result.log_ratio > best[0]:
                best = result.log_ratio, choices
    return best[1]


def random(feasible: FeasibleSpace, bench: Bench, *, runs: int, seed: int) -> Choices:
    return _one_each(feasible, bench, runs=runs, sampler=optuna.samplers.RandomSampler(seed=seed))


def plain_tpe(feasible: FeasibleSpace, bench: Bench, *, runs: int, seed: int) -> Choices:
    return _one_each(feasible, bench, runs=runs, sampler=tpe(seed, 10))


STRATEGIES: dict[str, Callable[..., Choices]] = {"ours": ours, "ofat": ofat, "random": random, "tpe": plain_tpe}


@dataclass(frozen=True)
class Row:
    """Losses of a strategy over repetitions, and its mean runs."""

    losses: Sequence[float]
    runs: float

    @property
    def within(self) -> float:
        """Share of repetitions within the target."""
        return float(np.mean(np.asarray(self.losses) <= WITHIN))


@dataclass(frozen=True)
class Asked:
    """How the benchmark is done: machines from `first` on, so that what is tuned is tuned on others than are printed."""

    repetitions: int = 200
    share: float = THIRD
    drift: float = DRIFT
    jobs: int = 1
    first: int = 0

    def over(self, one: Callable[[int], object], what: str) -> list[object]:
        """Every repetition of something, with a sign of life."""
        found = []
        numbers = range(self.first, self.first + self.repetitions)
        with ProcessPoolExecutor(self.jobs) as pool:
            for made in pool.map(one, numbers) if self.jobs > 1 else map(one, numbers):
                found.append(made)
                if sys.stderr.isatty():
                    print(f"\r{what}: {len(found)} of {self.repetitions}   ", end="", file=sys.stderr)
        if sys.stderr.isatty():
            print("\r" + " " * 60 + "\r", end="", file=sys.stderr)
        return found


def budget_of(feasible: FeasibleSpace, share: float) -> tuple[int, int]:
    """Runs of one-factor-at-a-time, and the share of them that the others get."""
    full = RUNS_A_LEVEL * (len(levels_alone(feasible)) + 1)
    return full, int(share * full)


def screen_runs(feasible: FeasibleSpace) -> int:
    """Runs of the screen that `optimize` makes before it searches, where no level is given up: native is in it too."""
    alone = sum(verdict.alone for axis in feasible.axes for verdict in axis.levels.values())
    return RUNS_A_LEVEL * (alone + 2)


def once(repetition: int, *, name: str, cv: float, asked: Asked) -> tuple[float, int]:
    """The loss of a strategy on one machine, and its runs; the same machine for every strategy."""
    optuna.logging.set_verbosity(logging.WARNING)
    feasible = make_feasible_space()
    machine = draw(np.random.default_rng([repetition, 1]), cv)
    bench = Bench(machine, np.random.default_rng([repetition, 2]), drift=asked.drift)
    chosen = STRATEGIES[name](feasible, bench, runs=budget_of(feasible, asked.share)[1], seed=repetition)
    return loss(feasible, machine, chosen, best_truth(feasible, machine)), bench.runs


def measured(name: str, cv: float, asked: Asked) -> Row:
    """A strategy on as many machines as there are repetitions."""
    found = asked.over(partial(once, name=name, cv=cv, asked=asked), f"{name}, CV {100 * cv:g} %")
    losses, runs = zip(*found, strict=True)  # type: ignore[call-overload]
    return Row(losses, float(np.mean(runs)))


def crowned(bench: Bench, feasible: FeasibleSpace, found: Found, *, screened: bool, blocks: int) -> bool:
    """Whether a candidate wins, by the rule of the confirmation, over fresh blocks of all of them and the baseline."""
    screen = ()
    if screened:
        alone = {name: choices for name, choices in levels_alone(feasible).items() if len(choices) == 1}
        screen = _effects(bench, alone, RUNS_A_LEVEL)
    candidates = {one.environment: one.choices for one in shortlist(feasible, found, screen)}
    ps = beyond_margin(_effects(bench, candidates, blocks), MARGIN)
    return any(p is not None and p < RISK for p in ps)


def _effects(bench: Bench, many: Mapping[str, Choices], blocks: int) -> tuple:  # type: ignore[type-arg]
    logs = [bench.block(list(many.values())) for _ in range(blocks)]
    arms = [
        {block: math.exp(value) for block, value in enumerate(arm) if value is not None}
        for arm in zip(*logs, strict=True)
    ]
    return screen_effects(arms[0], dict(zip(many, arms[1:], strict=True)))  # type: ignore[arg-type]


def null_once(repetition: int, *, cv: float, asked: Asked) -> list[bool]:
    """Whether a winner is crowned where no flag does anything, for each number of blocks."""
    optuna.logging.set_verbosity(logging.WARNING)
    feasible = make_feasible_space()
    bench = Bench(null(cv), np.random.default_rng([repetition, 4]), drift=asked.drift)
    found = found_by(feasible, bench, runs=budget_of(feasible, asked.share)[1], seed=repetition)
    return [crowned(bench, feasible, found, screened=True, blocks=blocks) for blocks in CONFIRM_BLOCKS]


def false_winners(cv: float, asked: Asked) -> list[float]:
    """How often a winner is crowned on a machine on which no flag does anything, by number of blocks."""
    found = asked.over(partial(null_once, cv=cv, asked=asked), f"nothing, CV {100 * cv:g} %")
    return [float(np.mean(made)) for made in zip(*found, strict=True)]  # type: ignore[call-overload]


def show_losses(cvs: Sequence[float], asked: Asked, names: Sequence[str] = tuple(STRATEGIES)) -> list[str]:
    """The table of losses; what missed its target."""
    feasible = make_feasible_space()
    full, budget = budget_of(feasible, asked.share)
    print(
        f"{asked.repetitions} machines, {len(feasible.axes)} factors, drift {asked.drift:g} CV a run; one factor at a time: "
        f"{full} runs; the others: {budget}; the screen that `optimize` makes before it searches: {screen_runs(feasible)} "
        "more, of which nothing is told here\n"
    )
    print(
        f"{'CV %':>5}  {'strategy':<9}{'runs':>6}{'median loss %':>15}{'90th pct. %':>13}{'within 1 %':>12}{'unusable':>10}"
    )
    missed = []
    for cv in cvs:
        for name in names:
            row = measured(name, cv / 100, asked)
            usable = [100 * value for value in row.losses]
            print(
                f"{cv:>5g}  {name:<9}{row.runs:>6.0f}{np.median(usable):>15.2f}{np.quantile(usable, 0.9):>13.2f}"
                f"{row.within:>12.1%}{np.mean(np.asarray(row.losses) >= LOST):>10.1%}",
                flush=True,
            )
            if name == "ours" and cv <= 1 and (row.within < OFTEN or row.runs > THIRD * full):
                error = math.sqrt(row.within * (1 - row.within) / asked.repetitions)
                missed.append(
                    f"CV {cv:g} %: within 1 % in {row.within:.1%} (se {error:.1%}) of {row.runs:.0f} runs each"
                )
    return missed


def show_null(cvs: Sequence[float], asked: Asked) -> list[str]:
    """How often noise is crowned; what missed its target, two Monte-Carlo errors allowed."""
    print("\nno flag does anything: a winner is crowned after the confirmation")
    print(f"{'CV %':>5}" + "".join(f"{f'{blocks} blocks':>12}" for blocks in CONFIRM_BLOCKS))
    most = FALSE + 2 * math.sqrt(FALSE * (1 - FALSE) / asked.repetitions)
    missed = []
    for cv in cvs:
        often = false_winners(cv / 100, asked)
        print(f"{cv:>5g}" + "".join(f"{share:>12.1%}" for share in often), flush=True)
        missed += [
            f"CV {cv:g} %: noise is crowned in {share:.1%} of confirmations of {blocks} blocks"
            for blocks, share in zip(CONFIRM_BLOCKS, often, strict=True)
            if share > most
        ]
    return missed


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=200)
    parser.add_argument("--cvs", default="0.3,1,10")
    parser.add_argument("--share", type=float, default=THIRD)
    parser.add_argument(
        "--drift", type=float, default=DRIFT, help="sd of a step of the machine's walk, in CVs of a run"
    )
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--first", type=int, default=0, help="number of the first machine")
    parser.add_argument("--only", default="", help="one strategy, and no null test")
    given = parser.parse_args()
    asked = Asked(given.repetitions, given.share, given.drift, given.jobs, given.first)
    cvs = tuple(float(cv) for cv in given.cvs.split(","))
    alone = bool(given.only)
    missed = show_losses(cvs, asked, [given.only]) if alone else [*show_losses(cvs, asked), *show_null(cvs, asked)]
    print("\n" + ("missed:\n  " + "\n  ".join(missed) if missed else "all targets held"))
    return 1 if missed else 0


if __name__ == "__main__":
    raise SystemExit(main())
