"""Did the hardware and the kernel let the run be? Errors of the GPU, kills for memory, a CPU quota, power that adds up.

- *GPU errors*: an Xid event or an uncorrected ECC error since the samplers began is invalid: the driver may have ended or
  repeated work, and an engine that went on says nothing of it. Corrected ECC errors are memory at work.
- *Kills*: a process that the kernel killed for memory is invalid though the engine ended with 0, since it may have been a
  worker of its. In a container its cgroup and Docker tell whose it was, and a kill elsewhere on the machine is a warning.
  Outside Docker the kernel's count is of the whole machine, so every kill is one too many.
- *Throttling*: a container that a CPU quota held back though no flag asked for one is a warning; the quota itself is
  `readback`'s to find.
- *Power*: where the energy counter and the power that was sampled disagree (`power_valid`), no figure of either is to be
  believed. The run's times are as good as they were: a warning.
"""

from collections.abc import Iterator

from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined, number, numbers
from sparkray.config.experiment import Policy
from sparkray.config.site import is_container
from sparkray.records import Verdict


class Check:
    """See the module."""

    name = "hardware"
    policy: Policy = "invalid"
    remedy = "Look into the kernel's log (dmesg) for Xid, ECC and killed processes"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where nothing tells of any of it."""
        found = (*_xid(evidence), *_ecc(evidence), *_kills(evidence), *_throttled(evidence), *_power(evidence))
        return combined(self.name, found)


def _xid(evidence: Evidence) -> Iterator[Finding]:
    for device, told in _by_device(evidence, "gpu_xid_events"):
        count = int(max(told))
        if count == 0:
            yield Finding("pass", f"GPU {device}: no Xid")
            continue
        codes = [sample.get("gpu_xid") for sample in evidence.samples if sample.get("device") == device]
        last = next((code for code in reversed(codes) if code is not None), "unknown")
        yield Finding("invalid", f"GPU {device}: {count} Xid errors during the run, the last of code {last}")


def _ecc(evidence: Evidence) -> Iterator[Finding]:
    for device, told in _by_device(evidence, "gpu_ecc_uncorrected"):
        grown = int(max(told) - told[0])
        said = f"GPU {device}: {grown} uncorrected ECC errors during the run"
        yield Finding("invalid" if grown > 0 else "pass", said)


def _by_device(evidence: Evidence, column: str) -> Iterator[tuple[object, list[float]]]:
    """Each GPU that tells a column, with its numbers in time order."""
    for device in dict.fromkeys(sample.get("device") for sample in evidence.samples):
        told = numbers((sample for sample in evidence.samples if sample.get("device") == device), column)
        if told:
            yield device, told


def _kills(evidence: Evidence) -> Iterator[Finding]:
    anywhere = number(evidence.row, "oom_kills")
    said = "the kernel killed {} processes for memory during the run"
    if not is_container(evidence.planned.environment):
        if anywhere is not None:
            more = "; whose they were is not told outside Docker" if anywhere else ""
            yield Finding("invalid" if anywhere else "pass", said.format(int(anywhere)) + more)
        return
    own = max(numbers(evidence.samples, "cgroup_oom_kills"), default=None)
    if own or evidence.row.get("container_oom_killed"):
        yield Finding("invalid", "the kernel killed a process of the container for memory, and the engine ended with 0")
    elif anywhere:
        yield Finding("warn", f"{said.format(int(anywhere))}, none of them of the container")
    elif own is not None or anywhere is not None:
        yield Finding("pass", said.format("no"))


def _throttled(evidence: Evidence) -> Iterator[Finding]:
    told = numbers(evidence.samples, "cgroup_throttled_s")
    if not told:
        return
    said = f"a CPU quota held the container back for {max(told):.2f} s"
    unasked = max(told) > 0 and evidence.asked.options.cpus is None
    yield Finding("warn", f"{said}, and no flag asked for one") if unasked else Finding("pass", said)


def _power(evidence: Evidence) -> Iterator[Finding]:
    if evidence.row.get("power_valid") is False:
        yield Finding("warn", "the energy counter and the sampled power disagree by more than 5 %: believe neither")
    elif evidence.row.get("power_valid"):
        yield Finding("pass", "energy counter and sampled power agree")
