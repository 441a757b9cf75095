"""What a dead sweep left behind, dealt with at the next start, under the machine's lock; nobody else's is touched.

Containers are recognised by our label, processes by our marker in their environment, control groups by their place.
Whoever holds the lock knows that no living sweep runs anything under it. Mounts need no care: they live in a mount
namespace that ends with its process.
"""

import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import docker
import requests
from docker.errors import DockerException, NotFound

from sparkray.docker_engine import connect, docker_errors
from sparkray.errors import DockerError
from sparkray.runtimes import MARKER
from sparkray.runtimes.linux.isolation import clear_groups
from sparkray.runtimes.linux.process import end_marked, marked, name_of

_UNFINISHED = ("image-*", "ask-*", "rootfs/.partial-*", "models/.fetch-*")
_LABELS = ("io.sparkray.run", "io.sparkray.probe")


class Leftovers:
    """Containers and processes of sweeps that are gone. Without Docker, processes alone."""

    def __init__(self, client: docker.DockerClient | None) -> None:
        self.client = client

    def clear(self, notify: Callable[[str], None]) -> list[str]:
        """End and remove them. Returns their names.

        Raises:
            DockerError: The engine refused.
        """
        return [*self._containers(notify), *end_processes(notify)]

    def _containers(self, notify: Callable[[str], None]) -> list[str]:
        if self.client is None:
            return []
        names: list[str] = []
        with docker_errors("removing the containers of a sweep that is gone"):
            for label in _LABELS:
                for container in self.client.containers.list(all=True, ignore_removed=True, filters={"label": label}):
                    notify(f"removing a leftover container: {container.name}")
                    with suppress(NotFound):
                        container.remove(force=True, v=True)
                    names.append(str(container.name))
        return names


def container_log(name: str) -> bytes | None:
    """What a container of ours has said so far; None where there is none of that name, or no Docker."""
    try:
        client = connect()
    except DockerError:
        return None
    try:
        return bytes(client.containers.get(name).logs(stdout=True, stderr=True))
    except (DockerException, requests.RequestException):
        return None
    finally:
        client.close()


def drop_unfinished(cache: Path, notify: Callable[[str], None]) -> None:
    """Half-made exports, images and downloads in the cache: up to twice an image's size each."""
    for pattern in _UNFINISHED:
        for path in cache.glob(pattern):
            notify(f"removing what was left unfinished: {path}")
            shutil.rmtree(path, ignore_errors=True)


def end_processes(notify: Callable[[str], None]) -> list[str]:
    """End every process that carries our marker."""
    names = sorted({name for pid in marked() if (name := name_of(pid)) is not None})
    for name in names:
        notify(f"ending a leftover process: {MARKER}={name}")
        end_marked(name)
    clear_groups()
    return names
