"""When each simulated request starts, gets its first token and ends."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass

from .checkpoint import Checkpoint

EFFICIENCY = 0.75
"""Share of the bandwidth that a decode step reaches; dense models land at 0.6 to 0.9 on a GB10."""
PREFILL_FLOPS = 60e12
NS = 1e9


@dataclass(frozen=True)
class Prompt:
    """One line of the dataset."""

    task_id: int
    input_ids: Sequence[int]
    output_tokens: int


@dataclass(frozen=True)
class Played:
    """One simulated request, times in ns from the start of the measurement."""

    id: int
    input_tokens: int
    output_tokens: int
    start: int
    first: int
    end: int


@dataclass(frozen=True)
class Machine:
    """Bandwidth in bytes/s, and how much slower than usual this run is."""

    bandwidth: float
    slowness: float = 1.0


def play(
    prompts: Sequence[Prompt],
    model: Checkpoint,
    *,
    machine: Machine,
    slots: int,
    concurrency: int,
    noise: random.Random,
) -> list[Played]:
    """The requests of one run, in the order of the dataset.

    A request starts when one of `concurrency` places is free (at once when that is not above 0), waits for one of
    `slots` places in the batch, is prefilled, and then gets one token a step.
    """
    batch = min(slots, concurrency if concurrency > 0 else slots, len(prompts))
    run = machine.slowness * max(0.5, noise.gauss(1.0, 0.003))
    places = [0.0] * (min(concurrency, len(prompts)) if concurrency > 0 else len(prompts))
    batch_places = [0.0] * batch
    played = []
    for prompt in prompts:
        start = heapq.heappop(places)
        ready = max(start, heapq.heappop(batch_places))
        factor = run * max(0.5, noise.gauss(1.0, 0.01))
        first = ready + factor * _prefill_s(prompt, model, machine)
        context = len(prompt.input_ids) + prompt.output_tokens / 2
        step = factor * (model.read_per_step(batch) + batch * context * model.kv_per_token)
        end = first + (prompt.output_tokens - 1) * step / (machine.bandwidth * EFFICIENCY)
        heapq.heappush(places, end)
        heapq.heappush(batch_places, end)
        times = (round(start * NS), round(first * NS), round(end * NS))
        played.append(Played(prompt.task_id, len(prompt.input_ids), prompt.output_tokens, *times))
    return played


def _prefill_s(prompt: Prompt, model: Checkpoint, machine: Machine) -> float:
    """The longer of reading the weights once and multiplying with them, two operations for two bytes and a token."""
    reading = model.read_per_step(len(prompt.input_ids)) / (machine.bandwidth * EFFICIENCY)
    return max(reading, model.read_per_step(1) * len(prompt.input_ids) / PREFILL_FLOPS)
