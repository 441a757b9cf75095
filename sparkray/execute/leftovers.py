"""What a dead sweep left behind, dealt with at the next start, under the machine's lock; nobody else's is touched.

Containers are recognised by our label, processes by our marker in their environment. Whoever holds the lock knows that no
living sweep runs anything under it. Mounts need no care: they live in a mount namespace that ends with its process.
"""

from collections.abc import Callable
from contextlib import suppress

import docker
from docker.errors import NotFound

from sparkray.runtimes import MARKER
from sparkray.runtimes._docker import docker_errors
from sparkray.runtimes._process import end_marked, marked, name_of

_LABELS = ("io.sparkray.run", "io.sparkray.probe")


class Leftovers:
    """Containers and processes of sweeps that are gone. Without Docker, processes alone."""

    def __init__(self, client: docker.DockerClient | None) -> None:
        self.client = client

    def clear(self, tell: Callable[[str], None]) -> list[str]:
        """End and remove them. Returns their names.

        Raises:
            DockerError: The engine refused.
        """
        return [*self._containers(tell), *end_processes(tell)]

    def _containers(self, tell: Callable[[str], None]) -> list[str]:
        if self.client is None:
            return []
        names: list[str] = []
        with docker_errors("removing the containers of a sweep that is gone"):
            for label in _LABELS:
                for container in self.client.containers.list(all=True, ignore_removed=True, filters={"label": label}):
                    tell(f"removing a leftover container: {container.name}")
                    with suppress(NotFound):
                        container.remove(force=True, v=True)
                    names.append(str(container.name))
        return names


def end_processes(tell: Callable[[str], None]) -> list[str]:
    """End every process that carries our marker."""
    names = sorted({name for pid in marked() if (name := name_of(pid)) is not None})
    for name in names:
        tell(f"ending a leftover process: {MARKER}={name}")
        end_marked(name)
    return names
