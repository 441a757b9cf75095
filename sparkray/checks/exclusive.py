"""Had the engine the machine to itself? CPU time and GPU memory that are neither the engine's nor sparkray's.

The CPU time of others, while the requests ran, is what the host was busy with less the engine's process tree and less
sparkray's own cost, in cores. Every machine has some (daemons, other tenants of a virtual one), so a run is held against
the median of the runs before it and their robust spread; a program that keeps one core busy adds 1, or half of one where
the engine takes every core and the scheduler shares. Before there are runs to be held against, three quarters of a core
are too much, and 0.4 where nothing was left idle.

GPU memory that is used and is not the engine's is held against what a driver keeps for itself, and so is the memory of the
other processes that the driver lists; the latter is told on unified memory too (GB10), where the former is not. A process
of others that holds little may compute all the same: a warning. What is there in a tenth of the samples was there long
enough to disturb.
"""

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from sparkray.checks import Evidence, Row
from sparkray.checks._finding import Finding, combined, median, number, numbers, robust_sd
from sparkray.config.experiment import Policy
from sparkray.records import Verdict
from sparkray.units import NS_PER_S

LEAST_CORES = 0.25
"""What is less disturbs no run to speak of, however quiet the machine usually is."""
ABOVE_USUAL_CORES = 0.3
ALONE_CORES, SATURATED_CORES = 0.75, 0.4
MOST_GPU_GIB = 1.5
"""A driver reserves some 0.6 GiB of a data-centre GPU, which counts as used."""
_SATURATED_PCT = 90.0
_SPREADS = 5.0
_FEWEST_EARLIER = 3
_SHORTEST_S = 0.5
"""CPU time comes in ticks of 10 ms: over less, it says little."""
_TOGETHER_S = 1.5
BRIEF_SHARE, _BRIEF_SAMPLES, _HALF = 0.1, 2, 0.5
"""New processes are looked for once a second, and GPU memory as often: two samples at the most see a child as foreign."""


class Check:
    """See the module."""

    name = "exclusive"
    policy: Policy = "invalid"
    remedy = "End what else runs here, or say that the machine is shared: --set 'experiment.checks={exclusive: warn}'"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where neither CPU time nor GPU memory is known."""
        return combined(self.name, (*_cpu(evidence), *_gpu(evidence.samples)))


def foreign_cores(row: Row, cpus: int) -> float | None:
    """Cores that were busy with others while the requests ran; None where the row does not tell.

    Args:
        row: A row of `runs`.
        cpus: CPUs of its machine.
    """
    busy, engine = number(row, "cpu_busy_serving_pct"), number(row, "engine_cpu_serving_pct")
    duration_s = number(row, "duration_s")
    if busy is None or engine is None or not duration_s:
        return None
    own_s = sum(number(row, name) or 0.0 for name in ("observer_cpu_s", "ray_cpu_s"))
    return max(0.0, (busy * cpus - engine) / 100 - own_s / duration_s)


def _cpu(evidence: Evidence) -> Iterator[Finding]:
    cpus = json.loads(evidence.row.get("machine") or "{}").get("cpus")
    found = foreign_cores(evidence.row, cpus) if isinstance(cpus, int) else None
    if found is None or _served_s(evidence) < _SHORTEST_S:
        return
    limit, why = _limit(evidence, cpus)
    said = f"others used {found:.2f} cores while the requests ran, {why}"
    yield Finding("invalid", f"{said}: more than {limit:.2f}") if found > limit else Finding("pass", said)


def _limit(evidence: Evidence, cpus: int) -> tuple[float, str]:
    """The most that others may use, cores, and what it is taken from."""
    usual = _usual(evidence, cpus)
    if len(usual) >= _FEWEST_EARLIER:
        middle = median(usual)
        limit = max(LEAST_CORES, middle + max(ABOVE_USUAL_CORES, _SPREADS * robust_sd(usual)))
        return limit, f"usually {middle:.2f} ({len(usual)} runs)"
    if (number(evidence.row, "cpu_busy_serving_pct") or 0.0) >= _SATURATED_PCT:
        return SATURATED_CORES, "with hardly any idle"
    return ALONE_CORES, "with some idle"


def _usual(evidence: Evidence, cpus: int) -> list[float]:
    """Of earlier runs in the same environment, which have the same daemons around them; where those are few, of all."""
    told = [(row.get("environment"), foreign_cores(row, cpus)) for row in evidence.earlier]
    known = [(environment, cores) for environment, cores in told if cores is not None]
    same = [cores for environment, cores in known if environment == evidence.planned.environment]
    return same if len(same) >= _FEWEST_EARLIER else [cores for _, cores in known]


def _served_s(evidence: Evidence) -> float:
    """From the first submission to the last end of the requests that count, s."""
    requests = [request for request in evidence.measurement.requests if not request.warmup]
    if not requests:
        return 0.0
    return (max(r.end_ns for r in requests) - min(r.submit_ns for r in requests)) / NS_PER_S


def _gpu(samples: Sequence[Row]) -> Iterator[Finding]:
    for device in dict.fromkeys(sample.get("device") for sample in samples):
        of_device = [sample for sample in samples if sample.get("device") == device]
        foreign = _foreign_gpu_gib(of_device)
        if foreign:
            yield _memory(foreign, f"GPU {device}: {{}} GiB that are not the engine's")
        yield from _listed(device, of_device)


def _listed(device: object, samples: Sequence[Row]) -> Iterator[Finding]:
    """Processes of others on one GPU, by the driver's own list."""
    there = [sample for sample in samples if number(sample, "gpu_foreign_processes") is not None]
    if not there:
        return
    counts = numbers(there, "gpu_foreign_processes")
    held = [size for sample in there if (size := number(sample, "gpu_foreign_gib")) is not None]
    others = f"GPU {device}: {max(counts):g} processes of others"
    found = _memory(held, f"{others}, {{}} GiB") if held else Finding("pass", f"{others}, memory unknown")
    seen = [count > 0 for count in counts]
    if found.word == "pass" and _lasts(seen):
        found = Finding("warn", f"{found.said}, {_share(seen)}")
    yield found


def _memory(foreign_gib: Sequence[float], said: str) -> Finding:
    """What the memory of others means, one value a sample; `said` has a place for it."""
    beyond = [held > MOST_GPU_GIB for held in foreign_gib]
    if not _lasts(beyond):
        return Finding("pass", said.format(f"{median(foreign_gib):.2f}"))
    told = said.format(f"up to {max(foreign_gib):.2f}")
    return Finding("invalid", f"{told}, beyond {MOST_GPU_GIB:g} GiB {_share(beyond)}")


def _share(seen: Sequence[bool]) -> str:
    return f"in {100 * sum(seen) / len(seen):.0f} % of {len(seen)} samples"


def _lasts(seen: Sequence[bool]) -> bool:
    """Whether what was seen in some samples is more than children of the engine's that were not known yet.

    In half of the samples it is; and in a tenth, if those are more than one search for new processes leaves out.
    """
    count = sum(seen)
    return count >= _HALF * len(seen) or (count > _BRIEF_SAMPLES and count > BRIEF_SHARE * len(seen))


def _foreign_gpu_gib(samples: Sequence[Row]) -> list[float]:
    """Used memory of one GPU less the engine's about that time, GiB; before an engine is seen, the first sample's.

    The two are read one after the other. While the engine takes or frees memory, the greater of its readings before and
    after is taken, so that its own is not counted as that of others.
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
