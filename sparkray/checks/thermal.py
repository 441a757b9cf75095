"""Did the GPU start at the protocol's temperature, as the other runs did, and keep its clock?

- *Start*: below `start_below_c`, and within `start_within_c` of this experiment's reference in both directions: a
  colder GPU boosts longer. These are the limits of the cooldown gate. A start that is off again after this check
  refused the previous attempt reflects the room: a warning.
- *Throttling*: heat, hardware slowdown and power brake are a warning, in more than 5 % of the samples invalid. A power
  cap is a property of the machine, alike in every arm: a warning.
- *Clock*: a mean SM clock during the requests below 75 % of its median over earlier runs is invalid; a median below 75
  % of the same run's best is a warning, since the best may be a short boost. Where the site or its GPU's data sheet has
  a floor (`least_sm_clock_mhz`), a median below it is invalid from the first run on: a machine that was slow before the
  sweep would be its own reference.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from sparkray.checks import Check as BaseCheck
from sparkray.checks import Evidence, Row
from sparkray.checks._finding import Finding, combined, limited, median, number, numbers
from sparkray.checks.roofline import gpus_of
from sparkray.records import Verdict

MOST_THROTTLED_PCT = 5.0
LEAST_CLOCK = 0.75
_REFERENCE = "gpu_temp_reference_c"
# NVML clock event reasons: software power cap; hardware slowdown, software and hardware thermal, power brake.
_POWER_CAP, _HEAT = 0x04, 0x08 | 0x20 | 0x40 | 0x80
_FEWEST_EARLIER = 3
_BUSY_PCT = 50.0
_BEST = 95


class Check(BaseCheck):
    """See the module."""

    name = "thermal"
    remedy = (
        "Cool the machine, or give it time (experiment.protocol.cooldown_limit_s); a Spark whose clock stays low: pull its "
        "power cord for a minute"
    )

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None without GPU data."""
        return combined(self.name, (*_start(evidence), *_throttling(evidence), *_clock(evidence)))


def _start(evidence: Evidence) -> Iterator[Finding]:
    protocol, start = evidence.study.experiment.protocol, number(evidence.row, "gpu_temp_gate_c")
    if protocol.cooldown == "none" or start is None:
        return
    below, within, reference = protocol.start_below_c, protocol.start_within_c, number(evidence.row, _REFERENCE)
    text = f"started at {start:g} degrees C"
    off = None
    if start >= below:
        off = f"{text}, not below {below:g}"
    elif reference is not None and abs(start - reference) > within:
        off = f"{text}, not within {within:g} of the {reference:g} reference"
    if off is None:
        yield Finding("pass", text)
    elif Check.name in evidence.refused_by:
        yield Finding("warn", f"{off}: unchanged after a repeated run")
    else:
        yield Finding("invalid", off)


def _throttling(evidence: Evidence) -> Iterator[Finding]:
    masks = [int(mask) for mask in numbers(evidence.samples, "gpu_throttle_reasons")]
    throttled_pct = number(evidence.row, "gpu_throttled_pct")
    if masks:
        yield from _throttled("heat or a hardware slowdown", _share_pct(masks, _HEAT), most=MOST_THROTTLED_PCT)
        yield from _throttled("the power cap", _share_pct(masks, _POWER_CAP), most=None)
    elif throttled_pct is not None:
        yield from _throttled("heat or power", throttled_pct, most=MOST_THROTTLED_PCT)


def _share_pct(masks: Sequence[int], bits: int) -> float:
    return 100 * sum(1 for mask in masks if mask & bits) / len(masks)


def _throttled(what: str, share_pct: float, *, most: float | None) -> Iterator[Finding]:
    text = f"{what} throttled the clock in {share_pct:.1f} % of the samples"
    if most is not None and share_pct > most:
        yield limited(text, share_pct, most, shown=f"{most:g} %")
    else:
        yield Finding("warn" if share_pct > 0 else "pass", text)


def _clock(evidence: Evidence) -> Iterator[Finding]:
    clock, earlier = number(evidence.row, "gpu_sm_clock_mean_mhz"), numbers(evidence.earlier, "gpu_sm_clock_mean_mhz")
    if clock is not None and len(earlier) >= _FEWEST_EARLIER:
        usual = median(earlier)
        text = f"mean SM clock {clock:.0f} MHz, usually {usual:.0f}"
        yield Finding("invalid" if clock < LEAST_CLOCK * usual else "pass", text)
    loaded = _clocks_under_load(evidence.samples)
    if loaded:
        yield from _floor(evidence, median(loaded))
        middle, best = median(loaded), float(np.percentile(loaded, _BEST))
        text = f"median SM clock under load {middle:.0f} MHz, at its best {best:.0f}"
        yield Finding("warn" if middle < LEAST_CLOCK * best else "pass", text)
    elif not numbers(evidence.samples, "gpu_util_pct"):  # with utilisation samples, an unused GPU may idle
        yield from _floor(evidence, clock)


def _floor(evidence: Evidence, clock: float | None) -> Iterator[Finding]:
    least = evidence.study.site.with_gpus(gpus_of(evidence.row)).least_sm_clock_mhz
    if least is not None and clock is not None and clock < least:
        yield Finding("invalid", f"SM clock {clock:.0f} MHz under load, at least {least:g} expected")


def _clocks_under_load(samples: Sequence[Row]) -> list[float]:
    """SM clocks, MHz, of each GPU while its latest utilisation is above 50 %."""
    busy: dict[object, bool] = {}
    found: list[float] = []
    for sample in samples:
        device = sample.get("device")
        if (util := number(sample, "gpu_util_pct")) is not None:
            busy[device] = util > _BUSY_PCT
        clock = number(sample, "gpu_sm_clock_mhz")
        if clock is not None and busy.get(device, False):
            found.append(clock)
    return found
