"""How a container gets its GPU: each route over a made-up /dev, CDI folder and driver, and an engine that knows some."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sparkray.config.docker import DockerOptions, flag_words, sdk_arguments
from sparkray.config.gpu_access import is_cdi_name, route_of
from sparkray.errors import PreflightError, RunUnreadyError
from sparkray.execute.arms import Arm, Driver, with_driver
from sparkray.execute.preflight import Probe, honoured
from sparkray.images.rootfs import Image
from sparkray.plan import Treatment
from sparkray.runtimes import Launch, StartState
from sparkray.runtimes.linux.gpu_routes import Route, cdi_devices, device_files, routes_for
from sparkray.runtimes.linux.nvidia_driver import MOUNT_POINT

CDI_DIRS = ("/etc/cdi",)
NO_DRIVER = 'could not select device driver "" with capabilities: [[gpu]]'
UUIDS = ("GPU-aa", "GPU-bb")


class Engine:
    """A Docker engine that refuses some options."""

    name = "container"

    def __init__(self, refuses: Callable[[DockerOptions], str | None]) -> None:
        self.refuses = refuses
        self.started: list[DockerOptions] = []

    @contextmanager
    def start(self, launch: Launch) -> Iterator[SimpleNamespace]:
        if why := self.refuses(launch.options):
            raise RunUnreadyError(f"the container could not be started: {why}")
        self.started.append(launch.options)
        yield SimpleNamespace(pid=os.getpid())


def no_toolkit(options: DockerOptions) -> str | None:
    return NO_DRIVER if options.gpus else None


def no_cdi_either(options: DockerOptions) -> str | None:
    names = [name for name in options.device or () if is_cdi_name(name)]
    return no_toolkit(options) or ("unresolvable CDI devices" if names else None)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """Two GPUs whose minor numbers are not in the order of the bus, and a CDI description with the libraries."""
    (tmp_path / "dev").mkdir()
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"):
        (tmp_path / "dev" / name).touch()
    for place, minor, uuid in (("01", 1, UUIDS[0]), ("02", 0, UUIDS[1])):
        information = tmp_path / f"proc/driver/nvidia/gpus/0000:{place}:00.0/information"
        information.parent.mkdir(parents=True)
        information.write_text(f"Model: \t NVIDIA H200\nGPU UUID: \t {uuid}\nDevice Minor: \t {minor}\n")
    describe(tmp_path, libraries=True)
    return tmp_path


def describe(root: Path, *, libraries: bool) -> None:
    folder = root / "etc/cdi"
    folder.mkdir(parents=True, exist_ok=True)
    library = {"hostPath": "/usr/lib/libcuda.so.1", "containerPath": "/usr/lib/libcuda.so.1"}
    edits = {"deviceNodes": [{"path": "/dev/nvidiactl"}], "mounts": [library] if libraries else []}
    devices = [{"name": name, "containerEdits": {}} for name in ("0", "1", "all", *UUIDS)]
    spec = {"cdiVersion": "0.6.0", "kind": "nvidia.com/gpu", "devices": devices, "containerEdits": edits}
    (folder / "nvidia.json").write_text(json.dumps(spec))
    (folder / "other.yaml").write_text("kind: vendor.com/net\ndevices: [{name: all}]\n")
    (folder / "broken.json").write_text("{")


def probe_of(engine: Engine, root: Path, cdi_dirs: tuple[str, ...] = CDI_DIRS) -> Probe:
    return Probe(engine, Image("i", "sha256:1", 1), ("idle",), routes=lambda gpus: routes_for(gpus, cdi_dirs, root))  # type: ignore[arg-type]


def tried(
    engine: Engine, root: Path, cdi_dirs: tuple[str, ...] = CDI_DIRS, **options: Any
) -> tuple[DockerOptions, str]:
    asked = Treatment("container_baseline", DockerOptions(gpus="all", ipc="host", **options))
    effective, deviations, _ = honoured(asked, probe_of(engine, root, cdi_dirs))
    assert effective.ipc == "host"
    return effective, "; ".join(deviations)


def arms_of(options: DockerOptions, root: Path, *, bound: tuple[str, ...] = ()) -> tuple[Arm, Arm]:
    """The native and the container arm with the driver of a made-up folder."""
    folder = root / "usr/local/nvidia/lib64"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "libcuda.so.580").touch()
    driver = Driver((folder / "libcuda.so.580",), cdi_devices(CDI_DIRS, root))
    image = Image("i", "sha256:1", 1, bound=bound)
    both = []
    for name, route in (("native", "host"), ("container_baseline", route_of(options))):
        treatment = Treatment(name, options if name != "native" else DockerOptions())
        arm = Arm(treatment, Engine(no_toolkit), image, None, environment={}, start=StartState(), gpu_route=route)
        both.append(with_driver(arm, driver))
    return both[0], both[1]


def test_where_the_toolkit_works_the_flag_stays_and_docker_brings_the_driver(machine: Path) -> None:
    options, deviations = tried(Engine(lambda _: None), machine)
    assert (options.gpus, options.device, deviations) == ("all", None, "")
    native, container = arms_of(options, machine)
    assert (native.gpu_route, container.gpu_route) == ("host", "runtime")
    assert container.binds == ()
    assert all(target.startswith(MOUNT_POINT) for _, target, _ in native.binds)
    assert native.binds


def test_without_it_cdi_takes_its_place(machine: Path) -> None:
    options, deviations = tried(Engine(no_toolkit), machine)
    assert (options.gpus, options.device) == (None, ("nvidia.com/gpu=all",))
    assert deviations.startswith("--gpus=all given as --device=nvidia.com/gpu=all (route cdi): ")
    assert NO_DRIVER in deviations
    native, container = arms_of(options, machine)
    assert (container.gpu_route, container.binds) == ("cdi", ())
    assert native.binds


def test_a_description_without_libraries_gets_the_hosts(machine: Path) -> None:
    describe(machine, libraries=False)
    native, container = arms_of(DockerOptions(device=("nvidia.com/gpu=all",)), machine)
    assert container.binds == native.binds != ()
    assert container.environment["LD_LIBRARY_PATH"] == native.environment["LD_LIBRARY_PATH"] == MOUNT_POINT


@pytest.mark.parametrize(("engine", "cdi_dirs"), [(no_toolkit, ()), (no_cdi_either, CDI_DIRS)], ids=["off", "fails"])
def test_without_cdi_the_device_files_take_its_place(
    machine: Path, engine: Callable[[DockerOptions], str | None], cdi_dirs: tuple[str, ...]
) -> None:
    options, deviations = tried(Engine(engine), machine, cdi_dirs, device=("/dev/fuse",))
    files = ("/dev/nvidia1", "/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools")
    assert options.device == ("/dev/fuse", *files)
    assert "(route devices)" in deviations
    assert "cdi: " in deviations
    native, container = arms_of(options, machine)
    assert container.gpu_route == "devices"
    assert container.binds == native.binds != (), "the same files in both arms"


def test_without_any_route_the_sweep_stops_with_every_reason(tmp_path: Path) -> None:
    with pytest.raises(PreflightError) as caught:
        tried(Engine(no_toolkit), tmp_path, ())
    for said in (NO_DRIVER, "cdi: the Docker engine has CDI off", "devices: no /dev/nvidia0, /dev/nvidiactl"):
        assert said in caught.value.message
    given_up = Treatment("container_baseline", DockerOptions(gpus="all", ipc="host"), ("gpus",))
    options, (deviation,), _ = honoured(given_up, probe_of(Engine(no_toolkit), tmp_path, ()))
    assert (options, deviation.startswith("--gpus=all left out")) == (DockerOptions(ipc="host"), True)


def test_other_flags_are_given_up_beside_a_route(machine: Path) -> None:
    def refuses(options: DockerOptions) -> str | None:
        return no_toolkit(options) or ("error setting rlimit" if options.ulimit_memlock else None)

    asked = Treatment("c", DockerOptions(gpus="all", ulimit_memlock=-1), ("ulimit_memlock",))
    options, deviations, _ = honoured(asked, probe_of(Engine(refuses), machine))
    assert options == DockerOptions(device=("nvidia.com/gpu=all",))
    assert [text.split(" ")[0] for text in deviations] == ["--gpus=all", "--ulimit=memlock=-1"]


def test_the_hosts_own_files_have_the_driver_already(machine: Path) -> None:
    native, container = arms_of(DockerOptions(device=("/dev/nvidia0",)), machine, bound=(str(machine / "usr"),))
    assert native.binds == container.binds == ()
    assert native.made == ()


@pytest.mark.parametrize(
    ("gpus", "cdi", "files"),
    [
        ("1", ("0",), ("/dev/nvidia1",)),
        ("2", ("0", "1"), ("/dev/nvidia1", "/dev/nvidia0")),
        ("3", (), ()),
        ("device=1", ("1",), ("/dev/nvidia0",)),
        ("GPU-bb", ("GPU-bb",), ("/dev/nvidia0",)),
        ("device=1,GPU-aa", ("1", "GPU-aa"), ("/dev/nvidia0", "/dev/nvidia1")),
        ("GPU-zz", (), ()),
    ],
)
def test_the_same_gpus_are_given_by_each_route(
    machine: Path, gpus: str, cdi: tuple[str, ...], files: tuple[str, ...]
) -> None:
    by_cdi, by_file = routes_for(gpus, CDI_DIRS, machine)
    assert by_cdi.devices == tuple(f"nvidia.com/gpu={name}" for name in cdi)
    assert tuple(name for name in by_file.devices if name[-1].isdigit()) == files
    assert all(route.missing for route in (by_cdi, by_file) if not route.devices)


def test_files_are_taken_by_number_where_the_driver_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()
    for name in ("nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "nvidia-caps"):
        (tmp_path / "dev" / name).touch()
    assert [path for _, path in device_files(tmp_path)] == ["/dev/nvidia2", "/dev/nvidia10"]
    assert routes_for("all", CDI_DIRS, tmp_path)[0] == Route(
        "cdi", missing="no description of nvidia.com/gpu in /etc/cdi"
    )


def test_a_cdi_name_is_a_device_and_goes_its_own_way_into_the_api() -> None:
    options = DockerOptions(device=("/dev/fuse", "nvidia.com/gpu=0", "nvidia.com/gpu=1"))
    assert flag_words(options) == ["--device=/dev/fuse", "--device=nvidia.com/gpu=0", "--device=nvidia.com/gpu=1"]
    assert sdk_arguments(options) == {
        "devices": ["/dev/fuse:/dev/fuse:rwm"],
        "device_requests": [{"Driver": "cdi", "Count": 0, "DeviceIDs": ["nvidia.com/gpu=0", "nvidia.com/gpu=1"]}],
    }
    both = sdk_arguments(DockerOptions(gpus="all", device=("vendor.com/net=a",)))
    assert [request["Driver"] for request in both["device_requests"]] == ["", "cdi"]


@pytest.mark.parametrize(
    "name", ["nvidia.com/gpu", "nvidia.com/gpu=", "gpu=0", "/gpu=0", "nvidia.com/gpu=a b", "1a/b=c"]
)
def test_what_is_no_cdi_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is neither a path below /dev nor a CDI name"):
        DockerOptions(device=(name,))


@pytest.mark.parametrize(
    ("options", "route"),
    [
        ({"gpus": "all"}, "runtime"),
        ({"runtime": "nvidia"}, "runtime"),
        ({"device": ("nvidia.com/gpu=0",)}, "cdi"),
        ({"device": ("/dev/nvidia0",)}, "devices"),
        ({"device": ("/dev/fuse",)}, None),
        ({}, None),
    ],
)
def test_the_route_is_read_off_the_options(options: dict[str, Any], route: str | None) -> None:
    assert route_of(DockerOptions(**options)) == route
