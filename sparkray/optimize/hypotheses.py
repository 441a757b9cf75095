"""Judges the hypotheses of an experiment (`config.experiment.Hypothesis`) by what its optimisation measured. Pure.

A share of an overhead is a ratio of two differences over the same blocks; its interval is Fieller's (`stats.attribution`),
and there is none where no overhead is shown.
"""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass

from sparkray.analysis.optimized import Confirmation, Effect, Judged, JudgedHypothesis, Level
from sparkray.config.experiment import Experiment, Hypothesis, HypothesisKind
from sparkray.config.isolation import AttributionStep
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.optimize.effects import Comparison
from sparkray.optimize.rows import Rows
from sparkray.stats import NotEstimable
from sparkray.stats.attribution import attribute
from sparkray.stats.fieller import NO_WHOLE
from sparkray.stats.reasons import worded

# Verdict, reason, and the measured number in words.
Finding = tuple[Judged, str, str | None]


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


class _CannotJudgeError(Exception):
    """Why there is no verdict."""


def judge_hypotheses(experiment: Experiment, evidence: Evidence) -> tuple[JudgedHypothesis, ...]:
    """Each hypothesis of the experiment with its verdict, in the order of the file; none where it states none."""
    return tuple(_judge(one, experiment, evidence) for one in experiment.hypotheses)


def _judge(hypothesis: Hypothesis, experiment: Experiment, evidence: Evidence) -> JudgedHypothesis:
    metric = hypothesis.metric or experiment.primary_metrics[0]
    try:
        subject = _of_level(hypothesis.level, evidence) if hypothesis.level else _of_combination(evidence)
        finding = _JUDGES[hypothesis.kind](hypothesis, subject, metric, experiment.margins)
    except _CannotJudgeError as why:
        finding = "cannot be judged", f"cannot be judged here, because {why}", None
    stage, source = "screen" if hypothesis.level else "confirm", hypothesis.source or None
    return JudgedHypothesis(hypothesis.name, hypothesis.claim, *finding, source=source, stage=stage)


def _of_level(wanted: str, evidence: Evidence) -> _Subject:
    """The level as the only change to the baseline."""
    level = next((level for level in evidence.levels if f"{level.factor}={level.level}" == wanted), None)
    if level is None:
        raise _CannotJudgeError(f"this space has no level {wanted}")
    if level.state != "measured":
        raise _CannotJudgeError(level.reason or f"it was not measured alone ({level.state})")
    return _Subject(level.environment, evidence.screened, level.effect)


def _of_combination(evidence: Evidence) -> _Subject:
    """The best combination that was confirmed."""
    if evidence.confirmation is None or evidence.confirmed is None or not evidence.confirmation.candidates:
        raise _CannotJudgeError("neither screen nor search shows a combination worth confirming")
    best = max(evidence.confirmation.candidates, key=lambda one: one.effect.gain_pct or float("-inf"))
    return _Subject(best.environment, evidence.confirmed, best.effect)


def _removed_share(hypothesis: Hypothesis, subject: _Subject, metric: str, _margins: Mapping[str, float]) -> Finding:
    """The share of native-to-baseline that the environment takes away, against the expected range."""
    names = (NATIVE, CONTAINER_BASELINE, subject.environment)
    step = AttributionStep("flags", "leave", subject.environment, CONTAINER_BASELINE)
    arms: dict[str, Mapping[Hashable, float | None]] = {
        name: dict(subject.rows.values(name, metric).items()) for name in names
    }
    share = attribute(arms, [step], first=NATIVE, last=CONTAINER_BASELINE).steps[0].share
    if isinstance(share, NotEstimable):
        no_overhead = "no overhead of the baseline is shown that anything could be removed of"
        raise _CannotJudgeError(no_overhead if share == NO_WHOLE else worded(share.reason))
    low, high = hypothesis.bounds
    measured = f"{share.value:.0f} % removed (95 % CI {share.low:.0f} to {share.high:.0f} %)"
    if low <= share.low and share.high <= high:
        return "supported", "the interval lies inside the expected range", measured
    if share.high < low or share.low > high:
        return "contradicted", "the interval lies outside the expected range", measured
    return "undecided", "the interval reaches beyond the expected range", measured


def _lower_spread(_hypothesis: Hypothesis, subject: _Subject, metric: str, margins: Mapping[str, float]) -> Finding:
    """Whether the standard deviation is lower than the baseline's and the mean equivalent to it."""
    made = subject.effect
    if made is None or made.metric != metric:
        if metric not in margins:
            raise _CannotJudgeError(f"the experiment has no margin for {metric}")
        base, arm = (subject.rows.values(name, metric) for name in (CONTAINER_BASELINE, subject.environment))
        made = Comparison(metric, margins[metric]).effect(base, arm, subject.environment)
    if made.sd_ratio is None or made.ratio is None:
        raise _CannotJudgeError(worded(made.not_estimable) or "there are too few runs for a spread")
    low, high = made.sd_low or 0.0, float("inf") if made.sd_high is None else made.sd_high
    spread = "lower" if high < 1 else "higher" if low > 1 else "undecided"
    mean = {"equivalent": "the same", "different": "different"}.get(made.verdict or "", "undecided")
    measured = (
        f"sd ratio {made.sd_ratio:.2f} (95 % CI {low:.2f} to {high:.2f}), "
        f"mean {made.gain_pct:+.2f} % ({made.gain_low_pct:+.2f} to {made.gain_high_pct:+.2f})"
    )
    judged: Judged = "undecided"
    if spread == "higher" or mean == "different":
        judged = "contradicted"
    elif (spread, mean) == ("lower", "the same"):
        judged = "supported"
    return judged, f"the deviation is {spread}, the mean is {mean}", measured


_JUDGES: Mapping[HypothesisKind, Callable[[Hypothesis, _Subject, str, Mapping[str, float]], Finding]] = {
    "removes_overhead": _removed_share,
    "lowers_sd_not_mean": _lower_spread,
}
