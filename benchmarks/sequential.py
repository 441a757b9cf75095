"""Group-sequential looks against a fixed N = 30: type I error, power and pairs, 10,000 simulated experiments a scenario.

A CV is that of one run, log-normal; a pair's log ratio has sqrt(2) times as much. At a true ratio on the margin
`equivalent` and `different` may each come with at most 5 % (plus two Monte-Carlo errors). At a ratio of 1 the power of
`equivalent` is to be 80 % where a fixed N = 30 has it; elsewhere the number of pairs that would give it is printed. At a
CV of 0.3 % and a margin of 1 % the mean number of runs is to be 2.3 times smaller than that of fixed N = 30 (1.8 times by
O'Brien and Fleming): before 20 pairs an interim analysis must be 2.5 times as certain, since few pairs do not show that they
are skewed; without that it was 3 times. Ends with status 1 where one of these does not hold. The last table leaves the
normal law, which the bounds rest on.

    python benchmarks/sequential.py [--experiments 10000] [--looks 4,6,8,10,12,15,20,25,30]
"""

import argparse
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sparkray.config.experiment import Spending
from sparkray.stats.operating import Operating, ends_of, operating, sd_log_of
from sparkray.stats.paired import pairs_needed, tost_power
from sparkray.stats.sequential import Design

FIXED = 30
CVS = (0.3, 0.5, 1.0, 2.0, 5.0)
MARGINS = (0.01, 0.005)
SPENDINGS: tuple[Spending, ...] = ("linear", "pocock", "obrien_fleming")
POWER, ALPHA = 0.80, 0.05
FEWER: Mapping[Spending, float] = {"linear": 2.3, "pocock": 2.3, "obrien_fleming": 1.8}
MOST_SEARCHED = 150
Draw = Callable[[np.random.Generator, tuple[int, int]], NDArray[np.float64]]
LAWS: dict[str, Draw] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t with 5 df": lambda rng, shape: rng.standard_t(5, shape) / math.sqrt(5 / 3),
    "t with 3 df": lambda rng, shape: rng.standard_t(3, shape) / math.sqrt(3),
    "uniform": lambda rng, shape: rng.uniform(-math.sqrt(3), math.sqrt(3), shape),
    "difference of two skewed": lambda rng, shape: (rng.gamma(1, size=shape) - rng.gamma(1, size=shape)) / math.sqrt(2),
    "skewed (gamma, skewness 1)": lambda rng, shape: (rng.gamma(4, size=shape) - 4) / 2,
    "lag-1 correlation 0.2": lambda rng, shape: _correlated(rng, shape, 0.2),
}


def _correlated(rng: np.random.Generator, shape: tuple[int, int], share: float) -> NDArray[np.float64]:
    values = rng.standard_normal(shape)
    for column in range(1, shape[1]):
        values[:, column] = share * values[:, column - 1] + math.sqrt(1 - share**2) * values[:, column]
    return values


def most_allowed(experiments: int) -> float:
    """5 % and two Monte-Carlo errors."""
    return ALPHA + 2 * math.sqrt(ALPHA * (1 - ALPHA) / experiments)


def pairs_for_power(design: Design, sd_log: float, experiments: int) -> str:
    """The least maximum of pairs (looks scaled) with 80 % power.

    Found at a noise for which a fixed design needs at most `MOST_SEARCHED` pairs, and scaled from there: how much more
    than a fixed design a sequential one needs hardly depends on the noise once pairs are many.
    """
    fixed = pairs_needed(sd_log, design.margin)
    if fixed is None:
        return "more than 100,000"
    scale = max(1.0, math.sqrt(fixed / MOST_SEARCHED))
    base = pairs_needed(sd_log / scale, design.margin) or fixed
    low, high = base - 1, 2 * base
    while high - low > 1:
        middle = (low + high) // 2
        looks = tuple(sorted({max(3, round(n * middle / design.looks[-1])) for n in design.looks}))
        found = operating(replace(design, looks=looks), sd_log=sd_log / scale, experiments=experiments)
        low, high = (low, middle) if found.equivalent >= POWER else (middle, high)
    about = "" if base == fixed else "about "
    return f"{about}{round(high * fixed / base)} at most (fixed: {fixed})"


def scenario(design: Design, cv_pct: float, experiments: int) -> tuple[Operating, Operating]:
    """At a ratio on the margin, and at 1."""
    sd_log = sd_log_of(cv_pct)
    return (
        operating(design, sd_log=sd_log, ratio=1 + design.margin, experiments=experiments, seed=1),
        operating(design, sd_log=sd_log, experiments=experiments, seed=2),
    )


def show_scenarios(looks: tuple[int, ...], experiments: int) -> list[str]:
    """The table by spending, margin and CV; returns what does not hold."""
    broken: list[str] = []
    bound = most_allowed(experiments)
    print(
        f"looks at {', '.join(map(str, looks))} pairs; {experiments} experiments a line; at most {bound:.4f} at the margin"
    )
    print(f"{'':32}{'ratio at the margin':^22}{'ratio 1':^38}")
    print(
        f"{'spending':<16}{'margin':>7}{'CV %':>6}   {'equivalent':>10}{'different':>11} "
        f"{'equivalent':>11}{'fixed 30':>9}{'pairs':>7}{'fewer':>7}   pairs for 80 %"
    )
    for spending in SPENDINGS:
        for margin in MARGINS:
            design = Design(looks, margin, spending=spending)
            for cv in CVS:
                edge, same = scenario(design, cv, experiments)
                fixed = tost_power(FIXED, sd_log_of(cv), margin)
                fewer = FIXED / same.mean_pairs
                has = same.equivalent >= POWER
                need = "" if has else pairs_for_power(design, sd_log_of(cv), experiments)
                print(
                    f"{spending:<16}{margin:>7.1%}{cv:>6.1f}   {edge.equivalent:>10.4f}{edge.different:>11.4f} "
                    f"{same.equivalent:>11.4f}{fixed:>9.4f}{same.mean_pairs:>7.1f}{fewer:>6.1f}x   {need}"
                )
                what = f"{spending}, margin {margin:.1%}, CV {cv} %"
                if max(edge.equivalent, edge.different) > bound:
                    broken.append(f"{what}: a verdict at the margin above {bound:.4f}")
                if fixed >= POWER and not has:
                    broken.append(f"{what}: power {same.equivalent:.3f} where fixed N has {fixed:.3f}")
                if (margin, cv) == (0.01, 0.3) and fewer < FEWER[spending]:
                    broken.append(f"{what}: {fewer:.2f} times fewer runs, not {FEWER[spending]:g}")
    return broken


def show_laws(looks: tuple[int, ...], experiments: int) -> None:
    """`equivalent` and `different` at the margin when log ratios are not normal or not independent; no promise.

    MachineDisplay the looks stands the fixed design, whose t test rests on the same law.
    """
    print("\nratio at the margin of 1 %, linear spending; not a promise, but what it rests on")
    print(f"{'':<30}{'looks, CV 0.3 %':^18}{'looks, CV 1 %':^18}{'N = 30, CV 0.3 %':^18}{'N = 30, CV 1 %':^18}")
    print(f"{'law of a pair':<30}" + f"{'equiv.':>9}{'differ.':>9}" * 4)
    rng = np.random.default_rng(3)
    for name, draw in LAWS.items():
        shown = ""
        for at in (looks, (looks[-1],)):
            for cv in (0.3, 1.0):
                logs = math.log1p(0.01) + sd_log_of(cv) * draw(rng, (experiments, looks[-1]))
                found = ends_of(Design(at, 0.01), logs).rates
                shown += f"{found.equivalent:>9.4f}{found.different:>9.4f}"
        print(f"{name:<30}{shown}")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--experiments", type=int, default=10_000)
    parser.add_argument("--looks", default="4,6,8,10,12,15,20,25,30")
    asked = parser.parse_args()
    looks = tuple(int(n) for n in asked.looks.split(","))
    broken = show_scenarios(looks, asked.experiments)
    show_laws(looks, asked.experiments)
    print("\n" + ("\n".join(broken) if broken else "all held"))
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
