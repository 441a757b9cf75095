"""What a run really got against what it was given: each Docker flag, and what no arm may inherit.

The effective state is read from outside, through /proc and the cgroups, so that neither the engine nor Docker is asked
what it believes. A flag that shows as something else (`--cpuset-cpus=0` and a process on CPUs 0-1) makes a run of
another treatment than was planned: invalid. A flag that was taken and cannot act is named in a warning. Outside Docker
nothing may be left of a container, and no limit of a group that the process was started in.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.checks import Evidence
from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.docker import DockerOptions, cannot_act, given, words_of
from sparkray.config.effect import readings
from sparkray.config.experiment import Policy
from sparkray.config.layer_effect import missing, own_namespaces
from sparkray.config.site import is_container, is_native
from sparkray.records import Verdict
from sparkray.units import GIB, format_size, parse_size

Gravity = str
_WRONG, _IDLE, _ODD, _UNREAD, _FINE = "wrong", "idle", "odd", "unread", "fine"
_HEADS = {_WRONG: "", _IDLE: "flags that did not act: ", _ODD: "", _UNREAD: "could not be read back: ", _FINE: ""}
_WARNED = (_IDLE, _ODD, _UNREAD)
"""`_ODD` is a state that no flag has to do with."""
_MODEL = ("model_filesystem", "model_source")


@dataclass(frozen=True)
class _Said:
    """One thing that was found, and how grave it is."""

    gravity: Gravity
    text: str


class Check:
    """Flags asked for against flags that act; namespaces, limits and mounts as each environment must have them."""

    name = "readback"
    policy: Policy = "invalid"
    remedy = (
        "Leave the flag out, or see what keeps it from acting: the daemon's configuration, a limit on "
        "sparkray's own group"
    )

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where no state was read, which is another check's business."""
        state = evidence.state
        if not state:
            return None
        if is_container(evidence.planned.environment):
            found = [*_flags(evidence.asked.options, state), *_useless(evidence), *_unasked(evidence)]
        else:
            found = [*_layers(evidence), *_outside(evidence), *_inherited(evidence)]
        found += _model(evidence)
        told = [_HEADS[kind] + "; ".join(texts) for kind in _HEADS if (texts := _of(found, kind))]
        if _of(found, _WRONG):
            return Verdict(self.name, "invalid", "; ".join(told))
        warned = any(said.gravity in _WARNED for said in found)
        return Verdict(self.name, "warn" if warned else "pass", "; ".join(told))


def _of(found: list[_Said], gravity: Gravity) -> list[str]:
    return list(dict.fromkeys(said.text for said in found if said.gravity == gravity))


def _flags(options: DockerOptions, state: Mapping[str, Any]) -> Iterator[_Said]:
    """Every flag that was given: as asked, otherwise, unable to act, or not to be seen."""
    for shown in readings(options, state):
        if shown.acts is None:
            yield _Said(_UNREAD, shown.flag)
        else:
            yield _Said(_FINE, f"{shown.flag}: {shown.got}") if shown.acts else _Said(_WRONG, shown.sentence)
    for reason in cannot_act(options).values():
        yield _Said(_IDLE, reason)
    hidden = [words_of(name, options) for name, flag, _ in given(options) if flag.trace is None]
    if hidden:
        yield _Said(_FINE, f"not to be seen in /proc: {' '.join(hidden)}")
    if not given(options):
        yield _Said(_FINE, "no flags were given")


def _useless(evidence: Evidence) -> Iterator[_Said]:
    """Limits that act and cannot be reached on this machine."""
    options, total = evidence.asked.options, evidence.row.get("mem_total_gib")
    if options.memory is not None and total is not None and parse_size(options.memory) >= total * GIB:
        yield _Said(_IDLE, f"{words_of('memory', options)} is above the machine's {total:.1f} GiB")
    online = evidence.state.get("cpus_online")
    if options.cpuset_cpus is not None and online and cpu_numbers(options.cpuset_cpus) >= cpu_numbers(online):
        yield _Said(_IDLE, f"{words_of('cpuset_cpus', options)} names every CPU of the machine")


def _unasked(evidence: Evidence) -> Iterator[_Said]:
    """Limits of a container that no flag asked for: a parent group's, or the daemon's own."""
    options, state = evidence.asked.options, evidence.state
    limits = _limits(evidence)
    asked = {"memory": options.memory, "cpus": options.cpus, "cpuset": options.cpuset_cpus}
    for name, text in limits.items():
        if asked[name] is None:
            yield _Said(_WRONG, f"{text}, which no flag asked for")
    missing = _missing_cpus(state, state.get("cpus_allowed"))
    if missing and options.cpuset_cpus is None and "cpuset" not in limits:
        yield _Said(_ODD, f"none asked for an affinity, and the process keeps off CPUs {missing}")


def _limits(evidence: Evidence) -> dict[str, str]:
    """Limits of the cgroups that bite on this machine, in words, by what they limit."""
    limits, total = evidence.state.get("cgroup_limits", {}), evidence.row.get("mem_total_gib")
    found = {}
    memory = limits.get("memory_bytes", -1)
    if memory >= 0 and (total is None or memory < total * GIB):
        found["memory"] = f"its cgroup limits memory to {format_size(int(memory))}"
    if limits.get("cpus", -1) >= 0:
        found["cpus"] = f"its cgroup has a quota of {limits['cpus']:g} CPUs"
    if missing := _missing_cpus(evidence.state, limits.get("cpuset")):
        found["cpuset"] = f"its cgroup keeps it off CPUs {missing}"
    return found


def _missing_cpus(state: Mapping[str, Any], allowed: str | None) -> str:
    """CPUs that are on and not allowed; empty when there are none, or nobody knows."""
    online = state.get("cpus_online")
    if not online or not allowed:
        return ""
    return ",".join(str(number) for number in sorted(cpu_numbers(online) - cpu_numbers(allowed)))


def _isolation(evidence: Evidence) -> tuple[str, ...]:
    """Layers of isolation that the plan adds to a chroot."""
    environment = evidence.planned.environment
    return next((t.isolation for t in evidence.study.treatments if t.environment == environment), ())


def _layers(evidence: Evidence) -> Iterator[_Said]:
    """Layers that were added and do not act."""
    wrong = missing(_isolation(evidence), evidence.asked.options, evidence.state)
    yield from (_Said(_WRONG, said) for said in wrong)


def _outside(evidence: Evidence) -> Iterator[_Said]:
    """The host's namespaces but for those of the chroot, a root that no run can alter, no filter that none asked for."""
    state, layers = evidence.state, _isolation(evidence)
    in_chroot = is_native(evidence.planned.environment)
    own = own_namespaces(layers) if in_chroot else frozenset()
    kinds = state.get("namespaces", {})
    wrong = [kind for kind, whose in kinds.items() if whose != ("own" if kind in own else "host")]
    yield from (_Said(_WRONG, f"its {kind} namespace is {_whose(kinds[kind])}") for kind in wrong)
    if not wrong:
        but = f" but for {', '.join(sorted(own - {'mnt'} | {'mounts'}))}" if own else ""
        whose = f"of the host{but}" if kinds else "not to be seen"
        yield _Said(_FINE, f"namespaces {whose}")
    if in_chroot and state.get("root_read_only") is False:
        yield _Said(_WRONG, "the root of the chroot can be written on")
    if state.get("seccomp", "0") != "0" and "seccomp" not in layers:
        yield _Said(_ODD, f"a seccomp filter of whoever started sparkray is on (mode {state['seccomp']})")
    if state.get("no_new_privs", "0") != "0":
        yield _Said(_ODD, "no_new_privs of whoever started sparkray is on")


def _whose(value: str) -> str:
    return "its own" if value == "own" else "the host's"


def _inherited(evidence: Evidence) -> Iterator[_Said]:
    """Limits of the group or the affinity that sparkray itself was started with."""
    limits = _limits(evidence)
    yield from (_Said(_WRONG, f"{text}, which it inherited") for text in limits.values())
    declared = evidence.asked.start.get("affinity")
    allowed = evidence.state.get("cpus_allowed")
    wanted = ",".join(map(str, declared)) if declared else evidence.state.get("cpus_online")
    missing = _missing_cpus({"cpus_online": wanted}, allowed)
    if missing and "cpuset" not in limits:
        yield _Said(_WRONG, f"its affinity keeps it off CPUs {missing}")
    if not limits:
        yield _Said(_FINE, "no limit of a cgroup" if "cgroup_limits" in evidence.state else "cgroups not to be seen")


def _model(evidence: Evidence) -> Iterator[_Said]:
    """In a chroot and in a container the model is a mount of its own, read-only, of the same kind in every arm."""
    state = evidence.state
    environment = evidence.planned.environment
    if not (is_native(environment) or is_container(environment)) or "model_filesystem" not in state:
        return
    if state["model_filesystem"] is None:
        yield _Said(_WRONG, "the model is not mounted")
        return
    if state.get("model_read_only") is False:
        yield _Said(_WRONG, "the model is mounted to be written on")
    now, before = _source(state), _source_before(evidence)
    yield _Said(_FINE, f"model on {now}")
    if before is not None and before != now:
        yield _Said(_ODD, f"the model is read from {now}, in the run before from {before}")


def _source(state: Mapping[str, Any]) -> str:
    return " of ".join(str(state[name]) for name in _MODEL if state.get(name))


def _source_before(evidence: Evidence) -> str | None:
    """Of the last run of this model in a chroot or a container; None where there is none that tells."""
    for row in reversed(evidence.earlier):
        if row.get("environment") == evidence.planned.environment or not row.get("effective_state"):
            continue
        state = json.loads(row["effective_state"])
        if all(state.get(name) for name in _MODEL):
            return _source(state)
    return None
