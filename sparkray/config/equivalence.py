"""Which treatments are equivalent: different flags, the same container. Pure.

Two sets of options with the same effect make the same container: one with `--shm-size` beside `--ipc=host` and one
without, one with `--network=bridge` and one that leaves Docker to its default. Measuring both costs hours and compares a
thing with itself. The signature of options is what can act and is not Docker's default, in one spelling. The signature of
a run's state is what its process got; a level whose state is the baseline's did nothing.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.config.docker import DockerOptions, cannot_act, flag_of, given, words_of

_STATE_FIELDS = (
    *("nice", "oom_score_adj", "umask", "rlimits", "namespaces", "cgroup_limits", "apparmor", "seccomp"),
    *("no_new_privs", "capabilities", "capabilities_bounding", "cpus_allowed", "shm_bytes", "rootfs", "root_read_only"),
    *("model_filesystem", "model_source", "model_read_only", "kernel"),
)
_NOTHING: Mapping[str, Any] = {}


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


def signature(options: DockerOptions, defaults: Mapping[str, Any] = _NOTHING) -> dict[str, Any]:
    """What options effectively ask for, by name: equal signatures make equal containers.

    Args:
        options: As asked.
        defaults: What this machine's daemon does without an option (`cgroupns`, `log_driver`, `runtime`), where known.
            What Docker does everywhere is declared with each option.
    """
    return {flag_of(name).effect_name: flag_of(name).effect(options) for name in acting(options, defaults)}


def acting(options: DockerOptions, defaults: Mapping[str, Any] = _NOTHING) -> tuple[str, ...]:
    """Names of the options that can act and ask for more than Docker does anyway."""
    without_effect = idle(options, defaults)
    return tuple(name for name, _, _ in given(options) if name not in without_effect)


def find_equivalences(
    treatments: Mapping[str, DockerOptions],
    defaults: Mapping[str, Any] = _NOTHING,
    *,
    apart: Callable[[str], object] = lambda _: None,
) -> tuple[Equivalence, ...]:
    """Treatments that are equivalent to one before them.

    Args:
        treatments: Options by name, in order.
        defaults: See `signature`.
        apart: What else must be equal for two treatments to be one, by name.

    Returns:
        One for each treatment that needs no measuring of its own.
    """
    first: dict[str, str] = {}
    equivalent = []
    for name, options in treatments.items():
        key = json.dumps([signature(options, defaults), repr(apart(name))], sort_keys=True)
        like = first.setdefault(key, name)
        if like != name:
            equivalent.append(Equivalence(name, like, _reasons(treatments[like], options, defaults)))
    return tuple(equivalent)


def idle(options: DockerOptions, defaults: Mapping[str, Any]) -> dict[str, str]:
    """Options that cannot act, or ask for what Docker does anyway: name to reason."""
    reasons = {}
    for name, flag, _ in given(options):
        default = defaults.get(name, flag.default_of(options))
        if default is not None and flag.effect(options) == default:
            reasons[name] = f"{words_of(name, options)} asks for what Docker does anyway"
    return {**reasons, **cannot_act(options)}


def _reasons(kept: DockerOptions, other: DockerOptions, defaults: Mapping[str, Any]) -> tuple[str, ...]:
    """Why each option in which two equivalent treatments differ, as asked, makes no difference."""
    reasons: list[str] = []
    for name in dict.fromkeys(name for options in (kept, other) for name, _, _ in given(options)):
        sides = [options for options in (other, kept) if getattr(options, name) is not None]
        if getattr(kept, name) != getattr(other, name):
            why = [reason for options in sides if (reason := idle(options, defaults).get(name)) is not None]
            reasons += why or [_same_effect([words_of(name, options) for options in sides])]
    return tuple(dict.fromkeys(reasons))


def _same_effect(words: list[str]) -> str:
    return f"{' and '.join(words)} have the same effect" if len(words) > 1 else f"{words[0]} makes no difference here"


def state_signature(options: DockerOptions, state: Mapping[str, Any]) -> dict[str, Any]:
    """What a process effectively has, without what belongs to one run alone: equal signatures are equal treatments.

    Options that leave no trace in it, or one that differs from run to run, stand there as they were asked for.

    Args:
        options: The options that were given, for those without a trace.
        state: As `runtimes.linux.readback.effective_state` reads it, or as it was stored.
    """
    network = None
    if state.get("namespaces", {}).get("net") == "own":
        network = sorted(state.get("interfaces", ()))
    fields = {name: state[name] for name in _STATE_FIELDS if name in state}
    under_init = state.get("pid_inside", 1) > 1 and state.get("namespaces", {}).get("pid") == "own"
    asked = {name: words_of(name, options) for name, f, _ in given(options) if f.trace is None or f.compare_as_asked}
    made: dict[str, Any] = json.loads(
        json.dumps({**fields, "interfaces": network, "under_init": under_init, "asked": asked}, sort_keys=True)
    )
    return made


def differing_fields(one: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields in which two state signatures differ; none when they are of one treatment."""
    return tuple(sorted(name for name in {*one, *other} if one.get(name) != other.get(name)))
