"""Software checks of `doctor`: DGX OS, Docker, NVIDIA's container toolkit, the image."""

import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound

from sparkray.config.site import Site
from sparkray.docker_engine import connect, docker_errors
from sparkray.errors import DockerError
from sparkray.machine.finding import DockerFacts, Finding, ImageFacts, Programs, Seen, needs_gpu, said_by
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
        with docker_errors("asking the Docker engine about itself"):
            version, info = client.version(), client.info()
            try:
                found = None if site.image in BUILT_HERE else client.images.get(site.image)
            except ImageNotFound:
                found = None
    except DockerError as error:
        return DockerFacts(problem=error.message, remedy=error.remedy)
    return DockerFacts(
        version=str(version.get("Version")),
        api=str(version.get("ApiVersion")),
        runtimes=tuple(sorted(info.get("Runtimes") or {})),
        image=None if found is None else ImageFacts(str(found.id), int(found.attrs["Size"]), _variables(found.attrs)),
    )


def _variables(attributes: Mapping[str, Any]) -> dict[str, str]:
    pairs = (item.partition("=") for item in (attributes.get("Config") or {}).get("Env") or [])
    return {name: value for name, _, value in pairs}


def programs_of(site: Site) -> Programs:
    """Output of NVIDIA's programs; none are run where the site has no GPU."""
    if not needs_gpu(site):
        return Programs()
    return Programs(
        said_by("nvidia-smi", "--version") or said_by("nvidia-smi"),
        said_by("nvidia-ctk", "--version") or said_by("nvidia-container-cli", "--version"),
    )


def kernel(seen: Seen) -> Finding:
    """Which kernel and operating system."""
    facts = seen.machine.facts
    return Finding("kernel", "info", f"{facts.get('kernel')}, {facts.get('os')}", "recorded in every row")


def dgx_os(seen: Seen) -> Finding:
    """DGX OS release; over-the-air updates have their own number."""
    why = (
        "driver, CUDA and container toolkit of one release were tested together; others differ in the memory they leave"
    )
    release = dict(_DGX.findall(seen.text("etc/dgx-release") or ""))
    version = release.get("DGX_OTA_VERSION") or release.get("DGX_SWBUILD_VERSION")
    if version is None:
        return Finding("dgx os", "warn", "none (/etc/dgx-release is not there)", why, "Install DGX OS on a DGX Spark")
    return Finding("dgx os", "good", f"{release.get('DGX_PRETTY_NAME', 'DGX')} {version}", why)


def docker(seen: Seen) -> Finding:
    """Whether a Docker engine answers."""
    why = "the container arms run in it, and the native arm's files are exported from its image"
    if seen.docker.problem is not None:
        return Finding("docker", "stop", seen.docker.problem, why, seen.docker.remedy or "Restart the engine")
    return Finding("docker", "good", f"{seen.docker.version} (API {seen.docker.api})", why)


def toolkit(seen: Seen) -> Finding:
    """NVIDIA's container toolkit, which `--gpus all` needs."""
    why = "`--gpus all` needs it"
    said = seen.programs.container_toolkit
    registered = "nvidia" in seen.docker.runtimes
    where = "a runtime of Docker" if registered else "no runtime of Docker, which `--gpus` does not need"
    if said is None and not registered:
        remedy = (
            "Install nvidia-container-toolkit, then: sudo nvidia-ctk runtime configure && sudo systemctl restart docker"
        )
        return Finding("container toolkit", "stop", "none", why, remedy)
    match = _TOOLKIT.search(said or "")
    return Finding("container toolkit", "good", f"{match[1] if match else 'version unknown'}; {where}", why)


def image(seen: Seen) -> Finding:
    """The site's image, as an identity."""
    why = "every arm runs its files; the digest is recorded in every row"
    reference = seen.site.image
    if reference in BUILT_HERE:
        return Finding("image", "info", f"{reference}: built here at the first sweep", why)
    if seen.docker.image is None:
        return Finding("image", "stop", f"{reference} is not on this machine", why, f"docker pull {reference}")
    facts = seen.docker.image
    return Finding("image", "good", f"{reference}, {facts.digest}, {gib(facts.size):.1f} GiB", why)


def root(_: Seen) -> Finding:
    """Root, or sudo."""
    why = (
        "the native arm is a chroot, start states are set for every process, and the page cache is dropped before runs"
    )
    if os.geteuid() == 0:
        return Finding("root", "good", "yes", why)
    if shutil.which("sudo"):
        return Finding("root", "warn", "no, sudo is there", why, "`sudo -n true` must work without a password")
    return Finding("root", "stop", "no, and no sudo", why, "Run as root, or with passwordless sudo")


def disk(seen: Seen) -> Finding:
    """Free space for samples here, and for the image's export in the cache."""
    why = "every run's samples and logs are kept, and the image is exported once for the native arm"
    free = shutil.disk_usage(Path.cwd()).free
    value = f"{gib(free):.1f} GiB free here"
    if free <= _LEAST_FREE_GIB * GIB:
        return Finding("disk", "stop", value, why, "Free some space")
    if seen.cache is None or seen.docker.image is None:
        return Finding("disk", "good", value, why)
    there = next(path for path in (seen.cache, *seen.cache.parents) if path.exists())
    room, needed = shutil.disk_usage(there).free, _EXPORT_FACTOR * seen.docker.image.size
    value += f", {gib(room):.1f} GiB at {seen.cache}"
    if room < needed:
        remedy = (
            f"Free {gib(needed):.0f} GiB there, or move the cache: XDG_CACHE_HOME=DIR. An export that is there is kept"
        )
        return Finding("disk", "warn", value, why, remedy)
    return Finding("disk", "good", value, why)
