"""The arms of a study on this machine: each environment with its flags tried out, its files, and its start state."""

import os
import resource
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker

from sparkray.config.container import variables_of
from sparkray.config.docker import DockerOptions
from sparkray.config.gpu_access import CDI, NVIDIA_KIND, OUTSIDE_DOCKER, RUNTIME, any_wants_gpu, route_of
from sparkray.config.site import CONTAINER_BASELINE, HOST
from sparkray.docker_engine import docker_errors
from sparkray.engines import Engine
from sparkray.errors import ImageError, PreflightError, RunError, RunTimeoutError
from sparkray.execute.layout import LABEL, Bind
from sparkray.execute.preflight import Probe, Refusals, honoured
from sparkray.files import scratch_folder
from sparkray.images import venv
from sparkray.images.entrypoint import entrypoint_variables
from sparkray.images.host_files import is_bound
from sparkray.images.idle import write_idle
from sparkray.images.rootfs import Image, Images
from sparkray.plan import Study, Treatment, measured
from sparkray.runtimes import Launch, Runtime, StartState, Stop, await_end
from sparkray.runtimes.container import Runtime as Container
from sparkray.runtimes.host import Runtime as Host
from sparkray.runtimes.linux.gpu_routes import cdi_devices, routes_for
from sparkray.runtimes.linux.nvidia_driver import MOUNT_POINT, driver_binds, driver_libraries
from sparkray.runtimes.native import Runtime as Native

Notify = Callable[[str], None]
_ASK_PATIENCE_S = 300.0
_IDLE = "/sparkray-idle"
_LINKER_PATH = "LD_LIBRARY_PATH"


@dataclass(frozen=True)
class Arm:
    """One environment, ready: its treatment as the host can honour it, and where its files come from.

    `environment` are the variables that the arm's process starts with, apart from the engine's own; under Docker those
    that are added to the image's. `binds` are mounted in every run, and `made` are folders made for them in a chroot: the
    NVIDIA driver's libraries, where nobody else brings them. `gpu_route` is how GPUs reach the engine
    (`config.gpu_access`); None where the site asks for none.
    """

    treatment: Treatment
    runtime: Runtime
    image: Image | None
    rootfs: Path | None
    environment: Mapping[str, str]
    start: StartState
    deviations: tuple[str, ...] = ()
    tool: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    made: tuple[str, ...] = ()
    gpu_route: str | None = None


def make_arms(
    study: Study, images: Images, found: Mapping[str, Image], *, notify: Notify, refusals: Refusals
) -> dict[str, Arm]:
    """Every environment of the study but what needs no image, in the order of its treatments.

    Args:
        study: The study.
        images: Of this machine's Docker engine.
        found: The images by `Treatment.image`.
        notify: Called with each step, in words.
        refusals: Of single flags, as far as they are known; added to.

    Raises:
        HostError: A flag that this host cannot honour, no space for the export, no root.
    """
    container = Container(images.client)
    treatments = measured(study)
    contained = [t for t in treatments if t.in_container] or [_baseline(study)]
    cdi_dirs = cdi_folders(images.client)

    def tried_out(treatment: Treatment) -> Tried:
        idle = _idle(treatment.image or study.site.image, images.cache)
        routes = partial(routes_for, cdi_dirs=cdi_dirs)
        return _try(treatment, Probe(container, found[treatment.image], *idle, known=refusals, routes=routes), notify)

    tried = {treatment.environment: tried_out(treatment) for treatment in contained}
    first = {treatment.image: tried[treatment.environment].options for treatment in reversed(contained)}
    entrypoints = Entrypoints(study, images, first, notify)
    start, lost = _reachable(tried[contained[0].environment].start)
    gpu = any_wants_gpu(environment.options for environment in study.site.environments.values())
    driver = Driver.of_host(cdi_dirs) if gpu or any(route_of(t.options) for t in tried.values()) else None
    arms: dict[str, Arm] = {}
    for treatment in treatments:
        name = treatment.environment
        if name == HOST:
            arms[name] = replace(host_arm(treatment, start, lost), gpu_route=OUTSIDE_DOCKER if gpu else None)
            continue
        image = found[treatment.image]
        added, unknown = entrypoints.added(treatment, image)
        if treatment.in_container:
            bare = _container_arm(treatment, container, image, tried[name], added)
            arms[name] = with_driver(bare, driver)
        elif treatment.in_chroot:
            notify(f"{name}: {images.export_step(image)}")
            bare = Arm(
                treatment,
                Native(),
                image,
                images.rootfs(image),
                environment=_native_environment(image, added),
                start=start,
                deviations=(*lost, *unknown),
                binds=_bound(image),
                gpu_route=OUTSIDE_DOCKER if gpu else None,
            )
            arms[name] = with_driver(bare, driver)
    return arms


def _container_arm(
    treatment: Treatment, runtime: Runtime, image: Image, tried: "Tried", added: Mapping[str, str]
) -> Arm:
    """A container environment with the flags that this host honours; the driver is mounted apart."""
    return Arm(
        replace(treatment, options=tried.options),
        runtime,
        image,
        None,
        environment={**added, **variables_of(tried.options)},
        start=tried.start,
        deviations=tried.deviations,
        binds=_bound(image),
        gpu_route=route_of(tried.options),
    )


def _bound(image: Image) -> tuple[Bind, ...]:
    """The host's folders that are part of an image, read-only."""
    return tuple((folder, folder, True) for folder in image.bound)


def _baseline(study: Study) -> Treatment:
    """The site's container: a study without one takes its start state all the same."""
    baseline = study.site.environments[CONTAINER_BASELINE]
    return Treatment(CONTAINER_BASELINE, baseline.options, baseline.adapt)


Added = tuple[dict[str, str], tuple[str, ...]]


@dataclass
class Entrypoints:
    """Variables that the entrypoints of a study's images set, each image asked once.

    `options` are the flags of the first container of each image, by `Treatment.image`.
    """

    study: Study
    images: Images
    options: Mapping[str, DockerOptions]
    notify: Notify
    known: dict[tuple[str, bool], Added] = field(default_factory=dict)

    def added(self, treatment: Treatment, image: Image) -> Added:
        """What its image's entrypoint sets, and what is not known of that; nothing where the command begins with it."""
        recipe = (treatment.engine_options or self.study.engine_options).get("recipe") or {}
        key = treatment.image, bool(recipe.get("with_entrypoint"))
        if key not in self.known:
            self.known[key] = ({}, ()) if key[1] else self._asked(treatment, image)
        return self.known[key]

    def _asked(self, treatment: Treatment, image: Image) -> Added:
        """The entrypoint of a server's image may be the server, which runs no other command."""
        if image.has_entrypoint:
            self.notify("image: asking its entrypoint what it would set")
        options = self.options.get(treatment.image) or next(iter(self.options.values()))
        try:
            return entrypoint_variables(self.images.client, image, options), ()
        except ImageError as error:
            if self.study.experiment.workload.kind != "serve":
                raise
            return {}, (f"variables that the image's entrypoint sets are unknown: {error.message}",)


@dataclass(frozen=True)
class Tried:
    """What a container environment comes to on this host."""

    options: DockerOptions
    deviations: tuple[str, ...]
    start: StartState


def _try(treatment: Treatment, probe: Probe, notify: Notify) -> Tried:
    """Start a container with these flags and look at it. Raises PreflightError, DockerError."""
    notify(f"preflight: {treatment.environment}")
    options, deviations, state = honoured(treatment, probe)
    start = StartState(rlimits=_limits(state), oom_score_adj=options.oom_score_adj or 0)
    return Tried(options, deviations, start)


def _native_environment(image: Image, added: Mapping[str, str]) -> dict[str, str]:
    """The variables a container of the image would start with: the image's, the entrypoint's, and Docker's own two."""
    environment = {**image.environment, **added}
    return {"HOME": "/root", **environment, "HOSTNAME": os.uname().nodename}


@dataclass(frozen=True)
class Driver:
    """The NVIDIA driver's libraries on this host, and the CDI devices that bring them into a container.

    `described` is `gpu_routes.cdi_devices`.
    """

    libraries: tuple[Path, ...]
    described: Mapping[str, bool] = field(default_factory=dict)

    @classmethod
    def of_host(cls, cdi_dirs: Sequence[str]) -> "Driver":
        """This host's."""
        return cls(driver_libraries(), cdi_devices(cdi_dirs))

    def is_mounted_by_docker(self, options: DockerOptions) -> bool:
        """Whether Docker brings the libraries into a container with these options."""
        route = route_of(options)
        named = [name.partition("=")[2] for name in options.device or () if name.startswith(f"{NVIDIA_KIND}=")]
        return route == RUNTIME or (route == CDI and all(self.described.get(name, True) for name in named))


def with_driver(arm: Arm, driver: Driver | None) -> Arm:
    """An arm with the driver's libraries, where its engine gets a GPU and nobody else brings them.

    A chroot is always given them. A container is where its route to the GPU mounts none. Either way they are the same
    files of this host; of an image of the host's own files they are part already.
    """
    if driver is None or arm.gpu_route is None:
        return arm
    if arm.treatment.in_container and driver.is_mounted_by_docker(arm.treatment.options):
        return arm
    own_files = arm.image.bound if arm.image else ()
    if own_files and all(is_bound(str(path.resolve()), own_files) for path in driver.libraries):
        return arm
    name = arm.treatment.environment
    environment, deviations = dict(arm.environment), arm.deviations
    inherited = arm.image.environment if arm.image else {}
    folders = environment.get(_LINKER_PATH, inherited.get(_LINKER_PATH, ""))
    if MOUNT_POINT not in folders.split(":"):
        environment[_LINKER_PATH] = f"{folders}:{MOUNT_POINT}".lstrip(":")
        deviations = (*deviations, f"{_LINKER_PATH} of {name} also names {MOUNT_POINT}, for the driver's files")
    binds = driver_binds(driver.libraries)
    if not binds:
        deviations = (*deviations, f"no libraries of an NVIDIA driver were found for {name}")
    return replace(
        arm, environment=environment, deviations=deviations, binds=(*arm.binds, *binds), made=(*arm.made, MOUNT_POINT)
    )


def cdi_folders(client: docker.DockerClient) -> tuple[str, ...]:
    """Folders of CDI descriptions that a Docker engine reads; none where it has CDI off. Raises DockerError."""
    with docker_errors("docker info"):
        return tuple(client.info().get("CDISpecDirs") or ())


def probed(
    arms: dict[str, Arm], engine: Engine, cache: Path, notify: Notify, *, known: Iterable[Arm] = ()
) -> dict[str, Arm]:
    """Each arm with what the engine's tool reports of itself, where the engine asks for that.

    The tool is asked once in a container and once in a chroot: its files and variables are the same whatever the flags,
    and a flag such as `--log-driver none` would hide the answer. `known` are arms that have been asked already.

    Raises:
        HostError: The tool cannot be started in an arm, or its answer cannot be used.
    """
    argv = engine.probe()
    if argv is None:
        return arms
    answers = {_files_of(arm): arm.tool for arm in known}
    for name, arm in arms.items():
        if _files_of(arm) not in answers:
            notify(f"{name}: asking the engine's tool for its version and options")
            try:
                answers[_files_of(arm)] = engine.understand(asked(arm, argv, cache))
            except RunError as error:
                raise PreflightError(
                    f"{name}: the engine's tool does not answer: {error.message}", error.remedy
                ) from None
    return {name: replace(arm, tool=answers[_files_of(arm)]) for name, arm in arms.items()}


def _files_of(arm: Arm) -> tuple[object, ...]:
    """What decides which tool an arm has, and how it answers."""
    return arm.runtime.name, arm.rootfs, arm.image and arm.image.digest, frozenset(arm.environment.items())


def asked(arm: Arm, argv: tuple[str, ...], cache: Path) -> str:
    """What a command prints in an arm's environment.

    Raises:
        RunError: It could not be started or did not end in time.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with scratch_folder(cache, "ask-") as folder:
        scratch = folder / "tmp"
        scratch.mkdir()
        launch = Launch(
            name=f"sparkray-ask-{uuid4().hex[:12]}",
            argv=argv,
            environment=arm.environment,
            log=folder / "log",
            scratch=scratch,
            python=sys.executable,
            start=arm.start,
            rootfs=arm.rootfs,
            image=arm.image.digest if arm.image else None,
            options=arm.treatment.options,
            binds=arm.binds,
            made=arm.made,
            labels={f"{LABEL}.probe": "1"},
            isolation=arm.treatment.isolation,
        )
        with arm.runtime.start(launch) as running:
            if await_end(running.pid, _ASK_PATIENCE_S, Stop()) != "ended":
                running.kill()
                running.finish()
                raise RunTimeoutError(f"{argv[0]} had not ended after {_ASK_PATIENCE_S:g} s")
            running.finish()
        return launch.log.read_text(errors="replace")


def _idle(image: str, cache: Path) -> tuple[tuple[str, ...], Path | None]:
    """A command that waits, so that a container of an image can be looked at, and the file to mount for it."""
    if image in ("venv", "double"):
        return (venv.PYTHON, "-S", "-c", "import time; time.sleep(60)"), None
    program = write_idle(cache)
    return (("sleep", "60"), None) if program is None else ((_IDLE,), program)


def _limits(state: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The limits a container's process has; the native arm gets the same, so that neither gains by them."""
    return {name: (value[0], value[1]) for name, value in state.get("rlimits", {}).items()}


def _reachable(start: StartState) -> tuple[StartState, tuple[str, ...]]:
    """The start state as far as this host lets a process outside Docker reach it.

    Without CAP_SYS_RESOURCE a hard limit cannot be raised: it stays where it is, and the deviation says so.
    """
    limits: dict[str, tuple[int, int]] = {}
    lost: list[str] = []
    for name, (soft, hard) in start.rlimits.items():
        number = getattr(resource, f"RLIMIT_{name.upper()}", None)
        if number is None:
            continue
        ceiling = resource.getrlimit(number)[1]
        if ceiling != -1 and (hard == -1 or hard > ceiling) and not _may_raise_limits():
            limits[name] = (ceiling if soft == -1 or soft > ceiling else soft, ceiling)
            lost.append(
                f"rlimit {name}: containers get {hard}, a process outside Docker cannot get above {ceiling} here"
            )
        else:
            limits[name] = (soft, hard)
    return replace(start, rlimits=limits), tuple(lost)


def _may_raise_limits() -> bool:
    """Whether CAP_SYS_RESOURCE (bit 24) is in the bounding set, so that root has it."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return False


def host_arm(treatment: Treatment, start: StartState, deviations: tuple[str, ...] = ()) -> Arm:
    """A plain process's arm: the virtual environment's own interpreter, an environment built from nothing."""
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(Path.home()),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return Arm(treatment, Host(), None, None, environment=environment, start=start, deviations=deviations)
