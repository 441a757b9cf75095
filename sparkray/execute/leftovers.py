"""What a dead sweep left behind, dealt with at the next start; what a living one uses is refused, never ended.

Containers are recognised by our label, processes by our marker in their environment, control groups by their place; each
names its owner, the process that started it. One that lives although we hold the machine's lock does not see that lock
(another mount namespace, another folder of locks): this sweep is refused. Mounts need no care: they live in a mount
namespace that ends with its process.
"""

import os
import shutil
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import docker
import psutil
import requests
from docker.errors import DockerException, NotFound
from docker.models.containers import Container

from sparkray.docker_engine import Patience, connect, docker_errors
from sparkray.errors import DockerError, LockHeldError
from sparkray.files import is_in_use
from sparkray.runtimes import MARKER
from sparkray.runtimes.linux.isolation import clear_groups
from sparkray.runtimes.linux.owner import DOCTOR, LABEL, PROBE, Owner
from sparkray.runtimes.linux.process import end_marked, is_foreign, marked, name_of, owner_of

_UNFINISHED = ("image-*", "ask-*", "rootfs/.partial-*", "models/.fetch-*")
_LABELS = ("io.sparkray.run", PROBE)
_PATIENCE_S, _POLL_S = 5.0, 0.5


class Leftovers:
    """Containers and processes of sweeps that are gone. Without Docker, processes alone."""

    def __init__(self, client: docker.DockerClient | None) -> None:
        self.client = client

    def clear(self, notify: Callable[[str], None]) -> list[str]:
        """End and remove them. Returns their names.

        Raises:
            DockerError: The engine refused.
            LockHeldError: Somebody who lives measures here.
        """
        return [*self._containers(notify), *end_processes(notify)]

    def _containers(self, notify: Callable[[str], None]) -> list[str]:
        if self.client is None:
            return []
        names: list[str] = []
        with docker_errors("removing the containers of a sweep that is gone"):
            _refuse_living(self._living)
            for container in self._ours():
                if is_foreign(_owner(container)):
                    continue
                notify(f"removing a leftover container: {container.name}")
                with suppress(NotFound):
                    container.remove(force=True, v=True)
                names.append(str(container.name))
        return names

    def _ours(self) -> list[Container]:
        if self.client is None:
            return []
        every = self.client.containers.list
        found = [every(all=True, ignore_removed=True, filters={"label": label}) for label in _LABELS]
        return [container for of_label in found for container in of_label]

    def _living(self) -> list[str]:
        """Those of somebody who lives; one that does not run is nobody's hindrance where its owner cannot be seen."""
        owners = ((container, _owner(container)) for container in self._ours())
        return [
            f"container {container.name} ({_words(owner)})"
            for container, owner in owners
            if owner is not None
            and is_foreign(owner)
            and (container.labels or {}).get(PROBE) != DOCTOR
            and (owner.is_alive() or container.status in ("running", "paused"))
        ]


def _owner(container: Container) -> Owner | None:
    return Owner.parse((container.labels or {}).get(LABEL, ""))


def _words(owner: Owner) -> str:
    known = owner.is_alive()
    return f"of process {owner.pid}, which runs" if known else f"of a process {owner.pid} that cannot be seen from here"


def _refuse_living(living: Callable[[], Iterable[str]]) -> None:
    """Raises LockHeldError where something of somebody who lives stays."""
    deadline = time.monotonic() + _PATIENCE_S
    while found := list(living()):
        if time.monotonic() > deadline:
            raise LockHeldError(
                f"this machine is busy: another sparkray measures here that does not share this one's lock "
                f"(another mount namespace or folder of locks): {'; '.join(found)}",
                "Wait for its end. If it is gone, remove what it left by hand: docker rm -f NAME, kill -9 PID",
            )
        time.sleep(_POLL_S)


def container_log(name: str, patience: Patience | None = None) -> bytes | None:
    """What a container of ours has said so far; None where there is none of that name, or no Docker."""
    try:
        client = connect(patience)
    except DockerError:
        return None
    try:
        return bytes(client.containers.get(name).logs(stdout=True, stderr=True))
    except (DockerException, requests.RequestException):
        return None
    finally:
        client.close()


def drop_unfinished(cache: Path, notify: Callable[[str], None]) -> None:
    """Half-made exports, images and downloads in the cache: up to twice an image's size each. Not what is in use.

    Another machine may share the cache (a home folder on NFS), or another sweep that does not see this one's lock.
    """
    for pattern in _UNFINISHED:
        for path in cache.glob(pattern):
            if is_in_use(path):
                continue
            notify(f"removing what was left unfinished: {path}")
            shutil.rmtree(path, ignore_errors=True)


def end_processes(notify: Callable[[str], None]) -> list[str]:
    """End every process that carries our marker and whose owner is dead. Returns their runs.

    Raises:
        LockHeldError: The owner of one lives.
    """
    _refuse_living(
        lambda: [
            f"process {pid} of {name_of(pid)} ({_words(owner)})"
            for pid in marked()
            if (owner := owner_of(pid)) is not None and is_foreign(owner)
        ]
    )
    names = sorted({name for pid in marked() if (name := name_of(pid)) is not None})
    for name in names:
        notify(f"ending a leftover process: {MARKER}={name}")
        end_marked(name)
    clear_groups()
    strays = [pid for pid in psutil.pids() if (owner := owner_of(pid)) is not None and owner.is_alive() is False]
    if strays:
        notify(f"ending {len(strays)} leftover processes of a Ray whose sweep is gone")
    for pid in strays:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    return names
