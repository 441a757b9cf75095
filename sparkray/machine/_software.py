"""Software checks of `doctor`: DGX OS, Docker, the routes to a GPU, the flags, the image."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound

from sparkray.config.gpu_access import CDI, DEVICES, RUNTIME
from sparkray.config.site import HOST_FILES, Site
from sparkray.docker_engine import connect, docker_errors, endpoint
from sparkray.errors import DockerError
from sparkray.machine.finding import DockerFacts, Finding, ImageFacts, Programs, Seen, finding, needs_gpu, output_of
from sparkray.runtimes.linux.gpu_routes import routes_for
from sparkray.runtimes.linux.root_part import has_root
from sparkray.units import GIB, gib

BUILT_HERE = ("venv", "double", HOST_FILES)
_DGX = re.compile(r'^(DGX_\w+)="?([^"\n]*)"?$', re.MULTILINE)
_TOOLKIT = re.compile(r"version:? v?([\d.]+\S*)")
_NAMES = {
    RUNTIME: "runtime (--gpus)",
    CDI: "cdi (--device nvidia.com/gpu=...)",
    DEVICES: "devices (--device /dev/nvidia...)",
}
_EXPORT_FACTOR = 2
_LEAST_FREE_GIB = 2.0


def docker_facts(site: Site) -> DockerFacts:
    """Facts about the local Docker engine, and whether it has the site's image."""
    try:
        client = connect()
        with docker_errors("docker info"):
            version, info = client.version(), client.info()
            try:
                image = None if site.image in BUILT_HERE else client.images.get(site.image)
            except ImageNotFound:
                image = None
    except DockerError as error:
        return DockerFacts(problem=error.message, remedy=error.remedy)
    where, named_by = endpoint()
    return DockerFacts(
        where=f"{where} ({named_by})" if named_by else "",
        version=str(version.get("Version")),
        api=str(version.get("ApiVersion")),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        cdi_dirs=tuple(info.get("CDISpecDirs") or ()),
        image=None if image is None else ImageFacts(str(image.id), int(image.attrs["Size"]), _variables(image.attrs)),
    )


def _variables(attributes: Mapping[str, Any]) -> dict[str, str]:
    pairs = (item.partition("=") for item in (attributes.get("Config") or {}).get("Env") or [])
    return {name: value for name, _, value in pairs}


def programs_of(site: Site) -> Programs:
    """Output of NVIDIA's programs; none are run where the site has no GPU."""
    if not needs_gpu(site):
        return Programs()
    return Programs(
        output_of("nvidia-smi", "--version") or output_of("nvidia-smi"),
        toolkit_output(),
    )


def toolkit_output() -> str | None:
    """What NVIDIA's container toolkit prints of its version; None where it is not here."""
    return output_of("nvidia-ctk", "--version") or output_of("nvidia-container-cli", "--version")


def kernel(seen: Seen) -> Finding:
    """Which kernel and operating system."""
    facts = seen.machine.facts
    return finding("kernel", "info", f"{facts.get('kernel')}, {facts.get('os')}")


def dgx_os(seen: Seen) -> Finding:
    """DGX OS release; over-the-air updates have their own number."""
    release = dict(_DGX.findall(seen.text("etc/dgx-release") or ""))
    version = release.get("DGX_OTA_VERSION") or release.get("DGX_SWBUILD_VERSION")
    if version is None:
        return finding("dgx os", "warn", "none (no /etc/dgx-release)", "install")
    return finding("dgx os", "good", f"{release.get('DGX_PRETTY_NAME', 'DGX')} {version}")


def docker(seen: Seen) -> Finding:
    """Whether a Docker engine answers."""
    if seen.docker.problem is not None:
        stop = finding("docker", "stop", seen.docker.problem, "restart")
        return replace(stop, remedy=seen.docker.remedy) if seen.docker.remedy else stop
    at = f" at {seen.docker.where}" if seen.docker.where else ""
    return finding("docker", "good", f"{seen.docker.version} (API {seen.docker.api}){at}")


def gpu_access(seen: Seen) -> Finding:
    """By which route a container gets the GPUs: as tried, else by what the machine has."""
    report = partial(finding, "gpu access")
    version = _toolkit(seen)
    routes = {trial.route for trial in (seen.trials or {}).values() if trial.route is not None}
    if routes:
        tools = f"; {version}" if RUNTIME in routes and version else ""
        return report("good", f"{', '.join(sorted(_NAMES[route] for route in routes))}, as tried{tools}")
    if version is not None:
        return report("good", f"{_NAMES[RUNTIME]}: {version}")
    others = routes_for("all", seen.docker.cdi_dirs, seen.root)
    there = [_NAMES[route.name] for route in others if not route.missing]
    if there:
        return report("good", f"{there[0]}: no container toolkit, and `--gpus` is replaced")
    lacking = "; ".join(f"{route.name}: {route.missing}" for route in others)
    return report("stop", f"none: no container toolkit; {lacking}", "install")


def _toolkit(seen: Seen) -> str | None:
    """NVIDIA's container toolkit, in words; None where there is none."""
    output = seen.programs.container_toolkit
    registered = "nvidia" in seen.docker.runtimes
    if output is None and not registered:
        return None
    where = "a runtime of Docker" if registered else "no runtime of Docker, which `--gpus` does not need"
    match = _TOOLKIT.search(output or "")
    return f"container toolkit {match[1] if match else 'of unknown version'}; {where}"


def flags(seen: Seen) -> Finding:
    """Whether Docker starts containers with the site's flags, as tried."""
    report = partial(finding, "flags")
    if seen.trials is None:
        return report("info", "not tried")
    stopped = {name: trial for name, trial in seen.trials.items() if trial.problem is not None}
    if stopped:
        first = next(iter(stopped.values()))
        stop = report("stop", "; ".join(dict.fromkeys(str(trial.problem) for trial in stopped.values())), "leave_out")
        return replace(stop, remedy=first.remedy) if first.remedy else stop
    changed = [f"{name}: {text}" for name, trial in seen.trials.items() for text in trial.deviations]
    if changed:
        return report("info", "; ".join(changed))
    return report("good", f"a container starts with those of {', '.join(seen.trials)}")


def image(seen: Seen) -> Finding:
    """The site's image, as an identity."""
    reference, facts = seen.site.image, seen.docker.image
    if reference == HOST_FILES:
        folders = seen.site.host_files
        absent = [folder for folder in folders if not (seen.root / folder.lstrip("/")).is_dir()]
        if absent:
            return finding("image", "stop", f"{reference}: {', '.join(absent)} is no folder here", "folders")
        return finding("image", "info", f"{reference}: {', '.join(folders)} of this machine, bound read-only")
    if reference in BUILT_HERE:
        return finding("image", "info", f"{reference}: built here at the first sweep")
    if facts is None:
        return finding("image", "stop", f"{reference} is not on this machine", "pull", image=reference)
    return finding("image", "good", f"{reference}, {facts.digest}, {gib(facts.size):.1f} GiB")


def root(_: Seen) -> Finding:
    """Root, or sudo."""
    if has_root():
        return finding("root", "good", "yes")
    if shutil.which("sudo"):
        return finding("root", "warn", "no, but sudo exists", "sudo")
    return finding("root", "stop", "no, and no sudo", "become")


def disk(seen: Seen) -> Finding:
    """Free space for samples here, and for the image's export in the cache."""
    free = shutil.disk_usage(Path.cwd()).free
    value = f"{gib(free):.1f} GiB free here"
    if free <= _LEAST_FREE_GIB * GIB:
        return finding("disk", "stop", value, "free")
    if seen.cache is None or seen.docker.image is None:
        return finding("disk", "good", value)
    folder = next(path for path in (seen.cache, *seen.cache.parents) if path.exists())
    room, needed = shutil.disk_usage(folder).free, _EXPORT_FACTOR * seen.docker.image.size
    value += f", {gib(room):.1f} GiB at {seen.cache}"
    if room < needed:
        return finding("disk", "warn", value, "free_cache", needed=f"{gib(needed):.0f}")
    return finding("disk", "good", value)
