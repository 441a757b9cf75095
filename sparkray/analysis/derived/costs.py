"""Tokens a day that a ratio of throughput comes to, and energy per million tokens: arithmetic on estimates.

Tokens a day: mean throughput of the reference x 86,400 s x (ratio - 1), and the same for the interval's ends. Energy: mean
GPU power / mean throughput x 10^6 / 3.6e6 kWh, of the GPU alone and not of the machine.
"""

import json
from collections.abc import Mapping
from typing import Any

import polars as pl

from sparkray.analysis import Analysis
from sparkray.analysis.frames import Cell
from sparkray.analysis.powered import NOT_CHECKED, power_checked
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.schema import DERIVED, frame_of

THROUGHPUT, POWER = "output_throughput_tok_s", "power_mean_w"
_DAY_S = 86_400
_KWH_PER_MILLION = 1e6 / 3.6e6


def costs(analysis: Analysis) -> pl.DataFrame:
    """One row a comparison of throughput: tokens a day gained (or lost, below 0) and kWh for 10^6 tokens in either arm."""
    described = {
        (row["model"], row["level"], row["environment"], row["metric"]): row["mean"]
        for row in analysis.tables["descriptive"].iter_rows(named=True)
        if row["metric"] in (THROUGHPUT, POWER)
    }
    compared = analysis.tables["comparisons"].filter((pl.col("metric") == THROUGHPUT) & pl.col("ratio").is_not_null())
    rows = (
        {**_row(row, described), "power_checked": _checked(analysis, row)} for row in compared.iter_rows(named=True)
    )
    return frame_of(DERIVED["costs"], rows)


def _checked(analysis: Analysis, row: Mapping[str, Any]) -> str:
    """Whether the power that the energy is of agreed with the energy counter, in the runs of both arms."""
    if analysis.frames is None:
        return NOT_CHECKED
    cells = [Cell(row["model"], row["level"], name) for name in (row["against"], row["environment"])]
    return power_checked(analysis.frames, cells, POWER) or NOT_CHECKED


def _row(row: Mapping[str, Any], described: Mapping[tuple[str, str, str, str], float | None]) -> dict[str, Any]:
    cell = (row["model"], row["level"])
    asked = [(name, metric) for name in (row["against"], row["environment"]) for metric in (THROUGHPUT, POWER)]
    used = [one for one in asked if described.get((*cell, *one)) is not None]
    reference = described.get((*cell, row["against"], THROUGHPUT))

    def day(ratio: float) -> float | None:
        return None if reference is None else reference * _DAY_S * (ratio - 1)

    def energy(environment: str) -> float | None:
        power = described.get((*cell, environment, POWER))
        speed = described.get((*cell, environment, THROUGHPUT))
        return power / speed * _KWH_PER_MILLION if power and speed else None

    return {
        "trace": f"costs/{row['model']}/{row['level']}/{row['environment']}",
        "model": row["model"],
        "level": row["level"],
        "environment": row["environment"],
        "reference_tok_s": reference,
        "tokens_day": day(row["ratio"]),
        "tokens_day_low": day(row["low"]),
        "tokens_day_high": day(row["high"]),
        "kwh_per_million": energy(row["environment"]),
        "reference_kwh_per_million": energy(row["against"]),
        "advice": _advice(row),
        "supports": json.dumps([row["trace"], *(provenance_id("descriptive", *cell, *one) for one in used)]),
    }


def _advice(row: Mapping[str, Any]) -> str:
    """`no_difference` beyond the margin, `gain` or `loss` beyond it, or `undecided`."""
    if row["verdict"] == "equivalent":
        return "no_difference"
    if row["verdict"] == "different":
        return "gain" if row["ratio"] > 1 else "loss"
    return "undecided"
