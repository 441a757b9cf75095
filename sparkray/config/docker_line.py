"""A pasted `docker run` line as typed options, environment, mounts, ports, image and command. Pure.

`docker_run.yaml` holds every option that Docker's command line knows, and what becomes of it: typed (`DockerOptions`),
part of the line that both arms share, passed through as text, dropped with a note, or refused with the reason. The rules
of reading (`-itd`, `-p8000:8000`, `--opt=value`, `--`) are those of spf13/pflag, which Docker uses.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sparkray.config.docker import DockerOptions
from sparkray.config.docker_run import Option, known_options, typed_value
from sparkray.config.docker_values import Published, mount_of, not_an_image, published_of, variables_in, volume_of
from sparkray.config.shell_words import refuse_expansion, split_words
from sparkray.errors import InputError, UnknownNameError

Bind = tuple[str, str, bool]
_ASSIGNMENT = re.compile(r"[A-Za-z_]\w*=.*", re.DOTALL)
_BEFORE = ("sudo", "-E", "env", "time", "exec", "nohup", "command")
_SWITCH = {"1": True, "t": True, "true": True, "0": False, "f": False, "false": False}
_SHELLS = ("sh", "bash", "dash", "ash", "zsh")
_EXAMPLE = "Paste a line such as: docker run --gpus all -p 8000:8000 -v /models:/models IMAGE COMMAND"


@dataclass(frozen=True)
class Shell:
    """What a shell and a file system would add to a line.

    Attributes:
        variables: Variables of the shell, for `--env NAME`.
        folder: The current folder, for `--volume ./models:/models`.
        read: Text of a file by its path, for `--env-file`.
    """

    variables: Mapping[str, str]
    folder: str
    read: Callable[[str], str]


@dataclass(frozen=True)
class DockerLine:
    """One `docker run` line.

    Attributes:
        image: The image's reference.
        command: The words after it.
        options: What sparkray has a type for, apart from variables.
        environment: Variables that `--env` and `--env-file` set, for both arms.
        binds: Folders and files that are mounted, as (source, target, read_only).
        ports: Ports that are published.
        entrypoint: `--entrypoint`; empty text clears the image's own, None leaves it.
        workdir: `--workdir`.
        passed: Options without a type, as `docker create` takes them.
        dropped: Options that were left out, with the reason.
        notes: What else a reader should know.
    """

    image: str
    command: tuple[str, ...] = ()
    options: DockerOptions = field(default_factory=DockerOptions)
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[Bind, ...] = ()
    ports: tuple[Published, ...] = ()
    entrypoint: str | None = None
    workdir: str | None = None
    passed: tuple[str, ...] = ()
    dropped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def parse_text(text: str, shell: Shell) -> DockerLine:
    """A line in one piece, as it stands on a page. Raises InputError."""
    return _parse(split_words(text), shell)


def parse_words(words: Sequence[str], shell: Shell) -> DockerLine:
    """A line that a shell has split and expanded already; one word with spaces is a line in one piece.

    Raises:
        InputError: It is no `docker run` line, or an option is unknown, refused or has a wrong value.
    """
    if len(words) == 1 and " " in words[0].strip():
        return parse_text(words[0], shell)
    line = _parse(list(words), shell, refuse_expansion)
    program = line.entrypoint or (*line.command, "")[0]
    of_shell = program.rpartition("/")[2] in _SHELLS
    for before, word in zip(("", *line.command), line.command, strict=False):
        if not (of_shell and before.startswith("-") and before.endswith("c")):  # a script's `$` are its own shell's
            refuse_expansion(word)
    return line


def _parse(words: list[str], shell: Shell, check: Callable[[str], None] = lambda _: None) -> DockerLine:
    rest, shell = _after_run(words, shell)
    found: list[tuple[Option, str]] = []
    while rest and rest[0].startswith("-") and rest[0] != "-":
        word = rest.pop(0)
        if word == "--":
            break
        found += [_long(word, rest)] if word.startswith("--") else _short(word, rest)
    if not rest:
        raise InputError("the line names no image", _EXAMPLE)
    if why := not_an_image(rest[0]):
        raise InputError(why, _EXAMPLE)
    if [option.name for option, _ in found].count("--network") > 1:
        raise InputError("--network is given twice", "Keep one: sparkray takes one way to the server")
    for option, value in found:
        check(value)
        if option.treatment == "refused" and value != "false":
            raise InputError(f"{option.name} cannot be compared", option.why)
    line = _with_typed(DockerLine(rest[0], tuple(rest[1:])), found)
    for option, value in found:
        line = _HANDLERS[option.treatment](line, option, value, shell)
    targets = [target for _, target, _ in line.binds]
    if twice := next((target for target in targets if targets.count(target) > 1), None):
        raise InputError(f"two mounts have the target {twice}", "Keep one of them")
    return line


def _after_run(words: Sequence[str], shell: Shell) -> tuple[list[str], Shell]:
    """The words after `docker run`, and the shell with the variables that were set before it."""
    rest, given = list(words), {}
    while rest and (rest[0] in _BEFORE or _ASSIGNMENT.fullmatch(rest[0])):
        word = rest.pop(0)
        name, is_set, value = word.partition("=")
        if is_set:
            given[name] = value
    program = rest.pop(0).rpartition("/")[2] if rest else ""
    if program != "docker":
        raise InputError(f"{program or 'nothing'!r} is not `docker run`: sparkray measures Docker", _EXAMPLE)
    if remote := next((name for name in ("DOCKER_HOST", "DOCKER_CONTEXT") if name in given), None):
        raise InputError(f"{remote} stands before the line", "Export it before sparkray is started")
    if rest and rest[0].startswith("-"):
        raise InputError(
            f"{rest[0]!r} stands before `run`: sparkray takes the Docker engine that DOCKER_HOST names",
            "Leave it out, and start with: docker run",
        )
    verb = rest[1:2] if rest[:1] == ["container"] else rest[:1]
    if verb != ["run"]:
        raise InputError(f"{' '.join(['docker', *rest[:2]])!r} is not `docker run`", _EXAMPLE)
    return rest[rest.index("run") + 1 :], replace(shell, variables={**shell.variables, **given})


def _long(word: str, rest: list[str]) -> tuple[Option, str]:
    """`--option value`, `--option=value`, or a switch."""
    name, is_set, value = word.partition("=")
    option = _option(name, word)
    if option.switch:
        return option, _truth(word, value if is_set else "true")
    return option, value if is_set else _next(name, rest)


def _short(word: str, rest: list[str]) -> list[tuple[Option, str]]:
    """`-p 8000:8000`, `-p8000:8000`, `-p=8000:8000`, or switches together, as in `-itd`."""
    found = []
    letters = word[1:]
    while letters:
        option = _option(f"-{letters[0]}", word)
        after, letters = letters[1:], ""
        if after.startswith("="):
            value = _truth(word, after[1:]) if option.switch else after[1:]
        elif option.switch:
            value, letters = "true", after
        else:
            value = after or _next(option.name, rest)
        found.append((option, value))
    return found


def _option(name: str, word: str) -> Option:
    known = known_options()
    if name not in known:
        spelt = name if word.startswith("--") else f"-{word}".partition("=")[0]
        raise _unknown(spelt.replace("_", "-"), word, [known_name for known_name in known if len(known_name) > 2])  # noqa: PLR2004 - `-p`
    return known[name]


def _unknown(spelt: str, word: str, known: list[str]) -> InputError:
    nearest = UnknownNameError("option of docker run", spelt, known)
    return InputError(f"unknown option of docker run: {word!r}", nearest.remedy.partition(" Known")[0])


def _next(name: str, rest: list[str]) -> str:
    if not rest:
        raise InputError(f"{name} needs a value, and the line ends after it", _EXAMPLE)
    return rest.pop(0)


def _truth(word: str, value: str) -> str:
    if value.lower() not in _SWITCH:
        raise InputError(f"{word!r}: a switch is true or false", f"Write {word.partition('=')[0]}")
    return str(_SWITCH[value.lower()]).lower()


def _with_typed(line: DockerLine, found: Sequence[tuple[Option, str]]) -> DockerLine:
    """The line with the options that have a type, and as text those of their values that the type has no place for."""
    values: dict[str, Any] = {}
    passed: list[str] = []
    notes: list[str] = []
    for option, text in found:
        if option.treatment != "typed":
            continue
        typed = typed_value(option, text)
        if typed is None:
            passed.append(f"{option.name}={text}")
            continue
        name, value = typed
        if isinstance(value, tuple):
            value = (*values.get(name, ()), *value)
        elif values.get(name, value) != value:
            notes.append(f"{option.name} is given twice: Docker takes the last, {text}")
        values[name] = value
    try:
        options = DockerOptions(**values)
    except ValueError as error:
        raise InputError(f"docker run: {error}") from None
    return replace(line, options=options, passed=tuple(passed), notes=tuple(notes))


def _line_part(line: DockerLine, option: Option, value: str, shell: Shell) -> DockerLine:
    """The line with an option that both arms share."""
    changes: dict[str, Any] = {}
    match option.name:
        case "--env" | "--env-file":
            text = shell.read(value) if option.name == "--env-file" else None
            variables, unset = variables_in(value, text, shell.variables)
            notes = [f"{name} is not set in this shell, so that Docker passes none on" for name in unset]
            changes = {"environment": {**line.environment, **variables}, "notes": (*line.notes, *notes)}
        case "--volume":
            bind, lost = volume_of(value, shell.folder)
            changes = {"binds": (*line.binds, bind), "notes": (*line.notes, *lost)}
        case "--mount":
            mounted = mount_of(value, shell.folder)
            if mounted is None:
                return _passed(line, option, value, shell)
            changes = {"binds": (*line.binds, mounted)}
        case "--publish":
            changes = {"ports": (*line.ports, *published_of(value))}
        case _:  # --entrypoint, --workdir
            changes = {option.name.lstrip("-"): value}
    return replace(line, **changes)


def _passed(line: DockerLine, option: Option, value: str, _: Shell) -> DockerLine:
    return replace(line, passed=(*line.passed, _words(option, value)))


def _dropped(line: DockerLine, option: Option, value: str, _: Shell) -> DockerLine:
    return replace(line, dropped=(*line.dropped, (_words(option, value), option.why)))


def _words(option: Option, value: str) -> str:
    return option.name if option.switch and value == "true" else f"{option.name}={value}"


def _as_it_is(line: DockerLine, _: Option, __: str, ___: Shell) -> DockerLine:
    return line


_HANDLERS: Mapping[str, Callable[[DockerLine, Option, str, Shell], DockerLine]] = {
    "typed": _as_it_is,
    "refused": _as_it_is,
    "line": _line_part,
    "passed": _passed,
    "dropped": _dropped,
}
