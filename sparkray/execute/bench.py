"""A machine made ready for a study: images, root file systems, weights, and what each arm really gets."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import psutil

from sparkray.catalog.weights import Located, cache_folder, locate
from sparkray.engines import Engine, load_engine
from sparkray.engines._trtllm.features import ASSUMED_VERSION
from sparkray.engines._trtllm.shipping import checkpoint_files, double_files
from sparkray.errors import ModelFileError, PreflightError, RunError, RunTimeoutError
from sparkray.execute.layout import LABEL
from sparkray.execute.leftovers import Leftovers
from sparkray.execute.preflight import Probe, honoured
from sparkray.images import venv
from sparkray.images.rootfs import Image, Images, host_digest
from sparkray.machine.fingerprint import Machine
from sparkray.plan import Study, Treatment
from sparkray.runtimes import Launch, Runtime, StartState, Stop, await_end
from sparkray.runtimes._docker import connect
from sparkray.runtimes.container import Runtime as Container
from sparkray.runtimes.host import Runtime as Host
from sparkray.runtimes.native import Runtime as Native
from sparkray.spec.model import ModelCard, refusal
from sparkray.spec.site import CONTAINER_BASELINE, HOST, NATIVE, Site
from sparkray.store import Dataset
from sparkray.units import gib

Tell = Callable[[str], None]
_ASK_PATIENCE_S = 300.0


@dataclass(frozen=True)
class Arm:
    """One environment, ready: its treatment as the host can honour it, and where its files come from.

    `environment` are the variables that the arm's process starts with, apart from the engine's own.
    """

    treatment: Treatment
    runtime: Runtime
    image: Image | None
    rootfs: Path | None
    environment: Mapping[str, str]
    start: StartState
    deviations: tuple[str, ...] = ()
    tool: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Bench:
    """Everything that is the same for every run of a sweep on this machine.

    `unready` holds, by model, why its runs cannot be started; `expected_digest` is what every arm's files must hash to.
    """

    study: Study
    engine: Engine
    machine: Machine
    dataset: Dataset
    images: Images | None
    arms: Mapping[str, Arm]
    weights: Mapping[str, Located]
    expected_digest: str
    unready: Mapping[str, str] = field(default_factory=dict)

    def digest_now(self, environment: str) -> str:
        """The digest of what an arm runs, from that arm's own files, as they are now."""
        arm = self.arms[environment]
        if self.images is None or environment == HOST:
            return host_digest()
        if arm.rootfs is not None:
            return self.images.rootfs_digest(arm.rootfs)
        if arm.image is None:
            raise AssertionError(environment)
        return self.images.container_digest(arm.image)


def make_ready(study: Study, machine: Machine, dataset: Dataset, tell: Tell, *, cache: Path | None = None) -> Bench:
    """Weights, image, export, preflight; each step says what it is about to do.

    `cache` holds models, exports and digests; the user's own unless given.

    Raises:
        InputError: Weights are not what they should be.
        HostError: This machine cannot do it: no Docker, no root, a flag that it cannot honour.
    """
    engine = load_engine(study.engine)
    cache = cache or cache_folder()
    weights, unready = _weights(study, cache, tell)
    if all(treatment.environment == HOST for treatment in study.treatments):
        images, expected = None, host_digest()
        arms = {HOST: _host_arm(study.treatments[0], StartState())}
    else:
        images = Images(connect(), cache)
        Leftovers(images.client).clear(tell)
        tell(f"image: {study.site.image}")
        image = _image(study, images)
        expected = images.container_digest(image)
        arms = _probed(_arms(study, images, image, tell), engine, cache, tell)
    return Bench(study, engine, machine, dataset, images, arms, weights, expected, unready)


def _image(study: Study, images: Images) -> Image:
    """The site's image: built here from the virtual environment, or with a double in it, or one that is there."""
    if study.site.image == "venv":
        return images.from_venv()
    if study.site.image == "double":
        version = str(study.engine_options.get("version") or ASSUMED_VERSION)
        return images.from_files(double_files(version, python=venv.PYTHON), venv.DOUBLE_REPOSITORY)
    return images.find(study.site.image)


def _probed(arms: dict[str, Arm], engine: Engine, cache: Path, tell: Tell) -> dict[str, Arm]:
    """Each arm with what the engine's tool says of itself there, where the engine asks for that.

    Raises:
        HostError: The tool cannot be started in an arm, or says nothing that can be used.
    """
    argv = engine.probe()
    if argv is None:
        return arms
    found: dict[str, Arm] = {}
    for name, arm in arms.items():
        tell(f"{name}: asking the engine's tool for its version and options")
        try:
            found[name] = replace(arm, tool=engine.understand(asked(arm, argv, cache)))
        except RunError as error:
            raise PreflightError(f"{name}: the engine's tool does not answer: {error.message}", error.remedy) from None
    return found


def asked(arm: Arm, argv: tuple[str, ...], cache: Path) -> str:
    """What a command prints in an arm's environment.

    Raises:
        RunError: It could not be started or did not end in time.
    """
    cache.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=cache, prefix="ask-") as folder:
        scratch = Path(folder, "tmp")
        scratch.mkdir()
        launch = Launch(
            name=f"sparkray-ask-{uuid4().hex[:12]}",
            argv=argv,
            environment={} if arm.treatment.in_container else arm.environment,
            log=Path(folder, "log"),
            scratch=scratch,
            python=sys.executable,
            start=arm.start,
            rootfs=arm.rootfs,
            image=arm.image.reference if arm.image else None,
            options=arm.treatment.options,
            labels={f"{LABEL}.probe": "1"},
        )
        with arm.runtime.start(launch) as running:
            if await_end(running.pid, _ASK_PATIENCE_S, Stop()) != "ended":
                running.kill()
                running.finish()
                raise RunTimeoutError(f"{argv[0]} had not ended after {_ASK_PATIENCE_S:g} s")
            running.finish()
        return launch.log.read_text(errors="replace")


def _weights(study: Study, cache: Path, tell: Tell) -> tuple[dict[str, Located], dict[str, str]]:
    """Where each card's weights lie; a missing checkpoint or an unsupported model stops its own runs, not the others'."""
    found: dict[str, Located] = {}
    unready: dict[str, str] = {}
    workload = study.experiment.workload
    memory_gib = study.site.memory_gib if study.site.simulated else gib(psutil.virtual_memory().total)
    for card in study.cards:
        reason = refusal(
            card,
            memory_gib,
            sequences=workload.concurrency or card.max_batch_size,
            tokens=workload.input_tokens + workload.output_tokens,
        )
        if reason is not None:
            unready[card.name] = reason
            continue
        tell(f"model: {card.name}")
        root = models_root(study.site, card, cache)
        try:
            found[card.name] = locate(card, root, cache)
        except ModelFileError as error:
            if card.weights.kind != "checkpoint":
                raise
            unready[card.name] = str(error)
    return found, unready


def models_root(site: Site, card: ModelCard, cache: Path) -> Path:
    """Where checkpoints lie; `double` makes one without weights, which is all that the double reads."""
    if site.models_root != "double":
        return Path(site.models_root)
    root = cache / "double-models"
    if card.weights.kind == "checkpoint":
        folder = root / card.weights.path
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in checkpoint_files(card).items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != content:
                (folder / name).write_bytes(content)
    return root


def _arms(study: Study, images: Images, image: Image, tell: Tell) -> dict[str, Arm]:
    """Each environment of the study, its flags tried out on this host."""
    container = Container(images.client)
    probe = Probe(container, image, idle=_idle(study))
    arms: dict[str, Arm] = {}
    start: StartState | None = None
    for treatment in study.treatments:
        if treatment.in_container:
            tell(f"preflight: {treatment.environment}")
            options, deviations, state = honoured(treatment, probe)
            effective = replace(treatment, options=options)
            arm_start = StartState(rlimits=_limits(state))
            arms[treatment.environment] = Arm(
                effective, container, image, None, image.environment, arm_start, deviations
            )
            start = start or arm_start
    if start is None:
        baseline = study.site.environments[CONTAINER_BASELINE]
        treatment = Treatment(CONTAINER_BASELINE, baseline.options, tuple(f for f in baseline.adapt))
        tell("preflight: the limits a container would get")
        start = StartState(rlimits=_limits(honoured(treatment, probe)[2]))
    reachable, lost = _reachable(start)
    for treatment in study.treatments:
        if treatment.environment == NATIVE:
            tell("native: exporting the image's file system, once")
            root = images.rootfs(image)
            environment = {
                **image.environment,
                "HOME": image.environment.get("HOME", "/root"),
                "HOSTNAME": os.uname().nodename,
            }
            arms[NATIVE] = Arm(treatment, Native(), image, root, environment, reachable, lost)
        elif treatment.environment == HOST:
            arms[HOST] = _host_arm(treatment, reachable, lost)
    return {treatment.environment: arms[treatment.environment] for treatment in study.treatments}


def _idle(study: Study) -> tuple[str, ...]:
    """A command of the image that does nothing for a while, so that a container can be looked at."""
    if study.site.image in ("venv", "double"):
        return (venv.PYTHON, "-S", "-c", "import time; time.sleep(60)")
    return ("sleep", "60")


def _limits(state: Mapping[str, Any]) -> dict[str, tuple[int, int]]:
    """The limits a container's process has; the native arm gets the same, so that neither gains by them."""
    return {name: (value[0], value[1]) for name, value in state.get("rlimits", {}).items()}


def _reachable(start: StartState) -> tuple[StartState, tuple[str, ...]]:
    """The start state as far as this host lets a process outside Docker reach it.

    Without CAP_SYS_RESOURCE a hard limit cannot be raised: it stays where it is, and the deviation says so.
    """
    import resource  # noqa: PLC0415

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
    """Whether CAP_SYS_RESOURCE (bit 24) is in the effective set, as root has it unless the host took it away."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapBnd"):
            return bool(int(line.split()[1], 16) >> 24 & 1)
    return False


def _host_arm(treatment: Treatment, start: StartState, deviations: tuple[str, ...] = ()) -> Arm:
    environment = {
        "PATH": f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(Path.home()),
        "LANG": "C.UTF-8",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    return Arm(treatment, Host(), None, None, environment, start, deviations)
