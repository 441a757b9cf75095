"""How finely values were written: one of the last digit's steps apart is as good as alike. Pure."""

import numpy as np

_MOST_DIGITS, _SAMPLE = 9, 100


def digits_of(known: np.ndarray) -> int:
    """Decimals of values, by a sample of them; 9 at the most."""
    sample = known[:_SAMPLE]
    return next((d for d in range(_MOST_DIGITS) if _is_whole(sample * 10.0**d)), _MOST_DIGITS)


def _is_whole(values: np.ndarray) -> bool:
    return bool(np.max(np.abs(values - np.round(values))) < 1e-4)  # noqa: PLR2004 - what a double of nine digits leaves
