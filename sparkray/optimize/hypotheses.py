"""Judges the hypotheses of an experiment (`config.experiment.Hypothesis`) by what its optimisation measured. Pure.

A share of an overhead is a ratio of two differences over the same blocks; its interval is Fieller's (`stats.attribution`),
and there is none where no overhead is shown.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from sparkray.analysis.optimized import Confirmation, Effect, Judged, JudgedHypothesis, Level
from sparkray.config.experiment import Experiment, Hypothesis, HypothesisKind
from sparkray.config.isolation import AttributionStep
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.optimize.effects import effect
from sparkray.optimize.rows import Rows
from sparkray.stats import NotEstimable
from sparkray.stats.attribution import attribute

_CANNOT = "cannot be judged here, because "
_NO_COMBINATION = "no combination was worth confirming: neither screen nor search saw a gain"


@dataclass(frozen=True)
class Evidence:
    """What an optimisation measured. `confirmation` and `confirmed` are None where that stage was not reached."""

    levels: tuple[Level, ...]
    screened: Rows
    confirmation: Confirmation | None = None
    confirmed: Rows | None = None


@dataclass(frozen=True)
class _Subject:
    """The environment that a hypothesis is about, its runs, and its effect on the optimised metric where there is one."""

    environment: str
    rows: Rows
    effect: Effect | None
    stage: Literal["screen", "confirm"]


@dataclass(frozen=True)
class _Finding:
    judged: Judged
    reason: str
    seen: str | None = None


def judge_hypotheses(experiment: Experiment, evidence: Evidence) -> tuple[JudgedHypothesis, ...]:
    """Each hypothesis of the experiment with its verdict, in the order of the file; none where it states none."""
    return tuple(_judge(one, experiment, evidence) for one in experiment.hypotheses)


def _judge(hypothesis: Hypothesis, experiment: Experiment, evidence: Evidence) -> JudgedHypothesis:
    metric = hypothesis.metric or experiment.primary_metrics[0]
    subject = _of_level(hypothesis.level, evidence) if hypothesis.level else _of_combination(evidence)
    if isinstance(subject, str):
        finding, stage = _unjudged(subject), "screen" if hypothesis.level else "confirm"
    else:
        finding, stage = _JUDGES[hypothesis.kind](hypothesis, subject, metric, experiment.margins), subject.stage
    return JudgedHypothesis(
        hypothesis.name,
        hypothesis.claim,
        finding.judged,
        finding.reason,
        finding.seen,
        source=hypothesis.source or None,
        stage=stage,
    )


def _of_level(wanted: str, evidence: Evidence) -> _Subject | str:
    """The level as the only change to the baseline, or why it has no runs."""
    level = next((level for level in evidence.levels if f"{level.factor}={level.level}" == wanted), None)
    if level is None:
        return f"this space has no level {wanted}"
    if level.state != "measured":
        return level.reason or f"it was not measured alone ({level.state})"
    return _Subject(level.environment, evidence.screened, level.effect, "screen")


def _of_combination(evidence: Evidence) -> _Subject | str:
    """The best combination that was confirmed."""
    if evidence.confirmation is None or evidence.confirmed is None or not evidence.confirmation.candidates:
        return _NO_COMBINATION
    best = max(evidence.confirmation.candidates, key=lambda one: one.effect.gain_pct or float("-inf"))
    return _Subject(best.environment, evidence.confirmed, best.effect, "confirm")


def _unjudged(why: str) -> _Finding:
    return _Finding("cannot be judged", f"{_CANNOT}{why}")


def _removed_share(hypothesis: Hypothesis, subject: _Subject, metric: str, _margins: Mapping[str, float]) -> _Finding:
    """The share of native-to-baseline that the environment takes away, against the expected range."""
    arms = {name: subject.rows.values(name, metric) for name in (NATIVE, CONTAINER_BASELINE, subject.environment)}
    step = AttributionStep("flags", "leave", subject.environment, CONTAINER_BASELINE)
    attributed = attribute(
        {name: dict(arm.items()) for name, arm in arms.items()}, [step], first=NATIVE, last=CONTAINER_BASELINE
    )
    share = attributed.steps[0].share
    if isinstance(share, NotEstimable):
        no_overhead = "no overhead of the baseline is shown that anything could be removed of"
        return _unjudged(no_overhead if "differ from 0" in share.reason else share.reason)
    low, high = hypothesis.bounds
    seen = f"{share.value:.0f} % removed (95 % CI {share.low:.0f} to {share.high:.0f} %)"
    if low <= share.low and share.high <= high:
        return _Finding("supported", "the interval lies inside what was expected", seen)
    if share.high < low or share.low > high:
        return _Finding("contradicted", "the interval lies outside what was expected", seen)
    return _Finding("undecided", "the interval reaches beyond what was expected", seen)


def _lower_spread(_hypothesis: Hypothesis, subject: _Subject, metric: str, margins: Mapping[str, float]) -> _Finding:
    """Whether the standard deviation is lower than the baseline's and the mean equivalent to it."""
    made = subject.effect
    if made is None or made.metric != metric:
        if metric not in margins:
            return _unjudged(f"the experiment has no margin for {metric}")
        base, arm = (subject.rows.values(name, metric) for name in (CONTAINER_BASELINE, subject.environment))
        names = (CONTAINER_BASELINE, subject.environment)
        made = effect(base, arm, names=names, metric=metric, margin=margins[metric])
    if made.sd_ratio is None or made.ratio is None:
        return _unjudged(made.not_estimable or "too few runs for a spread")
    spread, mean = _spread_of(made), _mean_of(made)
    seen = (
        f"sd ratio {made.sd_ratio:.2f} (95 % CI {made.sd_low or 0:.2f} to {made.sd_high or float('inf'):.2f}), "
        f"mean {made.gain_pct:+.2f} % ({made.gain_low_pct:+.2f} to {made.gain_high_pct:+.2f})"
    )
    if spread == "higher" or mean == "moved":
        return _Finding("contradicted", f"the deviation is {spread}, the mean is {mean}", seen)
    if (spread, mean) == ("lower", "the same"):
        return _Finding("supported", "the deviation is lower and the mean equivalent", seen)
    return _Finding("undecided", f"the deviation is {spread}, the mean is {mean}", seen)


def _spread_of(made: Effect) -> str:
    if made.sd_high is not None and made.sd_high < 1:
        return "lower"
    return "higher" if made.sd_low is not None and made.sd_low > 1 else "undecided"


def _mean_of(made: Effect) -> str:
    return {"equivalent": "the same", "different": "moved"}.get(made.verdict or "", "undecided")


_JUDGES: Mapping[HypothesisKind, Callable[[Hypothesis, _Subject, str, Mapping[str, float]], _Finding]] = {
    "removes_overhead": _removed_share,
    "lowers_sd_not_mean": _lower_spread,
}
