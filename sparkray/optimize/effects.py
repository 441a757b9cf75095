"""Effects of environments on a metric, from stored runs. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from sparkray.analysis.comparison import judged
from sparkray.analysis.optimized import Effect
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.optimize.context import OptimizationContext, better_of
from sparkray.optimize.rows import Pair, Rows
from sparkray.stats import NotEstimable, special
from sparkray.stats.paired import Ratio
from sparkray.stats.screen import LevelEffect, screen_effects
from sparkray.stats.variance import PairedSpreadRatio, brown_forsythe

Values = Mapping[Pair, float]


@dataclass(frozen=True)
class Comparison:
    """What arms are compared by: a metric with its relative margin, against one environment."""

    metric: str
    margin: float
    against: str = CONTAINER_BASELINE

    def effects(self, base: Values, arms: Mapping[str, Values]) -> dict[str, tuple[Effect, LevelEffect]]:
        """Each arm against `base`, p-values adjusted over all of them."""
        keyed = {name: _keyed(values) for name, values in arms.items()}
        found = screen_effects(_keyed(base), keyed, better=better_of(self.metric))
        return {one.name: (_effect(one, base, arms[one.name], self), one) for one in found}

    def effect(self, base: Values, arm: Values, environment: str) -> Effect:
        """One arm against `base`, p not adjusted."""
        return replace(self.effects(base, {environment: arm})[environment][0], p_holm=None)


@dataclass(frozen=True)
class Compared:
    """Arms against the baseline container on the optimised metric, by name.

    Attributes:
        base: Values of the baseline by pair.
        effects: Over all models, p-values adjusted over the arms.
        by_model: On each model alone, by model and arm, p-values not adjusted.
        overhead: The baseline against native.
    """

    base: Values
    effects: Mapping[str, tuple[Effect, LevelEffect]]
    by_model: Mapping[str, Mapping[str, tuple[Effect, LevelEffect]]]
    overhead: Effect

    def on_each(self, name: str) -> dict[str, Effect]:
        """The effect of an arm on each model."""
        return {model: arms[name][0] for model, arms in self.by_model.items()}


def compare(
    context: OptimizationContext, rows: Rows, environments: Mapping[str, str], models: Sequence[str] | None = None
) -> Compared:
    """Arms against the baseline.

    Args:
        context: The optimisation.
        rows: Stored runs.
        environments: Environment by the arm's name.
        models: Those that the baseline runs; None: those of the study that have a value of it.
    """
    of = Comparison(context.metric, context.margin)
    base, native = (rows.values(name, context.metric) for name in (CONTAINER_BASELINE, NATIVE))
    arms = {name: rows.values(environment, context.metric) for name, environment in environments.items()}
    if models is None:
        models = [card.name for card in context.study.cards if any(model == card.name for model, _ in base)]
    by_model = {
        model: {
            name: (replace(one, p_holm=None), plain)
            for name, (one, plain) in of.effects(
                of_model(base, model), {name: of_model(values, model) for name, values in arms.items()}
            ).items()
        }
        for model in models
    }
    overhead = replace(of, against=NATIVE).effect(native, base, CONTAINER_BASELINE)
    return Compared(base, of.effects(base, arms), by_model, overhead)


def of_model(values: Values, model: str) -> dict[Pair, float]:
    """Those of one model."""
    return {pair: value for pair, value in values.items() if pair[0] == model}


def _keyed(values: Values) -> dict[object, float]:
    return {pair: value for pair, value in values.items()}  # noqa: C416 - another type of key


def _effect(one: LevelEffect, base: Values, arm: Values, by: Comparison) -> Effect:
    made = replace(Effect(one.name, by.against, by.metric, one.pairs), **_spread(one, base, arm))
    if not isinstance(one.ratio, Ratio):
        return replace(made, not_estimable=one.ratio.reason)
    row = judged(one.ratio, by.margin)
    gain, *ends = (_gain_pct(row[name], by.metric) for name in ("ratio", "low", "high"))
    low, high = sorted(ends)
    return replace(
        made,
        ratio=row["ratio"],
        low=row["low"],
        high=row["high"],
        verdict=row["verdict"],
        gain_pct=gain,
        gain_low_pct=low,
        gain_high_pct=high,
        p=one.p,
        p_holm=one.p_holm,
        margin=by.margin,
    )


def _gain_pct(ratio: float, metric: str) -> float:
    return 100 * (ratio - 1 if better_of(metric) == "higher" else 1 / ratio - 1)


def _spread(one: LevelEffect, base: Values, arm: Values) -> dict[str, Any]:
    """Of the logarithms, so that a level which is slower and as steady has a ratio of 1."""
    found: dict[str, Any] = {}
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
    ratios = [one.ratio for one in found.values() if isinstance(one.ratio, Ratio) and math.isfinite(one.ratio.sd_log)]
    positive = [
        ratio.sd_log**2 * (ratio.n - 1) / float(special.chdtri(ratio.n - 1, 0.5))
        for ratio in ratios
        if ratio.n > 1 and ratio.sd_log > 0
    ]
    return math.sqrt(float(np.median(positive))) if positive else None
