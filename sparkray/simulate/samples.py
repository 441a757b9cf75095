"""What samplers would have seen of a run that was made from nothing, and the metrics of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparkray.units import NS_PER_S

Numbers = NDArray[np.float64]
_SAMPLERS = ("host", "process", "gpu", "gpu_slow")
_DEVICE = "GPU-00000000-0000-4000-8000-000000000000"
AVAILABLE_GIB, _FREE_GIB = 114.0, 110.0
_LIMIT_W = 90.0


@dataclass(frozen=True)
class Own:
    """What a run has of its own beside its memory, in standard deviations: no two metrics are one number."""

    page_cache: float
    gpu_process: float
    rss: float
    pss: float
    anonymous: float
    file: float
    power: float
    kv_cache: float


@dataclass(frozen=True)
class Course:
    """What a run does to its machine: memory it takes (GiB), how long (s), and the temperature it starts at (°C)."""

    memory_gib: float
    span_s: float
    start_c: float
    gpu: bool
    container: bool
    own: Own


def samples_of(
    course: Course, count: int, chance: np.random.Generator
) -> tuple[dict[str, NDArray[Any]], dict[str, float | None]]:
    """`count` rows of `samples`, the samplers taking turns, and the metrics of the run that come from them.

    Args:
        course: The run.
        count: Rows, at least one a sampler.
        chance: Where noise is drawn from.
    """
    progress = np.linspace(0.0, 1.0, count)
    turn = np.arange(count) % len(_SAMPLERS)
    taken = course.memory_gib * np.clip(progress / 0.1, 0, 1) * (1 + chance.normal(0, 0.0005, count))
    temperature = course.start_c + 23 * (1 - np.exp(-progress / 0.2)) + chance.normal(0, 0.3, count)
    own = course.own
    mean_w = 62 + 0.8 * own.power
    power = np.minimum(mean_w + chance.normal(0, 1.5, count), _LIMIT_W)
    seen: dict[str, tuple[int, Numbers]] = {
        "mem_free_gib": (0, _FREE_GIB - taken - (0.6 + 0.15 * own.page_cache) * np.clip(progress / 0.1, 0, 1)),
        "mem_available_gib": (0, AVAILABLE_GIB - taken),
        "page_cache_gib": (0, 1.5 + (0.6 + 0.15 * own.page_cache) * np.clip(progress / 0.1, 0, 1)),
        "swap_used_gib": (0, np.zeros(count)),
        "cpu_busy_pct": (0, 12 + chance.normal(0, 1.0, count)),
        "process_rss_gib": (1, 3.0 + 0.1 * own.rss + 0.02 * taken),
        "process_pss_gib": (1, 2.7 + 0.1 * own.rss + 0.03 * own.pss + 0.02 * taken),
        "process_cpu_s": (1, progress * course.span_s),
    }
    if course.container:
        seen |= {
            "cgroup_anon_gib": (1, 2.5 + 0.1 * own.anonymous + 0.01 * taken),
            "cgroup_file_gib": (1, 0.5 + 0.04 * own.file + 0.01 * taken),
        }
    if course.gpu:
        seen |= {
            "gpu_util_pct": (2, np.clip(96 + chance.normal(0, 1.0, count), 0, 100)),
            "gpu_power_w": (2, power),
            "gpu_throttle_reasons": (2, np.zeros(count)),
            "gpu_temp_c": (3, np.rint(temperature)),
            "gpu_sm_clock_mhz": (3, 2400 + chance.normal(0, 8, count)),
            "gpu_process_gib": (3, taken * (0.97 + 0.005 * own.gpu_process)),
            "gpu_energy_j": (3, 1e6 + progress * course.span_s * mean_w),
        }
    columns: dict[str, NDArray[Any]] = {
        name: np.where(turn == sampler, values, np.nan) for name, (sampler, values) in seen.items()
    }
    names = np.array(_SAMPLERS, dtype=object)[turn]
    columns["sampler"] = names
    columns["device"] = np.array([None, _DEVICE], dtype=object)[(turn >= _SAMPLERS.index("gpu")).astype(int)]
    columns["t_ns"] = np.rint((9 + progress * (course.span_s + 1)) * NS_PER_S).astype(np.int64)
    return columns, _metrics(columns)


def _metrics(columns: Mapping[str, NDArray[Any]]) -> dict[str, float | None]:
    """The metrics of `sparkray.metrics` that come from samples, over whole columns; None for what was not seen."""

    def series(name: str) -> Numbers | None:
        return columns[name][~np.isnan(columns[name])] if name in columns else None

    def over(name: str, function: Any) -> float | None:  # noqa: ANN401 - a reduction of numpy's
        values = series(name)
        return None if values is None else float(function(values))

    available, free = over("mem_available_gib", np.min), over("mem_free_gib", np.min)
    energy, temperature = series("gpu_energy_j"), series("gpu_temp_c")
    return {
        "host_available_drop_peak_gib": None if available is None else AVAILABLE_GIB - available,
        "host_free_drop_peak_gib": None if free is None else _FREE_GIB - free,
        "gpu_util_mean_pct": over("gpu_util_pct", np.mean),
        "power_mean_w": over("gpu_power_w", np.mean),
        "energy_j": None if energy is None else float(energy[-1] - energy[0]),
        "gpu_process_peak_gib": over("gpu_process_gib", np.max),
        "process_rss_peak_gib": over("process_rss_gib", np.max),
        "process_pss_peak_gib": over("process_pss_gib", np.max),
        "cgroup_anon_peak_gib": over("cgroup_anon_gib", np.max),
        "cgroup_file_peak_gib": over("cgroup_file_gib", np.max),
        "gpu_temp_start_c": None if temperature is None else float(temperature[0]),
        "gpu_temp_max_c": over("gpu_temp_c", np.max),
        "gpu_throttled_pct": None if temperature is None else 0.0,
        "cpu_busy_mean_pct": over("cpu_busy_pct", np.mean),
    }
