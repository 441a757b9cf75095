"""Runtimes: where to run a command. `host` is a plain process, `native` a chroot, `container` Docker.

A runtime takes a `Launch` and gives a `Running` inside a `with` block; when the block is left, by whatever way, nothing
of it is left: no process, no mount, no container. Waiting is the same in every arm: a pidfd of the engine's process on
the host, whether it is our child or dockerd's.

Adding one is one new file here: the module's name is the runtime's name, and the module holds a class `Runtime`. What
runtimes share is in the package `linux`.
"""

import os
import pkgutil
import select
import signal
import time
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from sparkray.config.docker import DockerOptions

# Environment variable that names the run in every process of it, alike in every arm: how leftovers are recognised.
MARKER = "SPARKRAY_RUN"
TRIAL_MARKER = "SPARKRAY_TRIAL"  # of a container that `doctor` tries, and no sweep waits for
# Where model, input and output are mounted inside a chroot or a container.
INSIDE = "/sparkray"
_SIGNALLED = 128


@dataclass(frozen=True)
class StartState:
    """The state every arm's process begins from. Nothing of the worker that starts it may leak.

    `rlimits` are (soft, hard) by name without `RLIMIT_`, in lower case, -1 for unlimited. `affinity` None is every CPU.
    """

    nice: int = 0
    oom_score_adj: int = 0
    umask: int = 0o022
    rlimits: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    affinity: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Launch:
    """One start, ready to be made by any runtime.

    `binds` are (source, target, read_only) as absolute paths; `environment` is complete for host and chroot, and added to
    the image's own under Docker. `log` receives stdout and stderr. `scratch` is an empty folder that becomes `/tmp` of a
    chroot; `made` are empty folders of the rootfs that are created for the run as mount points. `python` runs the
    launcher. `isolation` are layers that are added to a chroot (names of `config.isolation`), with their `options`.
    `port` is where a server listens; a container with a network of its own publishes it.
    """

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    scratch: Path
    python: str
    start: StartState = field(default_factory=StartState)
    binds: tuple[tuple[str, str, bool], ...] = ()
    made: tuple[str, ...] = ()
    workdir: str = "/"
    rootfs: Path | None = None
    image: str | None = None
    options: DockerOptions = field(default_factory=DockerOptions)
    labels: Mapping[str, str] = field(default_factory=dict)
    isolation: tuple[str, ...] = ()
    port: int | None = None


@dataclass(frozen=True)
class Exit:
    """How a process ended: status (negative for a signal), and whether memory was the reason.

    `fault` is what is held against a server's end, empty for nothing; None: the status alone decides. `outside` is who
    else had a hand in it, as far as that is known; `log_lost` whether its output cannot be had any more. `touched` is what
    others did to it while it ran (`linux.interventions`).
    """

    code: int
    out_of_memory: bool = False
    fault: str | None = None
    outside: str = ""
    log_lost: bool = False
    touched: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def how(self) -> str:
        """`signal 9`, `status 1`."""
        plain = f"signal {-self.code}" if self.code < 0 else f"status {self.code}"
        return f"{plain} ({self.outside})" if self.outside else plain


def exit_code(status: int) -> int:
    """An exit status as a shell, sudo or Docker reports it: 128 plus a signal's number becomes that number, negative.

    Statuses above that (255, most often) are the program's own. One between them that the program chose itself cannot
    be distinguished from a signal.
    """
    number = status - _SIGNALLED
    return -number if 0 < number < signal.NSIG else status


class Stop:
    """A request to stop that a wait can see at once: an eventfd, so that nothing has to poll."""

    def __init__(self) -> None:
        self.fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)

    def set(self) -> None:
        """Ask for the stop. Safe from any thread and from signal handlers."""
        os.eventfd_write(self.fd, 1)

    def is_set(self) -> bool:
        """Whether somebody asked."""
        return bool(select.select([self.fd], [], [], 0)[0])


class Running(Protocol):
    """A started engine."""

    # The engine's process as the host numbers it; 0 when it had ended before it could be seen.
    pid: int
    in_container: bool

    @property
    def published(self) -> str:
        """Where its port is published, as Docker reports it (`127.0.0.1:8000->8000/tcp`); empty where none is."""
        ...

    @property
    def engine_pid(self) -> int:
        """The engine itself, where an init process stands before it; 0 when it had ended before it could be seen."""
        ...

    def finish(self) -> Exit:
        """The exit of a process that has ended, its output in the log.

        Raises:
            DockerError: The engine no longer answers.
        """
        ...

    def send(self, number: signal.Signals) -> None:
        """Send the process a signal; one that has ended is left as it is."""
        ...

    def kill(self) -> None:
        """End it and everything it started, now."""
        ...


class Runtime(Protocol):
    """What every runtime module's class `Runtime` does."""

    name: str

    def start(self, launch: Launch) -> AbstractContextManager[Running]:
        """Start, and leave nothing behind on the way out.

        Raises:
            RunUnreadyError: It could not be started.
            PrivilegeError: Root is needed and cannot be had.
            DockerError: No Docker engine answers.
        """
        ...


def await_end(pid: int, timeout_s: float, stop: Stop) -> str:
    """Wait for a process of this machine, child or not.

    Returns:
        `ended`, `timeout` or `stopped`.
    """
    if pid == 0:
        return "ended"
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return "ended"
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(stop.fd, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while True:
            events = dict(poll.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if fd in events:
                return "ended"
            if stop.fd in events:
                return "stopped"
            if time.monotonic() >= deadline:
                return "timeout"
    finally:
        os.close(fd)


def runtime_names() -> list[str]:
    """The runtimes there are."""
    return sorted(m.name for m in pkgutil.iter_modules(__path__) if not m.ispkg)
