"""Studies made from nothing, in the JSON form of the previous study: its own, from its published table, and a sound one.

They show that an audit finds what is there to be found, and nothing where nothing is.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

_START = datetime(2025, 11, 10, 9, 0, tzinfo=UTC)
_OUTPUT_TOKENS = 128
_TOTAL_GIB = 119.7
_KV_SHARE = 0.9


@dataclass(frozen=True)
class PublishedCell:
    """Mean and sd of tok/s and of "peak memory" (GiB), and the mean end temperature (°C), as published."""

    model: str
    model_id: str
    environment: str
    throughput: tuple[float, float]
    peak: tuple[float, float]
    end_c: float
    runs: int = 10


_R1, _OSS, _QWEN = "DeepSeek-R1-Distill-Qwen-7B", "gpt-oss-120b", "Qwen2.5-72B-Instruct"
PUBLISHED: tuple[PublishedCell, ...] = (
    PublishedCell(_R1, f"deepseek-ai/{_R1}", "native", (119.79, 0.58), (70.47, 1.00), 60.7),
    PublishedCell(_R1, f"deepseek-ai/{_R1}", "container", (119.40, 0.17), (101.30, 1.62), 58.7),
    PublishedCell(_OSS, f"openai/{_OSS}", "native", (120.27, 0.33), (71.72, 1.93), 60.4),
    PublishedCell(_OSS, f"openai/{_OSS}", "container", (120.41, 0.57), (93.43, 2.52), 58.4),
    PublishedCell(_QWEN, f"Qwen/{_QWEN}", "native", (119.33, 0.29), (70.03, 0.36), 60.6),
    PublishedCell(_QWEN, f"Qwen/{_QWEN}", "container", (119.51, 0.21), (90.02, 5.77), 58.8, runs=13),
)
_SOUND = (
    ("Qwen2-1.5B", "Qwen/Qwen2-1.5B", 430.0, 9.0),
    (_R1, f"deepseek-ai/{_R1}", 119.0, 24.0),
    (_OSS, f"openai/{_OSS}", 146.0, 71.0),
)


def previous_study(seed: int = 0, *, dependence: float = 0.8) -> dict[str, Any]:
    """The previous study's dataset, made again from its table.

    Its cells, each arm in one stretch, KV cache computed from memory; the mean and sd of every cell are the published
    ones exactly. `dependence` is the correlation of a run with the one before; 0 makes runs independent.
    """
    chance = random.Random(seed)
    models: dict[str, dict[str, list[dict[str, Any]]]] = {}
    clock = _START
    for cell in PUBLISHED:
        speeds = _series(chance, *cell.throughput, cell.runs, dependence)
        peaks = _series(chance, *cell.peak, cell.runs, dependence)
        runs = models.setdefault(cell.model, {}).setdefault(cell.environment, [])
        for index in range(cell.runs):
            temperatures = (40 + chance.gauss(0, 0.8), cell.end_c + chance.gauss(0, 0.5))
            peak = round(peaks[index], 2)
            memory = (peak, round(_KV_SHARE * (_TOTAL_GIB - peak), 2))
            names = (cell.model_id, cell.model, cell.environment)
            runs.append(_run(names, (index, clock), speeds[index], temperatures=temperatures, memory=memory))
            clock += timedelta(seconds=200 + chance.randrange(40))
    return {"models": models}


def sound_study(seed: int = 0, *, runs: int = 20) -> dict[str, Any]:
    """A study without flaws: pairs in random order, speeds that sizes allow, memory measured apart, caches alike."""
    chance = random.Random(seed)
    models: dict[str, dict[str, list[dict[str, Any]]]] = {name: {"native": [], "container": []} for name, *_ in _SOUND}
    clock = _START
    for index in range(runs):
        for name, model_id, speed, peak in _SOUND:
            for environment in chance.sample(["native", "container"], 2):
                factor = 0.996 if environment == "container" else 1.0
                run = _run(
                    (model_id, name, environment),
                    (index, clock),
                    speed * factor * math.exp(chance.gauss(0, 0.003)),
                    temperatures=(40 + chance.gauss(0, 0.8), 59 + chance.gauss(0, 0.8)),
                    memory=(round(peak + chance.gauss(0, 0.2), 2), round(0.8 * peak + chance.gauss(0, 0.05), 2)),
                )
                run |= {"page_cache_before_gib": round(1.5 + chance.gauss(0, 0.05), 3), "batch": 8, "simulated": False}
                models[name][environment].append(run)
                clock += timedelta(seconds=300 + chance.randrange(60))
    return {"models": models, "claims": []}


def _series(chance: random.Random, mean: float, sd: float, n: int, dependence: float) -> Sequence[float]:
    """A first-order autoregressive series with exactly that mean and sd."""
    values = [chance.gauss(0, 1)]
    while len(values) < n:
        values.append(dependence * values[-1] + math.sqrt(1 - dependence**2) * chance.gauss(0, 1))
    middle = sum(values) / n
    spread = math.sqrt(sum((value - middle) ** 2 for value in values) / (n - 1))
    return [mean + sd * (value - middle) / spread for value in values]


def _run(
    names: tuple[str, str, str],
    when: tuple[int, datetime],
    speed: float,
    *,
    temperatures: tuple[float, float],
    memory: tuple[float, float],
) -> dict[str, Any]:
    model_id, name, environment = names
    index, clock = when
    return {
        "environment": environment,
        "model_name": name,
        "model_id": model_id,
        "model_path": f"/data/models/{name}",
        "iteration": index + 1,
        "timestamp": clock.strftime("%Y%m%d_%H%M%S"),
        "start_temp_celsius": round(temperatures[0], 1),
        "end_temp_celsius": round(temperatures[1], 1),
        "exit_code": 0,
        "throughput": round(speed / _OUTPUT_TOKENS, 4),
        "output_throughput": round(speed, 2),
        "latency": None,
        "peak_memory": memory[0],
        "kv_cache": memory[1],
    }
