"""Environment variables of an image's entrypoint, read once and set in every arm.

Both arms start the engine without the entrypoint, which prints banners and probes hardware at the cost of one arm. But
NVIDIA's entrypoint also adds the image's CUDA compatibility libraries to the linker path, which a newer image needs on
an older driver. So a container starts *with* its entrypoint once, and the variables that differ from the image's own
are set in every arm.
"""

import uuid
from collections.abc import Mapping
from typing import Any

import docker

from sparkray.config.docker import DockerOptions, sdk_arguments
from sparkray.docker_engine import docker_errors
from sparkray.errors import ImageError
from sparkray.images.rootfs import Image
from sparkray.runtimes.linux.owner import LABEL as OWNER
from sparkray.runtimes.linux.owner import this_process

_MARK = b"@@sparkray-environment\0"
_COMMAND = ["sh", "-c", r"printf '@@sparkray-environment\0'; env -0"]
_SHELL_OWN = frozenset({"HOSTNAME", "PWD", "OLDPWD", "SHLVL", "_", "HOME", "TERM"})
_PATIENCE_S = 180


def entrypoint_variables(client: docker.DockerClient, image: Image, options: DockerOptions) -> dict[str, str]:
    """Variables that the image's entrypoint adds or changes; empty for an image without one.

    Raises:
        ImageError: The entrypoint did not let the command run.
        DockerError: The engine refused.
    """
    if not image.has_entrypoint:
        return {}
    settings: dict[str, Any] = {
        **sdk_arguments(options),
        "name": f"sparkray-entrypoint-{uuid.uuid4().hex[:12]}",
        "labels": {"io.sparkray.probe": "1", OWNER: this_process().text},
    }
    with docker_errors(f"asking the entrypoint of {image.reference}"):
        container = client.containers.create(image.digest, command=_COMMAND, **settings)
        try:
            container.start()
            container.wait(timeout=_PATIENCE_S)
            output = container.logs(stdout=True, stderr=False)
        finally:
            container.remove(force=True, v=True)
    return added_variables(output, image.environment, image.reference)


def added_variables(output: bytes, environment: Mapping[str, str], reference: str) -> dict[str, str]:
    """Variables in the printed environment beyond the image's own.

    Raises:
        ImageError: The output lacks the environment.
    """
    _, mark, listed = output.partition(_MARK)
    if not mark:
        reason = " ".join(output.decode(errors="replace").split())[-300:]
        raise ImageError(f"the entrypoint of {reference} did not run the command it was given: {reason or 'no output'}")
    pairs = (item.decode(errors="replace").partition("=") for item in listed.split(b"\0") if b"=" in item)
    return {name: value for name, _, value in pairs if name not in _SHELL_OWN and environment.get(name) != value}
