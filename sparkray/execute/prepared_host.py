"""Prepares a machine for a study: images, root file systems, weights, arms."""

import sys
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import psutil

from sparkray.catalog.checkpoint import checkpoint_files
from sparkray.catalog.weights import Located, cache_folder, locate, wrong_checkpoint
from sparkray.config.gpu_access import any_wants_gpu
from sparkray.config.model import Host, ModelCard, refusal
from sparkray.config.site import HOST, HOST_FILES, Site
from sparkray.docker_engine import Patience, connect, docker_errors, versions_of
from sparkray.engines import Caching, Engine, Simulator, load_engine
from sparkray.errors import ConfigError, ImageError, ModelFileError, RunUnreadyError
from sparkray.execute.arms import Arm, Notify, host_arm, make_arms, probed
from sparkray.execute.checkpoint import Checkpoints
from sparkray.execute.history import History
from sparkray.execute.layout import WORKERS_ON_HOST, models_root
from sparkray.execute.leftovers import Leftovers, drop_unfinished
from sparkray.execute.preflight import Refusals
from sparkray.images import venv
from sparkray.images.digest import Remembered
from sparkray.images.host_files import is_bound
from sparkray.images.rootfs import Image, Images, host_digest
from sparkray.machine.cpu_isolation import must_have_client_cpus, usable_cpus
from sparkray.machine.fingerprint import Machine
from sparkray.plan import Study, measured
from sparkray.runtimes import StartState
from sparkray.store import Dataset
from sparkray.units import gib


@dataclass(frozen=True)
class Files:
    """What arms run: an image, None where there is only the host's, and what its files hash to."""

    image: Image | None
    digest: str


@dataclass(frozen=True)
class PreparedHost:
    """Everything that is the same for every run of a sweep on this machine.

    `unready` holds, by model, why its runs cannot be started. `files` are by `Treatment.image`: the site's under an empty
    name. `refusals` are of single flags by this machine's Docker engine. `warmed` are the warm-ups that were tried.
    """

    study: Study
    engine: Engine
    machine: Machine
    dataset: Dataset
    images: Images | None
    arms: Mapping[str, Arm]
    weights: Mapping[str, Located]
    files: Mapping[str, Files]
    unready: Mapping[str, str] = field(default_factory=dict)
    memory_gib: float | None = None
    checkpoints: Checkpoints | None = None
    cache: Path = field(default_factory=cache_folder)
    refusals: Refusals = field(default_factory=dict)
    warmed: set[str] = field(default_factory=set)

    @cached_property
    def history(self) -> History:
        """What this machine's runs of the dataset have shown so far."""
        return History(self.dataset, self.machine.host)

    @property
    def identity(self) -> dict[str, Any]:
        """What must not change inside a dataset: the machine, files and image of each arm, each model's weights.

        Files and images are by environment, of those that have their own; the others' are under an empty name. None is not
        known: no arm of this sweep has them.
        """
        own = {name: self.files.get(image) for name, image in {"": "", **self.study.own_images}.items()}
        return {
            "host": self.machine.host,
            "rootfs_digest": {name: files.digest if files else None for name, files in own.items()},
            "image_digest": {
                name: files.image.digest if files and files.image else None for name, files in own.items()
            },
            "weights": {name: found.sha256 or found.checkpoint for name, found in self.weights.items()},
            "weights_digest": {name: found.digest for name, found in self.weights.items()},
        }

    def expected_digest(self, environment: str) -> str:
        """What an arm's files must hash to."""
        return self.files[self.arms[environment].treatment.image].digest

    def weights_now(self, model: str) -> str | None:
        """The digest of a checkpoint's files as they are now; None for a single file, which is hashed inside each run.

        Raises:
            RunUnreadyError: A file cannot be read.
        """
        located = self.weights[model]
        if self.checkpoints is None or located.digest is None:
            return None
        try:
            return self.checkpoints.digest(located.path)
        except OSError as error:
            raise RunUnreadyError(
                f"{model}: {error.filename or located.path} cannot be read: {error.strerror}"
            ) from None

    def digest_now(self, environment: str) -> str:
        """The digest of what an arm runs, from that arm's own files, as they are now."""
        arm = self.arms[environment]
        if self.images is None:
            return host_digest()
        if environment == HOST:
            return self.images.host_digest(self.files[""].image)
        if arm.image is None:
            raise AssertionError(environment)
        if arm.rootfs is not None and not arm.rootfs.is_dir():
            self.images.rootfs(arm.image)  # removed since the sweep began: exported again, to the same place
        root = self.images.container_digest(arm.image) if arm.rootfs is None else self.images.rootfs_digest(arm.rootfs)
        return self.images.with_bound(root, arm.image)


def prepare_host(
    study: Study,
    machine: Machine,
    dataset: Dataset,
    notify: Notify,
    *,
    cache: Path | None = None,
    patience: Patience | None = None,
) -> PreparedHost:
    """Weights, image, export, preflight; each step says what it is about to do.

    `cache` holds models, exports and digests; the user's own unless given. `patience` is with Docker.

    Raises:
        InputError: Weights are not what they should be, or the site names a CPU that does not exist.
        HostError: This machine cannot do it: no Docker, no root, a flag that it cannot honour.
    """
    engine = load_engine(study.engine)
    if study.experiment.workload.kind == "serve":
        must_have_client_cpus(study.site.client_cpus, usable_cpus())
    cache = cache or cache_folder()
    refusals: Refusals = {}
    drop_unfinished(cache, notify)
    checkpoints = Checkpoints(Remembered(cache / "checkpoints.json"), notify)
    weights, unready = _weights(study, cache, notify, checkpoints)
    if all(treatment.environment == HOST for treatment in study.treatments):
        images, files = None, {"": Files(None, host_digest())}
        arms = {HOST: host_arm(study.treatments[0], StartState())}
    else:
        images = Images(connect(patience), cache)
        with docker_errors("asking the Docker engine for its version"):
            machine = machine.running(versions_of(images.client.version()))
        Leftovers(images.client).clear(notify)
        files = _files(study, engine, images, notify)
        arms = probed(_make_arms(study, images, files, refusals, notify), engine, cache, notify)
    if isinstance(engine, Caching) and study.experiment.protocol.warm_start != "none":
        notify("warm start: each environment starts once, uncounted, before the first counted run of a model")
    return PreparedHost(
        study,
        engine,
        machine,
        dataset,
        images,
        arms,
        weights,
        files,
        unready,
        memory_gib=memory_for(study.site),
        checkpoints=checkpoints,
        cache=cache,
        refusals=refusals,
    )


def adapt_host(
    prepared: PreparedHost,
    study: Study,
    dataset: Dataset,
    notify: Notify,
    *,
    cache: Path | None = None,
    patience: Patience | None = None,
) -> PreparedHost:
    """Prepares the host for another study of the same engine, site and models: only new arms are made.

    Raises:
        HostError: This machine cannot do it, such as a flag that it cannot honour.
    """
    known = {treatment.environment: treatment for treatment in prepared.study.treatments}
    arms = {name: arm for name, arm in prepared.arms.items() if name in known}
    fresh = tuple(t for t in measured(study) if known.get(t.environment) != t or t.environment not in arms)
    files = prepared.files
    if fresh and prepared.images is None:
        return prepare_host(study, prepared.machine, dataset, notify, cache=cache, patience=patience)
    if fresh and prepared.images is not None:
        changed = replace(study, treatments=fresh)
        files = {**_files(changed, prepared.engine, prepared.images, notify, known=files), **files}
        made = _make_arms(changed, prepared.images, files, prepared.refusals, notify)
        before = prepared.arms.values()
        arms.update(probed(made, prepared.engine, cache or cache_folder(), notify, known=before))
    wanted = {treatment.environment: arms[treatment.environment] for treatment in measured(study)}
    return replace(prepared, study=study, dataset=dataset, arms=wanted, files=files)


def _make_arms(
    study: Study, images: Images, files: Mapping[str, Files], refusals: Refusals, notify: Notify
) -> dict[str, Arm]:
    found = {reference: each.image for reference, each in files.items() if each.image is not None}
    return make_arms(study, images, found, notify=notify, refusals=refusals)


def memory_for(site: Site) -> float | None:
    """The memory that a model must fit into, GiB.

    It is the site's own where a double stands in for it, and the host's where the GPU shares it or there is none. Where
    the GPU has its own, which is not asked here, None.
    """
    if site.simulated:
        return site.memory_gib
    has_gpu = any_wants_gpu(environment.options for environment in site.environments.values())
    return None if has_gpu and site.memory_gib is None else gib(psutil.virtual_memory().total)


def _files(
    study: Study, engine: Engine, images: Images, notify: Notify, *, known: Collection[str] = ()
) -> dict[str, Files]:
    """Images of the study's arms that are not known, with what their files hash to. Raises HostError."""
    files: dict[str, Files] = {}
    for own in sorted({treatment.image for treatment in measured(study)} - set(known)):
        notify(f"image: {own or study.site.image}")
        image = _image(own or study.site.image, study, engine, images=images)
        files[own] = Files(image, images.with_bound(images.container_digest(image), image))
    return files


def _image(reference: str, study: Study, engine: Engine, *, images: Images) -> Image:
    """An image: built here (virtual environment, the host's own files, a simulated engine), or an existing one."""
    if reference == "venv":
        return images.from_venv()
    if reference == HOST_FILES:
        if engine.image_contents == "venv":
            must_reach_venv(study.site.host_files)
        return images.from_host(study.site.host_files, content=study.site.host_files_content)
    if reference == "double":
        if not isinstance(engine, Simulator):
            raise ConfigError(
                f"site.image is 'double', and engine {study.engine} has no simulator",
                "Name an image of the engine: --set site.image=IMAGE",
            )
        return images.from_files(engine.simulator_files(study.engine_options, venv.PYTHON), venv.DOUBLE_REPOSITORY)
    return images.find(reference)


def must_reach_venv(folders: Sequence[str]) -> None:
    """Raises ImageError where an engine of sparkray's own virtual environment would not be in an image of host files."""
    needed = {
        sys.prefix: "its packages",
        sys.base_prefix: "its interpreter",
        str(WORKERS_ON_HOST): "sparkray's workers",
    }
    absent = [path for path in needed if not is_bound(path, [folder.rstrip("/") for folder in folders])]
    if absent:
        named = "; ".join(f"{path} ({needed[path]})" for path in absent)
        raise ImageError(
            f"the engine runs from sparkray's virtual environment, which site.host_files does not reach: {named}",
            f"--set 'site.host_files=[{', '.join((*folders, *absent))}]'",
        )


def _weights(
    study: Study, cache: Path, notify: Notify, checkpoints: Checkpoints
) -> tuple[dict[str, Located], dict[str, str]]:
    """Where each card's weights lie; a missing checkpoint or an unsupported model stops its own runs, not the others'."""
    found: dict[str, Located] = {}
    unready: dict[str, str] = {}
    for card in study.cards:
        if (reason := refusal(card, Host(study.engine, memory_for(study.site), f"site {study.site.name}"))) is not None:
            unready[card.name] = reason
            continue
        notify(f"model: {card.name}")
        root = checkpoints_root(study.site, card, cache)
        try:
            found[card.name] = locate(card, root, cache)
            if wrong := wrong_checkpoint(card, found[card.name].path):
                unready[card.name] = f"{card.name}: the checkpoint is not what its card says: {'; '.join(wrong)}"
            elif card.weights.kind in ("checkpoint", "random"):
                found[card.name] = replace(found[card.name], digest=_digest(checkpoints, found[card.name].path))
        except ModelFileError as error:
            if card.weights.kind != "checkpoint":
                raise
            unready[card.name] = str(error)
    return found, unready


def _digest(checkpoints: Checkpoints, folder: Path) -> str:
    """Raises ModelFileError."""
    try:
        return checkpoints.digest(folder)
    except OSError as error:
        raise ModelFileError(f"the checkpoint {folder} cannot be read: {error.strerror}") from None


def checkpoints_root(site: Site, card: ModelCard, cache: Path) -> Path:
    """The folder of the checkpoints; for the simulated engine, one is made without weights, which it does not read."""
    root = models_root(site.models_root, cache)
    if site.models_root == "double" and card.weights.kind == "checkpoint":
        folder = root / card.weights.path
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in checkpoint_files(card).items():
            if not (folder / name).is_file() or (folder / name).read_bytes() != content:
                (folder / name).write_bytes(content)
    return root
