"""GPU checks of `doctor`: driver, CUDA, GPU, other processes, temperature, clocks.

A value that NVML does not report is unknown, a warning of its own: never 0, and never "none".
"""

import re
from collections.abc import Callable, Sequence

import pynvml

from sparkray.config.experiment import Protocol
from sparkray.machine.finding import Finding, Gpu, Seen, State, is_spark

_UNDER_LOAD_PCT = 50
_PROBED_PCT = 100.0
"""The load of a GPU that doctor itself gave work to."""
_LEAST_DRIVER, _LEAST_CUDA = 580, 13
_CUDA = re.compile(r"CUDA(?: UMD)? Version\s*:\s*(\d+)\.(\d+)")
_HELD_DOWN = {
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "thermal slowdown (driver)",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "thermal slowdown (hardware)",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}
_DRIVER_FIRST = "Fix the driver first"
_UNREAD = "Update the driver, if an older one lacks the call; `nvidia-smi -q` shows what it reports"


def driver(seen: Seen) -> Finding:
    """Present, and new enough for the image's CUDA."""
    why = "the engine needs it; its version is recorded in every row"
    version = seen.gpus.driver
    if version is None and seen.gpus.problem and not seen.gpus.devices:
        return Finding("driver", "stop", f"fails: {seen.gpus.problem}", why, seen.gpus.remedy)
    if version is None and seen.gpus.devices:
        return Finding("driver", "warn", "version unknown: NVML does not report it", why, _UNREAD)
    if version is None:
        remedy = "Install NVIDIA's driver (DGX OS brings it), then reboot"
        return Finding("driver", "stop", f"none ({seen.gpus.unavailable})", why, remedy)
    major = re.match(r"\d+", version)
    if is_spark(seen.site) and major is not None and int(major[0]) < _LEAST_DRIVER:
        remedy = f"Update DGX OS: the images for the Spark need driver {_LEAST_DRIVER} or newer"
        return Finding("driver", "stop", version, why, remedy)
    return Finding("driver", "good", version, why)


def cuda(seen: Seen) -> Finding:
    """The newest CUDA version that the driver supports."""
    why = "an image with a newer CUDA than the driver's does not start"
    match = _CUDA.search(seen.programs.nvidia_smi or "")
    if match is None:
        value = "unknown (no nvidia-smi)" if seen.programs.nvidia_smi is None else "not reported by nvidia-smi"
        if seen.gpus.driver is None and not seen.gpus.devices:
            return Finding("cuda", "stop", value, why, _DRIVER_FIRST)
        return Finding("cuda", "warn", value, why, "Install nvidia-smi, which comes with the driver's utilities")
    value = f"{match[1]}.{match[2]}"
    if is_spark(seen.site) and int(match[1]) < _LEAST_CUDA:
        return Finding("cuda", "stop", value, why, f"Update DGX OS: GB10 needs CUDA {_LEAST_CUDA}")
    return Finding("cuda", "good", value, why)


def gpu(seen: Seen) -> Finding:
    """Which GPUs exist, and whether each answers."""
    why = "the site's memory, bandwidth and flags are those of its GPU"
    gpus = seen.gpus
    names = ", ".join(device.name for device in gpus.devices)
    if gpus.problem:
        value = f"{names}; {gpus.problem}" if names else f"unknown: {gpus.problem}"
        return Finding("gpu", "stop", value, why, gpus.remedy if gpus.driver else _DRIVER_FIRST)
    if not names:
        return Finding("gpu", "stop", f"none ({gpus.unavailable})", why, _DRIVER_FIRST)
    faults = [f"{device.name}: {fault}" for device in gpus.devices for fault in device.faults]
    if faults:
        state: State = "stop" if any(device.unusable for device in gpus.devices) else "warn"
        return Finding("gpu", state, "; ".join(faults), why, "`dmesg | grep -i -e nvrm -e xid` may show the cause")
    return Finding("gpu", "good", names, why)


def processes(seen: Seen) -> Finding:
    """Other compute processes."""
    name, why = "gpu processes", "other processes take GPU time and memory from every run"
    if not seen.gpus.devices:
        return Finding(name, "warn", "unknown", why, _DRIVER_FIRST)
    found = [entry for device in seen.gpus.devices for entry in device.processes or ()]
    unread = _some("unknown", [device.processes is None for device in seen.gpus.devices])
    if not found and unread:
        return Finding(name, "warn", f"{unread}: the driver does not list them", why, _UNREAD)
    busy = [
        device for device in seen.gpus.devices if device.util_pct is not None and device.util_pct >= _UNDER_LOAD_PCT
    ]
    if not found and busy:
        value = f"none listed, but a GPU is at {max(device.util_pct or 0 for device in busy):g} % load"
        remedy = "Look for the process outside this container or PID namespace: nvidia-smi on the host"
        return Finding(name, "warn", value, why, remedy)
    if not found:
        return Finding(name, "good", "none", why)
    each = [f"{pid}" if held is None else f"{pid} ({held:.1f} GiB)" for pid, held in found]
    value = ", ".join(each) + (f"; {unread}" if unread else "")
    return Finding(name, "warn", value, why, f"End them: {' '.join(str(pid) for pid, _ in found)}")


def _some(word: str, which: Sequence[bool]) -> str:
    """A word for all GPUs, or for how many of them; empty for none."""
    if not any(which):
        return ""
    return word if all(which) else f"{word} of {sum(which)} of {len(which)} GPUs"


def temperature(seen: Seen) -> Finding:
    """Cool enough for a run to start."""
    limit = float(seen.site.protocol.get("start_below_c", Protocol().start_below_c))
    name = "gpu temperature"
    why = f"runs start below {limit:g} degrees C, so that heat left by one is not measured in the next"
    reported = [device.temp_c for device in seen.gpus.devices if device.temp_c is not None]
    unread = _unread(seen, lambda device: device.temp_c is None)
    if not reported:
        return Finding(name, "warn", unread, why, _unread_remedy(seen))
    value = ", ".join(f"{temp:g} degrees C" for temp in reported) + (f", {unread}" if unread else "")
    if max(reported) >= limit:
        return Finding(name, "warn", value, why, "Wait; if it stays so at idle, give the machine cooler air")
    return Finding(name, "warn" if unread else "good", value, why, _UNREAD if unread else "")


def clocks(seen: Seen) -> Finding:
    """The SM clock, and whether a GB10 is in its low-power state, which shows only under load."""
    why = "a Spark's power supply can latch its GPU at 500 to 850 MHz: it survives a reboot, and no counter tells of it"
    clocked = [
        (device.sm_clock_mhz, device.util_pct) if device.uuid not in seen.loaded_mhz
        else (seen.loaded_mhz[device.uuid], _PROBED_PCT)
        for device in seen.gpus.devices
        if device.sm_clock_mhz is not None
    ]  # fmt: skip
    unread = _unread(seen, lambda device: device.sm_clock_mhz is None)
    if not clocked:
        return Finding("sm clock", "warn", unread, why, _unread_remedy(seen))
    value = ", ".join(f"{mhz:g} MHz at {_load(busy)}" for mhz, busy in clocked) + (f", {unread}" if unread else "")
    least_mhz = seen.site.with_gpus([device.name for device in seen.gpus.devices]).least_sm_clock_mhz
    if least_mhz is None:
        return Finding("sm clock", "info", value, "recorded in the samples of every run")
    loaded = [mhz for mhz, busy in clocked if busy is not None and busy >= _UNDER_LOAD_PCT]
    if loaded and min(loaded) < least_mhz:
        remedy = "Find what holds the clock down: nvidia-smi -q -d PERFORMANCE,CLOCK"
        if is_spark(seen.site):
            remedy = "Shut down, pull the power cord out of the supply for a minute, and start again"
        return Finding("sm clock", "warn", value, why, remedy)
    if loaded and not unread:
        return Finding("sm clock", "good", value, why)
    when = "at idle" if all(busy is not None for _, busy in clocked) else "where the load is unknown"
    return Finding(
        "sm clock",
        "info",
        f"{value}: {when}, the low-power latch cannot be judged",
        why,
        f"Nothing: a run that is below {least_mhz:g} MHz under load is refused by the check `thermal`",
    )


def _load(busy_pct: float | None) -> str:
    return "unknown load" if busy_pct is None else f"{busy_pct:g} % load"


def throttling(seen: Seen) -> Finding:
    """Reasons that limit the clocks, idleness excluded."""
    why = "a throttled GPU measures its cooling or its power supply"
    masks = [device.reasons for device in seen.gpus.devices if device.reasons is not None]
    unread = _unread(seen, lambda device: device.reasons is None)
    found = sorted({what for mask in masks for bit, what in _HELD_DOWN.items() if mask & bit})
    if found:
        value = ", ".join(found) + (f"; {unread}" if unread else "")
        return Finding("throttling", "warn", value, why, "Let it cool down; use the power supply it came with")
    if unread:
        return Finding("throttling", "warn", unread, why, _unread_remedy(seen))
    return Finding("throttling", "good", "none", why)


def _unread(seen: Seen, missing: Callable[[Gpu], bool]) -> str:
    """`unknown` where no GPU reports a value, `unknown of 1 of 2 GPUs` where some do not; empty where all do."""
    return _some("unknown", [missing(device) for device in seen.gpus.devices]) if seen.gpus.devices else "unknown"


def _unread_remedy(seen: Seen) -> str:
    return _UNREAD if seen.gpus.devices else _DRIVER_FIRST


def clock_lock(_: Seen) -> Finding:
    """No interface reports it."""
    return Finding(
        "clock lock",
        "info",
        "whether the SM clock is locked cannot be read",
        "a locked clock removes clock variation from a comparison; both arms are affected alike",
        "To lock it: sudo nvidia-smi -lgc 0,2100; to free it: sudo nvidia-smi -rgc",
    )


def persistence(seen: Seen) -> Finding:
    """Whether NVIDIA's persistence daemon runs."""
    running = (seen.root / "run/nvidia-persistenced/nvidia-persistenced.pid").exists()
    why = "keeps the driver loaded between runs; not required: the samplers keep it open during a run"
    return Finding("nvidia-persistenced", "info", "running" if running else "not running, not required", why)


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
