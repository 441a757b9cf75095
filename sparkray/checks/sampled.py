"""Was the run sampled to its end? Failed samplers, silent samplers, and runs without samples.

Other checks give no verdict without data, so a run whose samplers died would pass as quiet. This check reports lost data:

- A sampler that failed, or rows that could not be written, are in the row's deviations: a warning.
- A sampler silent for the end of the requests is a warning: for more than ten times its median gap and more than 3 s. A
  sampler with one sample has no gap. For a simulated engine, the end is the last sample of its process tree.
- No sample at all of a run that lasted seconds is invalid.
- No sampler at all for more than 5 s between the first request and the last: everything stood still (SIGSTOP, a paused
  virtual machine), the requests with it. Invalid.
"""

import json
from collections.abc import Iterator
from itertools import pairwise

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined, median, number, numbers
from sparkray.records import Verdict
from sparkray.units import NS_PER_S

# Prefix of such deviations.
LOST = "samples lost: "
LONG_S, LONG_GAPS = 3.0, 10
SECONDS_S = 2.0
STILL_S = 5.0
_TREE = "process_rss_gib"


class Check(BaseCheck):
    """See the module."""

    name = "sampled"
    remedy = "See `deviations` of the last run; check disk space and the driver"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None for a run too short for samples."""
        return combined(self.name, (*_nothing(evidence), *_lost(evidence), *_silent(evidence), *_still(evidence)))


def _nothing(evidence: Evidence) -> Iterator[Finding]:
    duration_s = number(evidence.row, "duration_s") or 0.0
    if not evidence.samples and duration_s > SECONDS_S:
        yield Finding("invalid", f"no samples of a run of {duration_s:.1f} s")


def _lost(evidence: Evidence) -> Iterator[Finding]:
    deviations = json.loads(evidence.row.get("deviations") or "[]")
    yield from (Finding("warn", text) for text in deviations if text.startswith(LOST))


def _silent(evidence: Evidence) -> Iterator[Finding]:
    times, end_s = _times_s(evidence), _end_s(evidence)
    if not times or end_s is None:
        return
    for name, times_s in times.items():
        silence_s = end_s - times_s[-1]
        limit_s = max(LONG_S, LONG_GAPS * median([after - before for before, after in pairwise(times_s)]))
        if silence_s > limit_s:
            text = f"sampler {name} was silent for the last {silence_s:.1f} s of the requests"
            yield Finding("warn", f"{text}, limit {limit_s:.1f}")
    yield Finding("pass", f"{len(times)} samplers to the end")


def _still(evidence: Evidence) -> Iterator[Finding]:
    times = _times_s(evidence)
    every_s, end_s = sorted({one for times_s in times.values() for one in times_s}), _end_s(evidence)
    requests = () if evidence.measurement.simulated else evidence.measurement.requests
    begin_s = min((request.submit_ns / NS_PER_S for request in requests), default=0.0)
    gaps = [after - before for before, after in pairwise(every_s) if after > begin_s and before < (end_s or 0.0)]
    # the shortest period counts: a sampler that takes a sample every minute shows nothing
    usual_s = min((median([b - a for a, b in pairwise(times_s)]) for times_s in times.values()), default=0.0)
    if gaps and max(gaps) > max(STILL_S, LONG_GAPS * usual_s):
        yield Finding("invalid", f"no sampler took a sample for {max(gaps):.1f} s: everything stood still")


def _times_s(evidence: Evidence) -> dict[str, list[float]]:
    """Sample times of each sampler with at least two, s, in order."""
    found: dict[str, set[float]] = {}
    for sample in evidence.samples:
        name, t_ns = sample.get("sampler"), number(sample, "t_ns")
        if isinstance(name, str) and t_ns is not None:
            found.setdefault(name, set()).add(t_ns / NS_PER_S)
    return {name: sorted(times) for name, times in found.items() if len(times) > 1}


def _end_s(evidence: Evidence) -> float | None:
    """When the last request, or the simulated engine's process, ended, s; None where unknown."""
    if evidence.measurement.simulated:
        ends = numbers((sample for sample in evidence.samples if sample.get(_TREE) is not None), "t_ns")
    else:
        ends = [float(request.end_ns) for request in evidence.measurement.requests]
    return max(ends) / NS_PER_S if ends else None
