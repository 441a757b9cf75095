"""Every error sparkray raises on purpose, in one tree.

::

    SparkrayError
    |-- InputError (exit 2)            what the user wrote is wrong
    |   |-- ConfigError                a YAML file: unknown key, bad value
    |   |-- UnknownNameError           no model, site, environment, experiment, engine of that name
    |   |-- ModelFileError             a weights file that cannot be read or is not what it says
    |   `-- DatasetError               a results folder that is not one, or was made by other bits
    |-- HostError (exit 3)             this machine cannot do what is asked
    |   |-- PrivilegeError             root is needed and cannot be had
    |   |-- DockerError                no engine answers, or it refused
    |   |-- ImageError                 an image could not be built, loaded or exported
    |   |-- PreflightError             a flag that this host cannot honour
    |   |-- ClusterError               Ray is not there, or lacks what is needed
    |   |-- LockHeldError              somebody else is measuring on this machine
    |   |-- RefusedError               run after run is refused by one and the same check
    |   `-- StorageError               a result could not be written (disk full, read-only)
    `-- RunError                       one run failed: becomes the status of its row, never ends a sweep
        |-- EngineFailedError          the engine ended with an error or a signal
        |-- EngineOutputError          the engine ended well but left nothing that can be read
        |-- RunTimeoutError            the engine did not end in time
        |-- RunOutOfMemoryError        the kernel or the cgroup killed it for memory
        |-- RunUnreadyError            it could not be started
        |-- RunInvalidError            it ran, but a check refuses it
        `-- RunInterruptedError        somebody stopped it

A message says what is wrong and the value; `remedy` says what to do. The command line prints both and ends with
`exit_status`: no traceback reaches a user.
"""

from typing import ClassVar

from sparkray.units import did_you_mean


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


class UnknownNameError(InputError):
    """A name that nothing answers to; says what was searched and what is near."""

    def __init__(self, kind: str, name: str, known: list[str]) -> None:
        self.kind, self.name, self.known = kind, name, known
        near = did_you_mean(name, known)
        hint = f"Did you mean {near!r}? " if near else ""
        super().__init__(f"unknown {kind} {name!r}", f"{hint}Known: {', '.join(sorted(known)) or 'none'}")

    def __reduce__(self) -> tuple[type["UnknownNameError"], tuple[str, str, list[str]]]:
        return type(self), (self.kind, self.name, self.known)


class ModelFileError(InputError):
    """A weights file that cannot be read, or is not what its card says."""


class DatasetError(InputError):
    """A results folder that is none, or was made by other bits."""


class HostError(SparkrayError):
    """This machine cannot do what is asked."""

    exit_status = 3


class PrivilegeError(HostError):
    """Root is needed and cannot be had."""


class DockerError(HostError):
    """No Docker engine answers, or it refused."""


class ImageError(HostError):
    """An image could not be built, loaded or exported."""


class PreflightError(HostError):
    """A flag that this host cannot honour."""


class ClusterError(HostError):
    """Ray is not there, or its nodes lack what is needed."""


class LockHeldError(HostError):
    """Somebody else is measuring on this machine."""


class RefusedError(HostError):
    """Run after run is refused by one and the same check: what lasts, no further attempt mends."""


class StorageError(HostError):
    """A result could not be written."""


class RunError(SparkrayError):
    """One run failed. `status` is what its row will say."""

    status: ClassVar[str] = "failed"


class EngineFailedError(RunError):
    """The engine ended with an error or a signal."""


class EngineOutputError(RunError):
    """The engine ended well but left nothing that can be read."""


class RunTimeoutError(RunError):
    """The engine did not end in time."""

    status = "timeout"


class RunOutOfMemoryError(RunError):
    """The kernel or the cgroup killed the engine for memory."""

    status = "oom"


class RunUnreadyError(RunError):
    """The run could not be started."""

    status = "unready"


class RunInvalidError(RunError):
    """It ran, but a check refuses it."""

    status = "invalid"


class RunInterruptedError(RunError):
    """Somebody stopped it."""

    status = "interrupted"
