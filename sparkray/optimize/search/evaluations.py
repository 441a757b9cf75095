"""What a search found, as the document has it: every configuration, and which of them are on the Pareto front. Pure.

The front is of the baseline and of every configuration that has a number. What is compared stands in the rows of their
runs; isolation is what their flags give up beside the baseline's, the worst grade of any level that was chosen.
"""

import math
from collections.abc import Sequence
from dataclasses import replace

from sparkray.analysis.optimized import Search, Tried
from sparkray.config.site import CONTAINER_BASELINE
from sparkray.config.space import BASELINE, isolation_rank
from sparkray.optimize.context import MEMORY, OptimizationContext, changed_words
from sparkray.optimize.rows import Row, Rows
from sparkray.optimize.search import Evaluated, Found, Settings, without_password
from sparkray.stats import NotEstimable
from sparkray.stats.pareto import Better, compared, pareto_front

KV_CACHE = "kv_cache_gib"
ISOLATION = "isolation"
Measures = dict[str, float | None]


def search_document(
    context: OptimizationContext, found: Found, settings: Settings, rows: Rows, shares: dict[str, float] | NotEstimable
) -> Search:
    """The search in plain values.

    Args:
        context: What the optimisation is of.
        found: What was found.
        settings: How it was searched.
        rows: Of the search.
        shares: Importance by factor.
    """
    better: dict[str, Better] = {context.metric: "higher", MEMORY: "lower", KV_CACHE: "higher", ISOLATION: "lower"}
    base = [row for row in rows.ok if row["environment"] == CONTAINER_BASELINE]
    tried = [
        _baseline(context, one, base)
        if all(label == BASELINE for label in one.choices.values())
        else _tried(context, one, _rows_of(one, rows))
        for one in found.evaluated
    ]
    usable = [one for one in tried if one.state in ("complete", "stopped") and one.ratio is not None]
    measures = [_measures(context, one) for one in usable]
    front = {usable[place].environment for place in pareto_front(measures, better)}
    return Search(
        study=found.study,
        storage=without_password(settings.storage),
        evaluations=found.evaluations,
        noise_pct=None if found.noise is None else 100 * math.expm1(found.noise),
        abandoned=found.abandoned,
        corrected=found.corrected,
        tried=tuple(replace(one, on_front=one.environment in front) for one in tried),
        front_of={name: better[name] for name in compared(measures, better)} if measures else {},
        importance=None if isinstance(shares, NotEstimable) else shares,
        importance_reason=shares.reason if isinstance(shares, NotEstimable) else None,
    )


def _rows_of(one: Evaluated, rows: Rows) -> list[Row]:
    """The ok runs of a configuration, without those of the baseline; none where another machine has them."""
    found = [rows.last(run_id) for run_id in dict.fromkeys(one.run_ids)]
    return [row for row in found if row is not None and row["status"] == "ok" and row["environment"] == one.environment]


def _means(context: OptimizationContext, rows: Sequence[Row]) -> dict[str, float]:
    values_of = {
        name: [float(row[name]) for row in rows if row[name] is not None] for name in (context.metric, MEMORY, KV_CACHE)
    }
    return {name: sum(values) / len(values) for name, values in values_of.items() if values}


def _measures(context: OptimizationContext, one: Tried) -> Measures:
    """What a configuration is compared by: its gain over the baseline of its own blocks as a factor, means of its rows."""
    return {
        context.metric: one.ratio,
        MEMORY: one.metrics.get(MEMORY),
        KV_CACHE: one.metrics.get(KV_CACHE),
        ISOLATION: float(isolation_rank(one.security)),  # type: ignore[arg-type]
    }


def _tried(context: OptimizationContext, one: Evaluated, rows: Sequence[Row]) -> Tried:
    return Tried(
        environment=one.environment,
        trials=one.trials,
        flags=changed_words(context.baseline.options, one.options),
        choices=dict(one.choices),
        security=one.security,
        state=one.state,
        n=len(one.log_ratios),
        ratio=None if one.mean is None else math.exp(one.mean),
        estimate=None if one.estimate is None else math.exp(one.estimate),
        reason=one.reason,
        run_ids=one.run_ids,
        docker_command=one.docker_command,
        metrics=_means(context, rows) if rows else dict(one.metrics),
    )


def _baseline(context: OptimizationContext, one: Evaluated, rows: Sequence[Row]) -> Tried:
    """The baseline itself, in every block of the search: at 1 by definition, with the memory that its runs took."""
    return replace(
        _tried(context, one, rows),
        environment=CONTAINER_BASELINE,
        n=len(rows),
        ratio=1.0 if rows else None,
        estimate=1.0 if rows else None,
        run_ids=tuple(str(row["run_id"]) for row in rows),
        docker_command=next((row["docker_command"] for row in rows), None),
    )
