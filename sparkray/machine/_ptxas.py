"""ptxas checks of `doctor`: Triton's assembler must be the image's own, the same in both arms, and new enough.

TRITON_PTXAS_PATH names it. The host's variable reaches no arm; a flag can set a container's, only the image can set the
chroot's. Each arm's ptxas is run for its version where that arm can be entered.
"""

import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from docker.errors import APIError, ContainerError, DockerException

from sparkray.config.container import variables_of
from sparkray.config.site import NATIVE, Site
from sparkray.docker_engine import connect
from sparkray.errors import DockerError
from sparkray.machine.finding import DockerFacts, Finding, Seen, is_spark, said_by

VARIABLE = "TRITON_PTXAS_PATH"
_LEAST_CUDA = (12, 9)
"""The first CUDA whose PTX knows sm_121, the GB10 (PTX ISA 8.8)."""
_NOT_THERE = ("no such file or directory", "executable file not found", "not a directory", "permission denied")
_RELEASE = re.compile(r"release (\d+)\.(\d+)")
_WHY = (
    "Triton compiles kernels with it: another one in one arm, or one that does not know the GPU, is no fair comparison"
)


def paths_of(site: Site, image: Mapping[str, str]) -> dict[str, str | None]:
    """Value of the variable in each arm of a site; None where it is not set.

    Args:
        site: Has the flags of its containers.
        image: The variables that the image sets.
    """
    containers = {name: {**image, **variables_of(own.options)} for name, own in site.environments.items()}
    return {name: variables.get(VARIABLE) or None for name, variables in {NATIVE: image, **containers}.items()}


def ask_ptxas(site: Site, docker: DockerFacts, export: Callable[[str], Path]) -> dict[str, str | None]:
    """Output of `ptxas --version` in each arm; None where it could not be run, empty where it does not exist.

    Args:
        site: Has the flags of its containers.
        docker: Has the image.
        export: The folder of an image's files for the native arm, by digest.
    """
    if docker.image is None:
        return {}
    paths = paths_of(site, docker.image.environment)
    root = export(docker.image.digest)
    asked: dict[str, str | None] = {}
    for name, path in paths.items():
        if path is not None:
            asked[name] = _in_chroot(root, path) if name == NATIVE else _in_container(docker.image.digest, path)
    return asked


def _in_chroot(root: Path, path: str) -> str | None:
    if not root.is_dir() or os.geteuid() != 0:
        return None
    return said_by("chroot", str(root), path, "--version") or ""


def _in_container(image: str, path: str) -> str | None:
    try:
        client = connect()
        said = client.containers.run(image, ["--version"], entrypoint=[path], network_mode="none", remove=True)
    except DockerError:
        return None
    except ContainerError:  # it ended with another status than 0
        return ""
    except APIError as error:
        return "" if any(words in str(error) for words in _NOT_THERE) else None
    except DockerException:
        return None
    return bytes(said).decode(errors="replace")


def ptxas(seen: Seen) -> Finding:
    """Whether both arms use one ptxas."""
    image = seen.docker.image
    if image is None:
        return Finding("ptxas", "info", "unknown: the image is not on this machine", _WHY)
    paths = paths_of(seen.site, image.environment)
    if len(set(paths.values())) > 1:
        value = ", ".join(f"{VARIABLE} is {path or 'not set'} in {name}" for name, path in paths.items())
        remedy = "Set it in the image (ENV in a Dockerfile), not with a flag: flags do not reach the native arm"
        return Finding("ptxas", "stop", value, _WHY, remedy)
    path = paths[NATIVE]
    if path is None:
        value = f"{VARIABLE} is not set by the image: Triton uses the ptxas that it brings, whose version is unknown"
        host = "; the host's own does not reach the arms" if os.environ.get(VARIABLE) else ""
        remedy = (
            f"Nothing, unless a run fails in ptxas: then set it in the image (ENV {VARIABLE}=/usr/local/cuda/bin/ptxas)"
        )
        return Finding("ptxas", "info", value + host, _WHY, remedy)
    return _versions(seen, path)


def _versions(seen: Seen, path: str) -> Finding:
    missing = [name for name, said in seen.ptxas.items() if said == ""]
    if missing:
        value = f"{VARIABLE}={path} does not run in {', '.join(missing)}"
        return Finding("ptxas", "stop", value, _WHY, "Correct the variable in the image, or install ptxas there")
    releases = {name: match for name, said in seen.ptxas.items() if said and (match := _RELEASE.search(said))}
    versions = {name: (int(match[1]), int(match[2])) for name, match in releases.items()}
    shown = [
        f"{name} {'.'.join(map(str, versions[name])) if name in versions else 'unknown'}"
        for name in (NATIVE, *seen.site.environments)
    ]
    value = f"{path}: {', '.join(shown)}"
    if len(set(versions.values())) > 1:
        return Finding(
            "ptxas", "stop", value, _WHY, "Export the image anew: remove its folder below the cache's rootfs/"
        )
    if is_spark(seen.site) and any(version < _LEAST_CUDA for version in versions.values()):
        return Finding(
            "ptxas", "warn", value, _WHY, "GB10 (sm_121) needs ptxas of CUDA 12.9 or newer: take a newer image"
        )
    if len(versions) < len(shown):
        remedy = "The native arm is asked as root, once its files are exported; a first sweep exports them"
        return Finding("ptxas", "info" if versions else "warn", value, _WHY, remedy)
    return Finding("ptxas", "good", value, _WHY)
