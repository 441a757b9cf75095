"""Did the engine's process start from the declared state? Nothing of its parent process may leak.

Nice, OOM score, limits, signals and umask have declared values, CPUs where a set was named. Otherwise every CPU is
meant. Fewer may be all that this host gives any process: a warning, until another arm's run shows that more are
available.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence, Row
from sparkray.checks._finding import Finding, combined
from sparkray.config.cpu_list import cpu_numbers
from sparkray.records import Verdict
from sparkray.runtimes.linux.readback import differences


class Check(BaseCheck):
    """See the module. A field that cannot be read back is invalid."""

    name = "start_state"
    repeats = True
    remedy = "Start sparkray from a plain shell without nice, changed limits or affinity"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where no start state was declared."""
        declared, state = evidence.asked.start, evidence.state
        if not declared:
            return None
        if not state:
            return Verdict(self.name, "invalid", "the engine ended before its state could be read")
        wrong = [Finding("invalid", text) for text in differences(declared, state)]
        return combined(self.name, (*wrong, *_cpus(evidence), _declared(declared)))


def _declared(declared: Mapping[str, Any]) -> Finding:
    limits = len(declared.get("rlimits") or {})
    return Finding("pass", f"nice {declared['nice']}, oom_score_adj {declared['oom_score_adj']}, {limits} limits")


def _cpus(evidence: Evidence) -> Iterator[Finding]:
    """Allowed CPUs against `--cpuset-cpus` or the declared affinity."""
    allowed = evidence.state.get("cpus_allowed")
    if not allowed:
        return
    found, wanted = cpu_numbers(allowed), _wanted(evidence)
    if wanted is not None:
        text = f"CPUs {allowed}, declared {','.join(map(str, sorted(wanted)))}"
        yield Finding("pass" if found == wanted else "invalid", text)
        return
    most = max((_cpus_of_row(row) for row in evidence.earlier), default=0)
    there = _of_machine(evidence)
    if len(found) < most:
        yield Finding("invalid", f"CPUs {allowed}, declared all: an earlier run had {most}")
    elif there is not None and len(found) < there:
        yield Finding("warn", f"CPUs {allowed}, declared all: the machine has {there}")
    else:
        yield Finding("pass", f"CPUs {allowed}")


def _wanted(evidence: Evidence) -> frozenset[int] | None:
    named = evidence.asked.options.cpuset_cpus
    if named is not None:
        return cpu_numbers(named)
    affinity = evidence.asked.start.get("affinity")
    return None if affinity is None else frozenset(affinity)


def _of_machine(evidence: Evidence) -> int | None:
    """Number of online CPUs, from the run's state, else from the machine's fingerprint."""
    if online := evidence.state.get("cpus_online"):
        return len(cpu_numbers(online))
    cpus = json.loads(evidence.row.get("machine") or "{}").get("cpus")
    return cpus if isinstance(cpus, int) else None


def _cpus_of_row(row: Row) -> int:
    """Number of CPUs of an earlier run's process; 0 where unknown."""
    allowed = json.loads(row.get("effective_state") or "{}").get("cpus_allowed")
    return len(cpu_numbers(allowed)) if allowed else 0
