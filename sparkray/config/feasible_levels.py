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
from sparkray.config.docker import DockerOptions, flag_of
from sparkray.config.equivalence import find_equivalences, signature
from sparkray.config.flag import Security
from sparkray.config.space import OUTSIDE, SYMBOLS, Factor, HostFacts, Space, apply_level, isolation_rank, unmet
from sparkray.units import GIB, parse_size

_RAISED = ("ulimit_memlock", "ulimit_stack", "ulimit_nofile")
_GRADED = {"none": "safe", "weakens": "weakens isolation", "dangerous": "dangerous"}
_ALLOWED_BY = {"none": "nothing", "weakens": "--security weakens", "dangerous": "--allow-insecure"}
_NOT_DONE = {
    "protocol": "sparkray does not vary it: it is of the runs' protocol, which is the same in every arm of an experiment",
    "model_from": "sparkray does not do it yet: it puts the model on a read-only bind mount in every arm",
    "cdi": "sparkray does not do it yet: it hands over devices by file or by --gpus, and by no CDI name",
    "host": "sparkray does not do it: it changes no setting of the host",
}
"""Levels that are excluded on every machine."""


@dataclass(frozen=True)
class LevelVerdict:
    """Whether one level is feasible on one host.

    Attributes:
        factor: Name of its factor.
        level: Its label.
        feasible: Whether the search may choose it.
        alone: Whether it can act as the only change to the baseline, so that a screen measures it.
        reason: Why not, or under what; empty when there is nothing to say.
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
        allowed: The worst grade that is offered.
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
    """Levels that make the same container as one before them are not offered."""
    able = {v.name: apply_level(baseline, v.options) for v in verdicts if v.alone and not unresolved(v.options)}
    doubles = {found.treatment: found.sentence for found in find_equivalences(able, host.defaults)}
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
    reasons = _reasons(factor, options, workload, host)
    refused = next(reasons, None)
    if refused is not None:
        return replace(verdict, reason=refused)
    if isolation_rank(security) > isolation_rank(allowed):
        return replace(
            verdict, reason=f"{_GRADED[security]} ({_trades(options)}): offered only with {_ALLOWED_BY[security]}"
        )
    if unresolved(options):
        what = SYMBOLS[options["cpuset_cpus"]]
        return replace(verdict, feasible=True, alone=True, reason=f"{what}: found on the machine when it runs there")
    idle = _idle(factor, label, baseline, options, host)
    return replace(verdict, feasible=idle is None, alone=idle is None, reason=idle or "")


def _conditional(
    space: Space, verdict: LevelVerdict, baseline: DockerOptions, usable: Sequence[LevelVerdict], host: HostFacts
) -> LevelVerdict:
    """A level that cannot act beside the baseline, offered if another choice lets it act."""
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
    found = find_equivalences({"the baseline": baseline, f"{factor.name}={label}": changed}, host.defaults)
    if found:
        return "; ".join(found[0].reasons) or "the baseline has it already"
    return unmet(factor.needs, changed)


def _trades(options: Mapping[str, Any]) -> str:
    return "; ".join(flag_of(name).why for name in options if name not in OUTSIDE)


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
        yield f"it can act only under a {' and '.join(sorted(map(str, needed)))} workload, and this one is {workload}"
    if (factor.acts_on == "gpu" or options.get("gpus")) and host.has_gpu is False:
        yield "it acts on a GPU, and this machine has none"
    yield from _cpu_reasons(options, host)
    yield from _engine_reasons(options, host)
    yield from _limit_reasons(options, host)


def _cpu_reasons(options: Mapping[str, Any], host: HostFacts) -> Iterator[str]:
    asked = options.get("cpuset_cpus")
    if host.cpus is None:
        return
    every = cpu_numbers(host.cpus)
    if asked == "":
        yield "every CPU of this machine is of the fastest kind"
    elif asked is not None and asked not in SYMBOLS:
        if cpu_numbers(asked) - every:
            yield f"this machine has the CPUs {host.cpus}, not all of {asked}"
        if cpu_numbers(asked) == every:
            yield f"{asked} is every CPU of this machine"
    if (options.get("cpus") or 0) >= len(every):
        yield f"a quota of {options['cpus']} CPUs cannot bind: this machine has {len(every)}"


def _engine_reasons(options: Mapping[str, Any], host: HostFacts) -> Iterator[str]:
    runtime = options.get("runtime")
    if runtime is not None and host.runtimes is not None and runtime not in host.runtimes:
        yield f"the Docker engine has no OCI runtime {runtime!r}: it knows {', '.join(host.runtimes)}"
    for text in options.get("security_opt") or ():
        name = text.replace(":", "=", 1).partition("=")[0]
        if name in ("seccomp", "apparmor") and host.security is not None and name not in host.security:
            yield f"the Docker engine of this machine uses no {name}"
    for device in options.get("device") or ():
        if host.devices is not None and device not in host.devices:
            yield f"this machine has no {device}"


def _limit_reasons(options: Mapping[str, Any], host: HostFacts) -> Iterator[str]:
    memory = options.get("memory")
    if memory is not None and host.memory_gib is not None and parse_size(memory) >= host.memory_gib * GIB:
        yield f"a limit of {memory} cannot bind: this machine has {host.memory_gib:.1f} GiB"
    if "SYS_RESOURCE" in host.lacks and any(options.get(name) == -1 for name in _RAISED):
        yield "the Docker engine lacks CAP_SYS_RESOURCE and can raise no limit"
    if host.lacks and options.get("privileged"):
        yield f"the Docker engine lacks CAP_{host.lacks[0]}, which --privileged would have to give"
