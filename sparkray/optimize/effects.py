"""Rows in, effects of the document out: the room of statistics asked, its answers as plain values. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy import special

from sparkray.analysis.comparison import judged
from sparkray.analysis.optimized import Effect
from sparkray.metrics import BY_NAME
from sparkray.optimize.rows import Pair
from sparkray.stats import NotEstimable
from sparkray.stats.paired import Ratio
from sparkray.stats.screen import Better, LevelEffect, screen_effects
from sparkray.stats.variance import PairedSpreadRatio, brown_forsythe

Values = Mapping[Pair, float]


def better_of(metric: str) -> Better:
    """Which direction of a metric is a gain; where neither is, a rise is taken for one."""
    return "lower" if BY_NAME[metric].better == "lower" else "higher"


def effects(
    base: Values, arms: Mapping[str, Values], *, against: str, metric: str, margin: float
) -> dict[str, tuple[Effect, LevelEffect]]:
    """Each arm against one, p-values adjusted over all of them.

    Args:
        base: Values of the reference by block.
        arms: Values of the others by name.
        against: The reference's name.
        metric: Of which metric.
        margin: Relative.
    """
    keyed = {name: _keyed(values) for name, values in arms.items()}
    found = screen_effects(_keyed(base), keyed, margin, better=better_of(metric))
    return {one.name: (_effect(one, base, arms[one.name], against, metric), one) for one in found}


def _keyed(values: Values) -> dict[object, float]:
    return {pair: value for pair, value in values.items()}  # noqa: C416 - another type of key


def of_model(values: Values, model: str) -> dict[Pair, float]:
    """Those of one model."""
    return {pair: value for pair, value in values.items() if pair[0] == model}


def effects_by_model(
    base: Values, arms: Mapping[str, Values], *, models: Sequence[str], against: str, metric: str, margin: float
) -> dict[str, dict[str, tuple[Effect, LevelEffect]]]:
    """The same on each model alone, in no family: by model, then by arm."""
    found = {}
    for model in models:
        mine = {name: of_model(values, model) for name, values in arms.items()}
        made = effects(of_model(base, model), mine, against=against, metric=metric, margin=margin)
        found[model] = {name: (replace(one, p_holm=None), plain) for name, (one, plain) in made.items()}
    return found


def effect(base: Values, arm: Values, *, names: tuple[str, str], metric: str, margin: float) -> Effect:
    """One arm (second name) against another (first name), in no family."""
    against, environment = names
    made, _ = effects(base, {environment: arm}, against=against, metric=metric, margin=margin)[environment]
    return Effect(**{**vars(made), "p_holm": None})


def _effect(one: LevelEffect, base: Values, arm: Values, against: str, metric: str) -> Effect:
    head = Effect(one.name, against, metric, one.pairs)
    spread = _spread(one, base, arm)
    if not isinstance(one.ratio, Ratio):
        return Effect(**{**vars(head), **spread, "not_estimable": one.ratio.reason})
    margin = one.decision.margin if one.decision else None
    row = judged(one.ratio, margin)
    gains = sorted(_gain_pct(row[end], metric) for end in ("low", "high"))
    return Effect(
        **{
            **vars(head),
            **spread,
            **{name: row.get(name) for name in ("ratio", "low", "high", "verdict")},
            "gain_pct": _gain_pct(one.ratio.ratio, metric),
            "gain_low_pct": gains[0],
            "gain_high_pct": gains[1],
            "p": one.p,
            "p_holm": one.p_holm,
            "margin": margin,
        }
    )


def _gain_pct(ratio: float, metric: str) -> float:
    return 100 * (ratio - 1 if better_of(metric) == "higher" else 1 / ratio - 1)


def _spread(one: LevelEffect, base: Values, arm: Values) -> dict[str, float | None]:
    """Of the logarithms, so that a level which is slower and as steady has a ratio of 1."""
    found: dict[str, float | None] = {}
    if isinstance(one.spread, PairedSpreadRatio):
        ratio = one.spread.ratio
        found = {"sd_ratio": ratio.value, "sd_low": ratio.low, "sd_high": ratio.high, "sd_p": one.spread.p}
    common = [pair for pair in base if pair in arm and min(base[pair], arm[pair]) > 0]
    levene = brown_forsythe(np.log([base[pair] for pair in common]), np.log([arm[pair] for pair in common]))
    return {**found, "levene_p": None if isinstance(levene, NotEstimable) else levene}


def noise_of(found: Mapping[str, LevelEffect]) -> float | None:
    """Deviation of one paired log ratio: from the median variance over levels, which a ruinous one does not move.

    The median of a variance of n pairs is that of chi^2 over its n - 1 degrees of freedom, in units of the true variance;
    with two pairs it is 0.45. None without a level that has two.
    """
    told = [one.ratio for one in found.values() if isinstance(one.ratio, Ratio) and math.isfinite(one.ratio.sd_log)]
    usable = [
        ratio.sd_log**2 * (ratio.n - 1) / float(special.chdtri(ratio.n - 1, 0.5)) for ratio in told if ratio.n > 1
    ]
    positive = [variance for variance in usable if variance > 0]
    return math.sqrt(float(np.median(positive))) if positive else None
