"""Whether power and energy are reliable: in how many runs sampled power agrees with the energy counter."""

from collections.abc import Iterable

import polars as pl

from sparkray.analysis.frames import Cell, Frames

# The metrics of sampled GPU power.
METRICS = ("energy_j", "energy_integrated_j", "power_mean_w")
NOT_CHECKED = "not checked"


def power_checked(frames: Frames, cells: Iterable[Cell], metric: str) -> str | None:
    """Whether sampled power agreed with the counter in the runs of these cells (`power_valid`); None of any other metric."""
    if metric not in METRICS:
        return None
    runs = frames.ok.join(
        pl.DataFrame([cell.columns for cell in cells]), on=["model", "level", "environment"], how="semi"
    )
    checked = runs.filter(pl.col(metric).is_not_null())["power_valid"].drop_nulls()
    wrong = len(checked) - int(checked.sum())
    if not len(checked):
        return NOT_CHECKED
    return (
        f"disagrees with the counter in {wrong} of {len(checked)} runs" if wrong else f"agrees in {len(checked)} runs"
    )
