"""The `docker run` line of a recipe, for `compare` without a line: this site's flags, one model, the recipe's command."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from sparkray.catalog import Catalog
from sparkray.catalog.weights import NO_FILE, cache_folder, weights_path
from sparkray.config.boundary import parse
from sparkray.config.container import EVERY_ADDRESS
from sparkray.config.docker import DockerOptions, flag_words
from sparkray.config.experiment import Workload
from sparkray.config.model import ModelCard
from sparkray.config.site import CONTAINER_BASELINE, Site
from sparkray.engines import Engine, Job, Server, load_engine
from sparkray.errors import InputError, StorageError
from sparkray.execute.layout import inside_paths, model_name, models_root
from sparkray.images import venv
from sparkray.store import write_atomically
from sparkray.workflows.options import engine_of

_PORT = 8000
_UNSAFE = re.compile(r"[^\w.-]+")
_SEED = 1


@dataclass(frozen=True)
class RecipeLine:
    """A line as words, with the files that it mounts: those of the recipe by path, and where the weights must be."""

    words: tuple[str, ...]
    files: Mapping[Path, bytes]
    card: ModelCard
    weights: Path

    def write(self) -> None:
        """Write the files that the line mounts. Raises StorageError."""
        for path, content in self.files.items():
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomically(path, content)
            except OSError as error:
                raise StorageError(
                    f"{path} cannot be written: {error.strerror}", "Name another folder: --results-dir DIR"
                ) from None


def recipe_line(
    name: str, model: str | None, site: Site, load: Workload, *, catalog: Catalog, folder: Path
) -> RecipeLine:
    """The line.

    Args:
        name: A recipe, or its file.
        model: A card, or the path of a model; the first of the site's experiment where it is not given.
        site: Has the flags of Docker and the folder of checkpoints.
        load: Sizes the context and the batch.
        catalog: Has recipes and cards.
        folder: Where files of the recipe go.

    Raises:
        InputError: There is no such recipe or model, or the engine is no server.
    """
    engine_name, own = engine_of(name, catalog)
    engine: Engine = load_engine(engine_name)
    if not isinstance(engine, Server):
        raise InputError(f"engine {name} is no server", "Name one of `sparkray engines` whose workload is serve")
    card = _card(model or catalog.experiment(site.experiment).models[0], catalog)
    options = engine.options(own, "engine options")
    inputs = folder.absolute() / f"{_UNSAFE.sub('-', engine_name)}-{card.name}-in"
    paths = replace(
        inside_paths(card, engine),
        input="/recipe",
        host=EVERY_ADDRESS,
        port=_PORT,
        **({} if card.weights.kind == "server" else {"model": f"/models/{model_name(card)}"}),
    )
    command = engine.command(Job(card, load, _SEED, options), paths)
    weights = weights_path(card, models_root(site.models_root, cache_folder()), cache_folder())
    baseline = site.environments.get(CONTAINER_BASELINE)
    image = engine.recipe(options).image
    if not image:
        raise InputError(f"the recipe {name} names no image", "Add the key image to its file")
    binds = [f"{source}:{target}{':ro' if read_only else ''}" for source, target, read_only in command.binds]
    binds += [f"{weights}:{paths.model}:ro"] if weights != NO_FILE else []
    binds += [f"{inputs}:{paths.input}:ro"] if command.inputs else []
    words = (
        *(
            "docker",
            "run",
            *flag_words(baseline.options if baseline else DockerOptions()),
            f"--publish={_PORT}:{_PORT}",
        ),
        *(f"--env={key}={value}" for key, value in command.environment.items()),
        *(f"--volume={bind}" for bind in binds),
        *([f"--workdir={command.workdir}"] if command.workdir != "/" else []),
        f"--entrypoint={command.argv[0]}",
        f"{venv.REPOSITORY}:latest" if image == "venv" else image,
        *command.argv[1:],
    )
    return RecipeLine(words, {inputs / file: content for file, content in command.inputs.items()}, card, weights)


def _card(model: str, catalog: Catalog) -> ModelCard:
    """A card by its name or file, or one made for a model's path."""
    if "/" not in model and not model.endswith(".gguf"):
        return catalog.card(model)
    if model.endswith((".yaml", ".yml")):
        return catalog.card(model)
    path = Path(model).expanduser().absolute()
    name = _UNSAFE.sub("-", path.name.removesuffix(".gguf")).strip("-.") or "model"
    return parse(
        ModelCard,
        {
            "name": name,
            "architecture": "decoder",
            "licence": "unknown: a model of the user's",
            "why": "named on the command line",
            "max_batch_size": 1,
            "weights": {"kind": "file" if path.name.endswith(".gguf") else "checkpoint", "path": str(path)},
        },
        f"--model {model}",
    )
