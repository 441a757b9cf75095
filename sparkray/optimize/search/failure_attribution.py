"""Failure attribution: which levels may have made a container fail or break a constraint. Pure.

A level that a good configuration has is cleared; where all levels of a bad one are, pairs of them are suspected, and
where these are cleared too, nothing but the configuration itself. Which suspect it was is not known: each proposal draws
culprits anew, so that levels that are likely behind it are avoided and the others are not given up for their company.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations

import numpy as np

from sparkray.config.space import BASELINE

# (factor, label) of every level that is not the baseline's.
Levels = frozenset[tuple[str, str]]


def levels_of(choices: Mapping[str, str]) -> Levels:
    """What a choice changes."""
    return frozenset(choice for choice in choices.items() if choice[1] != BASELINE)


class FailureAttribution:
    """Suspects of each bad configuration.

    Args:
        good: Choices that worked and broke nothing.
        bad: Those that did not.
    """

    def __init__(self, good: Iterable[Mapping[str, str]], bad: Iterable[Mapping[str, str]]) -> None:
        working = [levels_of(choices) for choices in good]
        self._suspects = [_suspects(levels_of(choices), working) for choices in bad]

    def draw(self, rng: np.random.Generator) -> tuple[Levels, ...]:
        """Culprits that explain every bad configuration: a choice that has all levels of one is likely bad.

        What would explain many is drawn before what explains one.
        """
        named: list[Levels] = []
        for place in rng.permutation(len(self._suspects)):
            suspects = self._suspects[place]
            if not any(suspect in named for suspect in suspects):
                weights = np.array([sum(suspect in other for other in self._suspects) for suspect in suspects]) ** 2.0
                named.append(suspects[int(rng.choice(len(suspects), p=weights / weights.sum()))])
        return tuple(named)


def _suspects(bad: Levels, working: Sequence[Levels]) -> list[Levels]:
    for size in (1, 2):
        groups = [frozenset(group) for group in combinations(sorted(bad), size)]
        left = [group for group in groups if not any(group <= good for good in working)]
        if left:
            return left
    return [bad]
