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
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from sparkray.config.isolation import AttributionStep, Direction
from sparkray.stats import NotEstimable
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import Ratio, paired_ratio
from sparkray.stats.samples import Vector, alike, sample

Arm = Mapping[Hashable, float | None]
"""Values of one environment by block; None and absent blocks count as not measured."""
LEVEL = 0.95
_LEAST = 2
_SUMMED: tuple[Direction, ...] = ("add", "leave")


@dataclass(frozen=True)
class Effect:
    """A mean difference in the metric's unit with its 95 % interval; `p` of the two-sided test against 0.

    `low`, `high` and `p` are exact where every block says the same: the interval is a point then.
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
class Share:
    """A share of the total in per cent, with Fieller's 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class StepEffect:
    """One step of a ladder.

    Attributes:
        step: The question.
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
        total: From the first rung to the last, in those blocks.
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

    def balance(self, direction: Direction) -> Balance | None:
        """The sum of one direction; None where no layer was measured that way."""
        return next((found for found in self.balances if found.direction == direction), None)


def attribute(arms: Mapping[str, Arm], steps: Sequence[AttributionStep], *, first: str, last: str) -> Attribution:
    """Every step of a ladder, and what they make up together.

    Args:
        arms: Values of one metric and one model, by environment and then by block, in any unit.
        steps: The questions (`config.isolation.Ladder.steps`); arms that they share are used in all.
        first: Environment where the total begins.
        last: Environment where it ends.
    """
    total = _effect(_differences(arms, first, last))
    found: dict[AttributionStep, Effect | NotEstimable] = {
        step: _effect(_differences(arms, step.before, step.after)) for step in steps
    }
    adjusted = _adjusted(found)
    told = tuple(
        StepEffect(
            step,
            effect,
            _ratio(arms, step.before, step.after),
            adjusted[step],
            _share(_contrast(arms, [_signs(step)], first, last)),
        )
        for step, effect in found.items()
    )
    balances = tuple(
        _balance(arms, told, direction, (first, last))
        for direction in _SUMMED
        if any(step.direction == direction for step in steps)
    )
    return Attribution(first, last, total, _ratio(arms, first, last), told, balances, _interactions(arms, steps))


def _value(arm: Arm, block: Hashable) -> float | None:
    value = arm.get(block)
    return value if value is not None and math.isfinite(value) else None


def _blocks(arms: Mapping[str, Arm], names: Sequence[str]) -> list[Hashable]:
    """Blocks in which every one of these arms has a value, in the order of the first."""
    there = [arms.get(name, {}) for name in names]
    return [block for block in there[0] if all(_value(arm, block) is not None for arm in there)]


def _of(arms: Mapping[str, Arm], name: str, blocks: Sequence[Hashable]) -> Vector:
    return np.array([arms[name][block] for block in blocks], dtype=np.float64)


def _differences(arms: Mapping[str, Arm], before: str, after: str) -> Vector | NotEstimable:
    blocks = _blocks(arms, (before, after))
    if len(blocks) < _LEAST:
        return _too_few(len(blocks), (before, after))
    return _of(arms, after, blocks) - _of(arms, before, blocks)


def _too_few(blocks: int, names: Sequence[str]) -> NotEstimable:
    said = f"{names[0]} and {names[1]}" if len(names) == _LEAST else f"all {len(names)} arms"
    return NotEstimable(f"{blocks} block{'s' if blocks != 1 else ''} with {said}: at least {_LEAST} are needed")


def _effect(differences: Vector | NotEstimable) -> Effect | NotEstimable:
    """The mean of paired differences, shape (n,), with Student's t."""
    values = differences if isinstance(differences, NotEstimable) else sample(differences, _LEAST)
    if isinstance(values, NotEstimable):
        return values
    n, mean = len(values), float(np.mean(values))
    if alike(values):
        return Effect(n, mean, mean, mean, 1.0 if mean == 0 else 0.0)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    half = float(special.stdtrit(n - 1, 0.5 + LEVEL / 2)) * error
    return Effect(n, mean, mean - half, mean + half, float(2 * special.stdtr(n - 1, -abs(mean) / error)))


def _ratio(arms: Mapping[str, Arm], before: str, after: str) -> Ratio | NotEstimable:
    blocks = _blocks(arms, (before, after))
    if len(blocks) < _LEAST:
        return _too_few(len(blocks), (before, after))
    return paired_ratio(_of(arms, before, blocks), _of(arms, after, blocks))


def _adjusted(found: Mapping[AttributionStep, Effect | NotEstimable]) -> dict[AttributionStep, float | None]:
    """Holm within each direction; the step to the chroot belongs to both and is held to the stricter of the two."""
    adjusted: dict[AttributionStep, float | None] = dict.fromkeys(found)
    for direction in (*_SUMMED, "all"):
        family = [step for step in found if step.direction in (direction, "start")]
        p_values = [None if isinstance(effect := found[step], NotEstimable) else effect.p for step in family]
        for step, p in zip(family, holm(p_values), strict=True):
            known = adjusted[step]
            adjusted[step] = p if known is None or p is None else max(known, p)
    return adjusted


Signs = Mapping[str, int]


def _signs(step: AttributionStep) -> Signs:
    return {step.after: 1, step.before: -1}


def _contrast(
    arms: Mapping[str, Arm], parts: Sequence[Signs], first: str, last: str
) -> tuple[Vector, Vector] | NotEstimable:
    """A sum of steps and the total, each shape (n,), in the blocks that have every arm of both."""
    names = list(dict.fromkeys([first, last, *(name for part in parts for name in part)]))
    blocks = _blocks(arms, names)
    if len(blocks) < _LEAST:
        return _too_few(len(blocks), names)
    summed = np.zeros(len(blocks))
    for part in parts:
        for name, sign in part.items():
            summed = summed + sign * _of(arms, name, blocks)
    return summed, _of(arms, last, blocks) - _of(arms, first, blocks)


def _balance(
    arms: Mapping[str, Arm], told: Sequence[StepEffect], direction: Direction, ends: tuple[str, str]
) -> Balance:
    mine = [each for each in told if each.step.direction in (direction, "start")]
    usable = [each for each in mine if not isinstance(each.effect, NotEstimable)]
    missing = tuple(each.step.layer for each in mine if isinstance(each.effect, NotEstimable))
    every = _contrast(arms, [_signs(each.step) for each in usable], *ends)
    if isinstance(every, NotEstimable):
        return Balance(direction, every, every, every, None, None, every, every, missing)
    summed, total = every
    showing = _contrast(arms, [_signs(each.step) for each in usable if each.shows], *ends)
    others = _contrast(arms, [_signs(each.step) for each in usable if not each.shows], *ends)
    any_shows = any(each.shows for each in usable)
    return Balance(
        direction=direction,
        total=_effect(total),
        attributed=_effect(summed),
        residual=_effect(total - summed),
        shown=_part(showing) if any_shows else None,
        quiet=None if all(each.shows for each in usable) else _part(others),
        left=showing if isinstance(showing, NotEstimable) else _effect(showing[1] - showing[0]),
        share=_share(every),
        missing=missing,
    )


def _part(contrast: tuple[Vector, Vector] | NotEstimable) -> Effect | NotEstimable:
    return contrast if isinstance(contrast, NotEstimable) else _effect(contrast[0])


def _interactions(arms: Mapping[str, Arm], steps: Sequence[AttributionStep]) -> dict[str, Effect | NotEstimable]:
    """What a layer costs beside the others less what it costs alone, by layer measured both ways."""
    alone = {step.layer: step for step in steps if step.direction == "add"}
    found: dict[str, Effect | NotEstimable] = {}
    for step in steps:
        if step.direction == "leave" and step.layer in alone:
            other = alone[step.layer]
            names = list(dict.fromkeys((step.before, step.after, other.before, other.after)))
            blocks = _blocks(arms, names)
            both = {name: _of(arms, name, blocks) for name in names}
            found[step.layer] = (
                _too_few(len(blocks), names)
                if len(blocks) < _LEAST
                else _effect((both[step.after] - both[step.before]) - (both[other.after] - both[other.before]))
            )
    return found


def _share(contrast: tuple[Vector, Vector] | NotEstimable) -> Share | NotEstimable:
    """A part of the total in per cent, from both by block; Fieller (1954) for paired means."""
    if isinstance(contrast, NotEstimable):
        return contrast
    part, total = contrast
    whole = _effect(total)
    if isinstance(whole, NotEstimable):
        return whole
    if not whole.excludes_zero:
        return NotEstimable("the total does not differ from 0: there is nothing to have a share of")
    n = len(total)
    quantile = float(special.stdtrit(n - 1, 0.5 + LEVEL / 2)) ** 2 / n
    (of_part, of_both), (_, of_total) = np.cov(part, total).tolist()
    a, b = float(np.mean(part)), float(np.mean(total))
    # the shares r for which mean(part) - r mean(total) is not told from 0: a quadratic, convex as the total is not 0
    square = b * b - quantile * of_total
    middle = a * b - quantile * of_both
    constant = a * a - quantile * of_part
    root = math.sqrt(max(middle * middle - square * constant, 0.0))
    return Share(100 * a / b, 100 * (middle - root) / square, 100 * (middle + root) / square)


def sentence(
    found: Attribution, *, unit: str, names: Mapping[str, str] | None = None, direction: Direction = "add"
) -> str:
    """`Of 3.02 ms (95 % CI 2.81 to 3.23) from host to container_baseline, 2.10 (1.94 to 2.26) comes from ...`.

    Args:
        found: What was found.
        unit: Of the metric, as it is to be read (`ms`, `tok/s`).
        names: Layers in words; their own names by default.
        direction: Which steps are told: `add` or `leave`.

    Returns:
        One sentence. Where the total does not differ from 0 it says so and attributes nothing.
    """
    total, balance = found.total, found.balance(direction)
    way = f"from {found.first} to {found.last}"
    if isinstance(total, NotEstimable):
        return f"The difference {way} cannot be estimated: {total.reason}."
    whole = f"{_told(total, unit)} {way}"
    if not total.excludes_zero:
        return f"No difference is shown {way} ({_told(total, unit)}): there is nothing to attribute."
    if balance is None or isinstance(balance.total, NotEstimable):
        why = balance.total.reason if balance and isinstance(balance.total, NotEstimable) else "no layer was measured"
        return f"Of {whole}, nothing is attributed: {why}."
    return f"Of {whole}, {_parts(found, direction, unit, names or {})}; {_rest(balance, unit)}."


def _parts(found: Attribution, direction: Direction, unit: str, names: Mapping[str, str]) -> str:
    shown = [each for each in found.steps if each.shows and each.step.direction in (direction, "start")]
    said = [
        f"{_told(each.effect, unit)}{'' if place else ' comes'} from {names.get(each.step.layer, each.step.layer)}"
        for place, each in enumerate(shown)
        if isinstance(each.effect, Effect)
    ]
    if not said:
        return "no single step shows an effect"
    return said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"


def _rest(balance: Balance, unit: str) -> str:
    """What no single step accounts for: those that show no effect by themselves, and what no step explains at all."""
    if isinstance(balance.left, NotEstimable) or isinstance(balance.residual, NotEstimable):
        return "what is left cannot be estimated"
    said = [f"{_told(balance.residual, unit)} belongs to no step"]
    if isinstance(balance.quiet, Effect):
        said.insert(0, f"the steps that show no effect by themselves make {_told(balance.quiet, unit)} together")
    if balance.missing:
        said.append(f"without {', '.join(balance.missing)}, which could not be estimated")
    return f"{_told(balance.left, unit)} is not attributed ({', '.join(said)})"


def _told(effect: Effect, unit: str) -> str:
    return f"{effect.value:.3g} {unit} (95 % CI {effect.low:.3g} to {effect.high:.3g})"
