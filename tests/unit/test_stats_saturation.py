"""The knee of throughput over load, against planted ones."""

import numpy as np
import pytest

from sparkray.stats.saturation import Knee, NoKnee, knee, knee_ratio

LOADS = np.array([1.0, 2.0, 4.0, 8.0, 16.0, 32.0])


def _measured(seed: int, *, at: float, noise: float = 0.02, blocks: int = 6) -> np.ndarray:
    """Blocks of throughput with 50 per unit of load up to a knee; a block's machine is 3 % faster or slower throughout."""
    rng = np.random.default_rng(seed)
    pure = 50 * np.minimum(LOADS, at)
    return pure * np.exp(rng.normal(0, noise, (blocks, 6)) + rng.normal(0, 0.03, (blocks, 1)))


def test_a_knee_without_noise_is_exact() -> None:
    found = knee(LOADS, np.tile(50 * np.minimum(LOADS, 6.0), (3, 1)))
    assert isinstance(found, Knee)
    assert (found.load, found.low, found.high) == pytest.approx((6.0, 6.0, 6.0))
    assert (found.capacity, found.capacity_low, found.capacity_high) == pytest.approx((300.0, 300.0, 300.0))


def test_intervals_hold_the_planted_knee_and_capacity() -> None:
    found = [knee(LOADS, _measured(seed, at=6.0, blocks=10), resamples=400) for seed in range(200)]
    load = sum(one.low <= 6.0 <= one.high for one in found) / len(found)
    capacity = sum(one.capacity_low <= 300.0 <= one.capacity_high for one in found) / len(found)
    assert load > 0.85
    assert capacity > 0.85
    assert max(one.high - one.low for one in found) < 1.5


def test_steps_that_an_early_end_left_out_do_not_move_the_knee() -> None:
    whole = _measured(1, at=6.0)
    partial = whole.copy()
    partial[1:, -1] = np.nan
    assert knee(LOADS, partial).load == pytest.approx(knee(LOADS, whole).load, rel=0.02)


def test_a_resampled_block_without_a_knee_leaves_the_interval_open() -> None:
    throughput = np.tile(50 * np.minimum(LOADS, 20.0), (4, 1))
    throughput[:2] = 50 * LOADS
    found = knee(LOADS, throughput)
    assert found == NoKnee("beyond_last") or found.high is None


@pytest.mark.parametrize(
    ("throughput", "code"),
    [
        (np.tile(50 * LOADS, (3, 1)), "beyond_last"),
        (_measured(3, at=100.0), "beyond_last"),
        (np.full((3, 6), 50.0), "below_first"),
        (_measured(1, at=6.0)[:2], "too_few_blocks"),
        (np.zeros((3, 6)), "no_value"),
        (np.where(LOADS > 20, np.nan, np.tile(LOADS, (3, 1))), "no_value"),
    ],
)
def test_no_knee_is_an_answer_with_a_code(throughput: np.ndarray, code: str) -> None:
    assert knee(LOADS, throughput) == NoKnee(code)


def test_a_ratio_of_knees_holds_the_planted_one_and_none_has_no_ratio() -> None:
    found = [
        knee_ratio(LOADS, _measured(seed, at=8.0, blocks=8), _measured(seed + 500, at=6.0, blocks=8), resamples=300)
        for seed in range(60)
    ]
    assert sum(one.low <= 0.75 <= one.high for one in found) > 0.85 * len(found)
    assert max(one.high for one in found) < 1.0
    rising = np.tile(50 * LOADS, (8, 1))
    assert knee_ratio(LOADS, rising, _measured(1, at=6.0, blocks=8)) is None
    with pytest.raises(ValueError, match="8 blocks of the reference, 6 of the arm"):
        knee_ratio(LOADS, rising, _measured(1, at=6.0))


def test_loads_must_ascend_and_fit() -> None:
    with pytest.raises(ValueError, match="must ascend"):
        knee(LOADS[::-1], np.ones((3, 6)))
    with pytest.raises(ValueError, match="fit throughput"):
        knee(LOADS, np.ones((3, 5)))
