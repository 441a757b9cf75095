"""Consent to flags and mounts that give a container power over the host: nothing starts with them unless it was given.

They come from `--set`, a file (site, experiment, recipe, `--optimized`) or a pasted line. What a shipped site or experiment
asks for in its environments needs none: who names it has read it, or runs on the machine that it is for.
"""

import os
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparkray.catalog import Catalog, data_root
from sparkray.config.docker_values import volume_of
from sparkray.config.privilege import dangers_of, is_open_device
from sparkray.config.site import Site
from sparkray.engines import Server, load_engine
from sparkray.errors import InputError, UnknownNameError
from sparkray.plan import Study

OPTION = "--allow-insecure"
_HOST = "lets it read or change the host's own files"
_SOCKET = "holds a socket, through which it commands a service of the host"
# Mounted whole, each of these is the host; below the second kind, and below /proc and /sys, writing is as good.
_WHOLE = (
    "/",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/proc",
    "/root",
    "/run",
    "/sys",
    "/tmp",  # noqa: S108 - a name, nothing is written
    "/var",
    "/var/lib",
    "/var/lib/docker",
    "/var/tmp",  # noqa: S108 - likewise
)
# What lies below these is a service of the host, a process or a device, whose socket or file acts when it is only read.
_NOT_READABLE = ("/dev", "/proc", "/run")
_NOT_WRITABLE = (
    "/bin",
    "/boot",
    "/etc",
    "/lib",
    "/lib64",
    "/proc",
    "/sbin",
    "/sys",
    "/usr",
    "/var/lib/containerd",
    "/var/lib/docker",
    "/var/spool/cron",
)
# Keys and password hashes, and homes as a whole: not even to be read. What lies below a home otherwise is data.
_PRIVATE = re.compile(
    r"/etc/(g?shadow-?|(ssh|ssl/private|kubernetes)(/.*)?)"
    r"|(/root|/home/[^/]+)(/\.((ssh|gnupg|aws|azure|kube|docker|config|netrc|pgpass|git-credentials|bash\w*|zsh\w*|profile)"
    r"(/.*)?|local(/bin(/.*)?)?))?"
)
Bind = tuple[str, str, bool]


@dataclass(frozen=True)
class Danger:
    """One flag or mount of an environment, as words, and what it does."""

    environment: str
    words: str
    effect: str

    def text(self) -> str:
        """For a message."""
        return f"{self.environment}: {self.words} {self.effect}"


def dangers_in(study: Study) -> list[Danger]:
    """What needs consent in a study, in the order of its environments."""
    accepted = accepted_of(study.site.name, study.site.inherits) | _accepted_of_experiment(study.experiment.name)
    found: list[Danger] = []
    for treatment in study.treatments:
        asked = dangers_of(treatment.options) if treatment.in_container else {}
        asked |= dangers_of_mounts(_binds(study, treatment.engine_options or study.engine_options))
        found += [Danger(treatment.environment, *item) for item in asked.items() if item[0] not in accepted]
    return found


def dangers_in_site(site: Site) -> list[Danger]:
    """What needs consent among the flags of a site's environments, measured or not."""
    accepted = accepted_of(site.name, site.inherits)
    each = ((name, dangers_of(environment.options)) for name, environment in site.environments.items())
    return [Danger(name, *item) for name, asked in each for item in asked.items() if item[0] not in accepted]


def _binds(study: Study, engine_options: Mapping[str, Any]) -> list[Bind]:
    """What a server's recipe mounts; other engines mount nothing of the user's."""
    engine = load_engine(study.engine)
    volumes = engine.recipe(engine_options).volumes if isinstance(engine, Server) else ()
    return [volume_of(str(Path(volume).expanduser()), "/")[0] for volume in volumes]


def accepted_of(*sites: str | None) -> frozenset[str]:
    """Words that the environments of shipped sites ask for. A file's own name accepts nothing."""
    words: set[str] = set()
    catalog = Catalog(data_root())
    for name in sites:
        with suppress(UnknownNameError):
            if name and name in catalog.site_names():
                for environment in catalog.site(name).environments.values():
                    words |= set(dangers_of(environment.options))
    return frozenset(words)


def _accepted_of_experiment(name: str) -> frozenset[str]:
    """Words that the containers of a shipped experiment ask for."""
    catalog = Catalog(data_root())
    if name not in catalog.experiment_names():
        return frozenset()
    containers = catalog.experiment(name).containers.values()
    return frozenset(word for container in containers for word in dangers_of(container.options))


def dangers_of_mounts(binds: Sequence[Bind]) -> Mapping[str, str]:
    """Mounts that hand over the host or a service of it, with what each does."""
    return {f"--volume={source}:{target}": what for source, target, what in _open_mounts(binds)}


def _open_mounts(binds: Sequence[Bind]) -> Iterator[tuple[str, str, str]]:
    for source, target, read_only in binds:
        try:
            path = os.path.realpath(source)
        except OSError:  # the link of another user's process (/proc/1/root), which the Docker engine can follow
            path = "/"
        served = _is_below(path, _NOT_READABLE) and is_open_device(path)
        if path in _WHOLE or _PRIVATE.fullmatch(path) or served or (_is_below(path, _NOT_WRITABLE) and not read_only):
            yield source, target, _HOST
        elif _holds_socket(Path(path)):
            yield source, target, _SOCKET


def _is_below(path: str, folders: Sequence[str]) -> bool:
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _holds_socket(path: Path) -> bool:
    """Whether a path is a socket, or a folder with one in it; one that is not there is judged by its name."""
    with suppress(OSError):
        if stat.S_ISDIR(path.stat().st_mode):
            with os.scandir(path) as entries:
                return any(stat.S_ISSOCK(entry.stat(follow_symlinks=False).st_mode) for entry in entries)
        return stat.S_ISSOCK(path.stat().st_mode)
    return path.suffix == ".sock"


def require_consent(study: Study, *, given: bool, but: Sequence[str] = ()) -> None:
    """Refuse a study whose containers get power over the host, where nobody consented to that.

    Args:
        study: What is about to be measured.
        given: Whether the user consented.
        but: Environments whose flags were consented to in another way.

    Raises:
        InputError: With everything that needs consent.
    """
    found = [] if given else [danger for danger in dangers_in(study) if danger.environment not in but]
    if found:
        listed = "; ".join(danger.text() for danger in found)
        raise InputError(
            f"flags or mounts that give a container power over this machine need consent. {listed}",
            f"Leave them out; or, where you trust what runs in it, repeat the command with {OPTION}",
        )
