"""The ground that is searched: which levels may be chosen beside which, and what options a choice makes. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sparkray.plan import canonical_sha256
from sparkray.spec.docker import DockerOptions, Security
from sparkray.spec.folding import signature
from sparkray.spec.offer import LevelVerdict, unresolved
from sparkray.spec.space import BASELINE, GRADES, Space, apply_level, unmet

_HASH_LENGTH = 10
Choose = Callable[[str, tuple[str, ...]], str]
"""(factor, labels) -> label, the first label being the baseline's."""


@dataclass(frozen=True)
class Axis:
    """One factor as the search has it: its offered levels by label, beside the baseline's own."""

    name: str
    levels: Mapping[str, LevelVerdict]
    needs: Mapping[str, tuple[str, ...]]

    @property
    def labels(self) -> tuple[str, ...]:
        """Every label, the baseline's first."""
        return (BASELINE, *self.levels)


@dataclass(frozen=True)
class Ground:
    """The axes in order, and the options that they change. What choices come to is remembered: it is asked for often."""

    axes: tuple[Axis, ...]
    baseline: DockerOptions
    _options: dict[frozenset[tuple[str, str]], DockerOptions] = field(default_factory=dict, compare=False, repr=False)
    _keys: dict[frozenset[tuple[str, str]], str] = field(default_factory=dict, compare=False, repr=False)

    def choose(self, choose: Choose) -> dict[str, str]:
        """A choice on every axis that can act beside what was chosen before."""
        chosen: dict[str, str] = {}
        for axis in self.axes:
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


def ground(space: Space, baseline: DockerOptions, verdicts: Sequence[LevelVerdict]) -> Ground:
    """What is left of a space when levels that are not offered are gone; factors without a level go too.

    Raises:
        ValueError: A level names CPUs of a machine that is not known.
    """
    axes = []
    for factor in space.factors:
        kept = {v.level: v for v in verdicts if v.factor == factor.name and v.offered}
        for verdict in kept.values():
            if unresolved(verdict.options):
                raise ValueError(f"{verdict.name}: {verdict.reason}")
        if kept:
            axes.append(Axis(factor.name, kept, factor.needs))
    return Ground(tuple(axes), baseline)
