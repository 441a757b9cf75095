"""Was the run seen to its end? Samplers that failed, that fell silent, and a run of which nothing is left.

What other checks are not told they cannot judge, and say nothing then: a run whose samplers had died would pass for a
quiet one. So what was lost is said here.

- A sampler that failed, or rows that could not be written, stand in the row's deviations: a warning.
- One that was silent from long before the last request's end is a warning: for more than ten times its own usual gap, and
  for more than 3 s. What made no gap, because it saw one moment alone, is not held to it. Where a double makes the
  times up, the end is the last that was seen of the engine's process tree.
- No sample at all of a run that lasted seconds is invalid: nobody knows what it ran beside.
"""

import json
from collections.abc import Iterator
from itertools import pairwise

from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined, median, number
from sparkray.config.experiment import Policy
from sparkray.records import Verdict
from sparkray.units import NS_PER_S

LOST = "samples lost: "
"""How a deviation begins that tells of it."""
LONG_S, LONG_GAPS = 3.0, 10
SECONDS_S = 2.0
_TREE = "process_rss_gib"


class Check:
    """See the module."""

    name = "sampled"
    policy: Policy = "invalid"
    remedy = "See `deviations` of the last run: is the disk full, or the driver gone?"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None for a run without samples that was too short for them."""
        return combined(self.name, (*_nothing(evidence), *_lost(evidence), *_silent(evidence)))


def _nothing(evidence: Evidence) -> Iterator[Finding]:
    duration_s = number(evidence.row, "duration_s")
    if not evidence.samples and duration_s is not None and duration_s > SECONDS_S:
        yield Finding("invalid", f"no sample is left of a run of {duration_s:.1f} s")


def _lost(evidence: Evidence) -> Iterator[Finding]:
    told = json.loads(evidence.row.get("deviations") or "[]")
    yield from (Finding("warn", said) for said in told if said.startswith(LOST))


def _silent(evidence: Evidence) -> Iterator[Finding]:
    times, end_s = _times_s(evidence), _end_s(evidence)
    if not times or end_s is None:
        return
    for name, seen in times.items():
        silence_s = end_s - seen[-1]
        limit_s = max(LONG_S, LONG_GAPS * median([after - before for before, after in pairwise(seen)]))
        if silence_s > limit_s:
            yield Finding(
                "warn",
                f"sampler {name} was silent for the last {silence_s:.1f} s of the requests, limit {limit_s:.1f}: what it "
                "would have told was not judged",
            )
    yield Finding("pass", f"{len(times)} samplers to the end")


def _times_s(evidence: Evidence) -> dict[str, list[float]]:
    """When each sampler that saw two moments saw something, s, in order."""
    found: dict[str, set[float]] = {}
    for sample in evidence.samples:
        name, t_ns = sample.get("sampler"), number(sample, "t_ns")
        if isinstance(name, str) and t_ns is not None:
            found.setdefault(name, set()).add(t_ns / NS_PER_S)
    return {name: sorted(times) for name, times in found.items() if len(times) > 1}


def _end_s(evidence: Evidence) -> float | None:
    """Until when every sampler had something to see, s; None where nothing tells."""
    if evidence.measurement.simulated:
        seen = [number(sample, "t_ns") for sample in evidence.samples if sample.get(_TREE) is not None]
        ends = [t_ns for t_ns in seen if t_ns is not None]
    else:
        ends = [float(request.end_ns) for request in evidence.measurement.requests]
    return max(ends) / NS_PER_S if ends else None
