"""Every error sparkray raises on purpose, in one tree.

::

    SparkrayError
    |-- InputError (exit 2)            what the user wrote is wrong
    |   |-- ConfigError                a YAML file: unknown key, bad value
    |   |-- UnknownNameError           no model, site, environment, experiment, engine of that name
    |   |-- ModelFileError             a weights file is unreadable or not of its stated kind
    |   `-- DatasetError               not a results folder, or made from other files
    |-- HostError (exit 3)             this machine lacks what is needed
    |   |-- PrivilegeError             root is needed but not available
    |   |-- DockerError                no engine answers, or it refused
    |   |-- ImageError                 an image could not be built, loaded or exported
    |   |-- PreflightError             a flag that this host cannot honour
    |   |-- ClusterError               Ray is missing or lacks what is needed
    |   |-- LockHeldError              another process measures on this machine
    |   |-- RefusedError               one check refuses run after run
    |   `-- StorageError               a result could not be written (disk full, read-only)
    `-- RunError                       one run failed: becomes the status of its row, never ends a sweep
        |-- EngineFailedError          the engine ended with an error or a signal
        |-- EngineOutputError          the engine exited with 0 but left no readable output
        |-- ClientFailedError          the load generator itself failed
        |-- RunSaturatedError          the server could not carry the load, which ended early
        |-- RunTimeoutError            the engine did not end in time
        |-- RunOutOfMemoryError        the kernel or the cgroup killed it for memory
        |-- RunUnreadyError            it could not be started
        |   `-- ContainerEndedError    somebody ended its container before it could be used
        |-- RunInvalidError            it ran, but a check refuses it
        `-- RunInterruptedError        stopped by a user or signal

A message says what is wrong and the value; `remedy` says what to do. The command line prints both and ends with
`exit_status`: no traceback reaches a user.
"""

import errno
import os
from pathlib import Path
from typing import ClassVar

from sparkray.units import did_you_mean, short, shorten, some


class SparkrayError(Exception):
    """Base of the tree.

    Args:
        message: What is wrong, with the value.
        remedy: What to do about it; empty when there is nothing to add.
    """

    exit_status: ClassVar[int] = 1

    def __init__(self, message: str, remedy: str = "") -> None:
        super().__init__(message, remedy)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message}. {self.remedy}" if self.remedy else self.message


class InputError(SparkrayError):
    """What the user wrote is wrong."""

    exit_status = 2


class ConfigError(InputError):
    """A configuration file or option has an unknown key or a value out of bounds."""


_MOST_KNOWN = 100
_SIZED = ("model", "GPU")
"""Kinds of names whose numbers tell one from another."""
_HOW_TO_ADD = {"model": ". Another one needs a card: copy one of conf/models, and give its path in place of a name"}


class UnknownNameError(InputError):
    """An unknown name; lists the known ones and the nearest."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        self.kind, self.name, self.known = kind, name, known
        near = did_you_mean(name, known, exact_numbers=kind.startswith(_SIZED))
        hint = f"Did you mean {near!r}? " if near else ""
        add = _HOW_TO_ADD.get(kind, "")
        listed = some(sorted(known), _MOST_KNOWN) or "none"
        super().__init__(f"unknown {kind} {short(name)}", f"{hint}Known: {listed}{add}")

    def __reduce__(self) -> tuple[type["UnknownNameError"], tuple[str, str, list[str]]]:
        return type(self), (self.kind, self.name, self.known)


class ModelFileError(InputError):
    """A weights file is unreadable or differs from its card."""


class DatasetError(InputError):
    """Not a results folder, or made from other files."""


class HostError(SparkrayError):
    """This machine lacks what is needed."""

    exit_status = 3


class PrivilegeError(HostError):
    """Root is needed but not available."""


class DockerError(HostError):
    """No Docker engine answers, or it refused."""


class ImageError(HostError):
    """An image could not be built, loaded or exported."""


class PreflightError(HostError):
    """A flag that this host cannot honour."""


class ClusterError(HostError):
    """Ray is missing, or its nodes lack what is needed."""


class LockHeldError(HostError):
    """Another process measures on this machine."""


_KNOWN_FAILURES = {
    errno.ENOSPC: "Free some space on that disk, then give the same command again",
    errno.EDQUOT: "This user's quota is used up: free some space, then give the same command again",
    errno.EMFILE: "Too few files may be open at once: raise the limit, as with `ulimit -n 4096`",
    errno.ENFILE: "This machine has too many files open: end other programs",
    errno.EROFS: "Name a folder that can be written, or mount it so that it can",
    errno.EACCES: "Check who owns it, and its permissions",
    errno.EPERM: "Check who owns it, and what this user may do",
    errno.EIO: "The disk or terminal fails: see `dmesg`",
    errno.ENOMEM: "End other programs, or raise the limit that this one has (`ulimit -v`)",
    errno.EAGAIN: "This user may start no more processes: end some, or raise the limit (`ulimit -u`)",
    errno.ENAMETOOLONG: "Choose a shorter name",
    errno.ENOTDIR: "A file lies where a folder must be: remove it, or name another folder (of the cache: XDG_CACHE_HOME)",
    errno.ELOOP: "Links lead in a circle: remove one",
    errno.ESTALE: "A network file system was taken away: mount it again",
}


def host_error_of(error: BaseException) -> "HostError | None":
    """What the operating system refused, as an error of this tree; None for what only a defect of sparkray's can cause."""
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and "failed to map segment" in str(error)):
        return HostError("there is no memory left for this program", _KNOWN_FAILURES[errno.ENOMEM])
    if isinstance(error, RuntimeError) and "start new thread" in str(error):
        return HostError("no thread can be started", _KNOWN_FAILURES[errno.EAGAIN])
    if isinstance(error, FileNotFoundError) and not _has_folder():
        return HostError("the folder that this was started in was removed", "Change to one that is there: cd DIR")
    if not isinstance(error, OSError):
        return None
    remedy = _KNOWN_FAILURES.get(error.errno or 0)
    if remedy is None:
        return None
    where = f"{shorten(str(error.filename))}: " if error.filename else ""
    return HostError(f"the operating system refused: {where}{refusal(error)}", remedy)


def refusal(error: OSError, near: Path | None = None) -> str:
    """Why the system refused to write, in words: a full disk is called full, and one that is out of inodes is so too.

    Args:
        error: What it raised.
        near: A path on the disk in question.
    """
    why = error.strerror or str(error)
    if error.errno not in (errno.ENOSPC, errno.EDQUOT):
        return why
    return f"the disk is full ({why}{'; no inode is free, which each file needs' if near and _no_inodes(near) else ''})"


def _no_inodes(near: Path) -> bool:
    """Whether no further file fits on the disk of a path, or of the nearest folder above it that is there."""
    for folder in (near, *near.parents):
        try:
            found = os.statvfs(folder)
        except OSError:
            continue
        return found.f_files > 0 and found.f_favail == 0
    return False


def remedy_of(error: BaseException, otherwise: str) -> str:
    """What to do about a file that cannot be read: a sound one must not be removed since the system refused."""
    known = host_error_of(error)
    return known.remedy if known is not None else otherwise


def _has_folder() -> bool:
    """Whether the current folder is there."""
    try:
        os.getcwd()  # noqa: PTH109 - as the library that failed asked for it
    except OSError:
        return False
    return True


class RefusedError(HostError):
    """One check refuses run after run: a lasting condition that no further attempt fixes."""


class StorageError(HostError):
    """A result could not be written."""


class RunError(SparkrayError):
    """One run failed. `status` is the status of its row."""

    status: ClassVar[str] = "failed"


class EngineFailedError(RunError):
    """The engine ended with an error or a signal."""


class ClientFailedError(RunError):
    """The load generator itself failed."""


class EngineOutputError(RunError):
    """The engine exited with 0 but left no readable output."""


class RunSaturatedError(RunError):
    """The server could not carry the load, which ended early. An answer: the run is not made again."""

    status = "saturated"


class RunTimeoutError(RunError):
    """The engine did not end in time. `halted`: because somebody halted it, so that nothing else need be looked for."""

    status = "timeout"
    halted = False


class RunOutOfMemoryError(RunError):
    """The kernel or the cgroup killed the engine for memory."""

    status = "oom"


class RunUnreadyError(RunError):
    """The run could not be started."""

    status = "unready"


class ContainerEndedError(RunUnreadyError):
    """Somebody else ended or removed its container before it could be used."""


class RunInvalidError(RunError):
    """It ran, but a check refuses it."""

    status = "invalid"


class RunInterruptedError(RunError):
    """A user or signal stopped it."""

    status = "interrupted"
