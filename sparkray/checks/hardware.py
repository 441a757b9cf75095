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

from sparkray.checks import Evidence
from sparkray.checks._finding import Finding, combined, number, numbers
from sparkray.config.experiment import Policy
from sparkray.config.site import is_container
from sparkray.records import Verdict


class Check:
    """See the module."""

    name = "hardware"
    policy: Policy = "invalid"
    remedy = "Search the kernel log (dmesg) for Xid, ECC and killed processes"

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without data."""
        found = (*_xid(evidence), *_ecc(evidence), *_kills(evidence), *_throttled(evidence), *_power(evidence))
        return combined(self.name, found)


def _xid(evidence: Evidence) -> Iterator[Finding]:
    for device, values in _by_device(evidence, "gpu_xid_events"):
        count = int(max(values))
        if count == 0:
            yield Finding("pass", f"GPU {device}: no Xid")
            continue
        codes = [sample.get("gpu_xid") for sample in evidence.samples if sample.get("device") == device]
        last = next((code for code in reversed(codes) if code is not None), "unknown")
        yield Finding("invalid", f"GPU {device}: {count} Xid errors during the run, last code {last}")


def _ecc(evidence: Evidence) -> Iterator[Finding]:
    for device, values in _by_device(evidence, "gpu_ecc_uncorrected"):
        grown = int(max(values) - values[0])
        text = f"GPU {device}: {grown} uncorrected ECC errors during the run"
        yield Finding("invalid" if grown > 0 else "pass", text)


def _by_device(evidence: Evidence, column: str) -> Iterator[tuple[object, list[float]]]:
    """(GPU, numbers in time order) for every GPU with data in a column."""
    for device in dict.fromkeys(sample.get("device") for sample in evidence.samples):
        values = numbers((sample for sample in evidence.samples if sample.get("device") == device), column)
        if values:
            yield device, values


def _kills(evidence: Evidence) -> Iterator[Finding]:
    anywhere = number(evidence.row, "oom_kills")
    text = "the kernel killed {} processes for memory during the run"
    if not is_container(evidence.planned.environment):
        if anywhere is not None:
            more = "; outside Docker their owner is unknown" if anywhere else ""
            yield Finding("invalid" if anywhere else "pass", text.format(int(anywhere)) + more)
        return
    own = max(numbers(evidence.samples, "cgroup_oom_kills"), default=None)
    if own or evidence.row.get("container_oom_killed"):
        yield Finding(
            "invalid", "the kernel killed a process of the container for memory, although the engine exited with 0"
        )
    elif anywhere:
        yield Finding("warn", f"{text.format(int(anywhere))}, none in the container")
    elif own is not None or anywhere is not None:
        yield Finding("pass", text.format("no"))


def _throttled(evidence: Evidence) -> Iterator[Finding]:
    values = numbers(evidence.samples, "cgroup_throttled_s")
    if not values:
        return
    text = f"a CPU quota throttled the container for {max(values):.2f} s"
    unasked = max(values) > 0 and evidence.asked.options.cpus is None
    yield Finding("warn", f"{text}, without a flag for it") if unasked else Finding("pass", text)


def _power(evidence: Evidence) -> Iterator[Finding]:
    if evidence.row.get("power_valid") is False:
        yield Finding("warn", "energy counter and sampled power disagree by more than 5 %: neither is reliable")
    elif evidence.row.get("power_valid"):
        yield Finding("pass", "energy counter and sampled power agree")
