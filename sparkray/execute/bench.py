"""A machine made ready for a study: images, root file systems, weights, and what each arm really gets."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from sparkray.catalog.weights import Located, cache_folder, locate
from sparkray.engines import Engine, load_engine
from sparkray.engines._trtllm.features import ASSUMED_VERSION
from sparkray.engines._trtllm.shipping import checkpoint_files, double_files
from sparkray.errors import ModelFileError
from sparkray.execute.arms import Arm, Tell, host_arm, make_arms, probed
from sparkray.execute.leftovers import Leftovers
from sparkray.images import venv
from sparkray.images.rootfs import Image, Images, host_digest
from sparkray.machine.fingerprint import Machine
from sparkray.plan import Study
from sparkray.runtimes import StartState
from sparkray.runtimes._docker import connect
from sparkray.spec.model import ModelCard, refusal
from sparkray.spec.site import HOST, Site
from sparkray.store import Dataset
from sparkray.units import gib


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
        arms = {HOST: host_arm(study.treatments[0], StartState())}
    else:
        images = Images(connect(), cache)
        Leftovers(images.client).clear(tell)
        tell(f"image: {study.site.image}")
        image = _image(study, images)
        expected = images.container_digest(image)
        arms = probed(make_arms(study, images, image, tell), engine, cache, tell)
    return Bench(study, engine, machine, dataset, images, arms, weights, expected, unready)


def _image(study: Study, images: Images) -> Image:
    """The site's image: built here from the virtual environment, or with a double in it, or one that is there."""
    if study.site.image == "venv":
        return images.from_venv()
    if study.site.image == "double":
        version = str(study.engine_options.get("version") or ASSUMED_VERSION)
        return images.from_files(double_files(version, python=venv.PYTHON), venv.DOUBLE_REPOSITORY)
    return images.find(study.site.image)


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
