"""Whether a candidate takes more memory than the baseline container: by the difference, in GiB.

Its margin is the experiment's own (`difference_margins`). Without one the ratio is judged; where a zero leaves none, the
difference, at the relative margin times the baseline's mean.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from sparkray.analysis.optimized import Effect
from sparkray.config.site import CONTAINER_BASELINE
from sparkray.optimize.context import MEMORY, OptimizationContext
from sparkray.optimize.effects import Comparison, Values
from sparkray.optimize.rows import Rows
from sparkray.stats import NotEstimable
from sparkray.stats.differences import difference_of, paired_difference
from sparkray.stats.paired import decide
from sparkray.stats.samples import Vector


def memory_of(context: OptimizationContext, rows: Rows, name: str) -> tuple[Effect, str | None]:
    """The effect of an environment on memory with its verdict, and in words that it takes more, where that is shown."""
    base, arm = (rows.values(environment, MEMORY) for environment in (CONTAINER_BASELINE, name))
    relative = context.study.experiment.margins.get(MEMORY, context.margin)
    made = Comparison(MEMORY, relative).effect(base, arm, name)
    a, b = _paired(base, arm)
    margin = context.study.experiment.difference_margins.get(MEMORY) or _instead_of_ratio(a, b, relative)
    if margin is not None:
        scale = difference_of(a, b, margin)
        found = paired_difference(a, b, scale)
        if not isinstance(found, NotEstimable) and scale.relative is not None:
            verdict = decide(found, scale.relative).verdict
            value, low, high = (f"{scale.back(end):+.3g}" for end in (found.ratio, *found.ci95))
            more = f"it takes more memory: {value} GiB ({low} to {high}) beside the baseline"
            return replace(made, verdict=verdict), more if verdict == "different" and found.ratio > 1 else None
    if made.verdict == "different" and made.harms:
        return made, f"it takes more memory: {MEMORY} is {made.ratio:.3f} times the baseline's"
    return made, None


def _paired(base: Values, arm: Values) -> Sequence[Vector]:
    shared = [pair for pair in base if pair in arm]
    return [np.array([values[pair] for pair in shared], dtype=float) for values in (base, arm)]


def _instead_of_ratio(a: Vector, b: Vector, relative: float) -> float | None:
    """The margin of the difference where a value that is not above 0 leaves no ratio."""
    if not len(a) or min(a.min(), b.min()) > 0 or not a.mean() > 0:
        return None
    return float(relative * a.mean())
