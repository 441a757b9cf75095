"""Is a planted truth found? Synthetic studies of known effects through the paired ratio, its verdict, and the looks.

N = 30 blocks, margins of 1 % (throughput) and 2 % (memory), 4,000 studies a line. Shares of verdicts under the fixed
design and under the sequential one, each with what is promised of it: a right verdict at least as often as the power
computed beforehand says (or 80 %, where no formula has it), a wrong one in at most 5 %, both with two Monte-Carlo errors.
`equivalent` is wrong outside the margin and on it, `different` inside it and on it. Then the same for log ratios that are
not normal or not independent (`misbehaving`), before and after the checks. Ends with status 1 where a promise is broken.

    python benchmarks/planted_truth.py [--studies 4000] [--only misbehaving]
"""

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import misbehaving
import numpy as np
from scipy.stats import nct, t

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from support.planted import MARGINS, MEMORY, THROUGHPUT, Arms, Truth, draw, draw_apart

from sparkray.stats.operating import Operating, ends_of, sd_log_of
from sparkray.stats.paired import Ratio, decide, paired_ratio, tost_power
from sparkray.stats.regression import Line, line
from sparkray.stats.sequential import Design

BLOCKS = 30
LOOKS = (4, 6, 8, 10, 12, 15, 20, 25, 30)
WRONG, POWER = 0.05, 0.80
MODELS_B = (0.5, 1.5, 3, 7, 8, 14, 20, 32, 70, 120)


@dataclass(frozen=True)
class Case:
    """A truth, the metric to look at, and the verdict that is right; `formula` where its power can be computed."""

    truth: Truth
    metric: str
    right: str
    formula: bool = True


CASES = (
    Case(Truth("ratio 1"), THROUGHPUT, "equivalent"),
    Case(Truth("ratio 1, noisy", cv_pct=1.0), THROUGHPUT, "equivalent"),
    Case(Truth("ratio 0.997", {THROUGHPUT: 0.997}), THROUGHPUT, "equivalent"),
    Case(Truth("ratio 0.99", {THROUGHPUT: 0.99}), THROUGHPUT, "undecided", formula=False),
    Case(Truth("ratio 1/1.01: on the margin", {THROUGHPUT: 1 / 1.01}), THROUGHPUT, "undecided", formula=False),
    Case(Truth("ratio 1.01: on the margin", {THROUGHPUT: 1.01}, cv_pct=0.3), THROUGHPUT, "undecided", formula=False),
    Case(Truth("ratio 0.97", {THROUGHPUT: 0.97}), THROUGHPUT, "different"),
    Case(Truth("ratio 0.97, noisy", {THROUGHPUT: 0.97}, cv_pct=1.0), THROUGHPUT, "different"),
    Case(Truth("memory +5 %", {MEMORY: 1.05}), MEMORY, "different"),
    Case(Truth("memory +5 %", {MEMORY: 1.05}), THROUGHPUT, "equivalent"),
    Case(Truth("memory +2 %: on the margin", {MEMORY: 1.02}), MEMORY, "undecided", formula=False),
    Case(Truth("drift -0.1 % a run", drift_pct=-0.1), THROUGHPUT, "equivalent", formula=False),
    Case(
        Truth("drift -0.1 % a run, on the margin", {THROUGHPUT: 1 / 1.01}, drift_pct=-0.1),
        THROUGHPUT,
        "undecided",
        formula=False,
    ),
    Case(Truth("one block 25 % slow", bad_block_pct=25), THROUGHPUT, "equivalent"),
    Case(Truth("one block 25 % slow, 0.97", {THROUGHPUT: 0.97}, bad_block_pct=25), THROUGHPUT, "different"),
    Case(Truth("one run 3 % slow", bad_run_pct=3), THROUGHPUT, "equivalent", formula=False),
)


@dataclass(frozen=True)
class Found:
    """Shares under the fixed design and the sequential one, and how often the fixed 95 % interval excludes 1."""

    fixed: Operating
    sequential: Operating
    excludes_one: float


def judge(arms: Arms, margin: float) -> Found:
    """Every study through the product's own functions."""
    verdicts, excluded = [], 0
    for a, b in zip(arms.reference, arms.other, strict=True):
        ratio = paired_ratio(a, b)
        if not isinstance(ratio, Ratio):
            raise SystemExit(ratio.reason)
        verdicts.append(decide(ratio, margin).verdict)
        excluded += ratio.excludes_one
    count = len(verdicts)
    fixed = Operating(count, verdicts.count("equivalent") / count, verdicts.count("different") / count, BLOCKS)
    return Found(fixed, ends_of(Design(LOOKS, margin), arms.log_ratios).rates, excluded / count)


def share(found: Operating, verdict: str) -> float:
    """The share of a verdict."""
    return {"equivalent": found.equivalent, "different": found.different, "undecided": found.undecided}[verdict]


def promised(case: Case) -> float:
    """How often the right verdict comes under the fixed design, by power."""
    if not case.formula:
        return 0.80
    sd, margin, ratio = sd_log_of(case.truth.cv_pct), MARGINS[case.metric], case.truth.ratio(case.metric)
    if case.right == "equivalent":
        return tost_power(BLOCKS, sd, margin, ratio=ratio)
    beyond = (abs(math.log(ratio)) - math.log1p(margin)) * math.sqrt(BLOCKS) / sd
    return float(nct.sf(t.ppf(0.975, BLOCKS - 1), BLOCKS - 1, min(beyond, 30.0)))


def wrong_verdicts(case: Case) -> tuple[str, ...]:
    """What must not be said in more than 5 %."""
    away = abs(math.log(case.truth.ratio(case.metric))) - math.log1p(MARGINS[case.metric])
    if math.isclose(away, 0.0, abs_tol=1e-12):
        return ("equivalent", "different")
    return ("equivalent",) if away > 0 else ("different",)


def broken(case: Case, found: Found) -> list[str]:
    """Promises that this case breaks."""
    count, said = found.fixed.experiments, []
    least = promised(case)
    floor = {"fixed": least - 2 * math.sqrt(max(least * (1 - least), 1 / count) / count), "sequential": 0.80}
    most = WRONG + 2 * math.sqrt(WRONG * (1 - WRONG) / count)
    for name, shares in (("fixed", found.fixed), ("sequential", found.sequential)):
        if share(shares, case.right) < floor[name] - 2 * math.sqrt(0.16 / count) * (name == "sequential"):
            said.append(f"{case.truth.name}, {name}: {case.right} in {share(shares, case.right):.4f} only")
        said += [
            f"{case.truth.name}, {name}: {wrong} in {share(shares, wrong):.4f}"
            for wrong in wrong_verdicts(case)
            if share(shares, wrong) > most
        ]
    return said


def slopes(truth: Truth, rng: np.random.Generator, studies: int) -> tuple[float, float]:
    """Of the log ratio on log10 of the parameters over ten models: how often 95 % cover the truth, how often not 0."""
    arms = [draw(truth, THROUGHPUT, rng, studies=studies, blocks=BLOCKS, parameters=b * 1e9) for b in MODELS_B]
    means = np.stack([found.log_ratios.mean(axis=1) for found in arms], axis=1)
    planted = math.log1p(truth.per_decade_pct / 100)
    covered = apart = 0
    for row in means:
        fitted = line(np.log10(np.array(MODELS_B) * 1e9), row)
        if isinstance(fitted, Line) and fitted.slope.low is not None and fitted.slope.high is not None:
            covered += fitted.slope.low <= planted <= fitted.slope.high
            apart += fitted.p < WRONG
    return covered / studies, apart / studies


def show_cases(cases: Sequence[Case], studies: int) -> list[str]:
    """The table; returns broken promises."""
    head = f"{'equiv.':>8}{'differ.':>8}{'undec.':>8}"
    print(
        f"{studies} studies a line; two Monte-Carlo errors at 5 %: {2 * math.sqrt(WRONG * (1 - WRONG) / studies):.4f}"
    )
    print(f"{'':52}{'right':<11}{'promised':>9}{'fixed N = 30':^24} {'sequential':^24}{'':>6}")
    print(f"{'planted':<36}{'metric':<16}{'':<11}{'':>9}{head} {head}{'pairs':>6}{'not 1':>7}")
    said: list[str] = []
    for number, case in enumerate(cases):
        rng = np.random.default_rng([number, 7])
        found = judge(draw(case.truth, case.metric, rng, studies=studies, blocks=BLOCKS), MARGINS[case.metric])
        shares = " ".join(
            "".join(f"{share(rates, verdict):>8.4f}" for verdict in ("equivalent", "different", "undecided"))
            for rates in (found.fixed, found.sequential)
        )
        metric = "throughput" if case.metric == THROUGHPUT else "memory"
        print(
            f"{case.truth.name:<36}{metric:<16}{case.right:<11}{promised(case):>9.4f}{shares}"
            f"{found.sequential.mean_pairs:>6.1f}{found.excludes_one:>7.3f}"
        )
        said += broken(case, found)
    return said


def show_sizes(studies: int) -> list[str]:
    """The size-dependent effect: small models lose, large ones do not; and no such effect."""
    said: list[str] = []
    error = 2 * math.sqrt(WRONG * (1 - WRONG) / studies)
    print("\nratio against size, ten models of 0.5e9 to 120e9 parameters      95 % CI covers it   p < 0.05")
    for gain in (0.0, 1.4):
        truth = Truth(f"{gain:+.1f} % for ten times the parameters", per_decade_pct=gain)
        covered, apart = slopes(truth, np.random.default_rng([int(gain * 10), 8]), studies)
        print(f"{truth.name:<66}{covered:>16.4f}{apart:>11.4f}")
        if abs(covered - 0.95) > error or (apart < POWER if gain else apart > WRONG + error):
            said.append(f"{truth.name}: covered in {covered:.4f}, seen in {apart:.4f}")
    return said


def show_apart(studies: int) -> None:
    """What blocks are for: arms that are alike on a drifting machine, arm after arm."""
    truth = Truth("", drift_pct=-0.1)
    found = judge(draw_apart(truth, np.random.default_rng(9), studies=studies, blocks=BLOCKS), 0.01)
    print(
        f"\nthe drifting machine with arms alike, one arm after the other instead of in blocks: "
        f"wrongly different in {found.fixed.different:.4f}"
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--studies", type=int, default=4_000)
    parser.add_argument("--only", choices=("planted", "misbehaving"), help="one half of it")
    asked = parser.parse_args()
    studies = asked.studies
    said: list[str] = []
    if asked.only != "misbehaving":
        said += show_cases(CASES, studies) + show_sizes(studies)
        show_apart(studies)
    if asked.only != "planted":
        said += misbehaving.show_table(studies) + misbehaving.show_power(5 * studies)
    print("\n" + ("\n".join(said) if said else "every promise is kept"))
    return 1 if said else 0


if __name__ == "__main__":
    raise SystemExit(main())
