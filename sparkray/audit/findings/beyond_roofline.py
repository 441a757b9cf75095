"""Throughput that the memory of the machine could not feed."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import polars as pl

from sparkray.audit.case import MOST_BATCH, THROUGHPUT, Case, devices_of, labels
from sparkray.audit.finding import Finding, Gravity, NotJudged
from sparkray.audit.speculation import tokens_per_step
from sparkray.checks.roofline import Load, bound_of, machine_of
from sparkray.config.model import ModelCard, Shape
from sparkray.config.model_name import parse_name
from sparkray.config.site import Site

# Sizes in names are rounded, and count an embedding that no step reads.
_ROUNDED = 1.5
_LEAST_BITS = 4.0


@dataclass(frozen=True)
class _Run:
    """One row: its throughput, the load it is judged at, whether the batch is assumed, and the devices it ran on."""

    speed: float
    batch: int
    assumed: bool
    devices: int
    tokens: float


def judge(case: Case) -> Iterator[Finding | NotJudged]:
    """Runs above the bound of `checks.roofline`, from the fewest bytes that a decode step reads and the data sheet.

    Fatal where the batch is known (by a column, by the level of the load, or by `--batch`); grave where the card's own
    largest batch is assumed; a note where only the model's name gives its size. Each run is judged on the devices that its
    engine used. Where decoding is speculative, a step makes as many tokens as the columns tell; unknown, nothing is judged.
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
            yield from _by_name(case, str(name), group, case.site)
            continue
        tokens = tokens_per_step(group)
        certain = group.filter(pl.Series([known is not None for known in tokens], dtype=pl.Boolean))
        if len(certain) < len(group):
            yield NotJudged("beyond_roofline/speculative", {"model": name})
        rows = certain.select(THROUGHPUT, "batch", "devices").iter_rows()
        known = [one for one in tokens if one is not None]
        runs = [_run(row, step, card, case.batch) for row, step in zip(rows, known, strict=True)]
        if any(run.assumed for run in runs):
            yield NotJudged("beyond_roofline/batch", {"model": name, "batch": card.max_batch_size})
        yield from _judge_one(certain, runs, card.shape, case.site)


def _run(row: tuple[Any, ...], tokens: float, card: ModelCard, batch: int | None) -> _Run:
    speed, recorded, devices = row
    known = recorded if isinstance(recorded, int) and 0 < recorded <= MOST_BATCH else batch
    return _Run(float(speed), known or card.max_batch_size, known is None, devices_of(devices), tokens)


def _bound(shape: Shape, site: Site, batch: int, devices: int, tokens: float) -> float:
    """The most tokens per second at a batch, KV cache and prompts left out, so that it is never too low."""
    return bound_of(shape, machine_of(site, (), devices), Load(batch, tokens_per_step=tokens)).tok_s


def _judge_one(group: pl.DataFrame, runs: list[_Run], shape: Shape, site: Site) -> Iterator[Finding]:
    loads = {(run.batch, run.devices, run.tokens) for run in runs}
    bounds = {key: _bound(shape, site, *key) for key in loads}
    times = [run.speed / bounds[run.batch, run.devices, run.tokens] for run in runs]
    over = group.filter(pl.Series([share > 1 for share in times], dtype=pl.Boolean))
    if over.is_empty():
        return
    share, worst = max(zip(times, runs, strict=True), key=lambda pair: pair[0])
    assumed = any(run.assumed for run in runs)
    values = {
        "model": over["model_name"][0],
        "speed": worst.speed,
        "bound": bounds[worst.batch, worst.devices, worst.tokens],
        "batch": worst.batch,
        "assumed": assumed,
        "tokens": worst.tokens,
        "bandwidth": (site.bandwidth_gb_s or 0.0) * worst.devices,
        "share": share,
        "over": len(over),
        "runs": len(group),
        "batch_needed": _batch_needed(shape, site, worst),
    }
    gravity: Gravity = "grave" if assumed else "fatal"
    yield Finding("beyond_roofline", values, gravity, labels(over))


def _batch_needed(shape: Shape, site: Site, run: _Run) -> int:
    needed = 1
    while needed < MOST_BATCH and _bound(shape, site, needed, run.devices, run.tokens) < run.speed:
        needed *= 2
    return needed // 2


def _by_name(case: Case, name: str, group: pl.DataFrame, site: Site) -> Iterator[Finding | NotJudged]:
    """A model without a card, by the parameters in its name: 4 bits where it has no format, and half as much again."""
    parsed = parse_name(name)
    params = parsed.params_active or (None if parsed.mixture else parsed.params_total)
    if params is None:
        yield NotJudged("beyond_roofline/card", {"model": name})
        return
    read_gb = params * (parsed.weights.bits if parsed.weights else _LEAST_BITS) / 8 / 1e9
    rows = group.with_columns(tokens=pl.Series(tokens_per_step(group), dtype=pl.Float64))
    batch = pl.when(pl.col("batch").is_between(1, MOST_BATCH)).then("batch").otherwise(case.batch)
    devices = pl.col("devices").map_elements(devices_of, return_dtype=pl.Int64, skip_nulls=False)
    bound = pl.col("tokens") * batch * devices * (_ROUNDED * (site.bandwidth_gb_s or 0.0) / read_gb)
    over = rows.with_columns(share=pl.col(THROUGHPUT) / bound).filter(pl.col("share") > 1)
    yield NotJudged("beyond_roofline/card", {"model": name})
    if len(over):
        worst = over.sort("share")[-1]
        values = {"model": name, "gb": read_gb, "speed": worst[THROUGHPUT][0], "share": worst["share"][0] * _ROUNDED}
        yield Finding("beyond_roofline/name", values | {"runs": len(over)}, "note", labels(over))
