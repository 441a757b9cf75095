"""Effective state of a run against what was asked: each Docker flag, and limits that no arm may inherit.

The state is read from outside, through /proc and the cgroups, independent of engine and Docker. A flag with another
effect (`--cpuset-cpus=0` but a process on CPUs 0-1) is invalid: another treatment ran than planned. A flag that cannot
act is a warning. What another client of Docker changes during the run (`docker update`, `docker pause`) is invalid, what it
does inside (`docker exec`) a warning. Outside Docker, no trace of a container and no limit of an inherited group may remain.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined
from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.docker import cannot_act, given, unreachable_limits, words_of
from sparkray.config.effect import readings
from sparkray.config.layer_effect import missing, own_namespaces
from sparkray.config.site import is_container, is_native
from sparkray.records import Verdict
from sparkray.units import GIB, format_size

_MODEL = ("model_filesystem", "model_source")


class Check(BaseCheck):
    """Requested flags against effective ones; namespaces, limits and mounts by environment."""

    name = "readback"
    repeats = True
    remedy = "Remove the flag, or find what prevents it: the daemon's configuration, a limit on sparkray's own group"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where no state was read, which other checks report."""
        if not evidence.state:
            return None
        if is_container(evidence.planned.environment):
            findings = (*_flags(evidence), *_unasked(evidence), *_touched(evidence))
        else:
            findings = (*_layers(evidence), *_outside(evidence), *_inherited(evidence))
        return combined(self.name, (*findings, *_model(evidence)))


def _flags(evidence: Evidence) -> Iterator[Finding]:
    """Every given flag: effective, different, unable to act, or invisible."""
    options, state, total = evidence.asked.options, evidence.state, evidence.row.get("mem_total_gib")
    for reading in readings(options, state):
        if reading.acts is None:
            yield Finding("warn", f"could not be read back: {reading.flag}")
        elif reading.acts:
            yield Finding("pass", f"{reading.flag}: {reading.got}")
        else:
            yield Finding("invalid", reading.sentence)
    unreachable = unreachable_limits(vars(options), cpus=state.get("cpus_online"), memory_gib=total)
    for reason in (cannot_act(options) | unreachable).values():
        yield Finding("warn", f"did not act: {reason}")
    hidden = [words_of(name, options) for name, flag, _ in given(options) if flag.trace is None]
    if hidden:
        yield Finding("pass", f"invisible in /proc: {' '.join(hidden)}")
    if not given(options):
        yield Finding("pass", "no flags were given")


def _unasked(evidence: Evidence) -> Iterator[Finding]:
    """Limits of a container without a flag: a parent group's or the daemon's."""
    options, limits = evidence.asked.options, _limits(evidence)
    asked = {"memory": options.memory, "cpus": options.cpus, "cpuset": options.cpuset_cpus}
    for name, text in limits.items():
        if asked[name] is None:
            yield Finding("invalid", f"{text}, without a flag for it")
    excluded = _excluded_cpus(evidence.state.get("cpus_online"), evidence.state.get("cpus_allowed"))
    if excluded and options.cpuset_cpus is None and "cpuset" not in limits:
        yield Finding("warn", f"no flag sets an affinity, but the process cannot use CPUs {excluded}")


def _touched(evidence: Evidence) -> Iterator[Finding]:
    """What other clients of Docker did to the container while it ran: it no longer had what was read at its start."""
    touched = evidence.state.get("touched", {})
    if changed := touched.get("changed"):
        yield Finding("invalid", f"another client of Docker changed the container during the run: {'; '.join(changed)}")
    if entered := touched.get("entered"):
        yield Finding("warn", f"another client of Docker entered the container during the run: {'; '.join(entered)}")


def _limits(evidence: Evidence) -> dict[str, str]:
    """Cgroup limits below the machine's own, described, by what they limit."""
    limits, total = evidence.state.get("cgroup_limits", {}), evidence.row.get("mem_total_gib")
    texts = {}
    memory = limits.get("memory_bytes", -1)
    if memory >= 0 and (total is None or memory < total * GIB):
        texts["memory"] = f"its cgroup limits memory to {format_size(int(memory))}"
    if limits.get("cpus", -1) >= 0:
        texts["cpus"] = f"its cgroup has a quota of {limits['cpus']:g} CPUs"
    if excluded := _excluded_cpus(evidence.state.get("cpus_online"), limits.get("cpuset")):
        texts["cpuset"] = f"its cgroup excludes CPUs {excluded}"
    return texts


def _excluded_cpus(online: str | None, allowed: str | None) -> str:
    """CPUs that are online but not allowed; empty when there are none or it is unknown."""
    if not online or not allowed:
        return ""
    return ",".join(str(number) for number in sorted(cpu_numbers(online) - cpu_numbers(allowed)))


def _isolation(evidence: Evidence) -> tuple[str, ...]:
    """Isolation layers that the plan adds to a chroot."""
    environment = evidence.planned.environment
    return next((t.isolation for t in evidence.study.treatments if t.environment == environment), ())


def _layers(evidence: Evidence) -> Iterator[Finding]:
    """Isolation layers that do not act."""
    texts = missing(_isolation(evidence), evidence.asked.options, evidence.state)
    yield from (Finding("invalid", text) for text in texts)


def _outside(evidence: Evidence) -> Iterator[Finding]:
    """Host namespaces except the chroot's, a read-only root, no unrequested filter."""
    state, layers = evidence.state, _isolation(evidence)
    in_chroot = is_native(evidence.planned.environment)
    own = own_namespaces(layers) if in_chroot else frozenset()
    kinds = state.get("namespaces", {})
    wrong = [kind for kind, whose in kinds.items() if whose != ("own" if kind in own else "host")]
    yield from (Finding("invalid", f"its {kind} namespace is {_whose(kinds[kind])}") for kind in wrong)
    if not wrong:
        but = f" but for {', '.join(sorted(own - {'mnt'} | {'mounts'}))}" if own else ""
        whose = f"of the host{but}" if kinds else "unknown"
        yield Finding("pass", f"namespaces {whose}")
    if in_chroot and state.get("root_read_only") is False:
        yield Finding("invalid", "the root of the chroot is writable")
    if state.get("seccomp", "0") != "0" and "seccomp" not in layers:
        yield Finding("warn", f"seccomp filter inherited from sparkray's parent process (mode {state['seccomp']})")
    if state.get("no_new_privs", "0") != "0":
        yield Finding("warn", "no_new_privs inherited from sparkray's parent process")


def _whose(value: str) -> str:
    return "its own" if value == "own" else "the host's"


def _inherited(evidence: Evidence) -> Iterator[Finding]:
    """Limits and affinity inherited from the process that started sparkray."""
    limits = _limits(evidence)
    yield from (Finding("invalid", f"{text}, inherited") for text in limits.values())
    declared = evidence.asked.start.get("affinity")
    wanted = ",".join(map(str, declared)) if declared else evidence.state.get("cpus_online")
    excluded = _excluded_cpus(wanted, evidence.state.get("cpus_allowed"))
    if excluded and "cpuset" not in limits:
        yield Finding("invalid", f"its affinity excludes CPUs {excluded}")
    if not limits:
        yield Finding("pass", "no cgroup limit" if "cgroup_limits" in evidence.state else "cgroups unknown")


def _model(evidence: Evidence) -> Iterator[Finding]:
    """In chroots and containers the model is its own read-only mount, of the same kind in every arm."""
    state = evidence.state
    environment = evidence.planned.environment
    if not (is_native(environment) or is_container(environment)) or "model_filesystem" not in state:
        return
    if evidence.study.card(evidence.planned.model).weights.kind == "server":
        yield Finding("pass", "the server finds its model itself")
        return
    if state["model_filesystem"] is None:
        yield Finding("invalid", "the model is not mounted")
        return
    if state.get("model_read_only") is False:
        yield Finding("invalid", "the model is mounted writable")
    now, before = _source(state), _source_before(evidence)
    yield Finding("pass", f"model on {now}")
    if before is not None and before != now:
        yield Finding("warn", f"the model is read from {now}, in the previous run from {before}")


def _source(state: Mapping[str, Any]) -> str:
    return " of ".join(str(state[name]) for name in _MODEL if state.get(name))


def _source_before(evidence: Evidence) -> str | None:
    """Of the last run of this model in another chroot or container; None where unknown."""
    for row in reversed(evidence.earlier):
        if row.get("environment") == evidence.planned.environment or not row.get("effective_state"):
            continue
        state = json.loads(row["effective_state"])
        if all(state.get(name) for name in _MODEL):
            return _source(state)
    return None
