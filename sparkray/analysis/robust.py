"""The same comparison by other means: beside the paired ratio, never instead of it. What cannot be estimated says why."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sparkray.analysis.arms import Arms
from sparkray.analysis.context import Protocol
from sparkray.analysis.reasons import Why, note
from sparkray.stats import NotEstimable
from sparkray.stats.bootstrap import ratio_of_means
from sparkray.stats.effect import cohen
from sparkray.stats.independent import independent
from sparkray.stats.nested import clustered_ratio
from sparkray.stats.outliers import with_and_without
from sparkray.stats.paired import decide
from sparkray.stats.permutation import sign_flip
from sparkray.stats.power import two_sample_power
from sparkray.stats.samples import Estimate, Vector
from sparkray.stats.serial import TOO_FEW, drift, memory
from sparkray.stats.variance import paired_spread_ratio

Row = dict[str, Any]
_BOOTSTRAP = ("bootstrap_low", "bootstrap_high")
_EFFECT = ("cohen_d", "d_low", "d_high", "hedges_g", "g_low", "g_high", "power_post_hoc")
_WITHOUT = ("ratio_without_outliers", "low_without_outliers", "high_without_outliers", "verdict_without_outliers")
_SPREAD = ("sd_ratio", "sd_ratio_low", "sd_ratio_high", "sd_ratio_p")
_CLUSTER = ("cluster_low", "cluster_high", "cluster_verdict")
_CLUSTER_BOOTSTRAP = ("cluster_bootstrap_low", "cluster_bootstrap_high")
_INTERCEPT = ("intercept_ratio", "intercept_low", "intercept_high")


def protocol_columns(arms: Arms, seed: int, why: Why) -> Row:
    """The study's own protocol: both arms as independent samples, by the test that its checks choose."""
    found = independent(arms.a, arms.b, seed=seed)
    if isinstance(found, NotEstimable):
        note(why, ("statistic", "p", "shapiro_p_a", "shapiro_p_b", "levene_p", *_BOOTSTRAP, *_EFFECT), found)
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
    for column in ("shapiro_p_a", "shapiro_p_b", "levene_p"):
        if row[column] is None:
            note(why, (column,), "the rule of the test says why it could not be made")
    interval = found.bootstrap or ratio_of_means(arms.a, arms.b, seed=seed)
    if isinstance(interval, NotEstimable):
        note(why, _BOOTSTRAP, interval)
    else:
        row |= dict(zip(_BOOTSTRAP, (interval.low, interval.high), strict=True))
    return row | _effect(arms, why)


def _effect(arms: Arms, why: Why) -> Row:
    found = cohen(arms.a, arms.b)
    if isinstance(found, NotEstimable):
        note(why, _EFFECT, found)
        return {}
    d, g = found.d, found.g
    power = two_sample_power(d.value, len(arms.a), len(arms.b))
    return dict(zip(_EFFECT, (d.value, d.low, d.high, g.value, g.low, g.high, power), strict=True))


def spread_columns(a: Vector, b: Vector, why: Why) -> Row:
    """The ratio of the total spreads of paired arms, logarithms taken: block effects are in both."""
    found = paired_spread_ratio(np.log(a), np.log(b))
    if isinstance(found, NotEstimable):
        note(why, _SPREAD, found)
        return {}
    return dict(zip(_SPREAD, (found.ratio.value, found.ratio.low, found.ratio.high, found.p), strict=True))


def robust_columns(arms: Arms, protocol: Protocol, why: Why) -> Row:
    """Permutation, without outliers, over time, of the spread, over clusters."""
    a, b = arms.paired
    flipped = sign_flip(a, b, seed=protocol.seed)
    row: Row = {}
    if isinstance(flipped, NotEstimable):
        note(why, ("permutation_p",), flipped)
    else:
        row["permutation_p"] = flipped.p
    row |= _without_outliers(arms, protocol.margin(arms.metric), why) | _in_time(arms, why)
    return row | spread_columns(a, b, why) | _clustered(arms, protocol, why)


def _without_outliers(arms: Arms, margin: float | None, why: Why) -> Row:
    both = with_and_without(*arms.paired)
    if isinstance(both, NotEstimable):
        note(why, ("outliers", *_WITHOUT), both)
        return {}
    row: Row = {"outliers": len(both.dropped)}
    if isinstance(both.without, NotEstimable):
        note(why, _WITHOUT, both.without)
        return row
    verdict = None if margin is None else decide(both.without, margin).verdict
    return row | dict(zip(_WITHOUT, (both.without.ratio, *both.without.ci95, verdict), strict=True))


def _in_time(arms: Arms, why: Why) -> Row:
    """Drift and memory of the series that the verdict rests on: the ratios, in the order in which pairs were completed."""
    ratios = (arms.paired[1] / arms.paired[0])[arms.completed]
    row: Row = {}
    trend, past = drift(ratios), memory(np.log(ratios))
    if isinstance(trend, NotEstimable):
        note(why, ("ratio_drift_pct_per_pair", "ratio_drift_p"), trend)
    else:
        row |= {"ratio_drift_pct_per_pair": trend.pct_per_run.value, "ratio_drift_p": trend.p}
    if isinstance(past, NotEstimable):
        note(why, ("ratio_lag1", "ratio_effective_n"), past)
    else:
        row |= {"ratio_lag1": past.lag1, "ratio_effective_n": past.effective_n}
        if past.effective_n is None:
            note(why, ("ratio_effective_n",), TOO_FEW)
    return row


def _clustered(arms: Arms, protocol: Protocol, why: Why) -> Row:
    """Over machines or days, where pairs nest in several; of the primary metrics alone, since bootstraps take time."""
    row: Row = {"clusters": len(set(arms.clusters))}
    everything = (*_CLUSTER, *_CLUSTER_BOOTSTRAP, *_INTERCEPT)
    if arms.metric not in protocol.primary:
        return row
    found = clustered_ratio(*arms.paired, arms.clusters, seed=protocol.seed)
    if isinstance(found, NotEstimable):
        note(why, everything, found)
        return row
    margin = protocol.margin(arms.metric)
    verdict = None if margin is None else decide(found.ratio, margin).verdict
    row |= dict(zip(_CLUSTER, (*found.ratio.ci95, verdict), strict=True))
    row |= _ends(_CLUSTER_BOOTSTRAP, found.bootstrap, why)
    return row | _ends(_INTERCEPT, found.intercept, why)


def _ends(columns: Sequence[str], found: Estimate | NotEstimable, why: Why) -> Row:
    """The ends of an interval, with the estimate in front where there is a column for it."""
    if isinstance(found, NotEstimable):
        note(why, columns, found)
        return {}
    return dict(zip(columns, (found.value, found.low, found.high)[-len(columns) :], strict=True))
