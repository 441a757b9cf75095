"""What the study before this one expected of Docker's flags, judged by what was measured. Pure.

It expected: `--shm-size=32g` removes 30 to 50 % of the container's overhead; pinning to CPUs lowers the deviation and not
the mean; the combination of the best flags removes 60 to 80 %. A share of an overhead is a ratio of two differences of the
same blocks; its interval is Fieller's (`stats.attribution`), and there is none where no overhead is shown.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from sparkray.analysis.optimized import Confirmation, Effect, Hypothesis, Level
from sparkray.config.isolation import AttributionStep
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.optimize.rows import Rows
from sparkray.stats import NotEstimable
from sparkray.stats.attribution import Share, attribute

SHM, PINNED = ("shm_size", "32g"), ("cpuset", "performance")
SHM_SHARE, COMBINED_SHARE = (30.0, 50.0), (60.0, 80.0)
_CANNOT = "cannot be judged here, because "


@dataclass(frozen=True)
class Claim:
    """An expected share of the overhead, per cent, from low to high."""

    name: str
    text: str
    low: float
    high: float


def hypotheses(
    levels: tuple[Level, ...], screened: Rows, *, metric: str, confirmation: Confirmation | None, confirmed: Rows | None
) -> tuple[Hypothesis, ...]:
    """Each of the three.

    Args:
        levels: Of the screen.
        screened: Its rows.
        metric: What was optimised.
        confirmation: What was confirmed; None where it was not reached.
        confirmed: Its rows.
    """
    return tuple(_all(levels, screened, metric, confirmation, confirmed))


def _all(
    levels: tuple[Level, ...], screened: Rows, metric: str, confirmation: Confirmation | None, confirmed: Rows | None
) -> Iterator[Hypothesis]:
    shm = Claim("shm-32g", "--shm-size=32g removes 30 to 50 % of the overhead", *SHM_SHARE)
    level = _level(levels, SHM)
    if level is None or level.state != "measured":
        yield _unjudged(shm.name, shm.text, _missing(level, "this space has no level shm_size=32g"))
    else:
        yield _share(shm, screened, level.environment, metric)
    yield _pinning(_level(levels, PINNED))
    both = Claim("combination", "the best flags combined remove 60 to 80 % of the overhead", *COMBINED_SHARE)
    if confirmation is None or confirmed is None or not confirmation.candidates:
        yield _unjudged(
            both.name, both.text, "no combination was worth confirming: neither screen nor search saw a gain"
        )
    else:
        best = max(confirmation.candidates, key=lambda one: one.effect.gain_pct or float("-inf"))
        yield _share(both, confirmed, best.environment, metric)


def _level(levels: tuple[Level, ...], wanted: tuple[str, str]) -> Level | None:
    return next((level for level in levels if (level.factor, level.level) == wanted), None)


def _missing(level: Level | None, otherwise: str) -> str:
    return otherwise if level is None else (level.reason or f"it was not measured alone ({level.state})")


def _unjudged(name: str, text: str, why: str) -> Hypothesis:
    return Hypothesis(name, text, "cannot be judged", f"{_CANNOT}{why}")


def _share(claim: Claim, rows: Rows, environment: str, metric: str) -> Hypothesis:
    """The share of native-to-baseline that an environment takes away, against what was expected."""
    arms = {name: rows.values(name, metric) for name in (NATIVE, CONTAINER_BASELINE, environment)}
    step = AttributionStep("flags", "leave", environment, CONTAINER_BASELINE)
    found = attribute(
        {name: dict(arm.items()) for name, arm in arms.items()}, [step], first=NATIVE, last=CONTAINER_BASELINE
    )
    share = found.steps[0].share
    if isinstance(share, NotEstimable):
        none_there = "no overhead of the baseline is shown that anything could be removed of"
        return _unjudged(claim.name, claim.text, none_there if "differ from 0" in share.reason else share.reason)
    return _told(claim, share)


def _told(claim: Claim, share: Share) -> Hypothesis:
    seen = f"{share.value:.0f} % removed (95 % CI {share.low:.0f} to {share.high:.0f} %)"
    if claim.low <= share.low and share.high <= claim.high:
        return Hypothesis(claim.name, claim.text, "supported", "the interval lies inside what was expected", seen)
    if share.high < claim.low or share.low > claim.high:
        return Hypothesis(claim.name, claim.text, "contradicted", "the interval lies outside what was expected", seen)
    return Hypothesis(claim.name, claim.text, "undecided", "the interval reaches beyond what was expected", seen)


def _pinning(level: Level | None) -> Hypothesis:
    name, text = "cpu-pinning", "pinning to CPUs lowers the deviation and not the mean"
    if level is None or level.state != "measured" or level.effect is None:
        return _unjudged(name, text, _missing(level, "this space has no level cpuset=performance"))
    made = level.effect
    if made.sd_ratio is None or made.ratio is None:
        return _unjudged(name, text, made.not_estimable or "too few runs for a spread")
    spread, mean = _spread_of(made), _mean_of(made)
    seen = (
        f"sd ratio {made.sd_ratio:.2f} (95 % CI {made.sd_low or 0:.2f} to {made.sd_high or float('inf'):.2f}), "
        f"mean {made.gain_pct:+.2f} % ({made.gain_low_pct:+.2f} to {made.gain_high_pct:+.2f})"
    )
    if spread == "higher" or mean == "moved":
        return Hypothesis(name, text, "contradicted", f"the deviation is {spread}, the mean is {mean}", seen)
    if (spread, mean) == ("lower", "the same"):
        return Hypothesis(name, text, "supported", "the deviation is lower and the mean equivalent", seen)
    return Hypothesis(name, text, "undecided", f"the deviation is {spread}, the mean is {mean}", seen)


def _spread_of(made: Effect) -> str:
    if made.sd_high is not None and made.sd_high < 1:
        return "lower"
    return "higher" if made.sd_low is not None and made.sd_low > 1 else "not told apart"


def _mean_of(made: Effect) -> str:
    return {"equivalent": "the same", "different": "moved"}.get(made.verdict or "", "undecided")
