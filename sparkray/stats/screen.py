"""Screening: what each level does alone, by pairs inside blocks.

One factor at a time: a level's log ratios to the baseline of the same block, with Student's t interval, p-values adjusted
after Holm over all levels of a metric, the verdict against the margin, and the spread after Pitman and Morgan.
"""

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
from sparkray.stats.samples import alike
from sparkray.stats.variance import PairedSpreadRatio, paired_spread_ratio

Better = Literal["higher", "lower"]
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
