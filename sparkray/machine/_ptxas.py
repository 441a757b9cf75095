"""ptxas checks of `doctor`: Triton's assembler must be the image's own, the same in both arms, and new enough.

TRITON_PTXAS_PATH names it. The host's variable reaches no arm; a flag can set a container's, only the image can set the
chroot's. Each arm's ptxas is run for its version where that arm can be entered.
"""

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from uuid import uuid4

from docker.errors import APIError, DockerException
from requests import RequestException

from sparkray.config.container import variables_of
from sparkray.config.site import NATIVE, Site
from sparkray.docker_engine import connect
from sparkray.errors import DockerError
from sparkray.machine.finding import DockerFacts, Finding, Seen, finding, is_spark, output_of
from sparkray.runtimes.linux.owner import DOCTOR, LABEL, PROBE, this_process
from sparkray.runtimes.linux.root_part import command_as_root, has_root

VARIABLE = "TRITON_PTXAS_PATH"
# The first CUDA whose PTX knows sm_121, the GB10 (PTX ISA 8.8).
_LEAST_CUDA = (12, 9)
_NOT_THERE = ("no such file or directory", "executable file not found", "not a directory", "permission denied")
_PATIENCE_S = 60
_RELEASE = re.compile(r"release (\d+)\.(\d+)")


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
    if not root.is_dir() or not has_root():
        return None
    return output_of(*command_as_root("chroot", str(root), path, "--version")) or ""


def _in_container(image: str, path: str) -> str | None:
    try:
        client = connect()
        container = client.containers.create(
            image,
            ["--version"],
            entrypoint=[path],
            network_mode="none",
            name=f"sparkray-ptxas-{uuid4().hex[:12]}",
            labels={PROBE: DOCTOR, LABEL: this_process().text},
        )
        try:
            container.start()
            ended_well = container.wait(timeout=_PATIENCE_S)["StatusCode"] == 0
            output = container.logs(stderr=False) if ended_well else b""
        finally:
            container.remove(force=True, v=True)
    except DockerError:
        return None
    except APIError as error:
        return "" if any(words in str(error) for words in _NOT_THERE) else None
    except (DockerException, RequestException):
        return None
    return bytes(output).decode(errors="replace")


def ptxas(seen: Seen) -> Finding:
    """Whether both arms use one ptxas."""
    report = partial(finding, "ptxas")
    image = seen.docker.image
    if image is None:
        return report("info", "unknown: the image is not on this machine")
    paths = paths_of(seen.site, image.environment)
    if len(set(paths.values())) > 1:
        each = (f"{VARIABLE} is {path or 'not set'} in {name}" for name, path in paths.items())
        return report("stop", ", ".join(each), "set_in_image")
    path = paths[NATIVE]
    if path is None:
        value = f"{VARIABLE} is not set by the image: Triton uses its own ptxas, version unknown"
        host = "; the host's own does not reach the arms" if os.environ.get(VARIABLE) else ""
        return report("info", value + host, "set_if_needed", variable=VARIABLE)
    return _versions(seen, path, report)


def _versions(seen: Seen, path: str, report: Callable[..., Finding]) -> Finding:
    missing = [name for name, output in seen.ptxas.items() if output == ""]
    if missing:
        return report("stop", f"{VARIABLE}={path} does not run in {', '.join(missing)}", "correct")
    releases = {name: match for name, output in seen.ptxas.items() if output and (match := _RELEASE.search(output))}
    versions = {name: (int(match[1]), int(match[2])) for name, match in releases.items()}
    shown = [
        f"{name} {'.'.join(map(str, versions[name])) if name in versions else 'unknown'}"
        for name in (NATIVE, *seen.site.environments)
    ]
    value = f"{path}: {', '.join(shown)}"
    if len(set(versions.values())) > 1:
        return report("stop", value, "export_again")
    if is_spark(seen.site) and any(version < _LEAST_CUDA for version in versions.values()):
        return report("warn", value, "newer_image", least=".".join(map(str, _LEAST_CUDA)))
    if len(versions) < len(shown):
        return report("info" if versions else "warn", value, "as_root")
    return report("good", value)
