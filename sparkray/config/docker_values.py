"""Values of `docker run` that both arms share: variables, mounts, published ports. Pure."""

import csv
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass

from sparkray.errors import InputError

Bind = tuple[str, str, bool]
_MODES = {"ro": True, "rw": False}
_OF_NO_EFFECT = ("z", "Z", "cached", "delegated", "consistent")
_PORT = re.compile(
    r"(?:(?:(?P<ip>\[[0-9a-fA-F:]+\]|[\d.]+):)?(?P<host>\d+(?:-\d+)?)?:)?(?P<inside>\d+(?:-\d+)?)(?:/(?P<protocol>tcp|udp|sctp))?"
)
_LARGEST_PORT = 65535


@dataclass(frozen=True)
class Published:
    """A port of the container that the host has too. `host_port` None: Docker chooses one."""

    port: int
    host_port: int | None = None
    address: str = ""
    protocol: str = "tcp"


def variables_in(value: str, file: str | None, shell: Mapping[str, str]) -> tuple[dict[str, str], list[str]]:
    """Variables that `--env` or the text of an `--env-file` sets, and names that the shell has no value for.

    Raises:
        InputError: A line of the file is not a variable.
    """
    lines = [value] if file is None else [line.lstrip() for line in file.splitlines()]
    variables: dict[str, str] = {}
    unset: list[str] = []
    for line in lines:
        if file is not None and (not line or line.startswith("#")):
            continue
        name, is_set, text = line.partition("=")
        if not name or any(letter.isspace() for letter in name):
            raise InputError(f"{line!r} is not a variable", "Write NAME=VALUE")
        if is_set:
            variables[name] = text
        elif name in shell:
            variables[name] = shell[name]
        else:
            unset.append(name)
    return variables, unset


def volume_of(value: str, folder: str) -> tuple[Bind, tuple[str, ...]]:
    """A bind mount from `--volume`, and what a reader should know of it.

    Raises:
        InputError: It names a volume of Docker's, or has an option that a chroot cannot have.
    """
    source, _, rest = value.partition(":")
    target, _, modes = rest.partition(":")
    if not target:
        raise InputError(
            f"--volume {value}: an anonymous volume has no folder that a chroot could mount",
            f"Name one: --volume /folder:{source}",
        )
    read_only = False
    notes = []
    for mode in filter(None, modes.split(",")):
        if mode not in _MODES and mode not in _OF_NO_EFFECT:
            raise InputError(f"--volume {value}: option {mode!r} has no counterpart in a chroot", "Use ro or rw")
        read_only = _MODES.get(mode, read_only)
        if mode in _OF_NO_EFFECT:
            notes.append(f"--volume {value}: option {mode} is left out")
    return _bind(f"--volume {value}", source, target, read_only=read_only, folder=folder), tuple(notes)


def mount_of(value: str, folder: str) -> Bind | None:
    """A bind mount from `--mount`; None for a tmpfs, which is passed through as text.

    Raises:
        InputError: It is of another type, or has an option that a chroot cannot have.
    """
    parts = [part.partition("=") for part in next(csv.reader([value]), [])]
    given = {key.strip().lower(): (text if is_set else "true") for key, is_set, text in parts}
    kind = given.pop("type", "volume")
    if kind == "tmpfs":
        return None
    if kind != "bind":
        raise InputError(
            f"--mount {value}: a chroot cannot have a mount of type {kind}",
            "Mount the folder: --mount type=bind,source=/folder,target=/folder",
        )
    source = given.pop("source", given.pop("src", ""))
    target = given.pop("target", given.pop("destination", given.pop("dst", "")))
    read_only = given.pop("readonly", given.pop("ro", "false")).lower() in ("true", "1")
    if not source or not target:
        raise InputError(f"--mount {value} lacks {'source' if not source else 'target'}", "Name both")
    if given:
        raise InputError(f"--mount {value}: option {min(given)!r} has no counterpart in a chroot", "Leave it out")
    return _bind(f"--mount {value}", source, target, read_only=read_only, folder=folder)


def _bind(words: str, source: str, target: str, *, read_only: bool, folder: str) -> Bind:
    """The mount with absolute paths."""
    if source.startswith("~"):
        raise InputError(f"{words}: ~ was not filled in by a shell", "Write the folder out: /home/...")
    if source.startswith("."):
        source = posixpath.normpath(posixpath.join(folder, source))
    if not source.startswith("/"):
        raise InputError(
            f"{words}: {source!r} is a volume of Docker's, which a chroot cannot name",
            f"Mount its folder, as `docker volume inspect --format '{{{{.Mountpoint}}}}' {source}` prints it",
        )
    if not target.startswith("/"):
        raise InputError(f"{words}: the target {target!r} is not an absolute path", "Begin it with /")
    return source, target, read_only


def not_an_image(reference: str) -> str | None:
    """Why a text is no image reference; None for one that may be: Docker would read a leading dash as an option."""
    if reference.startswith("-"):
        return f"the image {reference!r} begins with a dash, as an option does"
    if any(character.isspace() or not character.isprintable() for character in reference):
        return f"the image {reference!r} has a space or an unprintable character"
    return None


def published_of(value: str) -> tuple[Published, ...]:
    """The ports of `--publish`, one of each port of a range.

    Raises:
        InputError: It names no port, or ranges of unequal length.
    """
    match = _PORT.fullmatch(value)
    if match is None:
        raise InputError(f"--publish {value} is not a port", "Write HOST:CONTAINER, as in --publish 8000:8000")
    inside, host = _range(match["inside"]), _range(match["host"])
    if max((*inside, *host)) > _LARGEST_PORT or min(inside) == 0:
        raise InputError(f"--publish {value} is outside 1..{_LARGEST_PORT}", "Write a port in that range")
    if host and len(host) != len(inside):
        if len(inside) > 1:
            raise InputError(f"--publish {value}: {len(host)} ports of the host for {len(inside)}", "Name as many")
        host = []  # Docker chooses one of the range
    pairs = zip(inside, host or [0] * len(inside), strict=True)  # 0, in Docker's words as well: any that is free
    address, protocol = (match["ip"] or "").strip("[]"), match["protocol"] or "tcp"
    return tuple(Published(port, host_port or None, address, protocol) for port, host_port in pairs)


def _range(text: str | None) -> list[int]:
    if not text:
        return []
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))
