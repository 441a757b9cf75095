"""Each route to a GPU, and the driver in each arm, on a machine that has one: `pytest -m gpu`.

The image is the machine's own files, so that nothing has to be pulled; the program is `nvidia-smi -L`.
"""

import re
import resource
from pathlib import Path

import pytest
from real_machine import require_root

from sparkray.config.docker import DockerOptions
from sparkray.config.gpu_access import route_of
from sparkray.execute.arms import Arm, Driver, asked, cdi_folders, with_driver
from sparkray.execute.preflight import Probe, honoured
from sparkray.images.idle import write_idle
from sparkray.images.rootfs import Image, Images
from sparkray.plan import Treatment
from sparkray.runtimes import StartState
from sparkray.runtimes.container import Runtime as Container
from sparkray.runtimes.linux.gpu_routes import cdi_devices, routes_for
from sparkray.runtimes.native import Runtime as Native

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.docker,
    pytest.mark.root,
    pytest.mark.usefixtures("machine_lock"),
    pytest.mark.skipif(not Path("/dev/nvidiactl").exists(), reason="no NVIDIA GPU on this machine"),
]
LIST = ("nvidia-smi", "-L")
GPU = re.compile(r"^GPU 0: .*\(UUID: GPU-", re.MULTILINE)


@pytest.fixture(scope="module")
def host_image(machine_lock: None, images: Images) -> Image:
    return images.from_host(("/usr", "/opt"))


def output(images: Images, image: Image, options: DockerOptions | None) -> str:
    """What the program prints in a container with some options; in a chroot for None."""
    limits = {"nofile": resource.getrlimit(resource.RLIMIT_NOFILE)}
    name = "native" if options is None else "container_baseline"
    runtime = Native() if options is None else Container(images.client)
    arm = Arm(
        Treatment(name, options or DockerOptions()),
        runtime,
        image,
        images.rootfs(image) if options is None else None,
        environment=dict(image.environment),
        start=StartState(rlimits=limits),
        binds=tuple((folder, folder, True) for folder in image.bound),
        gpu_route="host" if options is None else route_of(options),
    )
    return asked(with_driver(arm, Driver.of_host(cdi_folders(images.client))), LIST, images.cache)


@pytest.mark.parametrize("route", ["runtime", "cdi", "devices"])
def test_a_container_sees_the_gpu_by_each_route_that_is_there(images: Images, host_image: Image, route: str) -> None:
    cdi_dirs = cdi_folders(images.client)
    options = DockerOptions(gpus="all")
    if route == "runtime" and "nvidia" not in images.client.info()["Runtimes"]:
        pytest.skip("no container toolkit on this machine")
    if route != "runtime":
        found = next(one for one in routes_for("all", cdi_dirs) if one.name == route)
        if found.missing:
            pytest.skip(found.missing)
        options = DockerOptions(device=found.devices)
    assert GPU.search(output(images, host_image, options)), route


def test_the_chroot_sees_it_too(images: Images, host_image: Image) -> None:
    require_root("native")
    assert GPU.search(output(images, host_image, None))


def test_the_flag_of_the_site_works_whatever_the_route(images: Images, host_image: Image) -> None:
    program = write_idle(images.cache)
    assert program is not None
    cdi_dirs = cdi_folders(images.client)
    probe = Probe(
        Container(images.client), host_image, ("/idle",), program, routes=lambda gpus: routes_for(gpus, cdi_dirs)
    )
    options, deviations, _ = honoured(Treatment("container_baseline", DockerOptions(gpus="all", ipc="host")), probe)
    assert route_of(options) in ("runtime", "cdi", "devices")
    assert bool(deviations) == (route_of(options) != "runtime")
    assert cdi_devices(cdi_dirs) or route_of(options) != "cdi"
