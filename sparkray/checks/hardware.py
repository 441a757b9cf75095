"""Did hardware and kernel stay healthy? GPU errors, OOM kills, CPU-quota throttling, consistent power.

- *GPU errors*: an Xid event or an uncorrected ECC error during the run is invalid: the driver may have ended or
  repeated work without the engine noticing. Corrected ECC errors are normal.
- *OOM kills*: a killed process is invalid even when the engine exited with 0, since it may have been a worker. In a
  container, cgroup and Docker show whether it was the container's; kills elsewhere are a warning. Outside Docker the
  kernel counts for the whole machine, so every kill is invalid.
- *Throttling*: a CPU quota that throttled a container without a flag for it is a warning; `readback` finds the quota itself.
- *Power*: where energy counter and sampled power disagree (`power_valid`), neither is reliable. Times are unaffected: a
  warning.
"""

from collections.abc import Iterator

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, by_device, combined, number, numbers
from sparkray.config.site import is_container
from sparkray.records import Verdict


class Check(BaseCheck):
    """See the module."""

    name = "hardware"
    remedy = "Search the kernel log (dmesg) for Xid, ECC and killed processes"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without data."""
        parts = (_xid, _ecc, _kills, _throttled, _power)
        return combined(self.name, (finding for part in parts for finding in part(evidence)))


def _xid(evidence: Evidence) -> Iterator[Finding]:
    for device, samples in by_device(evidence.samples):
        if events := numbers(samples, "gpu_xid_events"):
            codes = [sample["gpu_xid"] for sample in samples if sample.get("gpu_xid") is not None]
            text = f"GPU {device}: {max(events):.0f} Xid errors, last code {codes[-1] if codes else 'unknown'}"
            yield Finding("invalid", text) if max(events) else Finding("pass", f"GPU {device}: no Xid")


def _ecc(evidence: Evidence) -> Iterator[Finding]:
    for device, samples in by_device(evidence.samples):
        if counts := numbers(samples, "gpu_ecc_uncorrected"):
            grown = max(counts) - counts[0]
            yield Finding("invalid" if grown else "pass", f"GPU {device}: {grown:.0f} uncorrected ECC errors")


def _kills(evidence: Evidence) -> Iterator[Finding]:
    anywhere = number(evidence.row, "oom_kills")
    text = "{} processes killed for memory"
    if not is_container(evidence.planned.environment):
        if anywhere is not None:
            yield Finding("invalid" if anywhere else "pass", text.format(int(anywhere)))
        return
    own = max(numbers(evidence.samples, "cgroup_oom_kills"), default=None)
    if own or evidence.row.get("container_oom_killed"):
        yield Finding("invalid", "a process of the container was killed for memory, but the engine exited with 0")
    elif anywhere:
        yield Finding("warn", f"{text.format(int(anywhere))}, none in the container")
    elif own is not None or anywhere is not None:
        yield Finding("pass", text.format("no"))


def _throttled(evidence: Evidence) -> Iterator[Finding]:
    if values := numbers(evidence.samples, "cgroup_throttled_s"):
        text = f"a CPU quota throttled the container for {max(values):.2f} s"
        unasked = max(values) > 0 and evidence.asked.options.cpus is None
        yield Finding("warn", f"{text}, without a flag for it") if unasked else Finding("pass", text)


def _power(evidence: Evidence) -> Iterator[Finding]:
    if evidence.row.get("power_valid") is False:
        yield Finding("warn", "energy counter and sampled power disagree by more than 5 %")
    elif evidence.row.get("power_valid"):
        yield Finding("pass", "energy counter and sampled power agree")
