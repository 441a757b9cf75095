"""Did the engine do the requested work, and are its times valid? Tokens, completeness, clocks.

Over all counted requests, the engine received and generated the requested tokens, without errors. Each request's times run
forwards and lie inside the run, and the wall clock was not set meanwhile (it dates the run and its logs). The times of a
simulated engine are synthetic and are not compared with the run's.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import pairwise

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined, number, numbers
from sparkray.records import Request, Verdict
from sparkray.units import NS_PER_MS, NS_PER_S

# Wall clock against monotonic clock. Both are slewed alike, so a difference is a step.
MOST_STEP_S = 0.5
_SLACK_S = 0.1


class Check(BaseCheck):
    """See the module."""

    name = "tokens"
    remedy = "See logs/ of the dataset, and what sets this machine's clock (timedatectl)"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict."""
        parts = (_counts, _errors, _backwards, _inside, _wall)
        return combined(self.name, (finding for part in parts for finding in part(evidence)))


def _counts(evidence: Evidence) -> Iterator[Finding]:
    experiment = evidence.study.experiment
    exact = evidence.measurement.exact_input
    asked: Counter[tuple[int | None, int | None]] = Counter(
        (tokens_in if exact else None, tokens_out)
        for tokens_in, tokens_out in experiment.workload.lengths(experiment.seed)
    )
    found = _lengths(evidence.measurement.requests, exact=exact)
    count, tokens_in, tokens_out = _totals(found)
    if evidence.measurement.saturated:
        found = _lengths((r for r in evidence.measurement.requests if r.error is None), exact=exact)
        if found <= asked:
            yield Finding("pass", f"{found.total()} requests before the load ended early, of the lengths asked for")
            return
    if found == asked:
        yield Finding("pass", f"{count} requests, {tokens_in} tokens in and {tokens_out} out, as asked for")
        return
    wanted, wanted_in, wanted_out = _totals(asked)
    text = f"{count} requests of {tokens_in} tokens in and {tokens_out} out"
    yield Finding("invalid", f"{text}, asked for were {wanted} of {wanted_in} and {wanted_out}")


def _lengths(requests: Iterable[Request], *, exact: bool) -> Counter[tuple[int | None, int | None]]:
    return Counter((r.input_tokens if exact else None, r.output_tokens) for r in requests if not r.warmup)


def _totals(lengths: Counter[tuple[int | None, int | None]]) -> tuple[int, int, int]:
    """Requests, tokens in, tokens out."""
    return (
        lengths.total(),
        sum(count * (length[0] or 0) for length, count in lengths.items()),
        sum(count * (length[1] or 0) for length, count in lengths.items()),
    )


def _errors(evidence: Evidence) -> Iterator[Finding]:
    failed = [request for request in evidence.measurement.requests if request.error is not None]
    if evidence.measurement.saturated:  # its end cut these off
        failed = [request for request in failed if request.error_kind != "interrupted"]
    if failed:
        yield Finding("invalid", f"{len(failed)} requests failed, the first, {failed[0].index}: {failed[0].error}")


def _backwards(evidence: Evidence) -> Iterator[Finding]:
    found = [(request, back) for request in evidence.measurement.requests if (back := _back_ns(request)) > 0]
    if found:
        request, back = found[0]
        text = f"request {request.index}: its clock runs backwards by {back / NS_PER_MS:.3g} ms"
        yield Finding("invalid", f"{text}, {len(found)} requests in all")


def _back_ns(request: Request) -> int:
    """Largest backward step of a request's times, ns; 0 without one."""
    first: tuple[int, ...] = () if request.first_token_ns is None else (request.first_token_ns,)
    paths = ((request.submit_ns, *first, request.end_ns), (request.submit_ns, *request.token_ns, request.end_ns))
    return max(0, *(before - after for path in paths for before, after in pairwise(path)))


def _inside(evidence: Evidence) -> Iterator[Finding]:
    """The requests are no longer than the run, and on the same clock as its samples."""
    requests, duration_s = evidence.measurement.requests, number(evidence.row, "duration_s")
    if not requests or duration_s is None or evidence.measurement.simulated:
        return
    begin, end = min(r.submit_ns for r in requests), max(r.end_ns for r in requests)
    span_s = (end - begin) / NS_PER_S
    if span_s > duration_s + _SLACK_S:
        yield Finding("invalid", f"the requests span {span_s:.2f} s, the run took {duration_s:.2f} s")
        return
    seen = numbers(evidence.samples, "t_ns")
    apart_s = max(begin - max(seen), min(seen) - end) / NS_PER_S if seen else 0.0
    if apart_s > duration_s:
        yield Finding("invalid", f"the requests lie {apart_s:.3g} s away from the samples: another clock")
    else:
        yield Finding("pass", f"times within the run, {span_s:.2f} of {duration_s:.2f} s")


def _wall(evidence: Evidence) -> Iterator[Finding]:
    step_s = number(evidence.row, "wall_clock_step_s")
    if step_s is not None and abs(step_s) > MOST_STEP_S:
        yield Finding(
            "invalid", f"clock jump: wall clock {step_s:+.3f} s off the monotonic clock, limit {MOST_STEP_S:g}"
        )
    elif step_s is not None:
        yield Finding("pass", f"wall clock within {abs(step_s):.3f} s")
