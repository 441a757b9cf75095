"""What is worth confirming: the search's best, and the best few flags of screen and search combined. Pure.

Nothing here decides. The highest of many estimates is too high (the optimiser's curse), so that the candidates are
measured again beside the baseline, on fresh runs, and only that counts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from sparkray.config.docker import DockerOptions
from sparkray.config.flag import Security
from sparkray.config.space import BASELINE, isolation_rank
from sparkray.optimize.search.feasible_space import FeasibleSpace
from sparkray.optimize.search.types import Found
from sparkray.stats.screen import LevelEffect

MOST_FLAGS, MOST_CANDIDATES = 3, 3
# A log ratio that is not worth a flag: a configuration with fewer or safer changes is taken instead.
_NEAR = 0.003


@dataclass(frozen=True)
class Candidate:
    """A configuration for the confirmation.

    Attributes:
        environment: `container:combined-<hash>`.
        options: Complete flags.
        choices: Level by factor, the baseline's left out.
        security: Worst grade.
        expected: Log ratio that is hoped for: the search's estimate, or the sum of the levels' own.
        why: Where it comes from.
    """

    environment: str
    options: DockerOptions
    choices: Mapping[str, str]
    security: Security
    expected: float
    why: str


def shortlist(
    feasible_space: FeasibleSpace,
    found: Found | None,
    screen: Sequence[LevelEffect] = (),
    *,
    most: int = MOST_CANDIDATES,
) -> tuple[Candidate, ...]:
    """At most `most` candidates; empty when neither screen nor search saw a gain.

    What the search found has the first places: its estimates are drawn in, and a sum of single gains is not, so that the
    two cannot be ranked together.

    Args:
        feasible_space: What may be chosen.
        found: What the search found, if there was one.
        screen: Effects of single levels, named `factor=level`, of the same objective.
        most: Number of candidates.
    """
    candidates: dict[str, Candidate] = {}
    combined = sorted(_of_screen(feasible_space, screen), key=lambda candidate: -candidate.expected)
    for candidate in [*_of_search(feasible_space, found), *combined]:
        key = feasible_space.key(candidate.choices)
        if candidate.expected > 0.0 and key != feasible_space.key({}):
            candidates.setdefault(key, candidate)
    return tuple(candidates.values())[:most]


def _of_search(feasible_space: FeasibleSpace, found: Found | None) -> list[Candidate]:
    """The best, and the one nearly as good with the least changed: safest first, then fewest levels."""
    tried = found.evaluated if found else ()
    complete = [
        one
        for one in tried
        if one.state == "complete" and one.estimate is not None and feasible_space.barred(one.choices) is None
    ]
    if not complete:
        return []
    best = complete[0]
    near = [one for one in complete if (one.estimate or 0.0) >= (best.estimate or 0.0) - _NEAR]
    plainest = min(near, key=lambda one: (isolation_rank(one.security), len(_changed(one.choices))))
    made = [_candidate(feasible_space, best.choices, best.estimate or 0.0, "the search's best")]
    if plainest is not best:
        changes = len(_changed(plainest.choices))
        why = f"within {_NEAR:.1%} of the search's best, with {changes} changes, security {plainest.security}"
        made.append(_candidate(feasible_space, plainest.choices, plainest.estimate or 0.0, why))
    return made


def _of_screen(feasible_space: FeasibleSpace, screen: Sequence[LevelEffect]) -> list[Candidate]:
    """The levels that gain after Holm, the best of each factor, two and three of the best together."""
    gains: dict[str, tuple[float, str]] = {}
    feasible = {(axis.name, label) for axis in feasible_space.axes for label in axis.open}
    for effect in screen:
        factor, _, level = effect.name.partition("=")
        gain = effect.gain_log or 0.0
        if effect.helps and (factor, level) in feasible and gain > gains.get(factor, (0.0, ""))[0]:
            gains[factor] = gain, level
    best = sorted(gains, key=lambda factor: -gains[factor][0])[:MOST_FLAGS]
    sizes = range(len(best), min(2, len(best)) - 1, -1) if best else ()
    sets = [chosen for size in sizes for chosen in combinations(best, size)]
    return [
        _candidate(
            feasible_space,
            {factor: gains[factor][1] for factor in chosen},
            sum(gains[factor][0] for factor in chosen),
            f"the screen's best combined: {' and '.join(f'{factor}={gains[factor][1]}' for factor in chosen)}",
        )
        for chosen in sets
    ]


def _candidate(feasible_space: FeasibleSpace, choices: Mapping[str, str], expected: float, why: str) -> Candidate:
    return Candidate(
        environment=f"container:combined-{feasible_space.key(choices)}",
        options=feasible_space.options(choices),
        choices=_changed(choices),
        security=feasible_space.security(choices),
        expected=expected,
        why=why,
    )


def _changed(choices: Mapping[str, str]) -> dict[str, str]:
    return {name: label for name, label in choices.items() if label != BASELINE}
