"""Feasible levels of a search space on one host, with the reason for each level that is excluded. Pure.

The first reason that applies excludes a level: it is not a flag and sparkray does not do it; the host lacks the part; it
cannot act under the workload; it gives up more isolation than the user allows; it makes the same container as the baseline
(equal signatures in `config.equivalence`). A level that acts only with another choice (`--shm-size` with `--ipc=private`)
stays in the search and is left out of the screen.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sparkray.config.cpu_list import cpu_list, cpu_numbers
from sparkray.config.docker import DockerOptions, flag_of, unreachable_limits
from sparkray.config.equivalence import find_equivalences, signature
from sparkray.config.flag import Security
from sparkray.config.space import OUTSIDE, SYMBOLS, Factor, HostFacts, Space, apply_level, isolation_rank, unmet

_GRADED = {"weakens": "weakens isolation", "dangerous": "dangerous"}
_REQUIRES = {"weakens": "--security weakens", "dangerous": "--allow-insecure"}
# Levels that are excluded on every machine.
_NOT_DONE = {
    "protocol": "sparkray does not vary the protocol: it is the same in every arm",
    "model_from": "sparkray does not do it yet: the model is a read-only bind mount in every arm",
    "cdi": "the key is an older one: write device: [nvidia.com/gpu=all]",
    "host": "sparkray does not do it: it changes no setting of the host",
}


@dataclass(frozen=True)
class LevelVerdict:
    """Whether one level is feasible on one host.

    Attributes:
        factor: Name of its factor.
        level: Its label.
        feasible: Whether the search may choose it.
        alone: Whether it can act as the only change to the baseline, so that a screen measures it.
        reason: Why not, or under what; empty where there is none.
        security: Its grade.
        options: What it changes, symbols resolved as far as the host is known.
    """

    factor: str
    level: str
    feasible: bool
    alone: bool
    reason: str
    security: Security
    options: Mapping[str, Any]

    @property
    def name(self) -> str:
        """`factor=level`."""
        return f"{self.factor}={self.level}"


def judge(
    space: Space, baseline: DockerOptions, *, workload: str, host: HostFacts, allowed: Security = "weakens"
) -> tuple[LevelVerdict, ...]:
    """A verdict on every level, in the order of the space.

    Args:
        space: What may be searched.
        baseline: The options of the arm that every level changes.
        workload: Kind of workload, `offline` or `serve`.
        host: What is known of the machine.
        allowed: The worst grade that is feasible.
    """
    first = [
        _judged(factor, label, baseline, workload=workload, host=host, allowed=allowed)
        for factor in space.factors
        for label in factor.levels
    ]
    apart = _without_doubles(first, baseline, host)
    usable = [verdict for verdict in apart if verdict.alone]
    return tuple(_conditional(space, verdict, baseline, usable, host) for verdict in apart)


def _without_doubles(verdicts: Sequence[LevelVerdict], baseline: DockerOptions, host: HostFacts) -> list[LevelVerdict]:
    """Levels that make the same container as one before them are excluded."""
    able = {v.name: apply_level(baseline, v.options) for v in verdicts if v.alone and not unresolved(v.options)}
    doubles = {one.treatment: one.sentence for one in find_equivalences(able, host.defaults)}
    return [
        replace(v, feasible=False, alone=False, reason=doubles[v.name]) if v.name in doubles else v for v in verdicts
    ]


def unresolved(options: Mapping[str, Any]) -> bool:
    """Whether a level names no CPUs by number: by a symbol, since the machine is not known, or of a kind it lacks."""
    return options.get("cpuset_cpus") in (*SYMBOLS, "")


def _judged(
    factor: Factor, label: str, baseline: DockerOptions, *, workload: str, host: HostFacts, allowed: Security
) -> LevelVerdict:
    options = _resolved(factor.levels[label], host)
    security = factor.security_of(label)
    verdict = LevelVerdict(factor.name, label, False, False, "", security, options)
    reason = next(_reasons(factor, options, workload, host), None)
    if reason is not None:
        return replace(verdict, reason=reason)
    if isolation_rank(security) > isolation_rank(allowed):
        what = "; ".join(flag_of(name).why for name in options if name not in OUTSIDE)
        return replace(verdict, reason=f"{_GRADED[security]} ({what}): requires {_REQUIRES[security]}")
    if unresolved(options):
        what = SYMBOLS[options["cpuset_cpus"]]
        return replace(verdict, feasible=True, alone=True, reason=f"{what}, read on the machine")
    idle = _idle(factor, label, baseline, options, host)
    return replace(verdict, feasible=idle is None, alone=idle is None, reason=idle or "")


def _conditional(
    space: Space, verdict: LevelVerdict, baseline: DockerOptions, usable: Sequence[LevelVerdict], host: HostFacts
) -> LevelVerdict:
    """A level that cannot act beside the baseline is feasible if another choice lets it act."""
    factor = space.factor(verdict.factor)
    if verdict.feasible or set(OUTSIDE) & set(verdict.options) or not _only_idle(factor, verdict, baseline, host):
        return verdict
    for other in usable:
        if other.factor == verdict.factor or unresolved(other.options):
            continue
        beside = apply_level(baseline, other.options)
        together = apply_level(beside, verdict.options)
        apart = signature(together, host.defaults) != signature(beside, host.defaults)
        if unmet(factor.needs, together) is None and apart:
            return replace(verdict, feasible=True, reason=f"{verdict.reason}; it can act together with {other.name}")
    return verdict


def _only_idle(factor: Factor, verdict: LevelVerdict, baseline: DockerOptions, host: HostFacts) -> bool:
    """Whether a level was excluded only because it makes no difference beside the baseline."""
    if unresolved(verdict.options):
        return False
    return verdict.reason == _idle(factor, verdict.level, baseline, verdict.options, host)


def _idle(
    factor: Factor, label: str, baseline: DockerOptions, changes: Mapping[str, Any], host: HostFacts
) -> str | None:
    """Why a level makes no difference beside the baseline; None when it may."""
    changed = apply_level(baseline, changes)
    same = find_equivalences({"the baseline": baseline, f"{factor.name}={label}": changed}, host.defaults)
    if same:
        return "; ".join(same[0].reasons) or "the baseline has it already"
    return unmet(factor.needs, changed)


def _resolved(changes: Mapping[str, Any], host: HostFacts) -> Mapping[str, Any]:
    """CPU symbols as the host's own CPUs, where they are known."""
    symbol = str(changes.get("cpuset_cpus"))
    if symbol not in SYMBOLS or host.cpus is None or host.performance_cpus is None:
        return changes
    fast, every = cpu_numbers(host.performance_cpus), cpu_numbers(host.cpus)
    chosen = {"performance": fast, "efficiency": every - fast, "one": frozenset({min(fast)})}[symbol]
    return {**changes, "cpuset_cpus": cpu_list(chosen)}


def _reasons(factor: Factor, options: Mapping[str, Any], workload: str, host: HostFacts) -> Iterator[str]:
    """Why sparkray, a host or a workload has no use for a level, beside what its neighbours do."""
    yield from (_NOT_DONE[key] for key in OUTSIDE if key in options)
    needed = {factor.acts_under, *(flag_of(name).workload for name in factor.options)} - {None}
    if needed - {workload}:
        yield f"it can act only under a {' and '.join(sorted(map(str, needed)))} workload, not under {workload}"
    if (factor.acts_on == "gpu" or options.get("gpus")) and host.has_gpu is False:
        yield "it acts on a GPU, and this machine has none"
    yield from _limit_reasons(options, host)
    yield from _engine_reasons(options, host)


def _limit_reasons(options: Mapping[str, Any], host: HostFacts) -> Iterator[str]:
    known = {name: value for name, value in options.items() if value not in (*SYMBOLS, "")}
    cpuset = known.get("cpuset_cpus")
    if options.get("cpuset_cpus") == "" and host.cpus is not None:
        yield "every CPU of this machine is of the fastest kind"
    if cpuset is not None and host.cpus is not None and cpu_numbers(cpuset) - cpu_numbers(host.cpus):
        yield f"this machine has the CPUs {host.cpus}, not all of {cpuset}"
    yield from unreachable_limits(known, cpus=host.cpus, memory_gib=host.memory_gib).values()


def _engine_reasons(options: Mapping[str, Any], host: HostFacts) -> Iterator[str]:
    runtime = options.get("runtime")
    if runtime is not None and host.runtimes is not None and runtime not in host.runtimes:
        yield f"Docker has no OCI runtime {runtime!r}: known are {', '.join(host.runtimes)}"
    names = {text.replace(":", "=", 1).partition("=")[0] for text in options.get("security_opt") or ()}
    absent = names & {"seccomp", "apparmor"} - set(names if host.security is None else host.security)
    yield from (f"Docker uses no {name} on this machine" for name in sorted(absent))
    missing = [
        device for device in options.get("device") or () if host.devices is not None and device not in host.devices
    ]
    yield from (f"this machine has no {device}" for device in missing)
