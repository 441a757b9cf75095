"""Whether energy and power can be believed: each such figure says how often the energy counter bore it out."""

from collections.abc import Iterable

import polars as pl

from sparkray.analysis.frames import Cell, Frames

METRICS = ("energy_j", "energy_integrated_j", "power_mean_w")
"""The metrics that are of the power that a GPU was seen to draw."""
NOT_CHECKED = "not checked"


def power_checked(frames: Frames, cells: Iterable[Cell], metric: str) -> str | None:
    """Whether sampled power agreed with the counter in the runs of these cells (`power_valid`); None of any other metric."""
    if metric not in METRICS:
        return None
    runs = frames.ok.join(
        pl.DataFrame([cell.columns for cell in cells]), on=["model", "level", "environment"], how="semi"
    )
    told = runs.filter(pl.col(metric).is_not_null())["power_valid"].drop_nulls()
    wrong = len(told) - int(told.sum())
    if not len(told):
        return NOT_CHECKED
    return f"disagrees with the counter in {wrong} of {len(told)} runs" if wrong else f"agrees in {len(told)} runs"
