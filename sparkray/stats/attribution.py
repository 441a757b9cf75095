"""What each layer costs, by absolute effects inside shared blocks, and whether the layers make up the whole.

A step's effect is the mean over blocks of (after - before), with Student's t interval: the paired t, as blocks are shared.
The sum of one direction's steps is taken inside each block first, so that its interval, and that of what it leaves of the
total, account for the arms that the steps share (a linear contrast of the block's values; Scheffe 1959, "The Analysis of
Variance", chapter 3). A share of the total in per cent is a ratio of two means measured together; its interval is
Fieller's (1954, "Some problems in interval estimation", J. R. Statist. Soc. B 16), which has two ends exactly when the
total differs from 0: without that there are no shares. Whether a step shows an effect is judged with Holm's correction
over the steps of its direction.
"""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sparkray.config.isolation import AttributionStep, Direction
from sparkray.stats import NotEstimable
from sparkray.stats.fieller import NO_WHOLE, Share, share_of_means
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import Ratio, paired_ratio
from sparkray.stats.samples import Vector, alike, sample, t_interval, t_p

# Values of one environment by block; None and absent blocks count as not measured.
Arm = Mapping[Hashable, float | None]
# Arms of a contrast with their signs.
Signs = Mapping[str, int]
LEVEL = 0.95
_LEAST = 2
_SUMMED: tuple[Direction, ...] = ("add", "leave")


@dataclass(frozen=True)
class Effect:
    """A mean difference in the metric's unit with its 95 % interval; `p` of the two-sided test against 0.

    `low`, `high` and `p` are exact where all blocks are alike: the interval is a point then.
    """

    n: int
    value: float
    low: float
    high: float
    p: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the 95 % interval excludes 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class StepEffect:
    """One attribution step.

    Attributes:
        step: The step.
        effect: After less before, in the metric's unit.
        ratio: After over before.
        p_adjusted: Holm's, over the estimable steps of the same direction; None where it was not estimable.
        share: Of the total; why there is none where the total does not differ from 0.
    """

    step: AttributionStep
    effect: Effect | NotEstimable
    ratio: Ratio | NotEstimable
    p_adjusted: float | None
    share: Share | NotEstimable

    @property
    def shows(self) -> bool:
        """Whether an effect is shown, over all steps of its direction."""
        return self.p_adjusted is not None and self.p_adjusted < 1 - LEVEL


@dataclass(frozen=True)
class Balance:
    """The steps of one direction, with the way to the chroot, against the total, in blocks that have all of their arms.

    Attributes:
        direction: `add` or `leave`.
        total: From the first arm to the last, in those blocks.
        attributed: The sum of the steps.
        residual: The total less that sum: what no step explains, interaction between layers included.
        shown: The sum of the steps that show an effect; None where none does.
        quiet: The sum of those that show none; None where every one does.
        left: The total less the steps that show an effect: the quiet ones and the residual.
        share: Of the attributed sum in the total.
        missing: Layers whose step could not be estimated; the sum is without them.
    """

    direction: Direction
    total: Effect | NotEstimable
    attributed: Effect | NotEstimable
    residual: Effect | NotEstimable
    shown: Effect | NotEstimable | None
    quiet: Effect | NotEstimable | None
    left: Effect | NotEstimable
    share: Share | NotEstimable
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Attribution:
    """Where the difference between two environments comes from, of one metric and one model.

    `balances` has one for each direction that has steps; `interactions` is, by layer measured both ways, what it costs
    beside all the others less what it costs alone.
    """

    first: str
    last: str
    total: Effect | NotEstimable
    ratio: Ratio | NotEstimable
    steps: tuple[StepEffect, ...]
    balances: tuple[Balance, ...]
    interactions: Mapping[str, Effect | NotEstimable]


def attribute(arms: Mapping[str, Arm], steps: Sequence[AttributionStep], *, first: str, last: str) -> Attribution:
    """The effect of every attribution step, and their sums.

    Args:
        arms: Values of one metric and one model, by environment and then by block, in any unit.
        steps: The steps (`config.isolation.AttributionSteps.steps`); arms that they share are used in all.
        first: Environment where the total begins.
        last: Environment where it ends.
    """
    effects = {step: _effect(_contrast(arms, _signs(step))) for step in steps}
    adjusted, ends = _adjusted(effects), {last: 1, first: -1}
    measured = tuple(
        StepEffect(
            step,
            effect,
            _ratio(arms, step.before, step.after),
            adjusted[step],
            _share(arms, [_signs(step)], ends),
        )
        for step, effect in effects.items()
    )
    directions = [way for way in _SUMMED if any(step.direction == way for step in steps)]
    balances = tuple(_balance(arms, measured, direction, ends) for direction in directions)
    total = _effect(_contrast(arms, ends))
    return Attribution(first, last, total, _ratio(arms, first, last), measured, balances, _interactions(arms, steps))


def _value(arm: Arm, block: Hashable) -> float | None:
    value = arm.get(block)
    return value if value is not None and math.isfinite(value) else None


def _blocks(arms: Mapping[str, Arm], names: Iterable[str]) -> tuple[list[Hashable], NotEstimable | None]:
    """Blocks in which every one of these arms has a value, in the order of the first; and whether they are too few."""
    used = [arms.get(name, {}) for name in names]
    blocks = [block for block in used[0] if all(_value(arm, block) is not None for arm in used)]
    if len(blocks) >= _LEAST:
        return blocks, None
    which = " and ".join(names) if len(used) == 2 else f"all {len(used)} arms"  # noqa: PLR2004 - both by name
    return blocks, NotEstimable.of("few_blocks", n=len(blocks), arms=which, least=_LEAST)


def _summed(arms: Mapping[str, Arm], signs: Signs, blocks: Sequence[Hashable]) -> Vector:
    """The signed sum of arms in each block."""
    values = [[sign * (_value(arms[name], block) or 0.0) for name, sign in signs.items()] for block in blocks]
    return np.asarray(np.array(values, dtype=np.float64).reshape(len(blocks), len(signs)).sum(axis=1))


def _contrast(arms: Mapping[str, Arm], signs: Signs) -> Vector | NotEstimable:
    """The signed sum of arms in each block that has them all."""
    blocks, lacking = _blocks(arms, sorted(signs, key=signs.__getitem__))
    return lacking or _summed(arms, signs, blocks)


def _effect(contrast: Vector | NotEstimable) -> Effect | NotEstimable:
    """The mean of a contrast, shape (n,), with Student's t."""
    values = contrast if isinstance(contrast, NotEstimable) else sample(contrast, _LEAST)
    if isinstance(values, NotEstimable):
        return values
    n, mean = len(values), float(np.mean(values))
    error = 0.0 if alike(values) else float(np.std(values, ddof=1)) / math.sqrt(n)
    return Effect(n, mean, *t_interval(mean, error, n - 1, LEVEL), t_p(mean, error, n - 1))


def _ratio(arms: Mapping[str, Arm], before: str, after: str) -> Ratio | NotEstimable:
    blocks, lacking = _blocks(arms, (before, after))
    return lacking or paired_ratio(*([arms[name][block] or 0.0 for block in blocks] for name in (before, after)))


def _adjusted(effects: Mapping[AttributionStep, Effect | NotEstimable]) -> dict[AttributionStep, float | None]:
    """Holm within each direction; the step to the chroot belongs to both and is held to the stricter of the two."""
    adjusted: dict[AttributionStep, float | None] = dict.fromkeys(effects)
    for direction in (*_SUMMED, "all"):
        family = [step for step in effects if step.direction in (direction, "start")]
        p_values = [None if isinstance(effect := effects[step], NotEstimable) else effect.p for step in family]
        for step, p in zip(family, holm(p_values), strict=True):
            known = adjusted[step]
            adjusted[step] = p if known is None or p is None else max(known, p)
    return adjusted


def _signs(step: AttributionStep) -> Signs:
    return {step.after: 1, step.before: -1}


def _with_total(arms: Mapping[str, Arm], parts: Sequence[Signs], ends: Signs) -> tuple[Vector, Vector] | NotEstimable:
    """A sum of contrasts and the total, each shape (n,), in the blocks that have every arm of both."""
    signs = Counter[str]()
    for part in parts:
        signs.update(part)
    names = dict.fromkeys([*sorted(ends, key=ends.__getitem__), *signs])
    blocks, lacking = _blocks(arms, names)
    return lacking or (_summed(arms, signs, blocks), _summed(arms, ends, blocks))


def _balance(arms: Mapping[str, Arm], steps: Sequence[StepEffect], direction: Direction, ends: Signs) -> Balance:
    mine = [each for each in steps if each.step.direction in (direction, "start")]
    usable = [each for each in mine if not isinstance(each.effect, NotEstimable)]
    missing = tuple(each.step.layer for each in mine if isinstance(each.effect, NotEstimable))

    def summed(chosen: Sequence[StepEffect]) -> tuple[Vector, Vector] | NotEstimable:
        return _with_total(arms, [_signs(each.step) for each in chosen], ends)

    every = summed(usable)
    if isinstance(every, NotEstimable):
        return Balance(direction, every, every, every, None, None, every, every, missing)
    shown = summed([each for each in usable if each.shows])
    quiet = summed([each for each in usable if not each.shows])
    return Balance(
        direction=direction,
        total=_effect(every[1]),
        attributed=_effect(every[0]),
        residual=_effect(every[1] - every[0]),
        shown=_part(shown) if any(each.shows for each in usable) else None,
        quiet=None if all(each.shows for each in usable) else _part(quiet),
        left=shown if isinstance(shown, NotEstimable) else _effect(shown[1] - shown[0]),
        share=_share(arms, [_signs(each.step) for each in usable], ends),
        missing=missing,
    )


def _part(contrast: tuple[Vector, Vector] | NotEstimable) -> Effect | NotEstimable:
    return contrast if isinstance(contrast, NotEstimable) else _effect(contrast[0])


def _interactions(arms: Mapping[str, Arm], steps: Sequence[AttributionStep]) -> dict[str, Effect | NotEstimable]:
    """What a layer costs beside the others less what it costs alone, by layer measured both ways."""
    alone = {step.layer: step for step in steps if step.direction == "add"}
    effects: dict[str, Effect | NotEstimable] = {}
    for step in steps:
        if step.direction == "leave" and step.layer in alone:
            signs = Counter(_signs(step))
            signs.subtract(_signs(alone[step.layer]))
            blocks, lacking = _blocks(arms, signs)
            effects[step.layer] = lacking or _effect(_summed(arms, signs, blocks))
    return effects


def _share(arms: Mapping[str, Arm], parts: Sequence[Signs], ends: Signs) -> Share | NotEstimable:
    """A part of the total in per cent."""
    both = _with_total(arms, parts, ends)
    if isinstance(both, NotEstimable):
        return both
    whole = _effect(both[1])
    if isinstance(whole, NotEstimable):
        return whole
    return share_of_means(*both, level=LEVEL) if whole.excludes_zero else NO_WHOLE
