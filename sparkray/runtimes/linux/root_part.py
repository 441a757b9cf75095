"""The part of a sweep that stays root under sudo: it starts the runner and ends it. All else is the caller's.

`sudo` makes the whole program root. It therefore divides itself before it reads anything of the user's: this process
stays root and waits; a child, which is the program again as the user who called sudo, reads the files, starts Ray, draws
and analyses. The child's Ray starts its runner through `_as_root.py`, which asks this process. Only processes that
descend from the child are answered, and what is started is always this interpreter.

This keeps mistakes from being made as root, and files from becoming root's. It does not hold back a user who means harm:
whoever drives a runner has it do anything, as sudo itself would have.
"""

import ctypes
import json
import os
import pwd
import secrets
import shlex
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sparkray.errors import PrivilegeError
from sparkray.stopping import descendants

VARIABLE = "SPARKRAY_ROOT_PART"
_AGENT = Path(__file__).with_name("_as_root.py")
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_PASSED_ON = {*_SIGNALS, signal.SIGCHLD}
_SI_KERNEL, _PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 128, 1, 38
_LAST_S, _MOST_PARENTS, _REQUEST_BYTES = 2.0, 64, 1 << 22
_ENDED_BY_SIGNAL = 128


@dataclass(frozen=True)
class Caller:
    """The user who called sudo: ids, supplementary groups, name and home."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str

    @classmethod
    def of(cls, variables: Mapping[str, str]) -> "Caller | None":
        """From what sudo leaves in the environment; None where we are not root through it."""
        user, group = variables.get("SUDO_UID", ""), variables.get("SUDO_GID", "")
        known = all(text.isascii() and text.isdecimal() and len(text) <= len(str(2**32)) for text in (user, group))
        if os.geteuid() != 0 or not known or int(user) == 0 or max(int(user), int(group)) >= 2**32 - 1:
            return None
        try:
            entry = pwd.getpwuid(int(user))
        except KeyError:  # a user of a directory that does not answer, or of a container
            return cls(int(user), int(group), (int(group),), user, "/")
        groups = os.getgrouplist(entry.pw_name, int(group))
        return cls(int(user), int(group), tuple(groups), entry.pw_name, entry.pw_dir)

    def environment(self, variables: Mapping[str, str]) -> dict[str, str]:
        """The caller's own: without sudo's marks, and with a home that is the caller's."""
        kept = {name: value for name, value in variables.items() if not name.startswith("SUDO_")}
        own = kept.get("HOME", "")
        with suppress(OSError):
            if own and Path(own).stat().st_uid != self.uid:
                own = ""
        return {**kept, "HOME": own or self.home, "USER": self.name, "LOGNAME": self.name}

    def may_run_us(self) -> bool:
        """Whether the caller may read this interpreter and this package: root may have a Python of its own."""
        groups = os.getgroups()
        os.setgroups(self.groups)
        os.setegid(self.gid)
        os.seteuid(self.uid)
        try:
            needed = {sys.executable: os.X_OK, __file__: os.R_OK, os.__file__: os.R_OK}
            return all(os.access(path, mode, effective_ids=True) for path, mode in needed.items())
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)

    def become(self) -> None:
        """Be the caller for good: no way back, not even through a program that is set-user-ID."""
        os.setgroups(self.groups)
        os.setresgid(self.gid, self.gid, self.gid)
        os.setresuid(self.uid, self.uid, self.uid)
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        changed = self.environment(os.environ)
        os.environ.clear()
        os.environ.update(changed)


def divide(caller: Caller, command: Sequence[str], *, groups: Sequence[int] = ()) -> int:
    """Run a command as the caller, and do as root what it asks for, until it ends.

    Args:
        caller: Who called sudo.
        command: The program again.
        groups: Groups that it keeps beside the caller's own.

    Returns:
        Its exit status.
    """
    address = f"sparkray-root-{secrets.token_hex(16)}"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"\0{address}")
        listener.listen()
        signal.pthread_sigmask(signal.SIG_BLOCK, _PASSED_ON)
        child = subprocess.Popen(
            command,
            user=caller.uid,
            group=caller.gid,
            extra_groups=sorted({*caller.groups, *groups}),
            env={**caller.environment(os.environ), VARIABLE: address},
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - there is one thread, and the mask is no argument
        )
        part = RootPart(listener, child.pid)
        threading.Thread(target=part.serve, name="sparkray-root", daemon=True).start()
        status = _await(child)
        part.end()
    return _ENDED_BY_SIGNAL - status if status < 0 else status


def _end_with_parent() -> None:
    """In a child, before its program: it hears signals, and of its parent's death."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)


def _await(child: "subprocess.Popen[bytes]") -> int:
    """Until the child has ended. Signals are passed on; one of the terminal has reached it already."""
    while (status := child.poll()) is None:
        got = signal.sigtimedwait(_PASSED_ON, 1.0)
        if got is not None and got.si_signo in _SIGNALS and got.si_code != _SI_KERNEL:
            child.send_signal(got.si_signo)
    return status


@dataclass
class RootPart:
    """Does as root what the processes of a sweep ask for.

    Attributes:
        listener: Where they ask.
        driver: The process that they must descend from.
        started: What was started and has not ended, by pid.
    """

    listener: socket.socket
    driver: int
    started: dict[int, "subprocess.Popen[bytes]"] = field(default_factory=dict)

    def serve(self) -> None:
        """Until the listener is closed."""
        with suppress(OSError):
            while True:
                asking, _ = self.listener.accept()
                threading.Thread(target=self._answer, args=(asking,), daemon=True).start()

    def end(self) -> None:
        """End what is left."""
        for process in list(self.started.values()):
            with suppress(subprocess.TimeoutExpired):
                process.wait(_LAST_S)
                continue
            _kill_all(process)

    def _answer(self, asking: socket.socket) -> None:
        with asking, suppress(OSError, ValueError, KeyError, TypeError):
            pid, *_ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            if not _descends(pid, self.driver):
                return
            data, handles = _received(asking)
            try:
                request = json.loads(data)
                if "kill" in request:
                    process = self.started.get(request["kill"])
                    if process is not None:
                        _kill_all(process)
                    return
                process = self._start(request, handles)
            finally:
                for handle in handles:
                    os.close(handle)
            self._attend(process, asking)

    def _start(self, request: Mapping[str, Any], handles: Sequence[int]) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, *map(str, request["arguments"])],
            stdin=handles[0],
            stdout=handles[1],
            stderr=handles[2],
            cwd=request["folder"],
            # root leaves no bytecode in a folder of the user's
            env={**{str(k): str(v) for k, v in request["environment"].items()}, "PYTHONDONTWRITEBYTECODE": "1"},
            process_group=0,  # what a terminal sends is the driver's to hear
            preexec_fn=_unblocked,  # noqa: PLW1509 - as above; the main thread only waits for signals
        )
        self.started[process.pid] = process
        return process

    def _attend(self, process: "subprocess.Popen[bytes]", asking: socket.socket) -> None:
        """Say how it ends; end it once nobody waits for that any more."""

        def until_gone() -> None:
            with suppress(OSError):
                asking.recv(1)
            _kill_all(process)

        threading.Thread(target=until_gone, daemon=True).start()
        status = process.wait()
        self.started.pop(process.pid, None)
        with suppress(OSError):
            asking.sendall(str(_ENDED_BY_SIGNAL - status if status < 0 else status).encode())
            asking.shutdown(socket.SHUT_RDWR)


def _kill_all(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it started, such as an engine, which is root's too: the user could not end it."""
    if process.poll() is None:
        below = descendants(process.pid)
        process.kill()
        for pid in below:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def _unblocked() -> None:
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _PASSED_ON)


def _received(asking: socket.socket) -> tuple[bytes, list[int]]:
    """A whole request and the descriptors that came with it."""
    data, handles, _, _ = socket.recv_fds(asking, 1 << 16, 3)
    while not data.endswith(b"\n") and len(data) < _REQUEST_BYTES:
        more = asking.recv(1 << 16)
        if not more:
            break
        data += more
    return data, handles


def _descends(pid: int, ancestor: int) -> bool:
    """Whether a process is another, or was started by it or by one that it started."""
    for _ in range(_MOST_PARENTS):
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[1])
        except (OSError, ValueError, IndexError):
            return False
    return False


def has_root() -> bool:
    """Whether we are root, or have a part that is."""
    return os.geteuid() == 0 or _has_part()


def _has_part() -> bool:
    """Whether root listens where the variable says: anybody can set that, and it outlives its sweep in a shell."""
    name = os.environ.get(VARIABLE)
    if name is None:
        return False
    with socket.socket(socket.AF_UNIX) as asking, suppress(OSError, ValueError):
        asking.connect(f"\0{name}")
        _, user, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return bool(user == 0)
    return False


def python_as_root() -> str | None:
    """The command of an interpreter that is root's, for a shell; None where we are root or have no such part."""
    if os.geteuid() == 0 or not _has_part():
        return None
    return shlex.join([sys.executable, "-I", "-S", str(_AGENT)])


def command_as_root(*command: str) -> list[str]:
    """A command that runs as root, through the part that is where we are not."""
    if python_as_root() is None:
        return list(command)
    code = "import os, sys; os.execvp(sys.argv[1], sys.argv[1:])"
    return [sys.executable, "-I", "-S", str(_AGENT), "-I", "-S", "-c", code, *command]


def ask(code: str, *arguments: str) -> str:
    """What a piece of Python prints that runs as root. Raises PrivilegeError."""
    command = [sys.executable, "-I", "-S", str(_AGENT), "-P", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    if done.returncode != 0:
        reason = next(iter(reversed(done.stderr.strip().splitlines())), f"status {done.returncode}")
        raise PrivilegeError(f"the part of sparkray that is root failed: {reason}", "Repeat the command")
    return done.stdout


def kill(pid: int) -> None:
    """End a process that was started as root; what is not, is left alone."""
    with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
        asking.connect(f"\0{os.environ[VARIABLE]}")
        asking.sendall(json.dumps({"kill": pid}).encode() + b"\n")
        asking.settimeout(_LAST_S)
        asking.recv(1)
