"""Energy of a run from its samples: by the GPUs' counters, by their power, and whether the two agree."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparkray.units import NS_PER_S

Samples = Sequence[Mapping[str, Any]]
Series = Sequence[tuple[float, float]]
_AGREE_WITHIN = 0.05
# Ten seconds of samples. Some drivers report the mean of the last second, which matters over less time.
_LEAST_POWER_SAMPLES = 50


def counted_j(samples: Samples) -> float | None:
    """Counter differences per GPU, summed: each counter starts at its own value."""
    counters: dict[object, list[float]] = {}
    for sample in samples:
        if sample.get("gpu_energy_j") is not None:
            counters.setdefault(sample.get("device"), []).append(float(sample["gpu_energy_j"]))
    used = [counter[-1] - counter[0] for counter in counters.values() if len(counter) > 1]
    return sum(used) if used else None


def integrated_j(samples: Samples) -> float | None:
    """Power over time by the trapezoid rule, GPU by GPU, summed."""
    used = [_integral(power) for power in _by_device(samples, "gpu_power_w").values() if len(power) > 1]
    return sum(used) if used else None


def power_valid(samples: Samples) -> bool | None:
    """Whether sampled power and counted energy agree; else neither is reliable.

    Between the first and last reading of each GPU's energy counter, integrated power (trapezoid rule, the nearest
    sample's power at both ends) must be within 5 % of the counter's difference.

    Returns:
        False where it is not, on any GPU; None where no GPU has both two counter readings and at least 50 power
        samples between.
    """
    counters, powers = _by_device(samples, "gpu_energy_j"), _by_device(samples, "gpu_power_w")
    agreements = [
        agrees
        for device, counter in counters.items()
        if (agrees := _agree(counter, powers.get(device, []))) is not None
    ]
    return all(agreements) if agreements else None


def _by_device(samples: Samples, name: str) -> dict[object, list[tuple[float, float]]]:
    """(time in s, value) of a column, by GPU."""
    found: dict[object, list[tuple[float, float]]] = {}
    for sample in samples:
        if (value := sample.get(name)) is not None and sample.get("t_ns") is not None:
            found.setdefault(sample.get("device"), []).append((sample["t_ns"] / NS_PER_S, float(value)))
    return found


def _agree(counter: Series, power: Series) -> bool | None:
    (begin, first_j), (end, last_j) = counter[0], counter[-1]
    inside = [(t, watts) for t, watts in power if begin < t < end]
    if len(inside) < _LEAST_POWER_SAMPLES:
        return None
    used_j = last_j - first_j
    return bool(
        abs(_integral([(begin, inside[0][1]), *inside, (end, inside[-1][1])]) - used_j) <= _AGREE_WITHIN * used_j
    )


def _integral(power: Series) -> float:
    """Joules under power over time, by the trapezoid rule."""
    import numpy as np  # noqa: PLC0415 - takes long to import, and who only names metrics needs none

    times, watts = np.asarray(power).T
    return float(np.trapezoid(watts, times))
