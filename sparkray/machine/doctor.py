"""`doctor`: everything a sweep needs of a machine, its state, why it matters, and what to do.

`look` collects the facts once; every check is a function of them. A simulated site needs no GPU.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from sparkray.config.cpu_list import cpu_list, cpu_numbers
from sparkray.config.model import ModelCard
from sparkray.config.privilege import capability_names
from sparkray.config.site import SPARK, Site
from sparkray.errors import HostError
from sparkray.machine import _gpus, _software
from sparkray.machine._models import memory, models
from sparkray.machine._nvml import read_gpus
from sparkray.machine._ptxas import ask_ptxas, ptxas
from sparkray.machine.capabilities import bounding_set
from sparkray.machine.cores import PARTS, capacities_of, parts_of, performance_cores
from sparkray.machine.cpu_isolation import client_overlaps, housekeeping_of
from sparkray.machine.finding import (
    DockerFacts,
    Finding,
    FlagTrial,
    Gpus,
    Programs,
    Seen,
    State,
    finding,
    is_spark,
    needs_gpu,
)
from sparkray.machine.fingerprint import Machine, fingerprint
from sparkray.machine.load import LoadMeter
from sparkray.machine.lock import MachineLock
from sparkray.telemetry.host import memory_row, parse_meminfo
from sparkray.telemetry.nvml import Nvml

__all__ = ["Finding", "State", "examine", "look", "must_fit", "refusals"]
_DISCRETE = "discrete-gpu"


def look(
    site: Site,
    cards: Sequence[ModelCard] = (),
    *,
    machine: Machine | None = None,
    nvml: Nvml | None = None,
    docker: Callable[[Site], DockerFacts] = _software.docker_facts,
    cache: Path | None = None,
    site_named: bool = True,
    export: Callable[[str], Path] | None = None,
    load: Callable[[], Mapping[str, float]] | None = None,
    try_flags: Callable[[Site], Mapping[str, FlagTrial] | None] | None = None,
    start_below_c: float | None = None,
    meter: LoadMeter | None = None,
    root: Path = Path("/"),
) -> Seen:
    """Collect the facts for the checks.

    Args:
        site: The site to check the machine against.
        cards: The models of its sweep.
        machine: This machine's fingerprint, if already taken.
        nvml: Replaces NVML.
        docker: Queries the Docker engine.
        cache: Where models and exports are kept.
        site_named: False where the site is a fallback for one that could not be recognised.
        export: The folder of an image's files for the native arm, by digest; None skips ptxas.
        load: Gives the GPUs work and returns their SM clocks under it, MHz by UUID; called only on unused GPUs.
        try_flags: Starts a container with the flags of each environment; called only where nobody measures.
        start_below_c: Where runs of the experiment start, degrees C; None takes the site's.
        meter: Measures the load of other programs, read before the machine is given any work; None does not.
        root: Parent of /dev, /proc and /sys.
    """
    busy = meter.read() if meter is not None else None
    gpus = read_gpus(nvml, root=root) if needs_gpu(site) else Gpus()
    here = machine or fingerprint(gpus if needs_gpu(site) else None, root=root)
    engine = docker(site)
    asked = ask_ptxas(site, engine, export) if export is not None and needs_gpu(site) else {}
    programs = _software.programs_of(site)
    floor = site.with_gpus([device.name for device in gpus.devices]).least_sm_clock_mhz
    free = _is_free(here)
    clocks = load() if load is not None and floor is not None and free and _unused(gpus) else {}
    trials = try_flags(site) if try_flags is not None and engine.problem is None and free else None
    return Seen(
        site,
        cards,
        here,
        gpus,
        engine,
        programs,
        root=root,
        cache=cache,
        site_named=site_named,
        ptxas=asked,
        loaded_mhz=clocks,
        trials=trials,
        start_below_c=start_below_c,
        load=busy,
    )


def _is_free(machine: Machine) -> bool:
    """Whether nobody measures here."""
    holder = MachineLock(machine.lock_keys).holder()
    return holder is None or not holder.is_alive()


def _unused(gpus: Gpus) -> bool:
    """Whether it is certain that nobody uses the GPUs."""
    return bool(gpus.devices) and all(
        device.processes == () and not device.unusable and device.util_pct == 0 for device in gpus.devices
    )


def examine(seen: Seen) -> list[Finding]:
    """Every finding, in reading order."""
    checks: list[Callable[[Seen], Finding]] = [_hardware, _site, _software.kernel]
    if is_spark(seen.site):
        checks.append(_software.dgx_os)
    if needs_gpu(seen.site):
        checks += [*_gpus.CHECKS, _software.gpu_access, ptxas]
    checks += [
        _software.docker,
        _software.image,
        _software.flags,
        _software.root,
        _cgroups,
        _limits,
        _governor,
        _cores,
        _load,
    ]
    if seen.site.client_cpus:
        checks.append(_client_cpus)
    checks += [_memory, _page_cache, _swap, _software.disk, _lock]
    return [*(check(seen) for check in checks), *models(seen)]


def refusals(findings: Iterable[Finding]) -> list[str]:
    """Each finding that stops a sweep, in one sentence with its remedy."""
    return [f"{f.name}: {f.value}" + (f" ({f.remedy})" if f.remedy else "") for f in findings if f.state == "stop"]


def must_fit(
    site: Site,
    machine: Machine,
    *,
    nvml: Nvml | None = None,
    docker: Callable[[Site], DockerFacts] = _software.docker_facts,
    root: Path = Path("/"),
) -> None:
    """Refuse a machine that a sweep of a site cannot use, before anything is started, built or exported.

    Every site needs Docker and its image; one with a GPU also that GPU, its driver and a route to it.

    Raises:
        HostError: With every reason.
    """
    gpu = needs_gpu(site)
    programs = Programs(container_toolkit=_software.toolkit_output() if gpu else None)
    gpus = read_gpus(nvml, root=root) if gpu else Gpus()
    seen = Seen(site, (), machine, gpus, docker(site), programs, root=root)
    checks: tuple[Callable[[Seen], Finding], ...] = (_software.docker, _software.image)
    if gpu:
        checks = (_site, _gpus.driver, _gpus.gpu, _software.docker, _software.gpu_access, _software.image)
    reasons = refusals(check(seen) for check in checks)
    if reasons:
        raise HostError(
            f"this machine cannot carry out a sweep of site {site.name}: {'; '.join(reasons)}",
            f"`doctor --site {site.name}` shows more; `plan` needs no such machine",
        )


def _hardware(seen: Seen) -> Finding:
    machine = seen.machine
    facts = machine.facts
    gpus = ", ".join(machine.gpus) or ("NVIDIA GPUs unknown" if machine.gpu_problem else "no NVIDIA GPU")
    parts = f"{machine.host}: {facts.get('cpus')} x {facts.get('cpu')}, {facts.get('memory_gib')} GiB, {gpus}"
    return finding("machine", "info", f"{parts}; {facts.get('os')}, kernel {facts.get('kernel')}")


def _site(seen: Seen) -> Finding:
    site, here, machine = seen.site, seen.machine.site, seen.machine
    unread = f"the NVIDIA GPUs cannot be read ({machine.gpu_problem})"
    if here is None and not site.simulated and (needs_gpu(site) or not seen.site_named):
        remedy = "fix_gpu" if needs_gpu(site) else "without_gpu"
        return finding("site", "stop", f"not recognised: {unread}", remedy, gpu_remedy=machine.gpu_remedy)
    wrong = (
        (is_spark(site) and here != SPARK)
        or (needs_gpu(site) and not machine.gpus)
        or (site.name == _DISCRETE and here != _DISCRETE)
    )
    if wrong:
        return finding("site", "stop", f"{site.name} asked for, this machine is {here}", "named", site=here)
    if here is None and not site.simulated:
        return replace(finding("site", "warn", f"{site.name}, but {unread}"), remedy=machine.gpu_remedy)
    return finding("site", "good", f"{site.name}, simulated" if site.simulated else site.name)


def _cgroups(seen: Seen) -> Finding:
    return finding("cgroups", "info", f"version {seen.machine.facts.get('cgroup_version')}")


def _limits(seen: Seen) -> Finding:
    mask = bounding_set(seen.root / "proc/self/status")
    if mask is None:
        return finding("capabilities", "warn", "cannot be read", "mount")
    if "SYS_RESOURCE" in capability_names(mask):
        return finding("capabilities", "good", "CAP_SYS_RESOURCE is available")
    return finding("capabilities", "info", "CAP_SYS_RESOURCE is missing")


def _governor(seen: Seen) -> Finding:
    paths = sorted(seen.root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor"))
    governors = sorted({(seen.text(str(path.relative_to(seen.root))) or "").strip() for path in paths} - {""})
    if not governors:
        return finding("governor", "info", "none: this system does not set the clock")
    if governors == ["performance"]:
        return finding("governor", "good", "performance")
    return finding("governor", "warn", ", ".join(governors), "performance")


def _cores(seen: Seen) -> Finding:
    """The fast CPUs, and whether the site pins to others."""
    cpuinfo = seen.text("proc/cpuinfo") or ""
    parts = parts_of(cpuinfo)
    fast = performance_cores(cpuinfo, capacities_of(seen.root))
    if len(fast) == len(parts):
        return finding("performance cores", "info", f"all {len(parts)} CPUs are of one kind")
    kinds = sorted({PARTS.get(part, "unknown part") for cpu in fast if (part := parts[cpu]) is not None})
    value = f"{cpu_list(fast)} of {len(parts)}" + (f" ({', '.join(kinds)})" if kinds else "")
    pinned = _cpusets(seen.site)
    wrong = [f"{name} pins to {cpus}" for name, cpus in pinned.items() if not cpu_numbers(cpus) <= set(fast)]
    if not wrong:
        return finding("performance cores", "good", value)
    return finding("performance cores", "warn", f"{value}; {', '.join(wrong)}", "pin", cpus=cpu_list(fast))


def _cpusets(site: Site) -> dict[str, str]:
    """`--cpuset-cpus` by environment and mode, of those that have it."""
    options = {name: environment.options for name, environment in site.environments.items()}
    options |= {f"mode {name}": mode for name, mode in site.modes.items()}
    return {name: option.cpuset_cpus for name, option in options.items() if option.cpuset_cpus}


def _load(seen: Seen) -> Finding:
    """CPU time of other programs over a second."""
    if seen.load is None:
        return finding("load", "info", "not measured")
    return finding(
        "load", "warn" if seen.load.is_noisy else "good", seen.load.text, "end" if seen.load.is_noisy else ""
    )


def _client_cpus(seen: Seen) -> Finding:
    """Whether the load generator can be pinned where the site wants it, and keeps off the engine's CPUs."""
    cpuinfo, own = seen.text("proc/cpuinfo") or "", seen.site.client_cpus
    every = frozenset(parts_of(cpuinfo))
    if not every:
        return finding("client CPUs", "warn", f"{own}; the machine's CPUs cannot be read", "mount")
    if missing := cpu_numbers(own) - every:
        return finding("client CPUs", "stop", f"{own}; no CPU {cpu_list(missing)}", "missing", cpus=cpu_list(every))
    fast = performance_cores(cpuinfo, capacities_of(seen.root))
    left = housekeeping_of(seen.site.engine_cpus, every, lambda: fast)
    shared = [f"{cpu_list(both)} is in engine_cpus"] if (both := cpu_numbers(own) - left) else []
    if shared := [*shared, *client_overlaps(own, _cpusets(seen.site))]:
        return finding("client CPUs", "warn", f"{own}; {'; '.join(shared)}", "shared")
    return finding("client CPUs", "good", own)


def _meminfo(seen: Seen) -> dict[str, float | None]:
    """GiB by the names of the samples."""
    return memory_row(parse_meminfo(seen.text("proc/meminfo") or ""))


def _memory(seen: Seen) -> Finding:
    return memory(seen, _meminfo(seen)["mem_available_gib"])


def _page_cache(seen: Seen) -> Finding:
    cached = _meminfo(seen)["page_cache_gib"]
    return finding("page cache", "info", "cannot be read" if cached is None else f"{cached:.1f} GiB", "drop")


def _swap(seen: Seen) -> Finding:
    used = _meminfo(seen)["swap_used_gib"]
    return (
        finding("swap", "warn", f"{used:.2f} GiB in use", "empty") if used else finding("swap", "good", "none in use")
    )


def _lock(seen: Seen) -> Finding:
    holder = MachineLock(seen.machine.lock_keys).holder()
    if holder is not None and holder.is_alive():
        return finding("lock", "warn", f"held by process {holder.pid} (user id {holder.user})", "wait")
    return finding("lock", "good", "free")
