"""Screening: what each level does alone, by pairs inside blocks.

One factor at a time: a level's log ratios to the baseline of the same block, with Student's t interval, p-values adjusted
after Holm over all levels of a metric, and the spread after Pitman and Morgan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sparkray.stats import NotEstimable, special
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import Ratio, ratio_of_logs, too_few_pairs
from sparkray.stats.samples import alike
from sparkray.stats.variance import PairedSpreadRatio, paired_spread_ratio

Better = Literal["higher", "lower"]
_LEAST_PAIRS = 2


@dataclass(frozen=True)
class LevelEffect:
    """What one level does to one metric.

    Attributes:
        name: Of the level (`factor=level`).
        ratio: level / baseline, paired by block; not estimable with fewer than two pairs.
        gain_log: ln of the ratio, turned so that higher is better; None where the ratio is not estimable.
        p: Of a ratio of 1, two-sided (paired t test of the log ratios); None where not estimable.
        p_holm: Adjusted over all levels.
        spread: sd(level) / sd(baseline) of the logarithms over the same blocks.
        pairs: Blocks that have both.
    """

    name: str
    ratio: Ratio | NotEstimable
    gain_log: float | None
    p: float | None
    p_holm: float | None
    spread: PairedSpreadRatio | NotEstimable
    pairs: int

    @property
    def helps(self) -> bool:
        """Whether it gains after Holm, by however little."""
        return self.p_holm is not None and self.p_holm < 0.05 and (self.gain_log or 0.0) > 0.0  # noqa: PLR2004 - 5 %


def screen_effects(
    baseline: Mapping[object, float],
    levels: Mapping[str, Mapping[object, float]],
    *,
    better: Better = "higher",
) -> tuple[LevelEffect, ...]:
    """The effect of every level, in their order.

    Args:
        baseline: Value by block (any hashable key, such as (model, block)), above 0.
        levels: For each level the same, in the same unit.
        better: Which direction is a gain.
    """
    logs = {name: _paired(baseline, values) for name, values in levels.items()}
    tested = {name: _tested(pairs) for name, (_, pairs) in logs.items()}
    adjusted = holm([p for _, p in tested.values()])
    sign = 1.0 if better == "higher" else -1.0
    effects = []
    for (name, (ratio, p)), p_holm in zip(tested.items(), adjusted, strict=True):
        blocks, pairs = logs[name]
        effects.append(
            LevelEffect(
                name=name,
                ratio=ratio,
                gain_log=sign * float(np.mean(pairs[1] - pairs[0])) if isinstance(ratio, Ratio) else None,
                p=p,
                p_holm=p_holm,
                spread=paired_spread_ratio(pairs[0], pairs[1]),
                pairs=blocks,
            )
        )
    return tuple(effects)


def beyond_margin(effects: Sequence[LevelEffect], margin: float) -> list[float | None]:
    """One-sided p of a gain of no more than the margin, adjusted after Holm over the effects; None where not estimable."""
    return holm([_beyond(effect, margin) for effect in effects])


def _beyond(effect: LevelEffect, margin: float) -> float | None:
    if not isinstance(effect.ratio, Ratio) or effect.gain_log is None:
        return None
    ahead, error = effect.gain_log - math.log1p(margin), effect.ratio.sd_log / math.sqrt(effect.ratio.n)
    return float(special.stdtr(effect.ratio.n - 1, -ahead / error)) if error else float(ahead <= 0)


def _paired(baseline: Mapping[object, float], values: Mapping[object, float]) -> tuple[int, NDArray[np.float64]]:
    """Number of common blocks, and the logarithms of both arms there, shape (2, blocks); none of a value not above 0."""
    common = [block for block in baseline if block in values and min(baseline[block], values[block]) > 0]
    logs = [[math.log(arm[block]) for block in common] for arm in (baseline, values)]
    return len(common), np.array(logs, dtype=np.float64).reshape(2, len(common))


def _tested(pairs: NDArray[np.float64]) -> tuple[Ratio | NotEstimable, float | None]:
    """The ratio and the p of the paired t test; arms that are alike in every block have p = 1."""
    if pairs.shape[1] < _LEAST_PAIRS:
        return too_few_pairs(pairs.shape[1]), None
    differences = pairs[1] - pairs[0]
    ratio = ratio_of_logs(differences)
    if alike(differences, float(np.max(np.abs(pairs)))):
        return ratio, float(math.isclose(float(np.mean(differences)), 0.0, abs_tol=1e-15))
    return ratio, ratio.p
