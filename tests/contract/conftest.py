"""The fixtures over the real machine, which two folders share, and a runtime of each kind."""

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from real_machine import cache, client, image, images, machine_lock, require_root, rootfs
from runtime_arm import ISOLATED, Arm, there

from sparkray.config.isolation import BY_NAME
from sparkray.images import venv
from sparkray.images.rootfs import Image
from sparkray.runtimes import runtime_names
from sparkray.runtimes.linux.isolation import kernel_facts

__all__ = ["cache", "client", "image", "images", "machine_lock", "rootfs"]


@pytest.fixture(params=[*runtime_names(), ISOLATED])
def arm(request: pytest.FixtureRequest, image: Image, rootfs: Path, tmp_path: Path) -> Arm:
    name = "native" if request.param == ISOLATED else request.param
    require_root(name)
    runtime = importlib.import_module(f"sparkray.runtimes.{name}").Runtime()
    on_host = name == "host"
    environment = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"} if on_host else image.environment
    tmp_path.chmod(0o755)
    python = sys.executable if on_host else venv.PYTHON
    refused = kernel_facts().refused if request.param == ISOLATED else BY_NAME
    isolation = tuple(layer for layer in BY_NAME if layer not in refused)
    return Arm(name, runtime, python, environment, image, rootfs, tmp_path, isolation)


@pytest.fixture
def nothing_left(client: docker.DockerClient) -> Iterator[None]:
    before = there(client)
    yield
    assert there(client) <= before
