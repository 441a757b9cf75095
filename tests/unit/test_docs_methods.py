"""The worked examples of docs/explanation/methods.md are what the code computes; every statistic and source is there."""

import re
from pathlib import Path

import numpy as np
import pytest

from sparkray.stats.bootstrap import ratio_of_means
from sparkray.stats.components import crossed
from sparkray.stats.descriptive import interval_ranks, summary
from sparkray.stats.effect import cohen
from sparkray.stats.independent import independent
from sparkray.stats.multiplicity import benjamini_hochberg, bonferroni, holm
from sparkray.stats.nested import clustered_ratio
from sparkray.stats.outliers import modified_z
from sparkray.stats.paired import decide, paired_ratio, pairs_needed, tost_power
from sparkray.stats.permutation import sign_flip
from sparkray.stats.power import minimum_detectable, paired_power, two_sample_power
from sparkray.stats.regression import line, pooled
from sparkray.stats.samples import Estimate
from sparkray.stats.serial import drift, memory
from sparkray.stats.subgroups import subgroups
from sparkray.stats.variance import paired_spread_ratio

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "explanation" / "methods.md").read_text(encoding="utf-8")
SECTIONS = {
    title: re.sub(r"\s+", " ", body)
    for title, body in re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
}
PARTS = {"__init__", "samples", "special", "noncentral", "reasons", "_crossing"}
"""Modules that are parts of others, not statistics."""


def row(name: str) -> list[float]:
    found = re.search(rf"^\| {name} \|(.+)\|$", PAGE, re.MULTILINE)
    assert found is not None
    return [float(cell) for cell in found[1].split("|")]


def series(title: str) -> list[float]:
    """The numbers of an example that begins with them."""
    found = re.search(r"\*Example\.\* ((?:[\d.]+, )+[\d.]+):", SECTIONS[title])
    assert found is not None
    return [float(each) for each in found[1].split(", ")]


def between(estimate: object, digits: int) -> str:
    assert isinstance(estimate, Estimate)
    return f"{estimate.low:.{digits}f} to {estimate.high:.{digits}f}"


A, B = row("native"), row("container")


def of_the_sample() -> list[str]:
    found = summary(A)
    ranks = interval_ranks(30, 0.5)
    return [
        f"mean {found.mean.value:.2f} ({between(found.mean, 2)}), s = {found.sd:.2f}, CV {found.cv_pct:.2f} %",
        f"median {found.median.value:.1f} ({between(found.median, 1)})",
        f"between the {ranks[0]}th and the {ranks[1]}st value",
        f"needs {next(n for n in range(1, 999) if interval_ranks(n, 0.95)[1])} runs",
        f"of the 99th {next(n for n in range(1, 999) if interval_ranks(n, 0.99)[1])}.",
    ]


def of_the_ratio() -> list[str]:
    found = paired_ratio(A, B)
    return [
        f"geometric mean is {found.ratio:.4f}, with {found.ci95[0]:.4f} to {found.ci95[1]:.4f} at 95 %",
        f"{found.ci90[0]:.4f} to {found.ci90[1]:.4f} at 90 %",
    ]


def of_the_verdict() -> list[str]:
    found = paired_ratio(A, B)
    assert found.excludes_one
    return [
        f"the verdict at 1 % is `{decide(found, 0.01).verdict}`",
        f"At a margin of 0.5 % the same data are `{decide(found, 0.005).verdict}`",
    ]


def of_the_numbers_of_runs() -> list[str]:
    sd = paired_ratio(A, B).sd_log
    rows = []
    for cv in (0.3, 1, 2, 5):
        noise = cv / 100 * 2**0.5
        cells = pairs_needed(noise, 0.01), f"{tost_power(30, noise, 0.01):.2f}", pairs_needed(noise, 0.005)
        rows.append(f"| {cv} % | {cells[0]} | {cells[1]} | {cells[2]} |")
    return [
        *rows,
        f"a standard deviation of {sd:.4f}.",
        f"can see {minimum_detectable(6, sd) * 100:.2f} %, thirty {minimum_detectable(30, sd) * 100:.2f} %",
    ]


def of_the_protocol() -> list[str]:
    found = independent(A, B)
    numbers = f"{found.shapiro_p_a:.2f} and {found.shapiro_p_b:.2f}", f"Levene p = {found.levene_p:.2g}"
    return [f"Shapiro-Wilk p = {numbers[0]}, {numbers[1]}: {found.test}, t = {found.statistic:.2f}, p = {found.p:.2f}"]


def of_the_permutations() -> list[str]:
    return ["Of 64 ways two are as extreme", f"p = 2/64 = {sign_flip(A, B):.3f}"]


def of_the_effects() -> list[str]:
    two = cohen(A, B)
    return [
        f"d = {two.d.value:.2f} ({between(two.d, 2)}), g = {two.g.value:.2f}",
    ]


def of_the_families() -> list[str]:
    p = [0.004, 0.02, 0.03, 0.4]
    adjusted = [", ".join(f"{each:.3g}" for each in rule(p)) for rule in (bonferroni, holm, benjamini_hochberg)]
    return [f"Bonferroni: {adjusted[0]}. Holm: {adjusted[1]}. Benjamini and Hochberg: {adjusted[2]}."]


def of_the_series() -> list[str]:
    values = series("Drift, memory, first runs")
    trend, remembered = drift(values), memory(values)
    assert remembered.effective_n is None
    return [
        f"drift {trend.pct_per_run.value:.2f} % a run ({between(trend.pct_per_run, 2)}), p = {trend.p:.3f}",
        f"r = {remembered.lag1:.2f}; eight runs",
    ]


def of_the_outliers() -> list[str]:
    scores = np.sort(np.abs(modified_z(series("Outliers"))))
    return [f"modified z of {scores[-1]:.1f}, the next largest {scores[-2]:.1f}"]


def of_the_sizes() -> list[str]:
    logs = np.log([0.998, 0.996, 0.994, 0.991, 0.990])
    slope = line(np.log10([1.5, 7, 14, 32, 70]), logs)
    factor = Estimate(*np.exp([slope.slope.value, slope.slope.low, slope.slope.high]))
    group, every = pooled(logs, [0.001] * 5)
    mean = Estimate(*np.exp([group.mean.value, group.mean.low, group.mean.high]))
    return [
        f"multiply the ratio by {factor.value:.4f} ({between(factor, 4)}), p = {slope.p:.3f}",
        f"I² = {every.i2_pct:.0f} %",
        f"the mean over models is {mean.value:.3f} ({between(mean, 3)})",
    ]


def of_the_groups() -> list[str]:
    found = subgroups({
        "dense": [(float(np.log(ratio)), 0.001) for ratio in (0.998, 0.995, 0.996)],
        "mixture": [(float(np.log(ratio)), 0.001) for ratio in (0.990, 0.993)],
    })  # fmt: skip
    (contrast,) = found.contrasts
    over = Estimate(*np.exp([contrast.difference.value, contrast.difference.low, contrast.difference.high]))
    assert found.df == 3
    return [
        f"τ = {found.tau:.4f}",
        f"is {over.value:.4f} times the dense ones' ({between(over, 4)}), p = {contrast.p:.3f}",
    ]


def of_the_machines() -> list[str]:
    found = clustered_ratio(A, B, [1, 1, 2, 2, 3, 3]).ratio
    return [f"{found.ratio:.4f} ({found.ci95[0]:.4f} to {found.ci95[1]:.4f})"]


def of_the_spreads() -> list[str]:
    found = paired_spread_ratio(A, B)
    return [f"{found.ratio.value:.2f} times the native one ({between(found.ratio, 2)}), p = {found.p:.2f}"]


EXAMPLES = {
    "What a sample looks like": of_the_sample,
    "The ratio of two arms": of_the_ratio,
    "The verdict": of_the_verdict,
    "How many runs": of_the_numbers_of_runs,
    "Post-hoc power, and why it is useless": lambda: [
        f"p = {independent(A, B).p:.2f}; its post-hoc power is {two_sample_power(cohen(A, B).d.value, 6, 6):.2f}"
    ],
    "The protocol's own test": of_the_protocol,
    "Bootstrap intervals": lambda: [
        f"mean(container) / mean(native) = {ratio_of_means(A, B).value:.4f}, BCa interval {between(ratio_of_means(A, B), 3)}"
    ],
    "The permutation test": of_the_permutations,
    "Effect sizes": of_the_effects,
    "Many comparisons at once": of_the_families,
    "Drift, memory, first runs": of_the_series,
    "Outliers": of_the_outliers,
    "Where the noise comes from": lambda: [
        "{:.1f} % between blocks, {:.1f} % within".format(*crossed(np.column_stack([A, B])).shares_pct[:2])
    ],
    "Several machines or days": of_the_machines,
    "Does size matter": of_the_sizes,
    "Do groups of models differ": of_the_groups,
    "Calmer, not faster": of_the_spreads,
}


@pytest.mark.parametrize("title", EXAMPLES)
def test_an_example_is_what_the_code_computes(title: str) -> None:
    assert [text for text in EXAMPLES[title]() if text not in SECTIONS[title]] == []


def test_every_example_is_checked() -> None:
    assert {title for title, body in SECTIONS.items() if "*Example.*" in body} <= set(EXAMPLES)


def test_every_statistic_has_its_place() -> None:
    modules = {path.stem for path in (ROOT / "sparkray" / "stats").glob("*.py")} - PARTS
    assert [name for name in sorted(modules) if not re.search(rf"`{name}[.`]", PAGE)] == []


def test_every_year_in_the_text_is_in_the_list_of_sources() -> None:
    text, sources = PAGE.split("## Sources")
    cited = set(re.findall(r"\b(?:19|20)\d\d\b", text))
    assert cited - set(re.findall(r"\((\d{4})\)", sources)) == set()


def test_a_ratio_of_spreads_of_one_and_a_half_is_just_visible_with_30_pairs() -> None:
    rng, rounds = np.random.default_rng(1), 500
    seen = [paired_spread_ratio(*(rng.normal(0, 1, (2, 30)) * [[1], [1.5]])).p < 0.05 for _ in range(rounds)]
    assert 0.4 < np.mean(seen) < 0.8


def test_the_minimum_detectable_effect_depends_on_noise_alone() -> None:
    sd = paired_ratio(A, B).sd_log
    assert paired_power(1 + minimum_detectable(6, sd), sd, 6) == pytest.approx(0.8)
