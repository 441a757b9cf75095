"""Studies made from nothing around a truth that is planted in them: does the analysis find it, as often as it promises?

Row by row as a sweep would store them, so that they go the way of real rows; or many studies at once as arrays. A run's
value is its model's level times the effect, the machine's state and log-normal noise. The machine may drift from run to
run, a block may go wrong as a whole, a run alone; effects may differ by metric and by the size of the model.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
THROUGHPUT, MEMORY = "output_throughput_tok_s", "host_available_drop_peak_gib"
MARGINS: Mapping[str, float] = {THROUGHPUT: 0.01, MEMORY: 0.02}
REFERENCE, OTHER = "native", "container_baseline"
_LEVEL: Mapping[str, float] = {THROUGHPUT: 120.0, MEMORY: 40.0}
_CENTRE = 1e10


@dataclass(frozen=True)
class Truth:
    """What is planted. Ratios are of `container_baseline` to `native`.

    Attributes:
        name: In words.
        ratios: By metric; 1 where none is given.
        cv_pct: CV of one run in per cent, machine apart.
        drift_pct: What a run is faster than the one before it, in per cent.
        bad_block_pct: What one block is slower in both arms.
        bad_run_pct: What one run of the other arm is slower.
        per_decade_pct: How much the throughput's ratio gains for ten times the parameters; `ratios` hold at 1e10 of them.
    """

    name: str
    ratios: Mapping[str, float] = field(default_factory=dict)
    cv_pct: float = 0.5
    drift_pct: float = 0.0
    bad_block_pct: float = 0.0
    bad_run_pct: float = 0.0
    per_decade_pct: float = 0.0

    def ratio(self, metric: str, parameters: float = _CENTRE) -> float:
        """The true ratio of a model with so many parameters."""
        gain = self.per_decade_pct if metric == THROUGHPUT else 0.0
        return self.ratios.get(metric, 1.0) * math.exp(math.log1p(gain / 100) * math.log10(parameters / _CENTRE))


@dataclass(frozen=True)
class Arms:
    """Values of both arms, shape (studies, blocks) each, in the metric's unit."""

    reference: Array
    other: Array

    @property
    def log_ratios(self) -> Array:
        """Inside blocks, shape (studies, blocks)."""
        return np.asarray(np.log(self.other / self.reference))


def draw(
    truth: Truth, metric: str, rng: np.random.Generator, *, studies: int, blocks: int = 30, parameters: float = _CENTRE
) -> Arms:
    """Both arms of many studies of one model, in the order AB, BA, AB of an alternating plan.

    The bad block and the bad run are the block in the middle. Memory neither drifts nor goes wrong.
    """
    sd = math.sqrt(math.log1p((truth.cv_pct / 100) ** 2))
    noise = np.exp(rng.standard_normal((2, studies, blocks)) * sd - sd * sd / 2)
    arms = noise * _LEVEL[metric] * np.array([1.0, truth.ratio(metric, parameters)])[:, None, None]
    if metric == THROUGHPUT:
        arms *= (1 + truth.drift_pct / 100) ** _positions(blocks)[:, None, :]
        arms[:, :, blocks // 2] *= 1 - truth.bad_block_pct / 100
        arms[1, :, blocks // 2] *= 1 - truth.bad_run_pct / 100
    return Arms(arms[0], arms[1])


def draw_apart(truth: Truth, rng: np.random.Generator, *, studies: int, blocks: int = 30) -> Arms:
    """The same machine's throughput when all runs of one arm come before all of the other: no blocks, as studies do it."""
    drift = 1 + truth.drift_pct / 100
    found = draw(truth, THROUGHPUT, rng, studies=studies, blocks=blocks)
    first, second = found.reference / drift ** _positions(blocks)[0], found.other / drift ** _positions(blocks)[1]
    return Arms(first * drift ** np.arange(blocks), second * drift ** np.arange(blocks, 2 * blocks))


def rows_of(truth: Truth, models: Mapping[str, float], *, blocks: int = 30, seed: int = 0) -> list[dict[str, Any]]:
    """One study as rows of `runs`, in order of measurement within each model.

    Args:
        truth: What is planted.
        models: Parameters by name.
        blocks: A model.
        seed: Of the noise.
    """
    rng = np.random.default_rng(seed)
    rows: list[dict[str, Any]] = []
    for model, parameters in models.items():
        found = {
            metric: draw(truth, metric, rng, studies=1, blocks=blocks, parameters=parameters) for metric in MARGINS
        }
        for block in range(blocks):
            rows += _block(model, block, found)
    return rows


def _block(model: str, block: int, found: Mapping[str, Arms]) -> Sequence[dict[str, Any]]:
    order = (REFERENCE, OTHER) if block % 2 == 0 else (OTHER, REFERENCE)
    return [
        {
            "run_id": f"{model}-{block}-{environment}",
            "attempt": 1,
            "status": "ok",
            "reason": None,
            "simulated": True,
            "model": model,
            "level": "",
            "environment": environment,
            "block": block,
            "position": 2 * block + place,
            **{
                metric: float((arms.reference if environment == REFERENCE else arms.other)[0, block])
                for metric, arms in found.items()
            },
        }
        for place, environment in enumerate(order)
    ]


def _positions(blocks: int) -> Array:
    """When either arm is measured, shape (2, blocks)."""
    block = np.arange(blocks)
    return np.stack([2 * block + block % 2, 2 * block + 1 - block % 2]).astype(np.float64)
