"""What `doctor` looks at where the site has a GPU: driver, CUDA, GPU, neighbours, heat, clocks."""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import pynvml

from sparkray.config.experiment import Protocol
from sparkray.machine.finding import Finding, Gpu, Gpus, Seen, is_spark
from sparkray.telemetry.nvml import Nvml, ask
from sparkray.units import gib

_UNDER_LOAD_PCT = 50
_LEAST_DRIVER, _LEAST_CUDA = 580, 13
_CUDA = re.compile(r"CUDA(?: UMD)? Version\s*:\s*(\d+)\.(\d+)")
_HELD_DOWN = {
    pynvml.nvmlClocksThrottleReasonHwSlowdown: "hardware slowdown",
    pynvml.nvmlClocksThrottleReasonSwThermalSlowdown: "thermal slowdown (driver)",
    pynvml.nvmlClocksThrottleReasonHwThermalSlowdown: "thermal slowdown (hardware)",
    pynvml.nvmlClocksThrottleReasonHwPowerBrakeSlowdown: "power brake",
}
_DRIVER_FIRST = "See to the driver first"


def gpus_of(nvml: Nvml | None = None) -> Gpus:
    """Every GPU that NVML sees, as it is now."""
    library = cast("Nvml", pynvml) if nvml is None else nvml
    try:
        library.nvmlInit()
    except pynvml.NVMLError as error:
        return Gpus(unavailable=f"NVML: {error}")
    version: str | None = None
    try:
        version = library.nvmlSystemGetDriverVersion()
        handles = [library.nvmlDeviceGetHandleByIndex(i) for i in range(library.nvmlDeviceGetCount())]
        devices = tuple(_gpu(library, handle) for handle in handles)
        return Gpus(devices, version, None if devices else "NVML sees no GPU")
    except pynvml.NVMLError as error:
        return Gpus((), version, f"NVML: {error}")
    finally:
        with suppress(pynvml.NVMLError):
            library.nvmlShutdown()


def _gpu(nvml: Nvml, handle: Any) -> Gpu:  # noqa: ANN401 - an opaque pointer
    utilisation = ask(nvml.nvmlDeviceGetUtilizationRates, handle)
    memory = ask(nvml.nvmlDeviceGetMemoryInfo, handle)
    reasons = ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
    held = ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle) or ()
    return Gpu(
        uuid=nvml.nvmlDeviceGetUUID(handle),
        name=nvml.nvmlDeviceGetName(handle),
        temp_c=ask(nvml.nvmlDeviceGetTemperature, handle, pynvml.NVML_TEMPERATURE_GPU),
        sm_clock_mhz=ask(nvml.nvmlDeviceGetClockInfo, handle, pynvml.NVML_CLOCK_SM),
        util_pct=None if utilisation is None else utilisation.gpu,
        reasons=ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle) if reasons is None else reasons,
        memory_gib=None if memory is None else gib(memory.total),
        processes=tuple((p.pid, None if p.usedGpuMemory is None else gib(p.usedGpuMemory)) for p in held),
    )


def driver(seen: Seen) -> Finding:
    """There, and new enough for the image's CUDA."""
    why = "the engine talks to the GPU through it; its version stands in every row"
    version = seen.gpus.driver
    if version is None:
        remedy = "Install NVIDIA's driver (DGX OS brings it), then reboot"
        return Finding("driver", "stop", f"none ({seen.gpus.unavailable})", why, remedy)
    if is_spark(seen.site) and int(version.partition(".")[0]) < _LEAST_DRIVER:
        remedy = f"Update DGX OS: the images for the Spark need driver {_LEAST_DRIVER} or newer"
        return Finding("driver", "stop", version, why, remedy)
    return Finding("driver", "good", version, why)


def cuda(seen: Seen) -> Finding:
    """The newest CUDA that the driver runs."""
    why = "an image with a newer CUDA than the driver's does not start"
    match = _CUDA.search(seen.programs.nvidia_smi or "")
    if match is None:
        value = "not told (no nvidia-smi)" if seen.programs.nvidia_smi is None else "not told by nvidia-smi"
        return Finding("cuda", "warn" if seen.gpus.driver else "stop", value, why, _DRIVER_FIRST)
    value = f"{match[1]}.{match[2]}"
    if is_spark(seen.site) and int(match[1]) < _LEAST_CUDA:
        return Finding("cuda", "stop", value, why, f"Update DGX OS: GB10 needs CUDA {_LEAST_CUDA}")
    return Finding("cuda", "good", value, why)


def gpu(seen: Seen) -> Finding:
    """Which GPUs there are."""
    why = "the site's sizes, bandwidth and flags are of its GPU"
    names = ", ".join(device.name for device in seen.gpus.devices)
    if not names:
        return Finding("gpu", "stop", f"none ({seen.gpus.unavailable})", why, _DRIVER_FIRST)
    return Finding("gpu", "good", names, why)


def processes(seen: Seen) -> Finding:
    """Who else computes on a GPU."""
    why = "whoever else uses the GPU takes time and memory from every run"
    if not seen.gpus.devices:
        return Finding("gpu processes", "warn", "cannot be seen", why, _DRIVER_FIRST)
    found = [entry for device in seen.gpus.devices for entry in device.processes]
    if not found:
        return Finding("gpu processes", "good", "none", why)
    value = ", ".join(f"{pid}" if held is None else f"{pid} ({held:.1f} GiB)" for pid, held in found)
    return Finding("gpu processes", "warn", value, why, f"End them: {' '.join(str(pid) for pid, _ in found)}")


def temperature(seen: Seen) -> Finding:
    """Cool enough for a run to start."""
    limit = Protocol().start_below_c
    why = f"runs start below {limit:g} degrees C, so that heat left by one is not measured in the next"
    told = [device.temp_c for device in seen.gpus.devices if device.temp_c is not None]
    if not told:
        return Finding("gpu temperature", "warn", "cannot be seen", why, _DRIVER_FIRST)
    value = ", ".join(f"{temp:g} degrees C" for temp in told)
    if max(told) < limit:
        return Finding("gpu temperature", "good", value, why)
    return Finding("gpu temperature", "warn", value, why, "Wait; if it stays so at idle, give the machine cooler air")


def clocks(seen: Seen) -> Finding:
    """The SM clock, and whether a GB10 is caught in its low-power state, which shows only under load."""
    why = "a Spark's power supply can latch its GPU at 500 to 850 MHz: it survives a reboot, and no counter tells of it"
    told = [(device.sm_clock_mhz, device.util_pct or 0) for device in seen.gpus.devices]
    clocked = [(mhz, busy) for mhz, busy in told if mhz is not None]
    if not clocked:
        return Finding("sm clock", "warn", "cannot be seen", why, _DRIVER_FIRST)
    loaded = [mhz for mhz, busy in clocked if busy >= _UNDER_LOAD_PCT]
    value = ", ".join(f"{mhz:g} MHz at {busy:g} % load" for mhz, busy in clocked)
    least_mhz = seen.site.least_sm_clock_mhz
    if least_mhz is None:
        return Finding("sm clock", "info", value, "it stands in the samples of every run")
    if not loaded:
        return Finding(
            "sm clock",
            "info",
            f"{value}: at idle, the low-power latch cannot be judged",
            why,
            f"Nothing: a run that is below {least_mhz:g} MHz under load is refused by the check `thermal`",
        )
    if min(loaded) < least_mhz:
        remedy = "Shut down, pull the power cord out of the supply for a minute, and start again"
        return Finding("sm clock", "warn", value, why, remedy)
    return Finding("sm clock", "good", value, why)


def throttling(seen: Seen) -> Finding:
    """What holds the clocks down, idleness apart."""
    why = "a GPU that is held down measures its cooling or its power supply"
    masks = [device.reasons for device in seen.gpus.devices if device.reasons is not None]
    if not masks:
        return Finding("throttling", "warn", "cannot be seen", why, _DRIVER_FIRST)
    found = sorted({what for mask in masks for bit, what in _HELD_DOWN.items() if mask & bit})
    if found:
        return Finding(
            "throttling", "warn", ", ".join(found), why, "Let it cool down; use the power supply it came with"
        )
    return Finding("throttling", "good", "none", why)


def clock_lock(_: Seen) -> Finding:
    """No interface tells of it, so it is said."""
    return Finding(
        "clock lock",
        "info",
        "whether the SM clock is locked cannot be read",
        "a locked clock takes the GPU's own ups and downs out of a comparison; both arms see the same either way",
        "To lock it: sudo nvidia-smi -lgc 0,2100; to free it: sudo nvidia-smi -rgc",
    )


def persistence(seen: Seen) -> Finding:
    """Whether NVIDIA's persistence daemon runs."""
    running = (seen.root / "run/nvidia-persistenced/nvidia-persistenced.pid").exists()
    why = "it keeps the driver loaded between runs; not required: the samplers hold it open throughout a run"
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
