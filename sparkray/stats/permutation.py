"""Sign-flip permutation test of paired arms, which assumes nothing but the randomisation of arms inside blocks."""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from sparkray.stats import NotEstimable
from sparkray.stats.samples import Values, Vector, paired_logs, together

DRAWS = 10_000
EXACT_UP_TO = 14
_LEAST = 2
# Comparisons whose arrangements are in memory together.
_AT_ONCE = 64
# Relative: two arrangements with the same sum in exact arithmetic count as equal.
_TOLERANCE = 1e-10


def sign_flip(
    a: Values, b: Values, *, seed: int = 0, draws: int = DRAWS, exact_up_to: int = EXACT_UP_TO
) -> float | NotEstimable:
    """The two-sided p of the hypothesis that the arms of a block are exchangeable, by the mean log ratio.

    Fisher (1935), "The Design of Experiments", section 21: to exchange the arms of a block is to flip the sign of its log
    ratio. Up to `exact_up_to` pairs all 2**n arrangements are counted; beyond, `draws` random ones, with the 1 added to
    both counts that Phipson and Smyth (2010), "Permutation p-values should never be zero", Statist. Appl. Genet. Mol.
    Biol. 9, ask for.

    Args:
        a: Values of the reference arm, one a block, shape (n,), above 0.
        b: Values of the other arm in the same blocks.
        seed: Of the draws.
        draws: How many beyond exact enumeration.
        exact_up_to: The greatest number of pairs that is enumerated.

    Returns:
        With all arrangements no smaller than 2 / 2**n, with draws no smaller than 1 / (draws + 1).
    """
    return sign_flips([(a, b)], seed=seed, draws=draws, exact_up_to=exact_up_to)[0]


def sign_flips(
    pairs: Sequence[tuple[Values, Values]], *, seed: int = 0, draws: int = DRAWS, exact_up_to: int = EXACT_UP_TO
) -> list[float | NotEstimable]:
    """`sign_flip` of many pairs of arms at once."""

    def checked(a: Values, b: Values) -> tuple[Vector] | NotEstimable:
        logs = paired_logs(a, b, _LEAST)
        return logs if isinstance(logs, NotEstimable) else (logs,)

    def tested(logs: Vector) -> list[float]:
        exact = logs.shape[1] <= exact_up_to
        added = 0 if exact else 1
        signs = _all_signs(logs.shape[1]) if exact else _drawn_signs(logs.shape[1], draws, seed)
        bounds = np.abs(np.sum(logs, axis=1)) - _TOLERANCE * np.sum(np.abs(logs), axis=1)
        parts = (slice(start, start + _AT_ONCE) for start in range(0, len(logs), _AT_ONCE))
        extreme = [np.count_nonzero(np.abs(logs[at] @ signs.T) >= bounds[at, None], axis=1) for at in parts]
        return [(count + added) / (len(signs) + added) for count in np.concatenate(extreme).tolist()]

    return together([checked(a, b) for a, b in pairs], tested)


@lru_cache(maxsize=4)
def _all_signs(n: int) -> Vector:
    """Every arrangement of n signs: shape (2**n, n)."""
    return np.asarray(1.0 - 2.0 * ((np.arange(2**n)[:, None] >> np.arange(n)) & 1), dtype=np.float64)


@lru_cache(maxsize=4)
def _drawn_signs(n: int, draws: int, seed: int) -> Vector:
    """Random arrangements: shape (draws, n)."""
    return np.random.default_rng(seed).integers(0, 2, (draws, n)).astype(np.float64) * 2.0 - 1.0
