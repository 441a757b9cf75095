"""What a `docker run` line serves: the whole command, its engine among the recipes, its port and its model. Pure."""

import posixpath
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import pairwise

from sparkray.config.docker_line import DockerLine
from sparkray.config.recipe import Recipe
from sparkray.errors import InputError

_INTERPRETERS = ("{python}", "python", "python3", "sh", "bash", "env")
_MODEL_OPTIONS = ("--model", "--model-path", "-m")
_PORT_OPTIONS = ("--port",)
_NAME_OPTIONS = ("--served-model-name", "--alias")
_REGISTRIES = ("docker.io/", "index.docker.io/", "library/")


@dataclass(frozen=True)
class ImageConfig:
    """What an image brings to a container, beside its files.

    Attributes:
        entrypoint: Its `ENTRYPOINT`.
        command: Its `CMD`.
        environment: Its `ENV`.
        workdir: Its `WORKDIR`; empty is `/`.
        ports: TCP ports of its `EXPOSE`.
        user: Its `USER`; empty is root.
    """

    entrypoint: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    workdir: str = ""
    ports: tuple[int, ...] = ()
    user: str = ""


def command_of(line: DockerLine, image: ImageConfig) -> tuple[str, ...]:
    """The whole command as Docker puts it together; `--entrypoint` takes the image's own command away too.

    Raises:
        InputError: There is none.
    """
    entrypoint = image.entrypoint if line.entrypoint is None else tuple(filter(None, [line.entrypoint]))
    command = line.command or (image.command if line.entrypoint is None else ())
    if not (*entrypoint, *command):
        raise InputError(f"{line.image} has no command, and the line gives none", "Write it after the image")
    return (*entrypoint, *command)


def recognise(command: Sequence[str], reference: str, recipes: Iterable[Recipe]) -> Recipe:
    """The recipe whose program the command starts; else the one whose image it is.

    Raises:
        InputError: There is none, or several.
    """
    every = list(recipes)
    by_program = [recipe for recipe in every if _starts(command, _program(recipe))]
    by_image = [
        recipe
        for recipe in by_program or every
        if any(_is_image(reference, image) for image in (recipe.image, *recipe.images) if image)
    ]
    found = by_program if len(by_program) == 1 else by_image or by_program
    if len(found) == 1:
        return found[0]
    names = ", ".join(recipe.name for recipe in found or every)
    what = "is that of several servers" if found else "is that of no server that sparkray knows"
    raise InputError(f"{shlex.join(command)!r} in {reference} {what}", f"Name it: --engine NAME or FILE ({names})")


def _program(recipe: Recipe) -> str:
    """What starts a recipe's server: the first word that is no interpreter and no option, without its folder."""
    words = (word for word in recipe.command if word not in _INTERPRETERS and not word.startswith("-"))
    return next(words, "").rpartition("/")[2]


def _starts(command: Sequence[str], program: str) -> bool:
    """Whether a word of the command is the program, or a module of the package that it is (`vllm.entrypoints`)."""
    words = _words(command)
    named = [word for before, word in pairwise(["", *words]) if not before.startswith("--")]
    package = program.removesuffix(".py").partition(".")[0]
    return any(word.rpartition("/")[2].removesuffix(".py").partition(".")[0] == package for word in named)


def _is_image(reference: str, pattern: str) -> bool:
    """Whether an image is of a repository, whatever its tag, its registry's mirror or its digest."""
    mine, known = _repository(reference), _repository(pattern)
    return fnmatch(mine, known) or mine.endswith(f"/{known}")


def _repository(reference: str) -> str:
    name = reference.partition("@")[0]
    if ":" in name.rpartition("/")[2]:
        name = name.rpartition(":")[0]
    for registry in _REGISTRIES:
        name = name.removeprefix(registry)
    return name


def port_of(line: DockerLine, command: Sequence[str], image: ImageConfig, recipe: Recipe) -> int:
    """The port that the server listens on: by its command, else the published one, else the one that its image exposes.

    Raises:
        InputError: Nobody names one.
    """
    named = _value(command, (*_options_for(recipe, "port"), *_PORT_OPTIONS))
    if named is not None and named.isdigit():
        return int(named)
    candidates = [port.port for port in line.ports if port.protocol == "tcp"] or list(image.ports)
    if not candidates:
        raise InputError(f"nothing says where the server of {line.image} listens", "Publish it: -p 8000:8000")
    return candidates[0]


def model_of(command: Sequence[str], recipe: Recipe) -> str | None:
    """The model as the command names it; None where it names none, such as one in the image."""
    named = _value(command, (*_options_for(recipe, "model"), *_MODEL_OPTIONS))
    if named is not None:
        return named
    words = _words(command)
    for before, place in pairwise(recipe.command):
        if place == "{model}" and not before.startswith("-") and before in words:
            after = words[words.index(before) + 1 :]
            return after[0] if after and not after[0].startswith("-") else None
    return None


def served_name_of(command: Sequence[str], recipe: Recipe) -> str:
    """What the command calls the model in requests; empty where the server is to be asked."""
    return _value(command, (*_options_for(recipe, "served_name"), *_NAME_OPTIONS)) or ""


def path_on_host(path: str, line: DockerLine, image: ImageConfig) -> str | None:
    """Where a path of the container really lies; None where nothing is mounted there."""
    whole = posixpath.normpath(posixpath.join(line.workdir or image.workdir or "/", path))
    for source, target, _ in sorted(line.binds, key=lambda bind: -len(bind[1])):
        root = target.rstrip("/")
        if whole == root or whole.startswith(f"{root}/"):
            return source.rstrip("/") + whole[len(root) :]
    return None


def _words(command: Sequence[str]) -> list[str]:
    """Every word, those of a script for a shell (`sh -c "vllm serve ..."`) too."""
    words: list[str] = []
    for word in command:
        try:
            words += shlex.split(word) if any(map(str.isspace, word)) else [word]
        except ValueError:
            words += word.split()
    return words


def _options_for(recipe: Recipe, place: str) -> tuple[str, ...]:
    """The options that a recipe's command has a place after."""
    return tuple(
        before for before, word in pairwise(recipe.command) if word == f"{{{place}}}" and before.startswith("-")
    )


def _value(command: Sequence[str], options: Sequence[str]) -> str | None:
    """The value of the last of some options in a command; `-m` after an interpreter names a module."""
    found = None
    words = _words(command)
    for before, word, after in zip(["", *words], words, [*words[1:], ""], strict=False):
        name, is_set, value = word.partition("=")
        if name not in options or before.rpartition("/")[2] in _INTERPRETERS:
            continue
        found = value if is_set else after or found
    return found
