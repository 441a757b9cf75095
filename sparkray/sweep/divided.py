"""Under sudo, only what needs root stays root: decided here, before anything of the user's is read."""

import os
import stat
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from sparkray.runtimes.linux.root_part import Caller, divide

_DOCKER_SOCKET = "/var/run/docker.sock"


def divided(words: Sequence[str], *, needing_root: frozenset[str]) -> int | None:
    """Go on as the user who called sudo.

    Args:
        words: The command line.
        needing_root: Verbs that need root for a part of what they do. All others give it up for good.

    Returns:
        The exit status of a program that has divided itself; None where this process goes on.
    """
    caller = Caller.of(os.environ)
    if caller is None:
        return None
    sys.dont_write_bytecode = True  # root leaves none in a folder of the user's
    if not caller.may_run_us():
        text = f"sparkray: {caller.name} may not read {sys.executable}, so that all of sparkray runs as root\n"
        os.write(2, text.encode(errors="backslashreplace"))
        return None
    if not needing_root & set(words[:1]):
        caller.become()
        return None
    command = [sys.executable, "-m", "sparkray.sweep", *words]
    status = divide(caller, command, groups=_docker_groups(os.environ.get("DOCKER_HOST", "")))
    _give_cache(caller)
    return status


def _docker_groups(address: str) -> list[int]:
    """The group that may use the Docker socket: the user has asked for Docker through sudo, which is root anyway."""
    path = Path(address.removeprefix("unix://") if address.startswith("unix://") else _DOCKER_SOCKET)
    with suppress(OSError):
        found = path.stat()
        if stat.S_ISSOCK(found.st_mode) and found.st_mode & stat.S_IWGRP:
            return [found.st_gid]
    return []


def _give_cache(caller: Caller) -> None:
    """The runner makes models and digests in the user's cache as root."""
    os.environ.update(caller.environment(os.environ))
    from sparkray.sweep.start import give_cache  # noqa: PLC0415 - it imports what a start does not need

    give_cache(caller.uid, caller.gid)
