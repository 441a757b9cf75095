"""Whether power and energy are reliable: in how many runs sampled power agrees with the energy counter."""

from collections.abc import Iterable

from sparkray.analysis.frames import Cell, Frames

# The metrics of sampled GPU power.
METRICS = ("energy_j", "energy_integrated_j", "power_mean_w")
NOT_CHECKED = "not checked"


def power_checked(frames: Frames, cells: Iterable[Cell], metric: str) -> str | None:
    """Whether sampled power agreed with the counter in the runs of these cells (`power_valid`); None of any other metric."""
    if metric not in METRICS:
        return None
    pairs = [
        pair
        for cell in cells
        for pair in zip(*map(frames.frame_of(cell).get_column, (metric, "power_valid")), strict=True)
    ]
    checked = [valid for value, valid in pairs if value is not None and valid is not None]
    wrong = len(checked) - sum(checked)
    if not checked:
        return NOT_CHECKED
    return (
        f"disagrees with the counter in {wrong} of {len(checked)} runs" if wrong else f"agrees in {len(checked)} runs"
    )
