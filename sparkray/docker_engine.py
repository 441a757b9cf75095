"""The Docker engine: connecting, and its errors as ours. Shared by the runtime and by `images`."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException

from sparkray.errors import DockerError

_TIMEOUT_S = 120
DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_START_IT = "Start the engine (`make docker`, or `systemctl start docker`), or point DOCKER_HOST at it"


def connect() -> docker.DockerClient:
    """A client of the local Docker engine that answers (DOCKER_HOST, else the default socket).

    Raises:
        DockerError: None answers, the socket may not be used, or the engine is on another machine.
    """
    where = os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET
    if not where.startswith("unix://"):
        raise DockerError(
            f"DOCKER_HOST is {where!r}: sparkray measures processes of this machine and needs a local engine",
            "Unset DOCKER_HOST or point it at a unix:// socket",
        )
    try:
        client = docker.DockerClient(base_url=where, timeout=_TIMEOUT_S)
        client.ping()
    except (DockerException, requests.RequestException) as error:
        text = str(error)
        if "Permission denied" in text or "PermissionError" in text:
            raise DockerError(
                f"no permission on the Docker socket {where}",
                f"Run as root, or add the user to the group that owns {where.removeprefix('unix://')}",
            ) from None
        raise DockerError(f"no Docker engine answers at {where}", _START_IT) from None
    return client


def versions_of(reported: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the Docker engine, of containerd and of runc, as far as the engine's `version` has them."""
    parts = {str(part.get("Name")): part.get("Version") for part in reported.get("Components") or ()}
    versions = {"docker": reported.get("Version"), "containerd": parts.get("containerd"), "runc": parts.get("runc")}
    return {name: str(version) for name, version in versions.items() if version}


@contextmanager
def docker_errors(doing: str) -> Iterator[None]:
    """Errors of the SDK and of its transport as `DockerError`.

    Raises:
        DockerError: With what was being done and the engine's message.
    """
    try:
        yield
    except APIError as error:
        raise DockerError(f"{doing}: {explanation(error)}") from None
    except (DockerException, requests.RequestException) as error:
        raise DockerError(f"{doing}: {error}", _START_IT) from None


def explanation(error: APIError) -> str:
    """The engine's message, on one line."""
    return " ".join(str(error.explanation or error).split())
