"""Every environment against its reference: the paired ratio and its verdict, and beside it the study's own protocol."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sparkray.analysis import glance
from sparkray.analysis.context import Protocol
from sparkray.analysis.describe import why_none
from sparkray.analysis.frames import Cell, Frames
from sparkray.analysis.keys import key
from sparkray.metrics import BY_NAME
from sparkray.spec.site import CONTAINER_BASELINE, CONTAINER_OPTIMIZED
from sparkray.stats import NotEstimable
from sparkray.stats.bootstrap import ratio_of_means
from sparkray.stats.effect import cohen
from sparkray.stats.independent import independent
from sparkray.stats.multiplicity import benjamini_hochberg, bonferroni, holm
from sparkray.stats.nested import clustered_ratio
from sparkray.stats.outliers import with_and_without
from sparkray.stats.paired import Decision, Ratio, decide, paired_ratio, tost_power
from sparkray.stats.permutation import sign_flip
from sparkray.stats.power import minimum_detectable, two_sample_power
from sparkray.stats.samples import Vector
from sparkray.stats.variance import paired_spread_ratio

Row = dict[str, Any]
_STEP = 5
_LEAST_PLANNED = 2


@dataclass(frozen=True)
class Arms:
    """One metric of an environment beside its reference.

    Attributes:
        cell: The environment.
        against: The reference.
        metric: Which metric.
        paired: Values of the reference and of the environment in the blocks that have both, shape (n,) each, in order of
            block.
        completed: The same pairs' places in the order in which they were completed.
        clusters: What each of these blocks nests in.
        a: Every value of the reference, paired or not.
        b: Every value of the environment.
    """

    cell: Cell
    against: Cell
    metric: str
    paired: tuple[Vector, Vector]
    completed: NDArray[np.int64]
    clusters: Sequence[str]
    a: Vector
    b: Vector

    @property
    def n(self) -> int:
        """Pairs."""
        return len(self.paired[0])

    def first(self, n: int) -> tuple[Vector, Vector]:
        """The pairs of the first n blocks."""
        return self.paired[0][:n], self.paired[1][:n]


def arms_of(frames: Frames, metrics: Sequence[str], primary: Sequence[str]) -> list[Arms]:
    """What there is to compare, in order of cell, then metric.

    A metric that an arm with ok runs does not have (the cgroup of a native run) is left out unless it is primary.
    """
    found: list[Arms] = []
    for cell in frames.cells:
        against = frames.reference_of(cell)
        if against is not None:
            candidates = (_arms(frames, cell, against, metric) for metric in metrics)
            found += [arms for arms in candidates if arms.metric in primary or _worth_telling(frames, arms)]
    return found


def _worth_telling(frames: Frames, arms: Arms) -> bool:
    """Whether each arm has values, or has none because it has no ok run at all."""
    sides = ((arms.against, arms.a), (arms.cell, arms.b))
    return all(len(values) or not len(frames.runs_of(cell)) for cell, values in sides)


def _arms(frames: Frames, cell: Cell, against: Cell, metric: str) -> Arms:
    first, second = frames.runs_of(against), frames.runs_of(cell)
    a, b = first.column(metric), second.column(metric)
    here, there = ~np.isnan(a), ~np.isnan(b)
    _, left, right = np.intersect1d(first.block[here], second.block[there], assume_unique=True, return_indices=True)
    a, b, clusters = a[here], b[there], first.cluster[here][left]
    completed = np.argsort(np.maximum(first.ended[here][left], second.ended[there][right]), kind="stable")
    return Arms(cell, against, metric, (a[left], b[right]), completed, clusters.tolist(), a, b)


def comparison_rows(frames: Frames, compared: Sequence[Arms], protocol: Protocol) -> list[Row]:
    """`comparisons`, the adjusted p-values over the family of the primary ones."""
    rows = [_comparison(frames, arms, protocol) for arms in compared]
    family = [row for row in rows if row["primary"]]
    p_values = [row.get("p") for row in family]
    for name, adjust in (("p_bonferroni", bonferroni), ("p_holm", holm), ("p_bh", benjamini_hochberg)):
        for row, value in zip(family, adjust(p_values), strict=True):
            row[name] = value
    return rows


def _comparison(frames: Frames, arms: Arms, protocol: Protocol) -> Row:
    margin = protocol.margin(arms.metric)
    result: Ratio | NotEstimable = paired_ratio(*arms.paired)
    if isinstance(result, NotEstimable) and not (len(arms.a) and len(arms.b)):
        lacking = arms.against if not len(arms.a) else arms.cell
        result = NotEstimable(f"{lacking.environment}: {why_none(frames, lacking)}")
    decision = decide(result, margin) if isinstance(result, Ratio) and margin is not None else None
    row: Row = {
        **arms.cell.columns,
        "against": arms.against.environment,
        "metric": arms.metric,
        "better": BY_NAME[arms.metric].better,
        "primary": arms.metric in protocol.primary,
        "n": arms.n,
        "margin": margin,
        "pairs_planned": protocol.planned,
        "sentence": _sentence(arms, result, decision),
        "trace": key("comparisons", *arms.cell.columns.values(), arms.metric),
        **_protocol(arms, protocol.seed),
    }
    if isinstance(result, NotEstimable):
        return {**row, "not_estimable": result.reason}
    row |= {**_primary(result, decision), **_power(result, arms, protocol), **_robust(arms, protocol)}
    return {**row, **_sequential(arms, protocol)}


def _sentence(arms: Arms, result: Ratio | NotEstimable, decision: Decision | None) -> str:
    name = f"{arms.cell.model} {arms.cell.level}".rstrip()
    compared = glance.Comparison(name, arms.cell.environment, arms.against.environment, arms.metric, result, decision)
    return glance.sentence(compared)


def _primary(result: Ratio, decision: Decision | None) -> Row:
    """The paired ratio and what it decides."""
    return {
        "ratio": result.ratio,
        "low": result.ci95[0],
        "high": result.ci95[1],
        "low90": result.ci90[0],
        "high90": result.ci90[1],
        "sd_log": result.sd_log,
        "excludes_one": result.excludes_one,
        "verdict": decision.verdict if decision else None,
        "pairs_needed": decision.pairs_needed if decision else None,
    }


def _sequential(arms: Arms, protocol: Protocol) -> Row:
    """What a sequential design decided, in place of the fixed one: estimates and intervals at the look that did.

    Repeated intervals hold at all looks at once, which those of a fixed number of pairs do not once somebody has looked.
    """
    margin = protocol.margin(arms.metric)
    if protocol.sequential is None or margin is None or arms.metric not in protocol.primary:
        return {}
    from sparkray.stats.sequential import Design, look  # noqa: PLC0415 - SciPy's splines, which a fixed design does not need

    a, b = arms.paired
    design = Design(protocol.sequential.looks, margin, spending=protocol.sequential.spending)
    found = look(design, (np.log(b[arms.completed]) - np.log(a[arms.completed])).tolist())
    if found.ratio is None or found.ci90 is None or found.ci95 is None:
        return {"verdict": found.verdict, "sentence": f"{_about(arms)}: {found.reason}."}
    return {
        "n": found.n,
        "ratio": found.ratio,
        "low": found.ci95[0],
        "high": found.ci95[1],
        "low90": found.ci90[0],
        "high90": found.ci90[1],
        "excludes_one": not found.ci95[0] <= 1 <= found.ci95[1],
        "verdict": found.verdict,
        "pairs_needed": None,
        "sentence": f"{_about(arms)}: {found.reason}.",
    }


def _about(arms: Arms) -> str:
    model = f"{arms.cell.model} {arms.cell.level}".rstrip()
    return f"{model}, {arms.metric}: {arms.cell.environment} against {arms.against.environment}"


def _protocol(arms: Arms, seed: int) -> Row:
    """The study's own protocol: both arms as independent samples, by the test that its checks choose."""
    found = independent(arms.a, arms.b, seed=seed)
    if isinstance(found, NotEstimable):
        return {"test": "none", "rule": found.reason}
    row: Row = {
        "test": found.test,
        "rule": found.rule,
        "statistic": found.statistic,
        "p": found.p,
        "shapiro_p_a": found.shapiro_p_a,
        "shapiro_p_b": found.shapiro_p_b,
        "levene_p": found.levene_p,
    }
    interval = found.bootstrap or ratio_of_means(arms.a, arms.b, seed=seed)
    if not isinstance(interval, NotEstimable):
        row |= {"bootstrap_low": interval.low, "bootstrap_high": interval.high}
    effect = cohen(arms.a, arms.b)
    if not isinstance(effect, NotEstimable):
        d, g = effect.d, effect.g
        row |= {"cohen_d": d.value, "d_low": d.low, "d_high": d.high}
        row |= {"hedges_g": g.value, "g_low": g.low, "g_high": g.high}
        row["power_post_hoc"] = two_sample_power(d.value, len(arms.a), len(arms.b))
    return row


def _power(result: Ratio, arms: Arms, protocol: Protocol) -> Row:
    """What this spread and these numbers of pairs can show."""
    margin, planned = protocol.margin(arms.metric), protocol.planned or arms.n
    least = minimum_detectable(result.n, result.sd_log)
    known = margin is not None and planned >= _LEAST_PLANNED
    return {
        "minimum_detectable": None if isinstance(least, NotEstimable) else least,
        "power_planned": tost_power(planned, result.sd_log, margin) if margin is not None and known else None,
    }


def _robust(arms: Arms, protocol: Protocol) -> Row:
    """The same comparison by other means: permutation, without outliers, over clusters; and of the spread."""
    (a, b), seed = arms.paired, protocol.seed
    row: Row = {"clusters": len(set(arms.clusters))}
    flipped = sign_flip(a, b, seed=seed)
    if not isinstance(flipped, NotEstimable):
        row["permutation_p"] = flipped.p
    both = with_and_without(a, b)
    if not isinstance(both, NotEstimable):
        row["outliers"] = len(both.dropped)
        if isinstance(both.without, Ratio):
            low, high = both.without.ci95
            row |= {"ratio_without_outliers": both.without.ratio}
            row |= {"low_without_outliers": low, "high_without_outliers": high}
    spread = paired_spread_ratio(np.log(a), np.log(b))
    if not isinstance(spread, NotEstimable):
        row |= {"sd_ratio": spread.ratio.value, "sd_ratio_low": spread.ratio.low, "sd_ratio_high": spread.ratio.high}
    if row["clusters"] > 1 and arms.metric in protocol.primary:
        over = clustered_ratio(a, b, arms.clusters, seed=seed)
        if not isinstance(over, NotEstimable):
            row |= {"cluster_low": over.ratio.ci95[0], "cluster_high": over.ratio.ci95[1]}
    return row


def gap_rows(frames: Frames, comparisons: Sequence[Row], protocol: Protocol) -> list[Row]:
    """`gap`: the primary metrics of the optimised container against the baseline container."""
    known = {(row["model"], row["level"], row["environment"], row["metric"]): row for row in comparisons}
    rows: list[Row] = []
    for cell in frames.cells:
        baseline = Cell(cell.model, cell.level, CONTAINER_BASELINE)
        if cell.environment != CONTAINER_OPTIMIZED or baseline not in frames.cells:
            continue
        for metric in protocol.primary:
            arms = _arms(frames, cell, baseline, metric)
            head = {**cell.columns, "against": CONTAINER_BASELINE, "metric": metric, "n": arms.n}
            head["trace"] = key("gap", *cell.columns.values(), metric)
            before, after = (
                known.get((*_group(cell), name, metric), {}) for name in (CONTAINER_BASELINE, cell.environment)
            )
            rows.append({**head, **_gap(arms), "closed_pct": _closed(before, after)})
    return rows


def _gap(arms: Arms) -> Row:
    found = paired_ratio(*arms.paired)
    if isinstance(found, NotEstimable):
        return {"not_estimable": found.reason}
    (low, high), better = found.ci95, BY_NAME[arms.metric].better
    row: Row = {"ratio": found.ratio, "low": low, "high": high, "helps": None, "harms": None}
    if better != "neither":
        above, below = low > 1, high < 1
        row |= {"helps": above if better == "higher" else below, "harms": below if better == "higher" else above}
    spread = paired_spread_ratio(np.log(arms.paired[0]), np.log(arms.paired[1]))
    if not isinstance(spread, NotEstimable):
        row |= {"sd_ratio": spread.ratio.value, "sd_ratio_low": spread.ratio.low, "sd_ratio_high": spread.ratio.high}
    return row


def _closed(before: Row, after: Row) -> float | None:
    """Per cent of the baseline's gap to the reference that is gone; None where no gap was shown."""
    if before.get("ratio") is None or after.get("ratio") is None or not before.get("excludes_one"):
        return None
    return (1 - math.log(after["ratio"]) / math.log(before["ratio"])) * 100


def _group(cell: Cell) -> tuple[str, str]:
    return cell.model, cell.level


def verdict_rows(compared: Sequence[Arms], protocol: Protocol) -> list[Row]:
    """`verdict_by_n`: the primary comparisons that have a margin, after the first 5, 10, 15 ... blocks."""
    rows: list[Row] = []
    for arms in compared:
        margin = protocol.margin(arms.metric)
        if margin is None or arms.metric not in protocol.primary:
            continue
        total = arms.n
        for n in sorted({*range(_STEP, total, _STEP), total}):
            head = {**arms.cell.columns, "metric": arms.metric, "n": n}
            trace = key("verdict_by_n", *arms.cell.columns.values(), arms.metric, n)
            rows.append({**head, "trace": trace, **_verdict(arms.first(n), margin)})
    return rows


def _verdict(pairs: tuple[Vector, Vector], margin: float) -> Row:
    found = paired_ratio(*pairs)
    if isinstance(found, NotEstimable):
        return {"not_estimable": found.reason}
    low, high = found.ci95
    return {"ratio": found.ratio, "low": low, "high": high, "verdict": decide(found, margin).verdict}
