"""`gap`: each further container against the baseline container, in mean and in spread, and how much of the gap is left."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from sparkray.analysis.arms import Arms, arms_between
from sparkray.analysis.comparison import checked_columns, numbers
from sparkray.analysis.context import Protocol
from sparkray.analysis.differences import (
    COLUMNS,
    DIFFERENCE,
    by_difference,
    checks_of,
    differences_by_block,
    is_above,
    scale_of,
)
from sparkray.analysis.frames import Cell, Frames
from sparkray.analysis.interim import NO_P
from sparkray.analysis.provenance_ids import provenance_id
from sparkray.analysis.reasons import Why, as_text, filled, note
from sparkray.analysis.robust import SPREAD, spread_columns
from sparkray.config.site import CONTAINER_BASELINE, is_container
from sparkray.metrics import BY_NAME
from sparkray.stats import NotEstimable
from sparkray.stats.assumptions import Checked
from sparkray.stats.differences import Difference
from sparkray.stats.fieller import share
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import outlook, paired_ratio
from sparkray.stats.samples import Estimate
from sparkray.stats.variance import paired_spread_ratio

Row = dict[str, Any]
_ALPHA = 0.05
_CLOSED = ("closed_pct", "closed_low_pct", "closed_high_pct")
_JUDGED = ("low90", "high90", *COLUMNS[3:5], "verdict", "verdict_reason", "assumptions", "pairs_needed")


def gap_rows(frames: Frames, comparisons: Sequence[Row], protocol: Protocol) -> list[Row]:
    """The primary metrics of every further container of a model and level that has a baseline container.

    What is shown is so with Holm over the models, levels and containers of a metric. A search's and an attribution's
    containers (`container:...`) are left out: their own tables compare them with the baseline.
    """
    known = {(row["model"], row["level"], row["environment"], row["metric"]): row for row in comparisons}
    every = [
        arms_between(frames, cell, baseline, metric)
        for cell in frames.cells
        if _is_further(cell) and (baseline := replace(cell, environment=CONTAINER_BASELINE)) in frames.cells
        for metric in protocol.primary
    ]
    margins = [protocol.margins_of(arms.metric) for arms in every]
    scales = [scale_of(arms, margin) for arms, margin in zip(every, margins, strict=True)]
    checks = checks_of(list(zip(every, margins, scales, strict=True)), protocol.seed, beside=False)
    found = [
        _gap(frames, arms, protocol, scale=scale, check=check)
        for arms, scale, check in zip(every, scales, checks, strict=True)
    ]
    for metric in protocol.primary:
        alike = [row for row, _ in found if row["metric"] == metric]
        _judge_spread(alike)
        _judge_gap(alike, known)
    for row, why in found:
        _leave_out(row, why, interim=protocol.sequential is not None and bool(protocol.margins_of(row["metric"])))
    for metric in protocol.primary:
        _judge_change([row for row, _ in found if row["metric"] == metric])
    return [row | {"why_null": as_text(why)} for row, why in found]


def _is_further(cell: Cell) -> bool:
    name = cell.environment
    return is_container(name) and name != CONTAINER_BASELINE and ":" not in name


def _leave_out(row: Row, why: Why, *, interim: bool) -> None:
    """With interim analyses the p of a fixed number of pairs, and without a gap the share of it that is closed."""
    if interim:
        note(why, ("p", "p_holm", "gap_p_holm", "helps", "harms"), NO_P)
        note(why, _JUDGED, "interim_verdict")
        row |= dict.fromkeys(("p", *_JUDGED))
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
    """Whether a container is shown better or worse than the baseline, of a metric that has a better side."""
    for row, p in zip(rows, holm([row.get("p") for row in rows]), strict=True):
        row["p_holm"] = p
        if p is not None and BY_NAME[row["metric"]].better != "neither":
            good = is_above(row) == (BY_NAME[row["metric"]].better == "higher")
            row |= {"helps": p < _ALPHA and good, "harms": p < _ALPHA and not good}


def _judge_gap(rows: Sequence[Row], known: Mapping[tuple[str, str, str, str], Row]) -> None:
    """Whether the baseline containers of a metric are shown worse than their reference, and the gaps closed.

    With interim analyses there is no p to adjust: then the interval that holds over all of them decides.
    """
    baselines = {
        (row["model"], row["level"]): known.get((row["model"], row["level"], CONTAINER_BASELINE, row["metric"]), {})
        for row in rows
    }
    adjusted = dict(zip(baselines, holm([one.get("p_paired") for one in baselines.values()]), strict=True))
    for row in rows:
        where = row["model"], row["level"]
        baseline, further = baselines[where], known.get((*where, row["environment"], row["metric"]), {})
        p = row["gap_p_holm"] = adjusted[where]
        shown = bool(baseline.get("excludes_one")) if p is None else p < _ALPHA
        row["gap_shown"] = shown and _is_worse(baseline)
        row["closed"] = row["gap_shown"] and further.get("verdict") == "equivalent"


def _is_worse(row: Mapping[str, Any]) -> bool:
    """Whether a comparison lies on the bad side of 1, of a metric that has one."""
    return bool(row["better"] != "neither" and is_above(row) != (row["better"] == "higher"))


def _gap(
    frames: Frames, arms: Arms, protocol: Protocol, *, scale: Difference | None, check: Checked | None
) -> tuple[Row, Why]:
    cell = arms.cell
    row: Row = {**cell.columns, "against": CONTAINER_BASELINE, "metric": arms.metric, "n": arms.n}
    row["trace"] = provenance_id("gap", *cell.columns.values(), arms.metric)
    why: Why = {}
    if scale is None:
        row |= _by_ratio(arms, protocol.margins_of(arms.metric).relative, check)
    else:
        _, made, _ = by_difference(arms, scale, None, protocol.seed, found=check)
        row |= {name: made.get(name) for name in ("ratio", "low", "high", "not_estimable", *COLUMNS[:3], *_JUDGED)}
        row |= {"difference_margin": scale.margin, "judged_by": DIFFERENCE, "p": made.get("p_paired")}
    if row.get("not_estimable"):
        return row, why
    _explain(row, why)
    if row.get("ratio") is None:
        note(why, ("ratio", "low", "high", "low90", "high90", *SPREAD), "not_positive")
    else:
        a, b = arms.paired
        row |= spread_columns(paired_spread_ratio(np.log(a), np.log(b)), why)
    return row | _closed(frames, arms, why=why, by_difference=scale is not None), why


def _by_ratio(arms: Arms, margin: float | None, check: Checked | None) -> Row:
    """A ratio with its interval by Student's t, and with the verdict and its 90 % interval that its assumptions allow."""
    found = paired_ratio(*arms.paired)
    if isinstance(found, NotEstimable):
        return {"not_estimable": found.reason}
    row: Row = {**numbers(found), "p": found.p}
    if check is None or margin is None:
        return row
    judged = checked_columns(check, margin)
    return row | {"margin": margin} | {name: judged[name] for name in _JUDGED if name in judged}


def _explain(row: Row, why: Why) -> None:
    """Explain a null verdict, and a null `pairs_needed`."""
    verdict = row.get("verdict")
    if verdict is None:
        note(why, ("verdict", "assumptions", "pairs_needed"), "no_margin")
    elif verdict != "undecided":
        note(why, ("pairs_needed",), "decided")
    elif row.get("pairs_needed") is None:
        unmet = row.get("verdict_reason") or row["assumptions"] in ("not_independent", "neither")
        note(why, ("pairs_needed",), "needed_assumes" if unmet else outlook(None, row["n"]))


def _closed(frames: Frames, arms: Arms, *, why: Why, by_difference: bool) -> Row:
    """Per cent of the baseline's log ratio (or difference) to the reference that is gone, in blocks with all three arms."""
    cell, baseline, metric = arms.cell, arms.against, arms.metric
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
