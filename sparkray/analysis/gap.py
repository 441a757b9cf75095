"""`gap`: the optimised container against the baseline container, in mean and in spread, and how much of the gap is left."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sparkray.analysis.arms import Arms, arms_between
from sparkray.analysis.comparison import numbers
from sparkray.analysis.context import Protocol
from sparkray.analysis.differences import (
    COLUMNS,
    DIFFERENCE,
    by_difference,
    differences_by_block,
    is_above,
    scale_of,
)
from sparkray.analysis.frames import Cell, Frames
from sparkray.analysis.interim import NO_P
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.reasons import Why, as_text, filled, note
from sparkray.analysis.robust import SPREAD, spread_columns
from sparkray.config.site import CONTAINER_BASELINE, CONTAINER_OPTIMIZED
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.fieller import share
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import paired_ratio
from sparkray.stats.samples import Estimate
from sparkray.stats.variance import paired_spread_ratio

Row = dict[str, Any]
_ALPHA = 0.05
_CLOSED = ("closed_pct", "closed_low_pct", "closed_high_pct")


def gap_rows(frames: Frames, comparisons: Sequence[Row], protocol: Protocol) -> list[Row]:
    """The primary metrics of every model and level with both containers; what is shown, with Holm over those of a metric."""
    known = {(row["model"], row["level"], row["environment"], row["metric"]): row for row in comparisons}
    found: list[tuple[Row, Why]] = []
    for cell in frames.cells:
        baseline = Cell(cell.model, cell.level, CONTAINER_BASELINE)
        if cell.environment == CONTAINER_OPTIMIZED and baseline in frames.cells:
            found += [_gap(frames, cell, baseline, metric, protocol=protocol) for metric in protocol.primary]
    for metric in protocol.primary:
        alike = [row for row, _ in found if row["metric"] == metric]
        _judge_spread(alike)
        _judge_gap(alike, known)
    for row, why in found:
        _leave_out(row, why, interim=protocol.sequential is not None and bool(protocol.margins_of(row["metric"])))
    for metric in protocol.primary:
        _judge_change([row for row, _ in found if row["metric"] == metric])
    return [row | {"why_null": as_text(why)} for row, why in found]


def _leave_out(row: Row, why: Why, *, interim: bool) -> None:
    """With interim analyses the p of a fixed number of pairs, and without a gap the share of it that is closed."""
    if interim:
        note(why, ("p", "p_holm", "gap_p_holm", "helps", "harms"), NO_P)
        row["p"] = None
    elif BY_NAME[row["metric"]].better == "neither":
        note(why, ("helps", "harms"), "no_better_side")
    if not row["gap_shown"]:
        note(why, [column for column in _CLOSED if column not in why], "no_gap")
        row |= dict.fromkeys(_CLOSED)


def _judge_spread(rows: Sequence[Row]) -> None:
    """Whether the spreads of a metric are shown to differ."""
    for row, p in zip(rows, holm([row.get("sd_ratio_p") for row in rows]), strict=True):
        row["sd_ratio_p_holm"] = p
        if p is not None:
            row |= {"calmer": p < _ALPHA and row["sd_ratio"] < 1, "wilder": p < _ALPHA and row["sd_ratio"] > 1}


def _judge_change(rows: Sequence[Row]) -> None:
    """Whether the optimised container is shown better or worse than the baseline, of a metric that has a better side."""
    for row, p in zip(rows, holm([row.get("p") for row in rows]), strict=True):
        row["p_holm"] = p
        if p is not None and BY_NAME[row["metric"]].better != "neither":
            good = is_above(row) == (BY_NAME[row["metric"]].better == "higher")
            row |= {"helps": p < _ALPHA and good, "harms": p < _ALPHA and not good}


def _judge_gap(rows: Sequence[Row], known: Mapping[tuple[str, str, str, str], Row]) -> None:
    """Whether the baseline containers of a metric are shown worse than their reference, and the gaps closed.

    With interim analyses there is no p to adjust: then the interval that holds over all of them decides.
    """
    before, after = (
        [known.get((row["model"], row["level"], name, row["metric"]), {}) for row in rows]
        for name in (CONTAINER_BASELINE, CONTAINER_OPTIMIZED)
    )
    adjusted = holm([one.get("p_paired") for one in before])
    for row, baseline, optimised, p in zip(rows, before, after, adjusted, strict=True):
        row["gap_p_holm"] = p
        shown = bool(baseline.get("excludes_one")) if p is None else p < _ALPHA
        row["gap_shown"] = shown and _is_worse(baseline)
        row["closed"] = row["gap_shown"] and optimised.get("verdict") == "equivalent"


def _is_worse(row: Mapping[str, Any]) -> bool:
    """Whether a comparison lies on the bad side of 1, of a metric that has one."""
    return bool(row["better"] != "neither" and is_above(row) != (row["better"] == "higher"))


def _gap(frames: Frames, cell: Cell, baseline: Cell, metric: str, *, protocol: Protocol) -> tuple[Row, Why]:
    arms = arms_between(frames, cell, baseline, metric)
    head: Row = {**cell.columns, "against": CONTAINER_BASELINE, "metric": metric, "n": arms.n}
    head["trace"] = provenance_id("gap", *cell.columns.values(), metric)
    why: Why = {}
    scale = scale_of(arms, protocol.margins_of(metric))
    row: Row
    if scale is None:
        found = paired_ratio(*arms.paired)
        row = {"not_estimable": found.reason} if isinstance(found, NotEstimable) else {**numbers(found), "p": found.p}
    else:
        _, made, _ = by_difference(arms, scale, None, protocol.seed)
        row = {name: made.get(name) for name in (*COLUMNS[:3], "ratio", "low", "high", "not_estimable")}
        row |= {"judged_by": DIFFERENCE, "p": made.get("p_paired")}
    row = {**head, **row}
    if row.get("not_estimable"):
        return row, why
    if row.get("ratio") is None:
        note(why, ("ratio", "low", "high", *SPREAD), "not_positive")
    else:
        a, b = arms.paired
        row |= spread_columns(paired_spread_ratio(np.log(a), np.log(b)), why)
    return row | _closed(frames, cell, baseline, metric, why=why, by_difference=scale is not None), why


def _closed(frames: Frames, cell: Cell, baseline: Cell, metric: str, *, why: Why, by_difference: bool) -> Row:
    """Per cent of the baseline's log ratio (or difference) to the reference that is gone, in blocks with all three arms."""
    reference = frames.reference_of(cell)
    if reference is None or reference == baseline:
        note(why, _CLOSED, "baseline_is_reference")
        return {}
    by_block = differences_by_block if by_difference else logs_by_block
    before, after = (by_block(arms_between(frames, one, reference, metric)) for one in (baseline, cell))
    shared = sorted(before.keys() & after.keys())
    left = share([after[block] for block in shared], [before[block] for block in shared])

    def closed(found: Estimate) -> list[float | None]:
        return [None if end is None else 100 - end for end in (found.value, found.high, found.low)]

    return filled(_CLOSED, left, closed, why)


def logs_by_block(arms: Arms) -> dict[int, float]:
    """Log ratios by block; only those of values above 0."""
    a, b = arms.paired
    sound = (a > 0) & (b > 0)
    logs: Sequence[float] = (np.log(b[sound]) - np.log(a[sound])).tolist()
    return dict(zip(arms.blocks[sound].tolist(), logs, strict=True))
