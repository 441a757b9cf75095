"""What the planned number of pairs could show: computed before the data where there is a calibration, else from them."""

import math
from typing import Any

import numpy as np

from sparkray.analysis.arms import Arms
from sparkray.analysis.context import Protocol
from sparkray.analysis.differences import scale_of
from sparkray.analysis.reasons import Why, filled, note
from sparkray.stats import NotEstimable
from sparkray.stats.differences import paired_difference
from sparkray.stats.paired import Ratio, outlook, tost_power
from sparkray.stats.power import minimum_detectable, paired_power, paired_runs, two_sample_runs
from sparkray.stats.reasons import coded
from sparkray.stats.samples import pooled_variance

Row = dict[str, Any]
CALIBRATION, THESE_DATA = "calibration", "these data"
_LEAST_PLANNED = 2
_A_PRIORI = ("power_a_priori", "pairs_a_priori", "runs_a_priori")


def power_columns(result: Ratio, arms: Arms, protocol: Protocol, why: Why) -> Row:
    """What this spread and these numbers of pairs can show, and what the planned number was to show of its effect."""
    planned = protocol.planned or arms.n
    least = minimum_detectable(result.n, result.sd_log)
    row: Row = filled(("minimum_detectable",), least, lambda found: (found,), why)
    row |= planned_power(result, arms, protocol, why)
    if planned < _LEAST_PLANNED:
        note(why, _A_PRIORI, coded("few_planned", n=planned, least=_LEAST_PLANNED))
        return row
    return row | _a_priori(result, arms, planned, protocol, why=why)


def planned_power(result: Ratio | None, arms: Arms, protocol: Protocol, why: Why) -> Row:
    """Power of the planned pairs to call the arms equivalent, by ratio or by difference, as the verdict is."""
    planned, scale = protocol.planned or arms.n, scale_of(arms, protocol.margins_of(arms.metric))
    margin, made = protocol.margin(arms.metric), result
    if scale is not None:
        difference = paired_difference(*arms.paired, scale)
        margin, made = scale.relative, None if isinstance(difference, NotEstimable) else difference
    if planned < _LEAST_PLANNED:
        note(why, ("power_planned",), coded("few_planned", n=planned, least=_LEAST_PLANNED))
    elif margin is None or made is None:
        note(why, ("power_planned",), "no_margin")
    else:
        return {"power_planned": tost_power(planned, made.sd_log, margin)}
    return {}


def _a_priori(result: Ratio, arms: Arms, planned: int, protocol: Protocol, *, why: Why) -> Row:
    """Power to see the planned effect, with the noise of an earlier calibration; else with that of these data."""
    effect = protocol.effect(arms.metric)
    if effect is None:
        note(why, _A_PRIORI, "no_effect_planned")
        return {}
    known = protocol.calibrated_sd_log.get(arms.metric)
    sd_log = known or result.sd_log
    sd_run = max(
        protocol.calibrated_sd_run.get(arms.metric, 0.0) if known else _sd_of_runs(arms), sd_log / math.sqrt(2)
    )
    ratio = 1 + effect
    row: Row = {
        "planned_effect": effect,
        "a_priori_cv_pct": sd_log / math.sqrt(2) * 100,
        "a_priori_run_cv_pct": sd_run * 100,
        "a_priori_basis": CALIBRATION if known else THESE_DATA,
        "power_a_priori": paired_power(ratio, sd_log, planned),
        "pairs_a_priori": paired_runs(ratio, sd_log),
        "runs_a_priori": two_sample_runs(math.log(ratio) / sd_run),
    }
    note(why, [name for name in _A_PRIORI if row[name] is None], outlook(None, planned))
    return row


def _sd_of_runs(arms: Arms) -> float:
    """The sd of the log values of a run in either arm: what blocks differ by is in it, as it is in an unpaired test."""
    first, second = (np.log(values[values > 0]) for values in (arms.a, arms.b))
    return math.sqrt(pooled_variance(first, second))
