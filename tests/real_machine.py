"""Fixtures over the real Docker engine, chroot and lock of this machine, for the tests that need them.

No engine is a failure here, never a skip: the command that runs the tests sees to one.
"""

import resource
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
import pytest

from sparkray.docker_engine import connect
from sparkray.errors import PrivilegeError
from sparkray.images.rootfs import Image, Images
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.runtimes.linux.privilege import need_root

__all__ = ["cache", "client", "image", "images", "machine_lock", "require_root", "rootfs"]

_PATIENCE_S = 400
CAP_SYS_RESOURCE = 24


def require_root(name: str) -> None:
    """Skip what is a chroot or a process with a declared start state, where root cannot be had."""
    if name != "container":
        try:
            need_root()
        except PrivilegeError as error:
            pytest.skip(str(error))


def may_raise_limits() -> bool:
    """Whether this host lets root raise limits, told apart from the product's own reading of it."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith("CapBnd:"))
    return bool(int(line.split()[1], 16) & 1 << CAP_SYS_RESOURCE)


def may_lock_memory() -> bool:
    """Whether a container may be given an unlimited memlock limit: it is there already, or limits may be raised."""
    return may_raise_limits() or resource.getrlimit(resource.RLIMIT_MEMLOCK)[1] == resource.RLIM_INFINITY


@contextmanager
def patient_lock() -> Iterator[None]:
    deadline = time.monotonic() + _PATIENCE_S
    lock = MachineLock(fingerprint().lock_keys)
    with lock.held("wait", on_wait=lambda _: None, should_stop=lambda: time.monotonic() > deadline):
        yield


@pytest.fixture(scope="module")
def machine_lock() -> Iterator[None]:
    """The machine's own lock: a sweep that runs beside the tests would end what they start, and they would disturb it."""
    with patient_lock():
        yield


@pytest.fixture(scope="session")
def client() -> Iterator[docker.DockerClient]:
    found = connect()
    yield found
    found.close()


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("cache")
    yield folder
    with suppress(OSError):
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def images(client: docker.DockerClient, cache: Path) -> Images:
    return Images(client, cache)


@pytest.fixture(scope="module")
def image(machine_lock: None, images: Images) -> Image:
    """Built by the first module that asks; found again by the others."""
    return images.from_venv()


@pytest.fixture(scope="module")
def rootfs(images: Images, image: Image) -> Path:
    return images.rootfs(image)
