"""Screening: what each level does alone, by pairs inside blocks; and what two-level factors do together, by a fraction.

One factor at a time: a level's log ratios to the baseline of the same block, with Student's t interval, p-values adjusted
after Holm over all levels of a metric, the verdict against the margin, and the spread after Pitman and Morgan.

Fractional factorial: two levels a factor, coded -1 and +1, in 2^(k-p) runs. The design is of resolution IV: no main effect
is aliased with another or with a two-factor interaction; two-factor interactions are, with each other. Columns are the
basic factors and their products of odd length: a product of three columns of odd length has odd length, so that a word of
three letters cannot vanish (Box and Hunter 1961, "The 2^(k-p) fractional factorial designs", Technometrics 3).
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

from sparkray.stats import NotEstimable
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import Decision, Ratio, decide, ratio_of_logs
from sparkray.stats.samples import Estimate, Vector, alike, from_log
from sparkray.stats.variance import PairedSpreadRatio, paired_spread_ratio

Better = Literal["higher", "lower"]
Signs = NDArray[np.int8]
_LEAST_PAIRS, _LEAST_FACTORS, _MOST_BASIC = 2, 2, 12


@dataclass(frozen=True)
class LevelEffect:
    """What one level does to one metric.

    Attributes:
        name: Of the level (`factor=level`).
        ratio: level / baseline, paired by block; not estimable with fewer than two pairs.
        gain_log: ln of the ratio, turned so that higher is better; None where the ratio is not estimable.
        p: Of a ratio of 1, two-sided (paired t test of the log ratios); None where not estimable.
        p_holm: Adjusted over all levels.
        decision: Against the margin; None where not estimable.
        spread: sd(level) / sd(baseline) of the logarithms over the same blocks.
        pairs: Blocks that have both.
        missing: Blocks that have the baseline and not the level.
    """

    name: str
    ratio: Ratio | NotEstimable
    gain_log: float | None
    p: float | None
    p_holm: float | None
    decision: Decision | None
    spread: PairedSpreadRatio | NotEstimable
    pairs: int
    missing: int

    @property
    def helps(self) -> bool:
        """Whether it gains after Holm, by however little."""
        return self.p_holm is not None and self.p_holm < 0.05 and (self.gain_log or 0.0) > 0.0  # noqa: PLR2004 - 5 %

    @property
    def harms(self) -> bool:
        """Whether it loses after Holm, by however little."""
        return self.p_holm is not None and self.p_holm < 0.05 and (self.gain_log or 0.0) < 0.0  # noqa: PLR2004 - 5 %


def screen_effects(
    baseline: Mapping[object, float],
    levels: Mapping[str, Mapping[object, float]],
    margin: float,
    *,
    better: Better = "higher",
) -> tuple[LevelEffect, ...]:
    """The effect of every level, in their order.

    Args:
        baseline: Value by block (any hashable key, such as (model, block)), above 0.
        levels: For each level the same, in the same unit.
        margin: Relative, above 0.
        better: Which direction is a gain.
    """
    logs = {name: _paired(baseline, values) for name, values in levels.items()}
    found = {name: _tested(pairs) for name, (_, pairs) in logs.items()}
    adjusted = holm([p for _, p in found.values()])
    sign = 1.0 if better == "higher" else -1.0
    effects = []
    for (name, (ratio, p)), p_holm in zip(found.items(), adjusted, strict=True):
        blocks, pairs = logs[name]
        estimable = isinstance(ratio, Ratio)
        effects.append(
            LevelEffect(
                name=name,
                ratio=ratio,
                gain_log=sign * float(np.mean(pairs[1] - pairs[0])) if estimable else None,
                p=p,
                p_holm=p_holm,
                decision=decide(ratio, margin) if isinstance(ratio, Ratio) else None,
                spread=paired_spread_ratio(pairs[0], pairs[1]),
                pairs=blocks,
                missing=len(baseline) - blocks,
            )
        )
    return tuple(effects)


def beyond_margin(effects: Sequence[LevelEffect], margin: float) -> list[float | None]:
    """One-sided p of a gain of no more than the margin, adjusted after Holm over the effects; None where not estimable."""
    return holm([_beyond(effect, margin) for effect in effects])


def _beyond(effect: LevelEffect, margin: float) -> float | None:
    if not isinstance(effect.ratio, Ratio) or effect.gain_log is None:
        return None
    ahead = effect.gain_log - math.log1p(margin)
    if effect.ratio.sd_log == 0:
        return 0.0 if ahead > 0 else 1.0
    return float(special.stdtr(effect.ratio.n - 1, -ahead / (effect.ratio.sd_log / math.sqrt(effect.ratio.n))))


def _paired(baseline: Mapping[object, float], values: Mapping[object, float]) -> tuple[int, NDArray[np.float64]]:
    """Number of common blocks, and the logarithms of both arms there, shape (2, blocks); none of a value not above 0."""
    common = [block for block in baseline if block in values and min(baseline[block], values[block]) > 0]
    logs = [[math.log(arm[block]) for block in common] for arm in (baseline, values)]
    return len(common), np.array(logs, dtype=np.float64).reshape(2, len(common))


def _tested(pairs: NDArray[np.float64]) -> tuple[Ratio | NotEstimable, float | None]:
    """The ratio and the p of the paired t test; arms that are alike in every block have p = 1."""
    n = pairs.shape[1]
    if n < _LEAST_PAIRS:
        return NotEstimable(f"{n} complete pair{'s' * (n != 1)}: an interval needs at least {_LEAST_PAIRS}"), None
    differences = pairs[1] - pairs[0]
    ratio = ratio_of_logs(differences)
    mean = float(np.mean(differences))
    if alike(differences, float(np.max(np.abs(pairs)))):
        return ratio, 1.0 if math.isclose(mean, 0.0, abs_tol=1e-15) else 0.0
    t = mean / (ratio.sd_log / math.sqrt(n))
    return ratio, 2 * float(special.stdtr(n - 1, -abs(t)))


@dataclass(frozen=True)
class Fraction:
    """A two-level design.

    Attributes:
        factors: Names, one a column.
        signs: -1 and +1, shape (runs, factors).
        generators: Each column that is a product, with the basic columns it is the product of.
        resolution: 4, or more where there are as many runs as a full factorial has.
    """

    factors: tuple[str, ...]
    signs: Signs
    generators: Mapping[str, tuple[str, ...]]
    resolution: int

    @property
    def runs(self) -> int:
        """Combinations of levels."""
        return int(self.signs.shape[0])

    def aliases(self) -> tuple[tuple[tuple[str, str], ...], ...]:
        """Two-factor interactions in groups that the design cannot tell apart, up to sign; each group once."""
        groups: dict[bytes, list[tuple[str, str]]] = {}
        for one, other in itertools.combinations(range(len(self.factors)), 2):
            column = self.signs[:, one] * self.signs[:, other]
            groups.setdefault((column * column[0]).tobytes(), []).append((self.factors[one], self.factors[other]))
        return tuple(tuple(group) for group in groups.values())


def fraction(factors: Sequence[str]) -> Fraction:
    """The smallest two-level design of resolution IV or higher for these factors: k factors in at least 2k runs.

    Raises:
        ValueError: Fewer than two factors, a name that stands twice, or more than 2048.
    """
    names = tuple(factors)
    if len(names) < _LEAST_FACTORS or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} factors ({', '.join(names)}): at least two, each once")
    basic = next((n for n in range(2, _MOST_BASIC + 1) if _columns_of(n) >= len(names)), None)
    if basic is None:
        raise ValueError(f"{len(names)} factors: at most {2 ** (_MOST_BASIC - 1)}")
    basic = min(basic, len(names))
    full = np.array(list(itertools.product((-1, 1), repeat=basic)), dtype=np.int8)[:, ::-1]
    words = _words(basic)[: len(names)]
    signs = np.stack([np.prod(full[:, list(word)], axis=1) for word in words], axis=1).astype(np.int8)
    generators = {
        name: tuple(names[place] for place in word) for name, word in zip(names, words, strict=True) if len(word) > 1
    }
    return Fraction(names, signs, generators, 4 if generators else len(names) + 1)


def _columns_of(basic: int) -> int:
    """Products of odd length of so many basic factors; of two, the two themselves."""
    return 1 << (basic - 1)


def _words(basic: int) -> list[tuple[int, ...]]:
    """The basic factors, then products of three, of five, and so on."""
    return [word for length in range(1, basic + 1, 2) for word in itertools.combinations(range(basic), length)]


@dataclass(frozen=True)
class Contrast:
    """An effect of a two-level design: the mean at +1 less that at -1, in log ratios where those were given.

    Attributes:
        names: The factor, or the two-factor interactions that share the column; more than one are aliases.
        effect: With its 95 % interval; without one where nothing is left to estimate the error from.
        p: Of no effect; None likewise.
        p_holm: Adjusted over all contrasts.
    """

    names: tuple[str, ...]
    effect: Estimate
    p: float | None
    p_holm: float | None

    @property
    def ratio(self) -> float:
        """The exponential of the effect."""
        return from_log(self.effect.value)


def fraction_effects(design: Fraction, values: NDArray[np.float64]) -> tuple[Contrast, ...] | NotEstimable:
    """Main effects, then two-factor interactions by group of aliases.

    The error is that of the residual after blocks, main effects and all groups; blocks hold every run of the design once.

    Args:
        design: Of so many runs.
        values: Shape (blocks, runs), log ratios or any measure; a design with a missing run is not orthogonal.
    """
    table = np.asarray(values, dtype=np.float64)
    if table.ndim != 2 or table.shape[1] != design.runs or not table.size:  # noqa: PLR2004 - a table
        return NotEstimable(f"values of shape {table.shape}: (blocks, {design.runs}) are needed")
    if not np.all(np.isfinite(table)):
        return NotEstimable("a run is missing or not a finite number: the design is orthogonal only as a whole")
    names, columns = _contrasts(design)
    means = np.mean(table, axis=0)
    effects = 2.0 * (columns.T @ means) / design.runs
    fitted = columns @ (effects / 2.0)
    residual = table - np.mean(table, axis=1, keepdims=True) - fitted
    df = table.size - table.shape[0] - len(names)
    error = 2.0 * math.sqrt(float(np.sum(residual**2)) / df / table.size) if df > 0 else None
    ps = [_p(float(effect), error, df) for effect in effects]
    return tuple(
        Contrast(name, _estimate(float(effect), error, df), p, p_holm)
        for name, effect, p, p_holm in zip(names, effects, ps, holm(ps), strict=True)
    )


def _contrasts(design: Fraction) -> tuple[list[tuple[str, ...]], NDArray[np.float64]]:
    """Names and columns, shape (runs, contrasts), of main effects and of groups of interactions."""
    place = {name: column for column, name in enumerate(design.factors)}
    names: list[tuple[str, ...]] = [(name,) for name in design.factors]
    columns: list[Vector] = [design.signs[:, column].astype(np.float64) for column in range(len(design.factors))]
    for group in design.aliases():
        one, other = (design.signs[:, place[name]].astype(np.float64) for name in group[0])
        names.append(tuple(f"{first} x {second}" for first, second in group))
        columns.append(one * other)
    return names, np.stack(columns, axis=1)


def _p(effect: float, error: float | None, df: int) -> float | None:
    if error is None:
        return None
    if error <= 0.0:
        return 1.0 if effect == 0.0 else 0.0
    return 2 * float(special.stdtr(df, -abs(effect / error)))


def _estimate(effect: float, error: float | None, df: int) -> Estimate:
    if error is None:
        return Estimate(effect, None, None)
    half = float(special.stdtrit(df, 0.975)) * error
    return Estimate(effect, effect - half, effect + half)
