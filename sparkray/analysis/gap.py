"""`gap`: the optimised container against the baseline container, in mean and in spread, and how much of the gap is left."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparkray.analysis.arms import Arms, arms_between
from sparkray.analysis.context import Protocol
from sparkray.analysis.frames import Cell, Frames
from sparkray.analysis.keys import key
from sparkray.analysis.reasons import Why, as_text, note
from sparkray.analysis.robust import spread_columns
from sparkray.metrics import BY_NAME
from sparkray.spec.site import CONTAINER_BASELINE, CONTAINER_OPTIMIZED
from sparkray.stats import NotEstimable
from sparkray.stats.fieller import share
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import paired_ratio

Row = dict[str, Any]
_ALPHA = 0.05
_CLOSED = ("closed_pct", "closed_low_pct", "closed_high_pct")


def gap_rows(frames: Frames, comparisons: Sequence[Row], protocol: Protocol) -> list[Row]:
    """The primary metrics of every model and level that has both containers; spreads with Holm over those of a metric."""
    known = {(row["model"], row["level"], row["environment"], row["metric"]): row for row in comparisons}
    rows: list[Row] = []
    for cell in frames.cells:
        baseline = Cell(cell.model, cell.level, CONTAINER_BASELINE)
        if cell.environment == CONTAINER_OPTIMIZED and baseline in frames.cells:
            rows += [_gap(frames, cell, baseline, metric) for metric in protocol.primary]
    for metric in protocol.primary:
        alike = [row for row in rows if row["metric"] == metric]
        for row, p in zip(alike, holm([row.get("sd_ratio_p") for row in alike]), strict=True):
            row["sd_ratio_p_holm"] = p
            if p is not None:
                row |= {"calmer": p < _ALPHA and row["sd_ratio"] < 1, "wilder": p < _ALPHA and row["sd_ratio"] > 1}
    for row in rows:
        before, after = (
            known.get((row["model"], row["level"], name, row["metric"]), {})
            for name in (CONTAINER_BASELINE, CONTAINER_OPTIMIZED)
        )
        row["gap_shown"] = _is_worse(before)
        row["closed"] = row["gap_shown"] and after.get("verdict") == "equivalent"
    return rows


def _is_worse(row: Mapping[str, Any]) -> bool:
    """Whether a comparison shows the environment on the bad side of its reference."""
    if not row.get("excludes_one") or row["better"] == "neither":
        return False
    return bool((row["ratio"] < 1) == (row["better"] == "higher"))


def _gap(frames: Frames, cell: Cell, baseline: Cell, metric: str) -> Row:
    arms = arms_between(frames, cell, baseline, metric)
    head: Row = {**cell.columns, "against": CONTAINER_BASELINE, "metric": metric, "n": arms.n}
    head["trace"] = key("gap", *cell.columns.values(), metric)
    found = paired_ratio(*arms.paired)
    if isinstance(found, NotEstimable):
        return {**head, "not_estimable": found.reason}
    (low, high), better = found.ci95, BY_NAME[metric].better
    row: Row = {**head, "ratio": found.ratio, "low": low, "high": high}
    if better != "neither":
        above, below = low > 1, high < 1
        row |= {"helps": above if better == "higher" else below, "harms": below if better == "higher" else above}
    why: Why = {}
    row |= spread_columns(*arms.paired, why) | _closed(frames, cell, baseline, metric, why=why)
    return {**row, "why_null": as_text(why)}


def _closed(frames: Frames, cell: Cell, baseline: Cell, metric: str, *, why: Why) -> Row:
    """Per cent of the baseline's log ratio to the reference that is gone, in the blocks that hold all three arms."""
    reference = frames.reference_of(cell)
    if reference is None or reference == baseline:
        note(why, _CLOSED, "the baseline container is itself the reference: there is no gap to close")
        return {}
    before, after = (logs_by_block(arms_between(frames, one, reference, metric)) for one in (baseline, cell))
    shared = sorted(before.keys() & after.keys())
    left = share([after[block] for block in shared], [before[block] for block in shared])
    if isinstance(left, NotEstimable):
        note(why, _CLOSED, left)
        return {}
    low, high = (None if end is None else 100 - end for end in (left.high, left.low))
    return dict(zip(_CLOSED, (100 - left.value, low, high), strict=True))


def logs_by_block(arms: Arms) -> dict[int, float]:
    """Log ratios by block; only those of values above 0."""
    a, b = arms.paired
    sound = (a > 0) & (b > 0)
    logs: Sequence[float] = (np.log(b[sound]) - np.log(a[sound])).tolist()
    return dict(zip(arms.blocks[sound].tolist(), logs, strict=True))
