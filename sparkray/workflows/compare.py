"""`compare`: a pasted `docker run` line as an experiment file, and which of its flags cannot act.

The line becomes the container arm, and the same image, command, environment and mounts in a chroot the native one. Of two
lines each becomes a container arm, with an image, a command and a port of its own where they differ. The experiment and the
model's card are files in the results folder, so that every other verb can take them.
"""

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from sparkray.catalog import Catalog
from sparkray.config.container import publishes
from sparkray.config.docker import DockerOptions, flag_words, given, unreachable_limits, words_of
from sparkray.config.docker_line import DockerLine
from sparkray.config.equivalence import idle
from sparkray.config.recipe import Recipe
from sparkray.config.recognise import (
    ImageConfig,
    command_of,
    model_of,
    path_on_host,
    port_of,
    recognise,
    served_name_of,
)
from sparkray.config.secrets import is_secret
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.errors import InputError, StorageError, UnknownNameError, refusal
from sparkray.files import replace_file

AGAINST = "container_against"
_PRIMARY: Mapping[str, float] = {
    "output_throughput_tok_s": 0.01,
    "ttft_mean_ms": 0.02,
    "itl_mean_ms": 0.01,
    "container_to_ready_s": 0.05,
}
"""What is compared, with the margins of `experiments/local-serve.yaml`."""
_SEED = 20260101
_UNSAFE = re.compile(r"[^\w.-]+")
_TIMEOUT_S, _READY_S = 1800, 1200


@dataclass(frozen=True)
class ComparedLoad:
    """The built-in load: requests in flight, tokens of each, requests of a run."""

    concurrency: int = 4
    input_tokens: int = 128
    output_tokens: int = 64
    requests: int = 32


@dataclass(frozen=True)
class Compared:
    """One line, understood: the whole command, its engine, port and model."""

    line: DockerLine
    image: ImageConfig
    command: tuple[str, ...]
    recipe: Recipe
    port: int
    model: str | None

    @property
    def options(self) -> DockerOptions:
        """Every option that Docker gets, those without a type among them."""
        own = {name: value for name, _, value in given(self.line.options)}
        return DockerOptions(**own, other=self.line.passed or None)


def understand(line: DockerLine, image: ImageConfig, catalog: Catalog, engine: str | None = None) -> Compared:
    """What a line serves.

    Args:
        line: As it was parsed.
        image: What its image brings.
        catalog: Has the recipes of servers.
        engine: A recipe's name or file, where the user names it.

    Raises:
        InputError: Command, engine or port are not known, or a folder that is to be mounted is not there.
    """
    command = command_of(line, image)
    recipes = map(catalog.recipe, catalog.recipe_files())
    recipe = catalog.recipe(engine) if engine else recognise(command, line.image, recipes)
    for source, target, _ in line.binds:
        if not Path(source).exists():
            raise InputError(
                f"{source}, which is to be mounted at {target}, is not on this machine", "Name one that is"
            )
    return Compared(line, image, command, recipe, port_of(line, command, image, recipe), model_of(command, recipe))


def model_card(compared: Compared, catalog: Catalog) -> dict[str, Any]:
    """The card of the model that the line serves; its shape where sparkray knows the model by its name.

    Raises:
        InputError: Its path is in a mounted folder, which lacks it.
    """
    named = compared.model or ""
    path = path_on_host(named, compared.line, compared.image) if "/" in named else None
    if path is not None and not Path(path).exists():
        raise InputError(f"the model {named} would be {path}, which is not on this machine", "Download it there")
    known = _known(named, catalog)
    where, kind = path or named, "server"
    if path is not None and path.endswith(".gguf"):
        kind = "file"
    elif path is not None and Path(path, "config.json").is_file():
        kind = "checkpoint"
    name = _UNSAFE.sub("-", Path(named).name.removesuffix(".gguf")).strip("-.") or "model-of-the-image"
    return {
        "name": name,
        "architecture": known["architecture"] if known else "decoder",
        "licence": "unknown: a model of the user's",
        "why": "served by the line that is compared",
        "weights": {"kind": kind, "path": where},
        **({"shape": known["shape"]} if known else {}),
    }


def _known(named: str, catalog: Catalog) -> dict[str, Any] | None:
    try:
        card = catalog.card(named) if named and not named.endswith((".gguf", ".yaml", ".yml")) else None
    except UnknownNameError:
        return None
    return {"architecture": card.architecture, "shape": asdict(card.shape)} if card and card.shape else None


def recipe_of_line(compared: Compared) -> Recipe:
    """The engine's recipe with the line's own image, command, variables and mounts in place of its own."""
    line = compared.line
    return replace(
        compared.recipe,
        image=line.image,
        with_entrypoint=True,
        command=compared.command,
        environment=dict(line.environment),
        volumes=tuple(f"{source}:{target}{':ro' if read_only else ''}" for source, target, read_only in line.binds),
        workdir=line.workdir or compared.image.workdir,
        served_name=served_name_of(compared.command, compared.recipe),
        options_file={},
        versions={},
        probe=None,
    )


def experiment_of(
    compared: Compared, load: ComparedLoad, against: Compared | None = None, *, adapt: Sequence[str] = ()
) -> dict[str, Any]:
    """The experiment as its file holds it, but for its name, its models and the number of runs.

    Args:
        compared: The line.
        load: The load.
        against: A second line.
        adapt: Options of the first that are the site's and not the user's: given up where the host cannot honour them.
    """
    flags = _flags(compared)
    containers = {CONTAINER_BASELINE: compared, **({AGAINST: against} if against else {})}
    environments = {name: _container(each, compared) for name, each in containers.items()}
    if adapt:
        environments[CONTAINER_BASELINE]["adapt"] = list(adapt)
    question = (
        f"What does Docker ({flags}) cost {compared.line.image} against a chroot into the same image, with the same "
        "command, variables and mounts?"
    )
    if against is not None:
        own, other = compared.line.image, against.line.image
        both = (f"{own} ({flags})", f"{other} ({_flags(against)})") if own != other else (flags, _flags(against))
        question = (
            f"Does {'a server' if own != other else own} do better under Docker with {both[0]} or with {both[1]}?"
        )
    return {
        "question": question,
        "environments": [*([] if against else [NATIVE]), *containers],
        "containers": environments,
        "engine": {"name": f"server:{compared.recipe.name}", **_engine(compared)},
        "order": "random",
        "seed": _SEED,
        "timeout_s": _TIMEOUT_S,
        "workload": {"kind": "serve", "warmup_requests": 2, **asdict(load), "serve": {"ready_timeout_s": _READY_S}},
        "primary_metrics": list(_PRIMARY),
        "margins": dict(_PRIMARY),
    }


def _engine(compared: Compared) -> dict[str, Any]:
    """Options of the engine that a line amounts to."""
    return {"port": compared.port, "recipe": json.loads(json.dumps(asdict(recipe_of_line(compared))))}


def _container(compared: Compared, first: Compared) -> dict[str, Any]:
    """A line as a container environment: its flags, and what it has in place of the first line's."""
    shared, own = _engine(first), _engine(compared)
    engine = {name: value for name, value in own.items() if value != shared[name]}
    image = compared.line.image if compared.line.image != first.line.image else ""
    return {
        "options": _plain(compared.options),
        **({"image": image} if image else {}),
        **({"engine": engine} if engine else {}),
    }


def _flags(compared: Compared) -> str:
    return " ".join(flag_words(compared.options)) or "no flags"


def _plain(options: DockerOptions) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, _, value in given(options)}


def check_comparable(first: Compared, second: Compared) -> None:
    """Raises InputError where two lines do not get the same load: another model, or another form of requests."""
    separately = "compare each line with its own native arm: sparkray compare -- docker run ..."
    whole = first.line.image == second.line.image
    one, other = (_model_served(each, whole=whole) for each in (first, second))
    if None not in (one, other) and one != other:
        raise InputError(
            f"the two lines serve different models: {one} and {other}",
            f"Name the same model in both, by the same name or mounted from the same path; or {separately}",
        )
    forms = [_form(compared.recipe) for compared in (first, second)]
    if forms[0] != forms[1]:
        names = first.recipe.name, second.recipe.name
        raise InputError(
            f"{names[0]} and {names[1]} cannot be sent the same requests: {forms[0]}, and {forms[1]}",
            separately.capitalize(),
        )


def _model_served(compared: Compared, *, whole: bool) -> str | None:
    """Where a line's model is on this machine; else its name, in the image's folder if `whole`. None: not named."""
    named = compared.model
    if named is None:
        return None
    path = path_on_host(named, compared.line, compared.image) if "/" in named else None
    if path is not None:
        return os.path.realpath(path)
    return Path(named).name if named.startswith("/") and not whole else named


def _form(recipe: Recipe) -> str:
    prompts = "token ids" if recipe.requests.token_ids else "text"
    return f"{prompts} to the endpoint {recipe.requests.endpoint}"


def differences(first: Compared, second: Compared) -> list[str]:
    """What two lines differ in beside their flags, in words; a command and variables by name, for they may hold secrets."""
    line, other = first.line, second.line
    variables = sorted({name for name, _ in dict(line.environment).items() ^ dict(other.environment).items()})
    parts = {
        f"image ({line.image}, {other.image})": line.image != other.image,
        f"engine ({first.recipe.name}, {second.recipe.name})": first.recipe.name != second.recipe.name,
        "command": first.command != second.command,
        f"variables ({', '.join(variables)})": bool(variables),
        "mounts": sorted(line.binds) != sorted(other.binds),
        "working folder": recipe_of_line(first).workdir != recipe_of_line(second).workdir,
        f"port ({first.port}, {second.port})": first.port != second.port,
    }
    return [what for what, differs in parts.items() if differs]


def unchecked(first: Compared, second: Compared) -> list[str]:
    """What nobody can tell of the models of two lines."""
    if None in (first.model, second.model):
        return ["a line names no model: whether both serve the same one is not known"]
    inside = [one for one in (first, second) if path_on_host(one.model or "", one.line, one.image) is None]
    if first.line.image != second.line.image and inside:
        return [f"the model {first.model} is not mounted: whether both images serve the same files is not checked"]
    return []


def write_files(results: Path, card: Mapping[str, Any], experiment: Mapping[str, Any], runs: int) -> Path:
    """Write experiment and card; the same line and load have the same name, so that they go on where they stopped.

    Returns:
        The path of the experiment.

    Raises:
        StorageError: They cannot be written.
    """
    identity = json.dumps([card, experiment], sort_keys=True).encode()
    name = f"compare-{card['name']}-{hashlib.sha256(identity).hexdigest()[:8]}"
    folder = results.absolute()
    whole = {"name": name, **experiment, "models": [str(folder / f"{name}-model.yaml")], "runs": runs}
    files = {f"{name}-model.yaml": card, f"{name}.yaml": whole}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for file, content in files.items():
            text = yaml.safe_dump(dict(content), sort_keys=False, width=110)
            replace_file(folder / file, text.encode(), mode=0o600)  # variables of the line may be secrets
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {refusal(error, folder)}", "Name another: --results-dir DIR"
        ) from None
    return folder / f"{name}.yaml"


def idle_flags(
    compared: Compared, defaults: Mapping[str, Any], *, cpus: str | None, memory_gib: float | None
) -> list[str]:
    """Which parts of the line cannot act, and why, a sentence each; by the rules of the flags themselves.

    Args:
        compared: The line.
        defaults: What this machine's Docker engine does without an option, where known.
        cpus: This machine's CPUs, as a list.
        memory_gib: Its memory.
    """
    options = compared.options
    reasons = {**unreachable_limits(vars(options), cpus=cpus, memory_gib=memory_gib), **idle(options, defaults)}
    sentences = list(reasons.values())
    if compared.line.ports and not publishes(options):
        sentences.append(
            f"--publish cannot act under {words_of('network', options)}: the container has no network of its own"
        )
    unused = [port.port for port in compared.line.ports if port.port != compared.port]
    sentences += [f"--publish of port {port} cannot act: the load goes to port {compared.port}" for port in unused]
    return sentences


def notes_of(compared: Compared, *, native: bool = True) -> list[str]:
    """What was left out of the line, passed on unjudged, or is not the same in the native arm, where there is one."""
    line = compared.line
    notes = [f"{words} is left out: {why}" for words, why in line.dropped]
    notes += [f"{word} is passed to Docker as text: nobody judges whether it can act" for word in line.passed]
    user = next((word.partition("=")[2] for word in line.passed if word.startswith("--user=")), compared.image.user)
    if native and user not in ("", "0", "root", "0:0", "root:root"):
        notes.append(f"the container runs as user {user}, the native arm as root")
    return [*notes, *line.notes]


def runs_for(minutes: float, seconds_of_a_block: float, *, least: int = 3, most: int = 20) -> int:
    """Blocks that fit into some minutes."""
    return max(least, min(most, round(60 * minutes / max(seconds_of_a_block, 1.0))))


def secrets_in(lines: Sequence[DockerLine]) -> list[str]:
    """Names of variables that are secrets: the experiment's file, which only its owner can read, has their values."""
    return sorted({name for line in lines for name in line.environment if is_secret(name)})
