"""What `host` and `native` share: a process started through the launcher, found again and ended with all it started."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from sparkray.errors import RunUnreadyError, refusal
from sparkray.files import fresh_file
from sparkray.runtimes import INSIDE, MARKER, TRIAL_MARKER, Exit, Launch
from sparkray.runtimes.linux.isolation import isolated
from sparkray.runtimes.linux.owner import VARIABLE, Owner, this_process
from sparkray.runtimes.linux.privilege import need_root

LAUNCHER = Path(__file__).with_name("_launcher.py")
_START_PATIENCE_S = 30.0
_DEATH_PATIENCE_S = 10.0


def marked(name: str | None = None) -> list[int]:
    """Processes of this machine that carry the marker, of one run or of any, newest last.

    Environments that may not be read (another user's) are passed over.
    """
    runs = {pid: run for pid in psutil.pids() if pid != os.getpid() and (run := name_of(pid)) is not None}
    return sorted(pid for pid, run in runs.items() if name in (None, run))


def name_of(pid: int) -> str | None:
    """The run that a marked process belongs to; None when it is gone or has no marker."""
    with suppress(OSError):
        return _variable(pid, MARKER)
    return None


def owner_of(pid: int) -> Owner | None:
    """Who started a marked process; None when it is gone or nobody is recorded."""
    with suppress(OSError):
        return Owner.parse(_variable(pid, VARIABLE) or "")
    return None


def is_foreign(owner: Owner | None) -> bool:
    """Whether somebody else started it who lives, or may live; what nobody is recorded for is nobody's."""
    return owner is not None and owner != this_process() and owner.is_alive() is not False


def _variable(pid: int, name: str) -> str | None:
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    key = f"{name}=".encode()
    return next((text.removeprefix(key).decode(errors="replace") for text in variables if text.startswith(key)), None)


def carries(pid: int, name: str) -> bool | None:
    """Whether a process has the marker of a run or a trial; None when its environment may not be read (root's)."""
    try:
        return name in (_variable(pid, MARKER), _variable(pid, TRIAL_MARKER))
    except PermissionError:
        return None
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Children of a process; none when it is gone."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def parent(pid: int) -> int:
    """The parent of a process; 0 when it is gone, or its parent is not of this PID namespace."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (OSError, ValueError, IndexError):
        return 0


def end_marked(name: str) -> list[int]:
    """Kill every process of a run, until none is left but those that somebody else who lives started. Returns their pids."""
    seen: set[int] = set()
    deadline = time.monotonic() + _DEATH_PATIENCE_S
    while pids := [pid for pid in marked(name) if not is_zombie(pid) and not is_foreign(owner_of(pid))]:
        seen.update(pids)
        _kill(pids)
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)
    return sorted(seen)


def is_zombie(pid: int) -> bool:
    """Whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def _kill(pids: list[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)


@dataclass
class Process:
    """A `Running` that is a process of this machine: `child`, or in a PID namespace of its own a child of that."""

    pid: int
    child: subprocess.Popen[bytes]
    name: str
    in_container: bool = False
    published: str = ""

    @property
    def engine_pid(self) -> int:
        """The engine is the process itself."""
        return self.pid

    def finish(self) -> Exit:
        """The exit; a kill -9 that we did not send may be the kernel's, when its OOM counter moved (see `execute`)."""
        code = self.child.wait()
        end_marked(self.name)
        return Exit(code)

    def send(self, number: signal.Signals) -> None:
        """To the engine alone, as Docker sends it to a container's first process."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End everything that carries this run's marker."""
        end_marked(self.name)
        with suppress(subprocess.TimeoutExpired):
            self.child.wait(_DEATH_PATIENCE_S)


@contextmanager
def launched(launch: Launch) -> Iterator[Process]:
    """Start through the launcher and wait until the engine has taken its place.

    Raises:
        RunUnreadyError: The launcher could not get there.
        PrivilegeError: Root is needed and cannot be had.
    """
    need_root()
    spec_path = launch.scratch.with_name(launch.scratch.name + "-launch.json")
    error_path = spec_path.with_suffix(".error")
    with isolated(launch) as layers:
        spec_path.write_text(json.dumps({**launch_spec(launch, error_path), **layers}))
        error_path.unlink(missing_ok=True)
        child = _launch([launch.python, "-I", "-S", str(LAUNCHER), str(spec_path)], launch.log)
        try:
            yield Process(_engine_pid(child, launch.name, error_path), child, launch.name)
        finally:
            end_marked(launch.name)
            if child.poll() is None:
                _kill([child.pid])
            child.wait()
            end_marked(launch.name)  # a child of the launcher that took its place in between
            spec_path.unlink(missing_ok=True)
            error_path.unlink(missing_ok=True)


def launch_spec(launch: Launch, error: Path) -> dict[str, Any]:
    """What the launcher reads of a launch, but for layers of isolation. It writes what went wrong to `error`."""
    return {
        "argv": launch.argv,
        "environment": {**launch.environment, MARKER: launch.name, VARIABLE: this_process().text},
        "rootfs": str(launch.rootfs) if launch.rootfs else None,
        "scratch": str(launch.scratch),
        "made": [INSIDE, *launch.made],
        "binds": launch.binds,
        "workdir": launch.workdir,
        "start": asdict(launch.start),
        "isolation": launch.isolation,
        "error": str(error),
    }


def _launch(command: list[str], log: Path) -> subprocess.Popen[bytes]:
    try:
        output = fresh_file(log)
    except OSError as error:
        raise RunUnreadyError(f"the engine's log {log} cannot be made: {refusal(error, log)}") from None
    with output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _engine_pid(child: subprocess.Popen[bytes], name: str, error: Path) -> int:
    """The pid of the engine, once the launcher has become it: the marker appears in its environment with the exec.

    The engine is the launcher itself, or where that stays behind before a PID namespace, its child.
    """
    deadline = time.monotonic() + _START_PATIENCE_S
    while time.monotonic() < deadline:
        ended = child.poll()
        if ended is not None and error.exists() and (reason := error.read_text()):
            raise RunUnreadyError(f"the engine could not be started: {reason}")
        if ended is not None:
            return child.pid
        for pid in (child.pid, *children(child.pid)):
            if carries(pid, name):
                return pid
        time.sleep(0.002)
    raise RunUnreadyError(f"the engine had not been started after {_START_PATIENCE_S:.0f} s")
