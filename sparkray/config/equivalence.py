"""Equivalent treatments: different Docker options that give the same container. Pure.

Two sets of options with the same effect give the same container: one with `--shm-size` beside `--ipc=host` and one
without, one with `--network=bridge` and one that leaves Docker to its default. Measuring both costs hours and compares a
thing with itself. The effect of options is their signature: what can act and is not Docker's default, in one spelling.
The effect of a run is the signature of its state; a level whose state is the baseline's did nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.config.docker import DockerOptions, flag_of, given
from sparkray.config.effect import WITHOUT_TRACE, cannot_act, cpu_numbers, words_of
from sparkray.config.privilege import DEFAULT_CAPABILITIES, capabilities_of, security_choices
from sparkray.units import MIB, parse_size

DOCKER_DEFAULTS: Mapping[str, Any] = {
    "ipc": "private",
    "shm_size": 64 * MIB,
    "network": "bridge",
    "oom_score_adj": 0,
    "privileged": False,
    "init": False,
    "read_only": False,
}
"""What Docker does without being told, as far as it is the same everywhere.

`cgroupns`, `log_driver` and `runtime` are not: they follow the cgroup version and the daemon's own settings.
"""
_SIZES = ("shm_size", "memory", "memory_swap")
_CONVERTED = ("gpus", "env")
_CAPABILITIES = ("cap_add", "cap_drop")
_NANO = 1_000_000_000
_SWAP_FACTOR = 2
"""Docker's limit on memory and swap together, in limits on memory (moby, daemon: adaptContainerSettings)."""
_STATE_FIELDS = (
    *("nice", "oom_score_adj", "umask", "rlimits", "namespaces", "cgroup_limits", "apparmor", "seccomp"),
    *("no_new_privs", "capabilities", "capabilities_bounding", "cpus_allowed", "shm_bytes", "rootfs", "root_read_only"),
    *("model_filesystem", "model_source", "model_read_only"),
)
_AS_ASKED = (*WITHOUT_TRACE, "cgroup_parent", "env")
"""Options that a state without the paths and the variables of its run does not tell."""


@dataclass(frozen=True)
class Equivalence:
    """A treatment that is effectively another one, and why: one sentence an option in which they differ as asked."""

    treatment: str
    like: str
    reasons: tuple[str, ...]

    @property
    def sentence(self) -> str:
        """`container_optimized is effectively container_baseline: ...`."""
        return f"{self.treatment} is effectively {self.like}: {'; '.join(self.reasons) or 'the flags are the same'}"


def signature(options: DockerOptions, defaults: Mapping[str, Any] = DOCKER_DEFAULTS) -> dict[str, Any]:
    """What options effectively ask for, by name: equal signatures make equal containers.

    Args:
        options: As asked.
        defaults: What the daemon does without being told, in the spelling of a signature; a caller that has asked the
            daemon may add its `cgroupns`, `log_driver` and `runtime`.
    """
    acts = set(acting(options, defaults)) - set(_CAPABILITIES)
    kept = {name: _canonical(name, value, options) for name, _, value in given(options) if name in acts}
    capabilities = capabilities_of(options)
    if not options.privileged and capabilities != DEFAULT_CAPABILITIES:
        kept["capabilities"] = sorted(capabilities)
    return kept


def acting(options: DockerOptions, defaults: Mapping[str, Any] = DOCKER_DEFAULTS) -> tuple[str, ...]:
    """Names of the options that can act and ask for more than Docker does anyway."""
    idle = {**cannot_act(options), **_default(options, defaults)}
    return tuple(name for name, _, _ in given(options) if name not in idle)


def find_equivalences(
    treatments: Mapping[str, DockerOptions],
    defaults: Mapping[str, Any] = DOCKER_DEFAULTS,
    *,
    apart: Callable[[str], object] = lambda _: None,
) -> tuple[Equivalence, ...]:
    """Treatments that are effectively one that comes before them.

    Args:
        treatments: Options by name, in order.
        defaults: See `signature`.
        apart: What else must be equal for two treatments to be one, by name.

    Returns:
        One fold for each treatment that needs no measuring of its own.
    """
    first: dict[str, str] = {}
    found = []
    for name, options in treatments.items():
        key = json.dumps([signature(options, defaults), repr(apart(name))], sort_keys=True)
        like = first.setdefault(key, name)
        if like != name:
            found.append(Equivalence(name, like, _reasons(treatments[like], options, defaults)))
    return tuple(found)


def _canonical(name: str, value: Any, options: DockerOptions) -> Any:  # noqa: ANN401 - an option's value
    """One spelling of a value; what JSON can hold."""
    if name in _SIZES:
        return parse_size(value)
    if name == "ipc":
        return "private" if value == "shareable" else value  # others may join it; nothing changes inside
    if name == "cpuset_cpus":
        return sorted(cpu_numbers(value))
    if name == "cpus":
        return round(value * _NANO)
    if name == "security_opt":
        return security_choices(options)
    return flag_of(name).convert(value) if name in _CONVERTED else value


def _default(options: DockerOptions, defaults: Mapping[str, Any]) -> dict[str, str]:
    """Options that ask for what Docker does anyway, name to reason."""
    reasons = {}
    for name, _, value in given(options):
        if name in defaults and _canonical(name, value, options) == defaults[name]:
            reasons[name] = f"{words_of(name, options)} asks for what Docker does anyway"
    if options.memory is not None and options.memory_swap is not None:
        memory, swap = parse_size(options.memory), parse_size(options.memory_swap)
        if swap == _SWAP_FACTOR * memory:
            beside = words_of("memory", options)
            reasons["memory_swap"] = f"{words_of('memory_swap', options)} is what Docker takes beside {beside}"
    if options.security_opt is not None and not security_choices(options):
        reasons["security_opt"] = f"{words_of('security_opt', options)} asks for what Docker does anyway"
    return reasons


def _reasons(kept: DockerOptions, equivalent: DockerOptions, defaults: Mapping[str, Any]) -> tuple[str, ...]:
    """Why each option in which two equal treatments differ, as asked, makes no difference."""
    found: list[str] = []
    for name in dict.fromkeys(name for options in (kept, equivalent) for name, _, _ in given(options)):
        values = [getattr(options, name) for options in (equivalent, kept)]
        if values[0] != values[1]:
            sides = [
                {**_default(options, defaults), **cannot_act(options)}.get(name)
                for options, value in zip((equivalent, kept), values, strict=True)
                if value is not None
            ]
            why = [reason for reason in sides if reason is not None]
            found += why or [_spelling(name, kept, equivalent)]
    return tuple(dict.fromkeys(found))


def _spelling(name: str, kept: DockerOptions, equivalent: DockerOptions) -> str:
    if name in _CAPABILITIES:
        return f"{flag_of(name).text} leaves the same capabilities"
    return f"{words_of(name, equivalent)} and {words_of(name, kept)} ask for one thing"


def state_signature(options: DockerOptions, state: Mapping[str, Any]) -> dict[str, Any]:
    """What a process effectively has, without what belongs to one run alone: equal signatures are equal treatments.

    Options that leave no trace in it stand there as they were asked for.

    Args:
        options: The options that were given, for those without a trace.
        state: As `runtimes.linux.readback.effective_state` tells it, or as it was stored.
    """
    network = None
    if state.get("namespaces", {}).get("net") == "own":
        network = sorted(state.get("interfaces", ()))
    told = {name: state[name] for name in _STATE_FIELDS if name in state}
    under_init = state.get("pid_inside", 1) > 1 and state.get("namespaces", {}).get("pid") == "own"
    traceless = {name: words_of(name, options) for name, _, _ in given(options) if name in _AS_ASKED}
    made: dict[str, Any] = json.loads(
        json.dumps({**told, "interfaces": network, "under_init": under_init, "asked": traceless}, sort_keys=True)
    )
    return made


def differing_fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields in which two state signatures differ; none when they are of one treatment."""
    return tuple(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))
