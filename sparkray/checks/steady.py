"""Was the warm-up over when counting began, and did the run stay as it was? From the order of its own requests.

Asked is the pace of each request, ms per generated token. With one request in flight that is its whole time over its
tokens. With more, the first wave prefills together and the last one ends alone, so as many requests as are in flight are
left out at either end; and where an engine was handed everything at once, a request's time holds its wait, so only times
after its first token mean something.

- *Drift*: means of up to 20 batches of successive requests (batch means: Law & Kelton, Simulation Modeling and Analysis)
  are put to the test of Mann and Kendall (Mann 1945, Econometrica 13:245) against their order. It is told when p is below
  0.001 and the last third's pace is further off the first third's than is usual: neither alone says anything.

  The test takes batches for independent, and on a shared machine they are not: a neighbour that stays for a third of a run
  makes a trend of any p. Of 120 sound runs on such a machine 6 had p below 0.001 and a pace more than 10 % off. So what is
  usual is learnt from the machine: the logs of the ratios of the runs before (`pace_drift_ratio` of their rows), of any
  environment. The limit is four robust standard deviations of them, and never below 10 %. Before there are five of them
  only 30 % is a drift.
- *Warm-up*: the first request took 1.5 times the others' median or more, and is an outlier by its modified z score.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined, median, numbers, robust_sd
from sparkray.config.experiment import Policy
from sparkray.metrics import counted
from sparkray.records import Request, Verdict
from sparkray.stats.serial import trend_p
from sparkray.units import NS_PER_MS

FEWEST_REQUESTS = 8
MOST_BATCHES = 20
DRIFT, UNKNOWN_DRIFT = 1.10, 1.30
"""Factors of pace: the least that matters, and the limit before it is known what is usual."""
FEWEST_EARLIER = 5
SPREADS = 4.0
DRIFT_P = 0.001
RATIO = "pace_drift_ratio"
SLOW_START = 1.5
_OUTLYING = 5.0
_THIRD = 3


@dataclass(frozen=True)
class Drift:
    """How the pace changed: last third over first third, and the two-sided p of the trend over batch means."""

    ratio: float
    p: float
    batches: int

    def beyond(self, limit: float) -> bool:
        """Whether it is both too regular for chance and further off than a factor, either way."""
        return self.p < DRIFT_P and abs(math.log(self.ratio)) > math.log(limit)


class Check:
    """See the module. A run that drifts is one to look at, seldom one to throw away: the policy is to warn."""

    name = "steady"
    policy: Policy = "warn"
    remedy = "Give the runs more warm-up requests, and see what else the machine does meanwhile"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None with fewer than 8 requests that can tell."""
        alone = evidence.study.concurrency(evidence.planned) == 1
        paces = paces_ms(counted(evidence.measurement.requests), evidence.study.concurrency(evidence.planned))
        if len(paces) < FEWEST_REQUESTS:
            return None
        limit, why = drift_limit(numbers(evidence.earlier, RATIO))
        return combined(self.name, (*(_warm_up(paces) if alone else ()), _drift(paces, limit, why)))


def paces_ms(requests: Sequence[Request], in_flight: int) -> list[float]:
    """Ms per generated token of the requests that can be compared, in the order of submission.

    Args:
        requests: Those that count.
        in_flight: How many are in flight at once.
    """
    ordered = sorted(requests, key=lambda request: request.submit_ns)
    if in_flight > 1:
        ordered = ordered[in_flight:-in_flight]
    queued = _most_at_once(requests) > in_flight
    found = [_pace_ms(request, after_first=in_flight > 1 or queued) for request in ordered]
    if queued and any(request.first_token_ns is None for request in ordered):
        return []
    return [pace for pace in found if pace is not None]


def _pace_ms(request: Request, *, after_first: bool) -> float | None:
    begin, tokens = request.submit_ns, request.output_tokens
    if after_first and request.first_token_ns is not None:
        begin, tokens = request.first_token_ns, tokens - 1
    return (request.end_ns - begin) / NS_PER_MS / tokens if tokens > 0 and request.end_ns > begin else None


def _most_at_once(requests: Sequence[Request]) -> int:
    events = sorted([(r.submit_ns, 1) for r in requests] + [(r.end_ns, -1) for r in requests])
    return int(np.max(np.cumsum([change for _, change in events]), initial=0))


def pace_drift_ratio(requests: Sequence[Request], in_flight: int) -> float | None:
    """Median ms per token of the last third of the requests over the first third's; None with fewer than 8 that can tell.

    Args:
        requests: Those that count.
        in_flight: How many are in flight at once.
    """
    paces = paces_ms(requests, in_flight)
    return _ratio(paces) if len(paces) >= FEWEST_REQUESTS else None


def _ratio(paces: Sequence[float]) -> float:
    third = len(paces) // _THIRD
    return median(paces[-third:]) / median(paces[:third])


def drift_limit(ratios: Sequence[float]) -> tuple[float, str]:
    """The factor beyond which a pace has drifted, and what it is taken from; `ratios` are of the runs before."""
    logs = [math.log(ratio) for ratio in ratios if ratio > 0]
    if len(logs) < FEWEST_EARLIER:
        return UNKNOWN_DRIFT, "before it is known what is usual"
    return max(DRIFT, math.exp(SPREADS * robust_sd(logs))), f"by the scatter of {len(logs)} runs"


def drift_of(paces: Sequence[float]) -> Drift:
    """The drift of at least 8 paces, ms, in order; see the module."""
    batches = batch_means(paces)
    return Drift(_ratio(paces), trend_p(np.asarray(batches)), len(batches))


def batch_means(values: Sequence[float]) -> list[float]:
    """Means of successive batches of like size, up to 20 of them; sizes differ by one at most."""
    count = min(MOST_BATCHES, len(values))
    edges = np.linspace(0, len(values), count + 1).round().astype(int).tolist()
    return [float(np.mean(values[begin:end])) for begin, end in pairwise(edges)]


def _drift(paces: Sequence[float], limit: float, why: str) -> Finding:
    drift = drift_of(paces)
    changed = f"the last third of the requests took {drift.ratio:.3f} times the first third's ms per token"
    said = f"{changed}, p {drift.p:.2g} over {drift.batches} batch means"
    return Finding("invalid", f"{said}; limit {limit:.2f} {why}") if drift.beyond(limit) else Finding("pass", said)


def _warm_up(paces: Sequence[float]) -> Iterator[Finding]:
    first, rest = paces[0], paces[1:]
    usual, sd = median(rest), robust_sd(rest)
    said = f"the first request took {first:.4g} ms per token, the others {usual:.4g}"
    slow = first > SLOW_START * usual and first - usual > _OUTLYING * sd
    yield Finding("invalid", f"{said}: the warm-up was not over") if slow else Finding("pass", said)
