"""Throughput that the memory of the machine could not feed."""

from collections.abc import Iterator

import numpy as np
import polars as pl

from sparkray.audit.case import THROUGHPUT, Case, labels
from sparkray.audit.finding import Finding, NotJudged
from sparkray.checks.roofline import Load, bound_of
from sparkray.spec.model import ModelCard, Shape
from sparkray.spec.site import Site

_MOST_BATCH = 65536


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Runs above the bound of `checks.roofline`, from the fewest bytes that a decode step reads and the data sheet.

    Fatal where the batch is told (a column, or `--batch`); grave where the card's own largest batch must stand for it.
    """
    if THROUGHPUT not in case.metrics:
        return
    if case.site is None or case.site.bandwidth_gb_s is None:
        yield NotJudged("beyond_roofline", "no machine of known memory bandwidth: name one with --site")
        return
    rows = case.ok.drop_nulls(THROUGHPUT)
    for (name,), group in rows.group_by("model_name", maintain_order=True):
        card = case.card(str(name))
        if card is None or card.shape is None:
            yield NotJudged(
                "beyond_roofline", f"{name}: no model card tells what a step reads: name one with --models-as"
            )
            continue
        if group["batch"].null_count() and case.batch is None:
            yield NotJudged(
                "beyond_roofline", f"{name}: batch not told (--batch B), the card's {card.max_batch_size} is assumed"
            )
        yield from _judge_one(group, card, case.site, case.batch)


def _bound(shape: Shape, site: Site, batch: int) -> float:
    """The most tokens per second at a batch, KV cache and prompts left out, so that it is never too low."""
    return bound_of(shape, site, Load(batch)).tok_s


def _judge_one(group: pl.DataFrame, card: ModelCard, site: Site, told: int | None) -> Iterator[Finding]:
    shape = card.shape
    if shape is None:
        return
    said = [batch if batch is not None and 0 < batch <= _MOST_BATCH else told for batch in group["batch"].to_list()]
    batches = [batch or card.max_batch_size for batch in said]
    by_batch = {batch: _bound(shape, site, batch) for batch in set(batches)}
    bounds = np.array([by_batch[batch] for batch in batches])
    speeds = group[THROUGHPUT].to_numpy()
    over = group.filter(pl.Series(speeds > bounds))
    if over.is_empty():
        return
    assumed = None in said
    typical = sorted(batches)[len(batches) // 2]
    what = f"batch {typical}{' (assumed: the largest of its card)' if assumed else ''}"
    fastest = float(speeds[speeds > bounds].mean())
    yield Finding(
        "beyond_roofline",
        "grave" if assumed else "fatal",
        f"{over['model_name'][0]} is faster than the machine can read or compute it: another model ran, or the throughput "
        "counts something else than generated tokens",
        f"{fastest:.1f} tok/s, at most {by_batch[typical]:.1f} at {what} and {site.bandwidth_gb_s:g} GB/s, "
        f"{float((speeds / bounds).max()):.1f} times the bound; {len(over)} of {len(group)} runs; it would take a batch of "
        f"more than {_batch_needed(shape, site, fastest)}",
        labels(over),
    )


def _batch_needed(shape: Shape, site: Site, goal: float) -> int:
    needed = 1
    while needed < _MOST_BATCH and _bound(shape, site, needed) < goal:
        needed *= 2
    return needed // 2
