"""Did the engine have the machine to itself? CPU time and GPU memory of other processes.

Foreign CPU time, in cores: the host's busy time while the requests ran, less the engine's process tree, less sparkray
itself and its load generator. Every machine has some (daemons, other tenants of a virtual one), so a run is compared
with the median and robust spread of earlier runs: a whole core more than usual is never accepted. A program that keeps
one core busy adds 1, or 0.5 where the engine uses every core. Without earlier runs the limit is 0.75 cores, or 0.4 on a
saturated machine.

Foreign GPU memory: used memory less the engine's, with an allowance for the driver, and the memory of other processes
that the driver lists (all that unified memory, GB10, has). A foreign process with little memory may still compute: a
warning. Foreign memory counts when it appears in more than a tenth of the samples.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence, Row
from sparkray.checks._finding import Finding, by_device, combined, limited, median, number, numbers, robust_sd
from sparkray.records import Verdict
from sparkray.units import NS_PER_S

# Less does not disturb a run, however quiet the machine usually is.
LEAST_CORES = 0.25
ABOVE_USUAL_CORES = 0.3
# However much the machine's usual load varies: else a limit beyond every core would accept any disturbance.
MOST_ABOVE_USUAL_CORES = 1.0
ALONE_CORES, SATURATED_CORES = 0.75, 0.4
# A driver reserves some 0.6 GiB of a data-centre GPU, which counts as used.
MOST_GPU_GIB = 1.5
_SATURATED_PCT = 90.0
_SPREADS = 5.0
_FEWEST_EARLIER = 3
# CPU time comes in ticks of 10 ms: too coarse over less.
_SHORTEST_S = 0.5
# Samplers take ten samples a second: after so long there is a reason why they did not.
_LONG_S = 2.0
_TOGETHER_S = 1.5
# New processes and GPU memory are read once a second: at most two samples take a child process for a foreign one.
BRIEF_SHARE, _BRIEF_SAMPLES, _HALF = 0.1, 2, 0.5


class Check(BaseCheck):
    """See the module."""

    name = "exclusive"
    remedy = "End other programs, or accept a shared machine: --set 'experiment.checks={exclusive: warn}'"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where neither CPU time nor GPU memory is known."""
        return combined(self.name, (*_cpu(evidence), *_gpu(evidence.samples)))


def foreign_cores(row: Row, cpus: int) -> float | None:
    """Cores used by other processes while the requests ran; None where the row lacks data.

    Args:
        row: A row of `runs`.
        cpus: CPUs of its machine.
    """
    busy, engine = number(row, "cpu_busy_serving_pct"), number(row, "engine_cpu_serving_pct")
    duration_s = number(row, "duration_s")
    if busy is None or engine is None or not duration_s:
        return None
    own_s = sum(number(row, name) or 0.0 for name in ("observer_cpu_s", "ray_cpu_s", "client_cpu_s"))
    return max(0.0, (busy * cpus - engine) / 100 - own_s / duration_s)


def _cpu(evidence: Evidence) -> Iterator[Finding]:
    cpus = json.loads(evidence.row.get("machine") or "{}").get("cpus")
    cores = foreign_cores(evidence.row, cpus) if isinstance(cpus, int) else None
    served_s = _served_s(evidence)
    if cores is None and served_s >= _LONG_S and numbers(evidence.samples, "cpu_busy_pct"):
        yield Finding("warn", f"CPU time of other processes unknown: too few samples in {served_s:.1f} s of requests")
    if cores is not None and served_s >= _SHORTEST_S:
        limit, why = _limit(evidence, cpus)
        text = f"other processes used {cores:.2f} cores during the requests, {why}"
        yield limited(text, cores, limit, shown=f"{limit:.2f}")


def _limit(evidence: Evidence, cpus: int) -> tuple[float, str]:
    """The limit of foreign cores, and its basis."""
    usual = _usual(evidence, cpus)
    if len(usual) >= _FEWEST_EARLIER:
        middle = median(usual)
        above = min(MOST_ABOVE_USUAL_CORES, max(ABOVE_USUAL_CORES, _SPREADS * robust_sd(usual)))
        return max(LEAST_CORES, middle + above), f"usually {middle:.2f} ({len(usual)} runs)"
    if (number(evidence.row, "cpu_busy_serving_pct") or 0.0) >= _SATURATED_PCT:
        return SATURATED_CORES, "machine saturated"
    return ALONE_CORES, "machine not saturated"


def _usual(evidence: Evidence, cpus: int) -> list[float]:
    """Foreign cores of earlier runs in the same environment (same daemons); of all where those are too few."""
    cores_of = [(row.get("environment"), foreign_cores(row, cpus)) for row in evidence.earlier]
    known = [(environment, cores) for environment, cores in cores_of if cores is not None]
    same = [cores for environment, cores in known if environment == evidence.planned.environment]
    return same if len(same) >= _FEWEST_EARLIER else [cores for _, cores in known]


def _served_s(evidence: Evidence) -> float:
    """Seconds from the first submission to the last end, warm-up excluded."""
    requests = [request for request in evidence.measurement.requests if not request.warmup]
    if not requests:
        return 0.0
    return (max(r.end_ns for r in requests) - min(r.submit_ns for r in requests)) / NS_PER_S


def _gpu(samples: Sequence[Row]) -> Iterator[Finding]:
    for device, of_device in by_device(samples):
        if foreign := _foreign_gpu_gib(of_device):
            yield _memory(foreign, f"GPU {device}: {{}} GiB not the engine's")
        yield from _listed(device, of_device)


def _listed(device: object, samples: Sequence[Row]) -> Iterator[Finding]:
    """Foreign processes on one GPU, from the driver's list."""
    listed = [sample for sample in samples if number(sample, "gpu_foreign_processes") is not None]
    if not listed:
        return
    counts, held = numbers(listed, "gpu_foreign_processes"), numbers(listed, "gpu_foreign_gib")
    others = f"GPU {device}: {max(counts):g} foreign processes"
    finding = _memory(held, f"{others}, {{}} GiB") if held else Finding("pass", f"{others}, memory unknown")
    present = [count > 0 for count in counts]
    if finding.severity == "pass" and _lasts(present):
        finding = Finding("warn", f"{finding.text}, {_share(present)}")
    yield finding


def _memory(foreign_gib: Sequence[float], text: str) -> Finding:
    """Finding on foreign memory, one value per sample; `text` has a placeholder for it."""
    beyond = [held > MOST_GPU_GIB for held in foreign_gib]
    if not _lasts(beyond):
        return Finding("pass", text.format(f"{median(foreign_gib):.2f}"))
    detail = text.format(f"up to {max(foreign_gib):.2f}")
    return Finding("invalid", f"{detail}, beyond {MOST_GPU_GIB:g} GiB {_share(beyond)}")


def _share(seen: Sequence[bool]) -> str:
    return f"in {100 * sum(seen) / len(seen):.0f} % of {len(seen)} samples"


def _lasts(seen: Sequence[bool]) -> bool:
    """Whether hits in samples last longer than a child process that was not yet known.

    True in half of the samples; or in more than a tenth, if more than one scan for new processes can miss.
    """
    count = sum(seen)
    return count >= _HALF * len(seen) or (count > _BRIEF_SAMPLES and count > BRIEF_SHARE * len(seen))


def _foreign_gpu_gib(samples: Sequence[Row]) -> list[float]:
    """Used memory of one GPU less the engine's at about that time, GiB; before the engine starts, the first sample's.

    The two are sampled one after the other. The engine's higher reading before or after is subtracted, so that its own
    allocations never count as foreign.
    """
    engine = [(_seconds(sample), held) for sample in samples if (held := number(sample, "gpu_process_gib")) is not None]
    used = [(_seconds(sample), gib) for sample in samples if (gib := number(sample, "gpu_used_gib")) is not None]
    times = [t_s for t_s, _ in engine]
    found = []
    for t_s, whole in used:
        after = bisect_right(times, t_s)
        near = [held for at_s, held in engine[max(0, after - 1) : after + 1] if abs(at_s - t_s) <= _TOGETHER_S]
        if near and times[0] <= t_s:
            found.append(whole - max(near))
    return found or [whole for _, whole in used[:1]]


def _seconds(sample: Row) -> float:
    return (number(sample, "t_ns") or 0.0) / NS_PER_S
