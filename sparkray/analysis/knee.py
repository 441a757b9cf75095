"""`knee`: from which load does the throughput of a server no longer rise, for each model and environment?

A step is a level of the load. Replicate k of every step is one block here: the plan makes it within one round.
A run that ended early because its step was over-saturated has no throughput to compare; it says that the server cannot
carry that load.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl

from sparkray.analysis.frames import Frames, rank
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.records import SATURATED
from sparkray.stats.samples import Vector
from sparkray.stats.saturation import Knee, NoKnee, knee, knee_ratio

THROUGHPUT = "output_throughput_tok_s"
_LOAD = re.compile(r"\bconcurrency=(\d+)")
_LEAST_STEPS = 2
Row = dict[str, Any]


@dataclass(frozen=True)
class _Steps:
    """What one environment did under the loads of a model.

    Attributes:
        loads: Steps with a throughput in at least one block, ascending, shape (m,).
        blocks: Shape (n,), ascending.
        values: Throughput, shape (n, m), NaN where there is none.
        saturated: Runs that ended early, over-saturated.
        saturated_step: The smallest load at which runs did so and none reached its end; None without one.
    """

    loads: Vector
    blocks: Vector
    values: Vector
    saturated: int
    saturated_step: float | None

    def part(self, loads: Vector, blocks: Vector) -> Vector:
        """Throughput of some of the blocks at some of the loads."""
        return self.values[np.isin(self.blocks, blocks)][:, np.isin(self.loads, loads)]


def knee_rows(frames: Frames, seed: int) -> list[Row]:
    """A row for each environment of each model that has two or more loads.

    Args:
        frames: The dataset.
        seed: Of the bootstrap.
    """
    rows: list[Row] = []
    for model in sorted({cell.model for cell in frames.cells}):
        of_model = {cell.level: load_of(cell.level) for cell in frames.cells if cell.model == model}
        loads = {level: load for level, load in of_model.items() if load is not None}
        if len(loads) < _LEAST_STEPS:
            continue
        names = sorted({cell.environment for cell in frames.cells if cell.model == model}, key=lambda n: (rank(n), n))
        twice = len(set(loads.values())) < len(loads)
        steps = {name: _steps(frames, model, name, loads) for name in names}
        for name in names:
            row = {"model": model, "environment": name, "trace": provenance_id("knee", model, name)}
            row |= _counts(steps[name]) | ({"code": "equal_loads"} if twice else _knee(steps[name], seed))
            if name != names[0]:
                row |= {"against": names[0], **({} if twice else _ratio(steps[names[0]], steps[name], seed))}
            rows.append(row)
    return rows


def about_knees(rows: Iterable[Row]) -> list[Row]:
    """The rows of studies that step the load; a few levels are no steps."""
    return [row for row in rows if row["code"] != "too_few_steps" or row["n_saturated"]]


def load_of(level: str) -> float | None:
    """Requests in flight of a level; None for one that does not name them."""
    found = _LOAD.search(level)
    return float(found[1]) if found else None


def levels_of(frames: Frames, model: str, environment: str) -> list[str]:
    """The levels of a model and environment that name a load. Raises ValueError where there is none."""
    here = [cell.level for cell in frames.cells if (cell.model, cell.environment) == (model, environment)]
    levels = [level for level in here if load_of(level) is not None]
    if not levels:
        raise ValueError(model, environment)
    return levels


def _steps(frames: Frames, model: str, environment: str, loads: Mapping[str, float]) -> _Steps:
    def of(runs: pl.DataFrame) -> pl.DataFrame:
        here = runs.filter(pl.col("model") == model, pl.col("environment") == environment)
        return here.with_columns(pl.col("level").replace_strict(loads, default=None).alias("load")).drop_nulls("load")

    ok = of(frames.ok).drop_nulls((THROUGHPUT, "replicate"))
    ended = of(frames.attempts.filter(pl.col("status") == SATURATED)).unique("run_id")
    measured, blocks = (np.unique(ok[name].to_numpy().astype(np.float64)) for name in ("load", "replicate"))
    values = np.full((len(blocks), len(measured)), np.nan)
    places = (np.searchsorted(blocks, ok["replicate"].to_numpy()), np.searchsorted(measured, ok["load"].to_numpy()))
    values[places] = ok[THROUGHPUT].to_numpy()
    only = sorted(set(ended["load"]) - set(measured.tolist()))
    return _Steps(measured, blocks, values, len(ended), only[0] if only else None)


def _counts(steps: _Steps) -> Row:
    return {
        "n_steps": len(steps.loads),
        "n_blocks": len(steps.blocks),
        "n_runs": int(np.count_nonzero(~np.isnan(steps.values))),
        "n_saturated": steps.saturated,
        "last_step": float(steps.loads[-1]) if len(steps.loads) else None,
        "saturated_step": steps.saturated_step,
    }


def _knee(steps: _Steps, seed: int) -> Row:
    found: Knee | NoKnee = knee(steps.loads, steps.values, seed=seed)
    if isinstance(found, Knee):
        ends = {"capacity_low_tok_s": found.capacity_low, "capacity_high_tok_s": found.capacity_high}
        interval = {"load": found.load, "load_low": found.low, "load_high": found.high}
        return {**interval, "capacity_tok_s": found.capacity, **ends, "code": "estimated"}
    beyond = steps.saturated_step is not None and steps.saturated_step > steps.loads[-1:].max(initial=0.0)
    return {"code": "before_saturated" if found.code == "beyond_last" and beyond else found.code}


def _ratio(reference: _Steps, steps: _Steps, seed: int) -> Row:
    """The paired ratio of the knees, in the blocks and at the loads that both environments have."""
    loads, blocks = np.intersect1d(reference.loads, steps.loads), np.intersect1d(reference.blocks, steps.blocks)
    parts: Sequence[Vector] = [one.part(loads, blocks) for one in (reference, steps)]
    found = knee_ratio(loads, *parts, seed=seed)
    row: Row = {"pairs": len(blocks)}
    return row if found is None else {**row, "ratio": found.ratio, "ratio_low": found.low, "ratio_high": found.high}
