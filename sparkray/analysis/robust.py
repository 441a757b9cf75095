"""Columns of a comparison beside the paired ratio: the study's protocol, permutation, outliers, order, spread, clusters."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sparkray.analysis.arms import Arms
from sparkray.analysis.context import Protocol
from sparkray.analysis.describe import series_columns
from sparkray.analysis.reasons import Why, filled, note
from sparkray.stats import NotEstimable
from sparkray.stats.bootstrap import ratios_of_means
from sparkray.stats.effect import Effect, cohens
from sparkray.stats.independent import Independent, independents
from sparkray.stats.nested import ClusteredRatio, clustered_ratios
from sparkray.stats.outliers import WithAndWithout, with_and_without_many
from sparkray.stats.paired import Ratio, decide
from sparkray.stats.permutation import sign_flips
from sparkray.stats.samples import Estimate
from sparkray.stats.serial import Drift, Memory, drifts, memories
from sparkray.stats.variance import PairedSpreadRatio, paired_spread_ratios

Row = dict[str, Any]
_BOOTSTRAP = ("bootstrap_low", "bootstrap_high")
_EFFECT = ("cohen_d", "d_low", "d_high", "hedges_g", "g_low", "g_high", "power_post_hoc")
_WITHOUT = ("ratio_without_outliers", "low_without_outliers", "high_without_outliers", "verdict_without_outliers")
_SERIES = ("ratio_drift_pct_per_pair", "ratio_drift_p", "ratio_lag1", "ratio_effective_n")
SPREAD = ("sd_ratio", "sd_ratio_low", "sd_ratio_high", "sd_ratio_p")
_CLUSTER = ("cluster_low", "cluster_high", "cluster_verdict")
_CLUSTER_BOOTSTRAP = ("cluster_bootstrap_low", "cluster_bootstrap_high")
_INTERCEPT = ("intercept_ratio", "intercept_low", "intercept_high")


@dataclass(frozen=True)
class Tests:
    """Tests of a comparison that are made of many at once, as NumPy takes hardly longer for many than for one."""

    independent: Independent | NotEstimable
    interval: Estimate | NotEstimable
    effect: Effect | NotEstimable
    sign_flip: float | NotEstimable
    drift: Drift | NotEstimable
    memory: Memory | NotEstimable
    outliers: WithAndWithout | NotEstimable
    nested: ClusteredRatio | NotEstimable | None
    spread: PairedSpreadRatio | NotEstimable


def tests_of(every: Sequence[Arms], used: Sequence[Arms], protocol: Protocol) -> list[Tests]:
    """The tests of each comparison, which take every run, and those of the pairs that are used of it."""
    seed = protocol.seed
    primary = {place: one for place, one in enumerate(used) if one.metric in protocol.primary}
    nested = clustered_ratios([(*one.paired, one.clusters) for one in primary.values()], seed=seed)
    of_clusters = dict(zip(primary, nested, strict=True))
    arms, pairs = [(one.a, one.b) for one in every], [one.paired for one in used]
    with np.errstate(divide="ignore", invalid="ignore"):
        in_time = [(b / a)[one.completed] for one, (a, b) in zip(used, pairs, strict=True)]
        logs_in_time = [np.log(ratios) for ratios in in_time]
        logs = [(np.log(a), np.log(b)) for a, b in pairs]
    found = (
        independents(arms),
        ratios_of_means(arms, seed=seed),
        cohens(arms),
        sign_flips(pairs, seed=seed),
        drifts([(ratios, None) for ratios in in_time]),
        memories(logs_in_time),
        with_and_without_many(pairs),
        [of_clusters.get(place) for place in range(len(used))],
        paired_spread_ratios(logs),
    )
    return [Tests(*one) for one in zip(*found, strict=True)]


def protocol_columns(tests: Tests, why: Why) -> Row:
    """The study's own protocol: both arms as independent samples, by the test that its checks choose."""
    found = tests.independent
    if isinstance(found, NotEstimable):
        note(why, ("statistic", "p", "shapiro_p_a", "shapiro_p_b", "levene_p", "rule", *_BOOTSTRAP, *_EFFECT), found)
        return {"test": "none"}
    row: Row = {
        "test": found.test,
        "rule": found.rule,
        "statistic": found.statistic,
        "p": found.p,
        "shapiro_p_a": found.shapiro_p_a,
        "shapiro_p_b": found.shapiro_p_b,
        "levene_p": found.levene_p,
    }
    for column in ("shapiro_p_a", "shapiro_p_b", "levene_p"):
        if row[column] is None:
            note(why, (column,), "untested")
    row |= filled(_BOOTSTRAP, tests.interval, lambda found: (found.low, found.high), why)
    return row | filled(_EFFECT, tests.effect, lambda found: (*_three(found.d), *_three(found.g), found.power), why)


def spread_columns(spread: PairedSpreadRatio | NotEstimable, why: Why) -> Row:
    """The ratio of the total spreads of paired arms, logarithms taken: block effects are in both."""
    return filled(SPREAD, spread, lambda found: (*_three(found.ratio), found.p), why)


def robust_columns(arms: Arms, tests: Tests, protocol: Protocol, why: Why) -> Row:
    """Permutation, without outliers, over time, of the spread, over clusters."""
    margin = protocol.margin(arms.metric)
    if protocol.margins_of(arms.metric).difference is not None:
        margin = None
        note(why, ("verdict_without_outliers", "cluster_verdict"), "of_difference")
    return {
        **filled(("permutation_p",), tests.sign_flip, lambda p: (p,), why),
        **_without_outliers(tests.outliers, margin, why),
        **series_columns(tests.drift, tests.memory, _SERIES, why),
        **spread_columns(tests.spread, why),
        **_clustered(arms, tests.nested, margin, why),
    }


def _without_outliers(both: WithAndWithout | NotEstimable, margin: float | None, why: Why) -> Row:
    if isinstance(both, NotEstimable):
        note(why, ("outliers", *_WITHOUT), both)
        return {}
    return {"outliers": len(both.dropped)} | filled(
        _WITHOUT, both.without, lambda found: (found.ratio, *found.ci95, _verdict(found, margin)), why
    )


def _verdict(ratio: Ratio, margin: float | None) -> str | None:
    return None if margin is None else decide(ratio, margin).verdict


def _three(estimate: Estimate) -> tuple[float | None, ...]:
    return (estimate.value, estimate.low, estimate.high)


def _clustered(arms: Arms, nested: ClusteredRatio | NotEstimable | None, margin: float | None, why: Why) -> Row:
    """Over machines or days, where pairs nest in several; of the primary metrics alone, since bootstraps take time."""
    row: Row = {"clusters": len(set(arms.clusters))}
    if nested is None:
        return row
    if isinstance(nested, NotEstimable):
        note(why, (*_CLUSTER, *_CLUSTER_BOOTSTRAP, *_INTERCEPT), nested)
        return row
    row |= dict(zip(_CLUSTER, (*nested.ratio.ci95, _verdict(nested.ratio, margin)), strict=True))
    row |= filled(_CLUSTER_BOOTSTRAP, nested.bootstrap, lambda found: (found.low, found.high), why)
    return row | filled(_INTERCEPT, nested.intercept, _three, why)
