"""GPU checks of `doctor`: driver, CUDA, GPU, other processes, temperature, clocks.

A value that NVML does not report is unknown, a warning of its own: never 0, and never "none".
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import pynvml

from sparkray.config.experiment import Protocol
from sparkray.machine.finding import Finding, Gpu, Seen, State, finding, is_spark

_UNDER_LOAD_PCT = 50
# The load of a GPU that doctor itself gave work to.
_PROBED_PCT = 100.0
_LEAST_DRIVER, _LEAST_CUDA = 580, 13
_CUDA = re.compile(r"CUDA(?: UMD)? Version\s*:\s*(\d+)\.(\d+)")
_HELD_DOWN = {
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "thermal slowdown (driver)",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "thermal slowdown (hardware)",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}


def driver(seen: Seen) -> Finding:
    """Present, and new enough for the image's CUDA."""
    gpus = seen.gpus
    if gpus.driver is None and gpus.problem and not gpus.devices:
        return replace(finding("driver", "stop", f"fails: {gpus.problem}"), remedy=gpus.remedy)
    if gpus.driver is None and gpus.devices:
        return finding("driver", "warn", "version unknown: NVML does not report it", "update_driver")
    if gpus.driver is None:
        return finding("driver", "stop", f"none ({gpus.unavailable})", "install")
    major = re.match(r"\d+", gpus.driver)
    if is_spark(seen.site) and major is not None and int(major[0]) < _LEAST_DRIVER:
        return finding("driver", "stop", gpus.driver, "update_os", least=_LEAST_DRIVER)
    return finding("driver", "good", gpus.driver)


def cuda(seen: Seen) -> Finding:
    """The newest CUDA version that the driver supports."""
    match = _CUDA.search(seen.programs.nvidia_smi or "")
    if match is None:
        value = "unknown (no nvidia-smi)" if seen.programs.nvidia_smi is None else "not reported by nvidia-smi"
        if seen.gpus.driver is None and not seen.gpus.devices:
            return finding("cuda", "stop", value, "driver_first")
        return finding("cuda", "warn", value, "install")
    value = f"{match[1]}.{match[2]}"
    if is_spark(seen.site) and int(match[1]) < _LEAST_CUDA:
        return finding("cuda", "stop", value, "update_os", least=_LEAST_CUDA)
    return finding("cuda", "good", value)


def gpu(seen: Seen) -> Finding:
    """Which GPUs exist, and whether each answers."""
    gpus = seen.gpus
    names = ", ".join(device.name for device in gpus.devices)
    if gpus.problem:
        value = f"{names}; {gpus.problem}" if names else f"unknown: {gpus.problem}"
        stop = finding("gpu", "stop", value, "driver_first")
        return replace(stop, remedy=gpus.remedy) if gpus.driver else stop
    if not names:
        return finding("gpu", "stop", f"none ({gpus.unavailable})", "driver_first")
    faults = [f"{device.name}: {fault}" for device in gpus.devices for fault in device.faults]
    if faults:
        state: State = "stop" if any(device.unusable for device in gpus.devices) else "warn"
        return finding("gpu", state, "; ".join(faults), "kernel_log")
    return finding("gpu", "good", names)


def processes(seen: Seen) -> Finding:
    """Other compute processes."""
    report = partial(finding, "gpu processes")
    devices = seen.gpus.devices
    if not devices:
        return report("warn", "unknown", "driver_first")
    listed = [entry for device in devices for entry in device.processes or ()]
    unread = _some("unknown", [device.processes is None for device in devices])
    busiest = max((device.util_pct for device in devices if device.util_pct is not None), default=0)
    if listed:
        each = [f"{pid}" if held is None else f"{pid} ({held:.1f} GiB)" for pid, held in listed]
        value = ", ".join(each) + (f"; {unread}" if unread else "")
        return report("warn", value, "end", pids=" ".join(str(pid) for pid, _ in listed))
    if unread:
        return report("warn", f"{unread}: the driver does not list them", "update_driver")
    if busiest >= _UNDER_LOAD_PCT:
        return report("warn", f"none listed, but a GPU is at {busiest:g} % load", "outside")
    return report("good", "none")


def _some(word: str, which: Sequence[bool]) -> str:
    """A word for all GPUs, or for how many of them; empty for none."""
    if not any(which):
        return ""
    return word if all(which) else f"{word} of {sum(which)} of {len(which)} GPUs"


def temperature(seen: Seen) -> Finding:
    """Cool enough for a run to start."""
    of_site = float(seen.site.protocol.get("start_below_c", Protocol().start_below_c))
    limit = of_site if seen.start_below_c is None else seen.start_below_c
    report = partial(finding, "gpu temperature", limit=f"{limit:g}")
    known = [device.temp_c for device in seen.gpus.devices if device.temp_c is not None]
    unread = _unread(seen, lambda device: device.temp_c is None)
    if not known:
        return report("warn", unread, _unread_remedy(seen))
    value = ", ".join(f"{temp:g} degrees C" for temp in known) + (f", {unread}" if unread else "")
    if max(known) >= limit:
        return report("warn", value, "wait")
    return report("warn", value, "update_driver") if unread else report("good", value)


def clocks(seen: Seen) -> Finding:
    """The SM clock, and whether a GB10 is in its low-power state, which shows only under load."""
    report = partial(finding, "sm clock")
    clocked = [
        (device.sm_clock_mhz, device.util_pct) if device.uuid not in seen.loaded_mhz
        else (seen.loaded_mhz[device.uuid], _PROBED_PCT)
        for device in seen.gpus.devices
        if device.sm_clock_mhz is not None
    ]  # fmt: skip
    unread = _unread(seen, lambda device: device.sm_clock_mhz is None)
    if not clocked:
        return report("warn", unread, _unread_remedy(seen))
    value = ", ".join(f"{mhz:g} MHz at {_load(busy)}" for mhz, busy in clocked) + (f", {unread}" if unread else "")
    least_mhz = seen.site.with_gpus([device.name for device in seen.gpus.devices]).least_sm_clock_mhz
    if least_mhz is None:
        return report("info", value)
    loaded = [mhz for mhz, busy in clocked if busy is not None and busy >= _UNDER_LOAD_PCT]
    if loaded and min(loaded) < least_mhz:
        return report("warn", value, "power_cycle" if is_spark(seen.site) else "find_cause")
    if loaded and not unread:
        return report("good", value)
    when = "at idle" if all(busy is not None for _, busy in clocked) else "where the load is unknown"
    value += f": {when}, the low-power latch cannot be judged"
    return report("info", value, "checked_later", least=f"{least_mhz:g}")


def _load(busy_pct: float | None) -> str:
    return "unknown load" if busy_pct is None else f"{busy_pct:g} % load"


def throttling(seen: Seen) -> Finding:
    """Reasons that limit the clocks, idleness excluded."""
    masks = [device.reasons for device in seen.gpus.devices if device.reasons is not None]
    unread = _unread(seen, lambda device: device.reasons is None)
    reasons = sorted({what for mask in masks for bit, what in _HELD_DOWN.items() if mask & bit})
    if reasons:
        return finding("throttling", "warn", ", ".join(reasons) + (f"; {unread}" if unread else ""), "cool")
    if unread:
        return finding("throttling", "warn", unread, _unread_remedy(seen))
    return finding("throttling", "good", "none")


def _unread(seen: Seen, missing: Callable[[Gpu], bool]) -> str:
    """`unknown` where no GPU reports a value, `unknown of 1 of 2 GPUs` where some do not; empty where all do."""
    return _some("unknown", [missing(device) for device in seen.gpus.devices]) if seen.gpus.devices else "unknown"


def _unread_remedy(seen: Seen) -> str:
    return "update_driver" if seen.gpus.devices else "driver_first"


def clock_lock(_: Seen) -> Finding:
    """No interface reports it."""
    return finding("clock lock", "info", "whether the SM clock is locked cannot be read", "lock")


def persistence(seen: Seen) -> Finding:
    """Whether NVIDIA's persistence daemon runs."""
    running = (seen.root / "run/nvidia-persistenced/nvidia-persistenced.pid").exists()
    return finding("nvidia-persistenced", "info", "running" if running else "not running, not required")


CHECKS: tuple[Callable[[Seen], Finding], ...] = (
    driver,
    cuda,
    gpu,
    processes,
    temperature,
    clocks,
    throttling,
    clock_lock,
    persistence,
)
