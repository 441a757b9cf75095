"""Software checks of `doctor`: DGX OS, Docker, NVIDIA's container toolkit, the image."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound

from sparkray.config.site import Site
from sparkray.docker_engine import connect, docker_errors
from sparkray.errors import DockerError
from sparkray.machine.finding import DockerFacts, Finding, ImageFacts, Programs, Seen, finding, needs_gpu, output_of
from sparkray.units import GIB, gib

BUILT_HERE = ("venv", "double")
_DGX = re.compile(r'^(DGX_\w+)="?([^"\n]*)"?$', re.MULTILINE)
_TOOLKIT = re.compile(r"version:? v?([\d.]+\S*)")
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
    return DockerFacts(
        version=str(version.get("Version")),
        api=str(version.get("ApiVersion")),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
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
        output_of("nvidia-ctk", "--version") or output_of("nvidia-container-cli", "--version"),
    )


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
    return finding("docker", "good", f"{seen.docker.version} (API {seen.docker.api})")


def toolkit(seen: Seen) -> Finding:
    """NVIDIA's container toolkit, which `--gpus all` needs."""
    output = seen.programs.container_toolkit
    registered = "nvidia" in seen.docker.runtimes
    if output is None and not registered:
        return finding("container toolkit", "stop", "none", "install")
    where = "a runtime of Docker" if registered else "no runtime of Docker, which `--gpus` does not need"
    match = _TOOLKIT.search(output or "")
    return finding("container toolkit", "good", f"{match[1] if match else 'version unknown'}; {where}")


def image(seen: Seen) -> Finding:
    """The site's image, as an identity."""
    reference, facts = seen.site.image, seen.docker.image
    if reference in BUILT_HERE:
        return finding("image", "info", f"{reference}: built here at the first sweep")
    if facts is None:
        return finding("image", "stop", f"{reference} is not on this machine", "pull", image=reference)
    return finding("image", "good", f"{reference}, {facts.digest}, {gib(facts.size):.1f} GiB")


def root(_: Seen) -> Finding:
    """Root, or sudo."""
    if os.geteuid() == 0:
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
