"""Interim analyses of a confirmation, where the experiment has a sequential design. Pure.

A block is a pair of means over all models. The risk is shared out twice: over the interim analyses, by the design's own
spending, and over the candidates, evenly. So false winners are no more frequent than with a fixed number of blocks.
"""

import math
from collections.abc import Mapping, Sequence

from sparkray.config.site import CONTAINER_BASELINE
from sparkray.optimize.context import OptimizationContext
from sparkray.optimize.rows import Row, Rows
from sparkray.stats.screen import Better
from sparkray.stats.sequential import Design, Interim, interim_verdict

_ALPHA = 0.05


def interim_analyses(
    context: OptimizationContext, names: Sequence[str], rows: Rows, *, models: Sequence[str], closed: bool
) -> dict[str, Interim]:
    """The current one of each candidate; none where the confirmation has a fixed number of blocks.

    Args:
        context: The optimisation.
        names: The candidates.
        rows: Of the confirmation.
        models: Those that the baseline runs: a block counts when it is complete on each.
        closed: Whether no further block will come.
    """
    design = context.interim
    if design is None or not names:
        return {}
    own = Design(design.looks, context.margin, alpha=_ALPHA / len(names), spending=design.spending)
    base = rows.of(CONTAINER_BASELINE)
    return {
        name: interim_verdict(own, _gains(base, rows.of(name), context.metric, context.better, models), closed=closed)
        for name in names
    }


def _gains(
    base: Mapping[tuple[str, int], Row],
    mine: Mapping[tuple[str, int], Row],
    metric: str,
    better: Better,
    models: Sequence[str],
) -> list[float]:
    """Log ratios by block, turned so that higher is better, in the order in which blocks were completed."""
    found = []
    for block in {block for _, block in base}:
        pairs = [(base.get((model, block)), mine.get((model, block))) for model in models]
        both = [(a, b) for a, b in pairs if a is not None and b is not None]
        if len(both) == len(models) and all((row[metric] or 0.0) > 0.0 for pair in both for row in pair):
            mean = math.fsum(math.log(b[metric] / a[metric]) for a, b in both) / len(both)
            ended = max(str(row["ended_at"]) for pair in both for row in pair)
            found.append((ended, block, mean if better == "higher" else -mean))
    return [gain for _, _, gain in sorted(found)]
