"""Which models fit into this machine's memory, and from which precision on: arithmetic on the cards.

Needed: weights at the card's own precision + the 16-bit KV cache of the workload's sequences + what must stay free. At 16, 8
and 4 bits: parameters x bits / 8 in place of the weights. `bits` is the highest of these that fits, null where none does.
Most sequences: (memory - reserve - weights) / KV cache of one.

Memory is what a model may count on, as `doctor` has it: the GPUs' own where they have some, the machine's where GPU and host
share it or where no GPU is used.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.schema import DERIVED, frame_of
from sparkray.catalog import Catalog, data_root
from sparkray.config.boundary import parse
from sparkray.config.model import RESERVE_GIB, ModelCard, Shape
from sparkray.config.site import Site
from sparkray.errors import SparkrayError, UnknownNameError
from sparkray.machine.finding import is_spark, needs_gpu
from sparkray.units import gib

UNQUANTISED = 16
_BITS = (UNQUANTISED, 8, 4)
GPUS, MACHINE = "gpus", "machine"
# A GPU of this name shares the machine's memory.
UNIFIED = "GB10"


def fit(analysis: Analysis) -> pl.DataFrame:
    """One row a model that has a shape; without a known memory no rows."""
    memory = memory_gib(analysis.context)
    workload = analysis.context.get("workload") or {}
    tokens = int(workload.get("input_tokens") or 0) + int(workload.get("output_tokens") or 0)
    rows: list[dict[str, Any]] = []
    if memory is not None:
        measured = set(analysis.context.get("models") or [])
        for card in _cards(analysis.context.get("cards") or []):
            if card.shape is not None:
                sequences = int(workload.get("concurrency") or card.max_batch_size)
                row = _row(card, card.shape, memory, sequences=sequences, tokens=tokens)
                rows.append(row | {"measured": card.name in measured, "memory_of": memory_of(analysis.context)})
    return frame_of(DERIVED["fit"], rows)


def memory_gib(context: Mapping[str, Any]) -> float | None:
    """What models may count on, GiB: of the smallest machine that measured, else the site's as its data sheet has it.

    Of GPUs with memory of their own it is theirs; None where the machine did not tell it.
    """
    site = _site(context)
    if site is not None and site.simulated:
        return site.memory_gib
    machines = context.get("machines") or []
    if memory_of(context) == GPUS:
        own = [machine.get("gpu_memory_gib") or [None] for machine in machines]
        if any(size is None for sizes in own for size in sizes):
            return None
        known = [sum(sizes) for sizes in own]
    else:
        known = [machine["memory_gib"] for machine in machines if machine.get("memory_gib")]
    if known:
        return float(min(known))
    return site.memory_gib if site is not None else None


def memory_of(context: Mapping[str, Any]) -> str:
    """Whose memory bounds a model."""
    site = _site(context)
    if site is not None:
        return GPUS if needs_gpu(site) and not is_spark(site) else MACHINE
    gpus = [str(name) for machine in context.get("machines") or [] for name in machine.get("gpus") or []]
    return GPUS if gpus and not any(UNIFIED in name for name in gpus) else MACHINE


def _site(context: Mapping[str, Any]) -> Site | None:
    """The site as it ships; None for one that does not."""
    try:
        return Catalog(data_root()).site(str(context.get("site")))
    except UnknownNameError:
        return None


def _cards(stored: Sequence[Mapping[str, Any]]) -> list[ModelCard]:
    """The cards that the dataset holds, and those that ship beside them, small models first."""
    found = {card.name: card for card in Catalog(data_root()).cards() if card.tier > 0}
    for document in stored:
        try:
            card = parse(ModelCard, document, "experiment.json")
        except SparkrayError:
            continue  # written by a version whose cards had other keys; the shipped card of that name stands
        found[card.name] = card
    return sorted(found.values(), key=lambda card: (card.shape.params_total if card.shape else 0, card.name))


def _row(card: ModelCard, shape: Shape, memory: float, *, sequences: int, tokens: int) -> dict[str, Any]:
    kv_one = gib(shape.sequence_bytes(tokens))
    weights = gib(shape.weight_bytes)
    needed = weights + sequences * kv_one + RESERVE_GIB
    at = {bits: gib(shape.params_total * bits / 8) + sequences * kv_one + RESERVE_GIB for bits in _BITS}
    left = memory - RESERVE_GIB - weights
    return {
        "trace": f"fit/{card.name}",
        "model": card.name,
        "architecture": card.architecture,
        "precision": card.quantisation or card.dtype,
        "params_b": shape.params_total / 1e9,
        "weights_gib": weights,
        "kv_gib": sequences * kv_one,
        "sequences": sequences,
        "tokens": tokens,
        "needed_gib": needed,
        "memory_gib": memory,
        "fits": needed <= memory,
        **{f"needed_{bits}_gib": at[bits] for bits in _BITS},
        "bits": next((bits for bits in _BITS if at[bits] <= memory), None),
        "most_sequences": int(left // kv_one) if left > 0 and kv_one > 0 else 0,
    }
