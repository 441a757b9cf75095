"""Did the GPU start as cool as the protocol asks, as warm as the other runs did, and keep its clock?

- *Start*, where the protocol waits for it: below `start_below_c`, and within `start_within_c` of where this experiment's
  runs start, in both directions: a GPU that starts colder boosts for longer. Both are the gate's own, by which it let go.
  A start that is off again, after this check has refused the run before, is how the room is now: a warning.
- *Throttling*: heat, hardware slowdown and power brake are a warning, beyond 5 % of the samples invalid. A power cap is a
  property of the machine, alike in every arm, and measuring again would not lift it: a warning.
- *Clock*: the mean SM clock while the requests ran, below 75 % of its median over the runs before, is invalid; a median
  below 75 % of what the same run showed at its best is a warning, since that may have been a short boost. Where the site
  or the data sheet of its GPU states a floor (`least_sm_clock_mhz`), a median below it is invalid from the first run on: a
  machine that is held down before the sweep begins would be its own usual.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from sparkray.checks import Evidence, Row
from sparkray.checks._finding import Finding, combined, median, number, numbers
from sparkray.checks.roofline import gpus_of
from sparkray.config.experiment import Policy
from sparkray.records import Verdict

MOST_THROTTLED_PCT = 5.0
LEAST_CLOCK = 0.75
_REFERENCE = "gpu_temp_reference_c"
_POWER_CAP, _HEAT = 0x04, 0x08 | 0x20 | 0x40 | 0x80
"""NVML clock event reasons: software power cap; hardware slowdown, software and hardware thermal, power brake."""
_FEWEST_EARLIER = 3
_BUSY_PCT = 50.0
_BEST = 95


class Check:
    """See the module."""

    name = "thermal"
    policy: Policy = "invalid"
    remedy = (
        "Give the machine cooler air or time (experiment.protocol.cooldown_limit_s); a Spark whose clock "
        "stays low: pull its power cord for a minute"
    )

    def judge(self, evidence: Evidence) -> Verdict | None:
        """The verdict; None where no GPU tells anything."""
        return combined(self.name, (*_start(evidence), *_throttling(evidence), *_clock(evidence)))


def _start(evidence: Evidence) -> Iterator[Finding]:
    protocol, start = evidence.study.experiment.protocol, number(evidence.row, "gpu_temp_gate_c")
    if protocol.cooldown == "none" or start is None:
        return
    below, within, reference = protocol.start_below_c, protocol.start_within_c, number(evidence.row, _REFERENCE)
    said = f"started at {start:g} degrees C"
    off = None
    if start >= below:
        off = f"{said}, not below {below:g}"
    elif reference is not None and abs(start - reference) > within:
        off = f"{said}, not within {within:g} of the {reference:g} where the runs start"
    if off is None:
        yield Finding("pass", said)
    elif Check.name in evidence.refused_by:
        yield Finding("warn", f"{off}: it has stayed so, measured again")
    else:
        yield Finding("invalid", off)


def _throttling(evidence: Evidence) -> Iterator[Finding]:
    masks = [int(mask) for mask in numbers(evidence.samples, "gpu_throttle_reasons")]
    told = number(evidence.row, "gpu_throttled_pct")
    if masks:
        yield from _told("heat or a hardware slowdown", _share_pct(masks, _HEAT), most=MOST_THROTTLED_PCT)
        yield from _told("the power cap", _share_pct(masks, _POWER_CAP), most=None)
    elif told is not None:
        yield from _told("heat or power", told, most=MOST_THROTTLED_PCT)


def _share_pct(masks: Sequence[int], bits: int) -> float:
    return 100 * sum(1 for mask in masks if mask & bits) / len(masks)


def _told(what: str, share_pct: float, *, most: float | None) -> Iterator[Finding]:
    said = f"{what} held the clock down in {share_pct:.1f} % of the samples"
    if most is not None and share_pct > most:
        yield Finding("invalid", f"{said}, limit {most:g} %")
    else:
        yield Finding("warn" if share_pct > 0 else "pass", said)


def _clock(evidence: Evidence) -> Iterator[Finding]:
    clock, earlier = number(evidence.row, "gpu_sm_clock_mean_mhz"), numbers(evidence.earlier, "gpu_sm_clock_mean_mhz")
    if clock is not None and len(earlier) >= _FEWEST_EARLIER:
        usual = median(earlier)
        said = f"mean SM clock {clock:.0f} MHz, usually {usual:.0f}"
        yield Finding("invalid" if clock < LEAST_CLOCK * usual else "pass", said)
    loaded = _clocks_under_load(evidence.samples)
    if loaded:
        yield from _floor(evidence, median(loaded))
        middle, best = median(loaded), float(np.percentile(loaded, _BEST))
        said = f"median SM clock under load {middle:.0f} MHz, at its best {best:.0f}"
        yield Finding("warn" if middle < LEAST_CLOCK * best else "pass", said)
    elif not numbers(evidence.samples, "gpu_util_pct"):  # where they tell, a GPU that nobody used may rest
        yield from _floor(evidence, clock)


def _floor(evidence: Evidence, clock: float | None) -> Iterator[Finding]:
    least = evidence.study.site.with_gpus(gpus_of(evidence.row)).least_sm_clock_mhz
    if least is not None and clock is not None and clock < least:
        yield Finding("invalid", f"SM clock {clock:.0f} MHz under load, never below {least:g} on this kind of machine")


def _clocks_under_load(samples: Sequence[Row]) -> list[float]:
    """SM clocks, MHz, from where a GPU was seen more than half busy until it was seen less so, GPU by GPU."""
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
