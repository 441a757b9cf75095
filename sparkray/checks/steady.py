"""Was the warm-up over when counting began, and did the pace stay constant? From the order of the run's own requests.

Pace is ms per generated token. With one request in flight that is total time over tokens. With N in flight, the first
N prefill together and the last N end with ever fewer beside them, so both are dropped. Where an engine got all requests
at once, a request's time includes queueing, so only times after its first token count.

- *Drift*: means of up to 20 batches of successive requests (batch means: Law & Kelton, Simulation Modeling and Analysis) are
  tested for a trend (Mann 1945, Econometrica 13:245). A drift needs p below 0.001 and a ratio of last to first third's pace
  beyond what is usual: neither alone suffices.

  The test assumes independent batches, which a shared machine does not give: a neighbour that stays for a third of a
  run makes any p. Of 120 sound runs on such a machine, 6 had p below 0.001 and a pace more than 10 % off. So the usual
  spread comes from the logs of earlier runs' ratios (`pace_drift_ratio`), of any environment: the limit is four robust
  standard deviations, at least 10 %; with fewer than five earlier runs, 30 %.
- *Warm-up*: the first request took at least 1.5 times the others' median, and is an outlier by its modified z score.
"""

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise

import numpy as np

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined, median, numbers, robust_sd
from sparkray.metrics import counted
from sparkray.records import Request, Verdict
from sparkray.stats.serial import trend_p
from sparkray.units import NS_PER_MS

FEWEST_REQUESTS = 8
MOST_BATCHES = 20
# Factors of pace: the least that matters, and the limit with too few earlier runs.
DRIFT, UNKNOWN_DRIFT = 1.10, 1.30
FEWEST_EARLIER = 5
SPREADS = 4.0
DRIFT_P = 0.001
RATIO = "pace_drift_ratio"
SLOW_START = 1.5
_OUTLYING = 5.0
_THIRD = 3


class Check(BaseCheck):
    """See the module. A drifting run deserves attention, rarely exclusion: the policy is to warn."""

    name = "steady"
    policy = "warn"
    remedy = "Add warm-up requests, and check what else the machine runs"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None with fewer than 8 usable requests."""
        alone = evidence.study.concurrency(evidence.planned) == 1
        paces = paces_ms(counted(evidence.measurement.requests), evidence.study.concurrency(evidence.planned))
        if len(paces) < FEWEST_REQUESTS:
            return None
        limit, why = drift_limit(numbers(evidence.earlier, RATIO))
        return combined(self.name, (*(_warm_up(paces) if alone else ()), drift_finding(paces, limit, why)))


def paces_ms(requests: Sequence[Request], in_flight: int) -> list[float]:
    """Ms per generated token of comparable requests, in the order of submission.

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
    begin, tokens = request.submit_ns, request.output_tokens or 0
    if after_first and request.first_token_ns is not None:
        begin, tokens = request.first_token_ns, tokens - 1
    return (request.end_ns - begin) / NS_PER_MS / tokens if tokens > 0 and request.end_ns > begin else None


def _most_at_once(requests: Sequence[Request]) -> int:
    events = sorted([(r.submit_ns, 1) for r in requests] + [(r.end_ns, -1) for r in requests])
    return int(np.max(np.cumsum([change for _, change in events]), initial=0))


def pace_drift_ratio(requests: Sequence[Request], in_flight: int) -> float | None:
    """Median ms per token of the last third of the requests over the first third's; None with fewer than 8 usable requests.

    Args:
        requests: Those that count.
        in_flight: How many are in flight at once.
    """
    paces = paces_ms(requests, in_flight)
    return pace_ratio(paces) if len(paces) >= FEWEST_REQUESTS else None


def pace_ratio(paces: Sequence[float]) -> float:
    """Median of the last third over that of the first."""
    third = len(paces) // _THIRD
    return median(paces[-third:]) / median(paces[:third])


def drift_limit(ratios: Sequence[float]) -> tuple[float, str]:
    """The factor beyond which a pace has drifted, and its basis; `ratios` are those of earlier runs."""
    logs = [math.log(ratio) for ratio in ratios if ratio > 0]
    if len(logs) < FEWEST_EARLIER:
        return UNKNOWN_DRIFT, "with few earlier runs"
    return max(DRIFT, math.exp(SPREADS * robust_sd(logs))), f"by the scatter of {len(logs)} runs"


def batch_means(values: Sequence[float]) -> list[float]:
    """Means of up to 20 successive batches; batch sizes differ by at most one."""
    count = min(MOST_BATCHES, len(values))
    edges = np.linspace(0, len(values), count + 1).round().astype(int).tolist()
    return [float(np.mean(values[begin:end])) for begin, end in pairwise(edges)]


def drift_finding(paces: Sequence[float], limit: float, why: str = "") -> Finding:
    """Whether at least 8 paces, ms, in order, drifted: beyond a factor in either direction, and significantly."""
    ratio = pace_ratio(paces)
    text = (
        f"the last third of the requests took {ratio:.3f} times the first third's ms per token, limit {limit:.2f} {why}"
    )
    if abs(math.log(ratio)) <= math.log(limit):
        return Finding("pass", text)
    batches = np.asarray(batch_means(paces))
    p = trend_p(batches)  # only here, since SciPy's statistics take 2 s to import
    return Finding("invalid" if p < DRIFT_P else "pass", f"{text}; p {p:.2g} over {len(batches)} batch means")


def _warm_up(paces: Sequence[float]) -> Iterator[Finding]:
    first, rest = paces[0], paces[1:]
    usual, sd = median(rest), robust_sd(rest)
    text = f"the first request took {first:.4g} ms per token, the others {usual:.4g}"
    slow = first > SLOW_START * usual and first - usual > _OUTLYING * sd
    yield Finding("invalid", f"{text}: the warm-up was not over") if slow else Finding("pass", text)
