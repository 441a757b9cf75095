"""Had the engine the machine to itself? CPU time and GPU memory that are neither the engine's nor sparkray's.

The CPU time of others, while the requests ran, is what the host was busy with less the engine's process tree and less
sparkray's own cost, in cores. Every machine has some (daemons, other tenants of a virtual one), so a run is held against
the median of the runs before it and their robust spread; a program that keeps one core busy adds 1, or half of one where
the engine takes every core and the scheduler shares. Before there are runs to be held against, three quarters of a core
are too much, and 0.4 where nothing was left idle.

GPU memory that is used and is not the engine's is held against what a driver keeps for itself, and so is the memory of the
other processes that the driver lists; the latter is told on unified memory too (GB10), where the former is not. A process
of others that holds little may compute all the same: a warning.
"""

import json
from collections.abc import Iterator, Sequence

from sparkray.checks import Evidence, Row
from sparkray.checks._finding import Finding, combined, median, number, numbers, robust_sd
from sparkray.records import Verdict
from sparkray.spec.experiment import Policy
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
            most = median(foreign)
            said = f"GPU {device}: {most:.2f} GiB that are not the engine's"
            beyond = most > MOST_GPU_GIB
            yield Finding("invalid", f"{said}, limit {MOST_GPU_GIB:g} GiB") if beyond else Finding("pass", said)
        yield from _listed(device, of_device)


def _listed(device: object, samples: Sequence[Row]) -> Iterator[Finding]:
    """Processes of others on one GPU, by the driver's own list."""
    counts, held = numbers(samples, "gpu_foreign_processes"), numbers(samples, "gpu_foreign_gib")
    if not counts:
        return
    count, most = median(counts), median(held) if held else 0.0
    said = f"GPU {device}: {count:g} processes of others, {most:.2f} GiB"
    if most > MOST_GPU_GIB:
        yield Finding("invalid", f"{said}, limit {MOST_GPU_GIB:g} GiB")
    else:
        yield Finding("warn" if count > 0 else "pass", said)


def _foreign_gpu_gib(samples: Sequence[Row]) -> list[float]:
    """Used memory of one GPU less the engine's at the same time, GiB; before an engine is seen, the first sample's."""
    engine: tuple[float, float] | None = None
    found: list[float] = []
    first: float | None = None
    for sample in samples:
        t_s = (number(sample, "t_ns") or 0.0) / NS_PER_S
        if (held := number(sample, "gpu_process_gib")) is not None:
            engine = t_s, held
        if (used := number(sample, "gpu_used_gib")) is None:
            continue
        first = used if first is None else first
        if engine is not None and t_s - engine[0] <= _TOGETHER_S:
            found.append(used - engine[1])
    return found or ([] if first is None else [first])
