"""Feasible space of a search: which levels can be combined, and which options a choice sets. Pure.

The axes are those that the machine can honour, so that every machine of a kind has the same and all may share a study;
levels that a screen has spoken against are barred, and are chosen no more.
"""

import itertools
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from sparkray.config.docker import DockerOptions, given
from sparkray.config.equivalence import signature
from sparkray.config.feasible_levels import LevelVerdict, unresolved
from sparkray.config.flag import Security
from sparkray.config.space import BASELINE, GRADES, Space, apply_level, unmet
from sparkray.plan import canonical_sha256

_HASH_LENGTH = 10
# (factor, labels) -> label, the first label being the baseline's.
Choose = Callable[[str, tuple[str, ...]], str]
# Labels by their place on the axis, 0 the baseline's, shape (configurations, axes).
Places = NDArray[np.int64]


@dataclass(frozen=True)
class Axis:
    """One factor as the search has it: its offered levels by label, beside the baseline's own."""

    name: str
    levels: Mapping[str, LevelVerdict]
    needs: Mapping[str, tuple[str, ...]]
    barred: frozenset[str] = frozenset()

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, the baseline's first."""
        return (BASELINE, *self.levels)

    @property
    def open(self) -> tuple[str, ...]:
        """Those that may be chosen, the baseline's first."""
        return (BASELINE, *(label for label in self.levels if label not in self.barred))


@dataclass(frozen=True)
class FeasibleSpace:
    """The axes in order, and the options that they change. What choices come to is remembered: it is asked for often."""

    axes: tuple[Axis, ...]
    baseline: DockerOptions
    _options: dict[frozenset[tuple[str, str]], DockerOptions] = field(default_factory=dict, compare=False, repr=False)
    _keys: dict[frozenset[tuple[str, str]], str] = field(default_factory=dict, compare=False, repr=False)
    _settled: dict[bytes, Places] = field(default_factory=dict, compare=False, repr=False)

    @property
    def open_axes(self) -> tuple[Axis, ...]:
        """The axes on which there is something to choose."""
        return tuple(axis for axis in self.axes if len(axis.open) > 1)

    def choose(self, choose: Choose) -> dict[str, str]:
        """A choice on every axis that is open and can act beside what was chosen before."""
        chosen: dict[str, str] = {}
        for axis in self.open_axes:
            if not axis.needs or unmet(axis.needs, self.options(chosen)) is None:
                chosen[axis.name] = choose(axis.name, axis.labels)
        return chosen

    def options(self, choices: Mapping[str, str]) -> DockerOptions:
        """The complete options of a choice; axes that are not named keep the baseline's setting."""
        changed = frozenset(choice for choice in choices.items() if choice[1] != BASELINE)
        if changed not in self._options:
            options = self.baseline
            for axis in self.axes:
                label = choices.get(axis.name, BASELINE)
                options = options if label == BASELINE else apply_level(options, axis.levels[label].options)
            self._options[changed] = options
        return self._options[changed]

    def settled(self, choices: Mapping[str, str]) -> dict[str, str]:
        """The same choice without axes that cannot act beside it and with every other one named."""
        return self.choose(lambda name, labels: label if (label := choices.get(name, BASELINE)) in labels else BASELINE)

    def barred(self, choices: Mapping[str, str]) -> str | None:
        """A level of a choice that may be chosen no more; None when all may be."""
        names = [f"{a.name}={choices[a.name]}" for a in self.axes if choices.get(a.name, BASELINE) not in a.open]
        return names[0] if names else None

    def encode(self, many: Sequence[Mapping[str, str]]) -> Places:
        """Choices as places of labels."""
        rows = [[axis.labels.index(choices.get(axis.name, BASELINE)) for axis in self.axes] for choices in many]
        return np.array(rows, dtype=np.int64).reshape(len(many), len(self.axes))

    def named(self, x: Places) -> dict[str, str]:
        """The settled choice of one row of places."""
        return self.settled({axis.name: axis.labels[int(place)] for axis, place in zip(self.axes, x, strict=True)})

    def settle(self, x: Places) -> Places:
        """Places with 0 on every axis that cannot act beside the others."""
        if not any(axis.needs for axis in self.axes):
            return x
        return np.array([self._settle(row) for row in x], dtype=np.int64).reshape(x.shape)

    def _settle(self, row: Places) -> Places:
        kept = self._settled.get(row.tobytes())
        if kept is None:
            kept = self._settled[row.tobytes()] = self.encode([self.named(row)])[0]
        return kept

    def security(self, choices: Mapping[str, str]) -> Security:
        """The worst grade of the levels that were chosen."""
        grades = [
            axis.levels[label].security
            for axis in self.axes
            if (label := choices.get(axis.name, BASELINE)) in axis.levels
        ]
        return max(grades, key=GRADES.index, default="none")

    def key(self, choices: Mapping[str, str]) -> str:
        """A hash of what the options effectively ask for: equal keys are one configuration."""
        changed = frozenset(choice for choice in choices.items() if choice[1] != BASELINE)
        if changed not in self._keys:
            self._keys[changed] = canonical_sha256(signature(self.options(choices)))[:_HASH_LENGTH]
        return self._keys[changed]

    def fewer_than(self, most: int) -> int | None:
        """How many configurations there are beside the baseline, if they are fewer than so many; None if they are more."""
        counts = [len(axis.open) for axis in self.open_axes]
        if math.prod(counts) > most * 2 ** sum(1 for axis in self.open_axes if axis.needs):
            return None
        places = itertools.product(*([axis.labels.index(label) for label in axis.open] for axis in self.axes))
        keys = {self.key(self.named(np.array(row, dtype=np.int64))) for row in places} - {self.key({})}
        return len(keys) if len(keys) < most else None

    @property
    def definition(self) -> list[object]:
        """Content of the space for a hash, barred levels apart: an edited level gives another hash."""
        levels = [[axis.name, {label: dict(v.options) for label, v in axis.levels.items()}] for axis in self.axes]
        return [levels, {name: value for name, _, value in given(self.baseline)}]


def feasible_space(
    space: Space, baseline: DockerOptions, verdicts: Sequence[LevelVerdict], *, barred: Collection[str] = ()
) -> FeasibleSpace:
    """What is left of a space when levels that are not offered are gone; factors without a level go too.

    Args:
        space: The factors, with what they need.
        baseline: The options that the levels change.
        verdicts: Of the levels on this machine.
        barred: Levels (`factor=level`) that are offered and may be chosen no more.

    Raises:
        ValueError: A level names CPUs of a machine that is not known.
    """
    axes = []
    for factor in space.factors:
        kept = {v.level: v for v in verdicts if v.factor == factor.name and v.feasible}
        for verdict in kept.values():
            if unresolved(verdict.options):
                raise ValueError(f"{verdict.name}: {verdict.reason}")
        if kept:
            closed = frozenset(label for label, verdict in kept.items() if verdict.name in barred)
            axes.append(Axis(factor.name, kept, factor.needs, closed))
    return FeasibleSpace(tuple(axes), baseline)
