"""Throughput that the memory of the machine could not feed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from sparkray.audit.case import MOST_BATCH, THROUGHPUT, Case, devices_of, labels
from sparkray.audit.finding import Finding, NotJudged
from sparkray.checks.roofline import Load, bound_of, machine_of
from sparkray.config.model import ModelCard, Shape
from sparkray.config.site import Site


@dataclass(frozen=True)
class _Run:
    """One row: its throughput, the batch it is judged at, whether that was told, and the machine's devices it ran on."""

    speed: float
    batch: int
    told: bool
    devices: int


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Runs above the bound of `checks.roofline`, from the fewest bytes that a decode step reads and the data sheet.

    Fatal where the batch is told (by a column, by the level of the load, or with `--batch`); grave where the card's own
    largest batch must stand for it. Each run is judged on the devices that its engine used; where decoding is
    speculative a step yields nobody knows how much, and nothing is judged.
    """
    if THROUGHPUT not in case.metrics:
        return
    if case.site is None or case.site.bandwidth_gb_s is None:
        yield NotJudged(
            "beyond_roofline", "no machine of known memory bandwidth: name one with --site, or its GPU with --gpu"
        )
        return
    rows = case.ok.drop_nulls(THROUGHPUT)
    for (name,), group in rows.group_by("model_name", maintain_order=True):
        card = case.card(str(name))
        if card is None or card.shape is None:
            yield NotJudged(
                "beyond_roofline", f"{name}: no model card tells what a step reads: name one with --models-as"
            )
            continue
        certain = group.filter(~pl.col("speculative").fill_null(value=False))
        if len(certain) < len(group):
            yield NotJudged("beyond_roofline", f"{name}: decoding is speculative, so what a step yields is not known")
        runs = [_run(row, card, case.batch) for row in certain.iter_rows(named=True)]
        if not all(run.told for run in runs):
            yield NotJudged(
                "beyond_roofline", f"{name}: batch not told (--batch B), the card's {card.max_batch_size} is assumed"
            )
        yield from _judge_one(certain, runs, card.shape, case.site)


def _run(row: dict[str, Any], card: ModelCard, batch: int | None) -> _Run:
    told = row["batch"]
    said = told if isinstance(told, int) and 0 < told <= MOST_BATCH else batch
    return _Run(float(row[THROUGHPUT]), said or card.max_batch_size, said is not None, devices_of(row["devices"]))


def _bound(shape: Shape, site: Site, batch: int, devices: int) -> float:
    """The most tokens per second at a batch, KV cache and prompts left out, so that it is never too low."""
    return bound_of(shape, machine_of(site, (), devices), Load(batch)).tok_s


def _judge_one(group: pl.DataFrame, runs: list[_Run], shape: Shape, site: Site) -> Iterator[Finding]:
    bounds = {key: _bound(shape, site, *key) for key in {(run.batch, run.devices) for run in runs}}
    times = [run.speed / bounds[run.batch, run.devices] for run in runs]
    over = group.filter(pl.Series([share > 1 for share in times], dtype=pl.Boolean))
    if over.is_empty():
        return
    share, worst = max(zip(times, runs, strict=True), key=lambda found: found[0])
    assumed = not all(run.told for run in runs)
    bandwidth = (site.bandwidth_gb_s or 0.0) * worst.devices
    what = f"batch {worst.batch}{' (assumed: the largest of its card)' if assumed else ''}"
    yield Finding(
        "beyond_roofline",
        "grave" if assumed else "fatal",
        f"{over['model_name'][0]} is faster than the machine can read or compute it: another model ran, or the throughput "
        "counts something else than generated tokens",
        f"{worst.speed:.1f} tok/s, at most {bounds[worst.batch, worst.devices]:.1f} at {what} and {bandwidth:g} GB/s, "
        f"{share:.1f} times the bound; {len(over)} of {len(group)} runs; it would take a batch of "
        f"more than {_batch_needed(shape, site, worst)}",
        labels(over),
    )


def _batch_needed(shape: Shape, site: Site, run: _Run) -> int:
    needed = 1
    while needed < MOST_BATCH and _bound(shape, site, needed, run.devices) < run.speed:
        needed *= 2
    return needed // 2
