"""The `docker run` line of a recipe, for `compare` without a line: this site's flags, one model, the recipe's command."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sparkray.catalog import Catalog
from sparkray.catalog.weights import NO_FILE, cache_folder, weights_path
from sparkray.config.boundary import parse
from sparkray.config.container import EVERY_ADDRESS
from sparkray.config.docker import DockerOptions, flag_words
from sparkray.config.docker_values import Bind
from sparkray.config.experiment import Workload
from sparkray.config.model import ModelCard
from sparkray.config.recipe import Recipe
from sparkray.config.site import CONTAINER_BASELINE, Environment, Site
from sparkray.engines import Engine, EngineCommand, Job, Server, load_engine
from sparkray.errors import InputError, StorageError, refusal
from sparkray.execute.layout import inside_paths, model_name, models_root
from sparkray.images import venv
from sparkray.store.writing import write_atomically
from sparkray.workflows.options import engine_of

_UNSAFE = re.compile(r"[^\w.-]+")
_SEED = 1


@dataclass(frozen=True)
class RecipeLine:
    """A line as words, with what it mounts.

    Attributes:
        words: The line.
        files: Files of the recipe, by path.
        folders: Folders that the server fills, such as a cache of models.
        card: The model.
        weights: Where its weights must be; `NO_FILE` where the line mounts none.
        adapt: Options that the site gives up where the host cannot honour them.
    """

    words: tuple[str, ...]
    files: Mapping[Path, bytes]
    folders: tuple[Path, ...]
    card: ModelCard
    weights: Path
    adapt: tuple[str, ...] = ()

    def write(self) -> None:
        """Write the files and make the folders that the line mounts. Raises StorageError."""
        try:
            for folder in (*self.folders, *(path.parent for path in self.files)):
                if not folder.exists():
                    folder.mkdir(parents=True)
            for path, content in self.files.items():
                write_atomically(path, content)
        except OSError as error:
            raise StorageError(
                f"{error.filename} cannot be written: {refusal(error)}", "Name another folder: --results-dir DIR"
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
        InputError: There is no such recipe or model, the server takes no model, or the engine is no server.
    """
    engine_name, own = engine_of(name, catalog)
    engine: Engine = load_engine(engine_name)
    if not isinstance(engine, Server):
        raise InputError(f"engine {name} is no server", "Name one of `sparkray engines` whose workload is serve")
    options = engine.options(own, "engine options")
    recipe = engine.recipe(options)
    if not recipe.image:
        raise InputError(f"the recipe {name} names no image", "Add the key image to its file")
    if model is not None and not (recipe.takes_model or recipe.served_name):
        raise InputError(
            f"--model {model}: {recipe.name} takes no model, since its image {recipe.image} names one",
            "Leave --model out, or name another image in a recipe of your own: --engine FILE",
        )
    card = _card(model, catalog) if model else catalog.select(catalog.experiment(site.experiment).models)[0]
    inputs = folder.absolute() / f"{_UNSAFE.sub('-', engine_name)}-{card.name}-in"
    paths = replace(
        inside_paths(card, engine),
        input="/recipe",
        host=EVERY_ADDRESS,
        port=recipe.port,
        **({} if card.weights.kind == "server" else {"model": f"/models/{model_name(card)}"}),
    )
    tool = {"version": recipe.image.rpartition(":")[2]} if recipe.versions else {}  # by its tag: nothing runs here
    command = engine.command(Job(card, load, _SEED, options, tool=tool), paths)
    weights = weights_path(card, models_root(site.models_root, cache_folder()), cache_folder())
    weights = weights if recipe.takes_model or model is not None else NO_FILE
    binds = [
        *command.binds,
        *([(str(weights), paths.model, True)] if weights != NO_FILE else []),
        *([(str(inputs), paths.input, True)] if command.inputs else []),
    ]
    baseline = site.environments.get(CONTAINER_BASELINE) or Environment(DockerOptions())
    return RecipeLine(
        _words(recipe, command, binds, baseline.options),
        {inputs / file: content for file, content in command.inputs.items()},
        tuple(Path(source) for source, _, read_only in command.binds if not read_only),
        card,
        weights,
        baseline.adapt,
    )


def _words(recipe: Recipe, command: EngineCommand, binds: Sequence[Bind], options: DockerOptions) -> tuple[str, ...]:
    entrypoint = recipe.from_image is None
    return (
        *("docker", "run", *flag_words(options)),
        f"--publish={recipe.port}:{recipe.port}",
        *(f"--env={name}" for name in recipe.needs),
        *(f"--env={key}={value}" for key, value in command.environment.items()),
        *(f"--volume={source}:{target}{':ro' if read_only else ''}" for source, target, read_only in binds),
        *([f"--workdir={command.workdir}"] if command.workdir != "/" else []),
        *([f"--entrypoint={command.argv[0]}"] if entrypoint else []),
        f"{venv.REPOSITORY}:latest" if recipe.image == "venv" else recipe.image,
        *command.argv[1 if entrypoint else recipe.from_image :],
    )


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
