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
    """One row: its throughput, the batch it is judged at, whether that is assumed, and the devices it ran on."""

    speed: float
    batch: int
    assumed: bool
    devices: int


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Runs above the bound of `checks.roofline`, from the fewest bytes that a decode step reads and the data sheet.

    Fatal where the batch is known (by a column, by the level of the load, or by `--batch`); grave where the card's own
    largest batch is assumed. Each run is judged on the devices that its engine used. Where decoding is speculative, the
    tokens of a step are unknown, and nothing is judged.
    """
    if THROUGHPUT not in case.metrics:
        yield NotJudged("beyond_roofline/metric")
        return
    if case.site is None or case.site.bandwidth_gb_s is None:
        yield NotJudged("beyond_roofline/machine")
        return
    for (name,), group in case.ok.drop_nulls(THROUGHPUT).group_by("model_name", maintain_order=True):
        card = case.card(str(name))
        if card is None or card.shape is None:
            yield NotJudged("beyond_roofline/card", {"model": name})
            continue
        certain = group.filter(~pl.col("speculative").fill_null(value=False))
        if len(certain) < len(group):
            yield NotJudged("beyond_roofline/speculative", {"model": name})
        runs = [_run(row, card, case.batch) for row in certain.iter_rows(named=True)]
        if any(run.assumed for run in runs):
            yield NotJudged("beyond_roofline/batch", {"model": name, "batch": card.max_batch_size})
        yield from _judge_one(certain, runs, card.shape, case.site)


def _run(row: dict[str, Any], card: ModelCard, batch: int | None) -> _Run:
    recorded = row["batch"]
    known = recorded if isinstance(recorded, int) and 0 < recorded <= MOST_BATCH else batch
    return _Run(float(row[THROUGHPUT]), known or card.max_batch_size, known is None, devices_of(row["devices"]))


def _bound(shape: Shape, site: Site, batch: int, devices: int) -> float:
    """The most tokens per second at a batch, KV cache and prompts left out, so that it is never too low."""
    return bound_of(shape, machine_of(site, (), devices), Load(batch)).tok_s


def _judge_one(group: pl.DataFrame, runs: list[_Run], shape: Shape, site: Site) -> Iterator[Finding]:
    bounds = {key: _bound(shape, site, *key) for key in {(run.batch, run.devices) for run in runs}}
    times = [run.speed / bounds[run.batch, run.devices] for run in runs]
    over = group.filter(pl.Series([share > 1 for share in times], dtype=pl.Boolean))
    if over.is_empty():
        return
    share, worst = max(zip(times, runs, strict=True), key=lambda pair: pair[0])
    assumed = any(run.assumed for run in runs)
    values = {
        "model": over["model_name"][0],
        "speed": worst.speed,
        "bound": bounds[worst.batch, worst.devices],
        "batch": worst.batch,
        "assumed": assumed,
        "bandwidth": (site.bandwidth_gb_s or 0.0) * worst.devices,
        "share": share,
        "over": len(over),
        "runs": len(group),
        "batch_needed": _batch_needed(shape, site, worst),
    }
    yield Finding("beyond_roofline", values, "grave" if assumed else "fatal", labels(over))


def _batch_needed(shape: Shape, site: Site, run: _Run) -> int:
    needed = 1
    while needed < MOST_BATCH and _bound(shape, site, needed, run.devices) < run.speed:
        needed *= 2
    return needed // 2
