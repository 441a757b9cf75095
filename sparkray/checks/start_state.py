"""Did the engine's process begin from the state that was declared? Nothing of the process that started it may leak.

Nice, OOM score, limits, signals and file-creation mask have a value that was declared. CPUs have one where a set was
named. Where none was, every CPU is meant, and fewer may be all that this host gives any process: that is a warning, until
a run of another arm shows that more can be had.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from sparkray.checks import Evidence, Row
from sparkray.checks._finding import Finding, combined
from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.experiment import Policy
from sparkray.records import Verdict
from sparkray.runtimes.linux.readback import differences


class Check:
    """See the module. A field that cannot be read back is not believed."""

    name = "start_state"
    policy: Policy = "invalid"
    remedy = "Start sparkray from a plain shell: without nice, with its limits and its affinity untouched"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where no start state was declared."""
        declared, state = evidence.asked.start, evidence.state
        if not declared:
            return None
        if not state:
            return Verdict(self.name, "invalid", "the engine's process had ended before its state could be read")
        wrong = [Finding("invalid", said) for said in differences(declared, state)]
        return combined(self.name, (*wrong, *_cpus(evidence), _declared(declared)))


def _declared(declared: Mapping[str, Any]) -> Finding:
    limits = len(declared.get("rlimits") or {})
    return Finding("pass", f"nice {declared['nice']}, oom_score_adj {declared['oom_score_adj']}, {limits} limits")


def _cpus(evidence: Evidence) -> Iterator[Finding]:
    """The CPUs that the process may run on against those of `--cpuset-cpus` or of the declared affinity."""
    told = evidence.state.get("cpus_allowed")
    if not told:
        return
    found, wanted = cpu_numbers(told), _wanted(evidence)
    if wanted is not None:
        said = f"CPUs {told}, declared {','.join(map(str, sorted(wanted)))}"
        yield Finding("pass" if found == wanted else "invalid", said)
        return
    most = max((_cpus_of_row(row) for row in evidence.earlier), default=0)
    there = _of_machine(evidence)
    if len(found) < most:
        yield Finding("invalid", f"CPUs {told}, declared every one: an earlier run had {most}")
    elif there is not None and len(found) < there:
        yield Finding("warn", f"CPUs {told}, declared every one: the machine has {there}")
    else:
        yield Finding("pass", f"CPUs {told}")


def _wanted(evidence: Evidence) -> frozenset[int] | None:
    named = evidence.asked.options.cpuset_cpus
    if named is not None:
        return cpu_numbers(named)
    affinity = evidence.asked.start.get("affinity")
    return None if affinity is None else frozenset(affinity)


def _of_machine(evidence: Evidence) -> int | None:
    """How many CPUs are on, by the kernel's word as the run started, else by the machine's fingerprint."""
    if online := evidence.state.get("cpus_online"):
        return len(cpu_numbers(online))
    cpus = json.loads(evidence.row.get("machine") or "{}").get("cpus")
    return cpus if isinstance(cpus, int) else None


def _cpus_of_row(row: Row) -> int:
    """How many CPUs an earlier run's process had; 0 where its row does not tell."""
    told = json.loads(row.get("effective_state") or "{}").get("cpus_allowed")
    return len(cpu_numbers(told)) if told else 0
