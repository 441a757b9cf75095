"""Machine-wide lock: one benchmark at a time on a machine, or on a GPU, over all users.

The kernel holds the lock and releases it when its holder dies, so it is never stale. It is held twice: by `flock` on a
file where every user may write, and by a name in the abstract socket namespace, which sweeps in other mount namespaces
share. A note beside the file names the holder and its run: for those waiting, and for the next holder, which cleans up
after a dead one.

A sweep that knows its GPUs locks each by its UUID, and shares the lock of the machine; one that cannot read them (NVML
fails) has the machine for itself.
"""

import errno
import fcntl
import json
import os
import socket
import stat
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from sparkray.errors import HostError, LockHeldError, host_error_of, refusal
from sparkray.files import read_regular, replace_file, rewrite_file
from sparkray.runtimes.linux.owner import process_start
from sparkray.units import KIB

LOCK_FOLDER = Path("/run/lock")
_FALLBACK_FOLDER = Path("/tmp")  # noqa: S108 - every user must find the lock
_POLL_S = 0.2
# Each question stays in the holder's queue: one a minute, or a waiting sweep would fill it.
_BACKLOG, _ASK_S = 4096, 60.0
_NOTE_BYTES = 64 * KIB
MACHINE = "machine"


@dataclass(frozen=True)
class Holder:
    """Who holds a lock: process, its start time in clock ticks, user, the run's name ('' before the first)."""

    pid: int
    started: int
    user: int
    run: str = ""
    dataset: str = ""

    def is_alive(self) -> bool:
        """Whether the process that wrote the note is alive (a reused pid has another start time)."""
        return process_start(self.pid) == self.started


def lock_folder() -> Path:
    """Folder of the locks: the same for every user, or root and a user could measure at once."""
    try:
        for_all = bool(LOCK_FOLDER.stat().st_mode & stat.S_IWOTH)
    except OSError:
        for_all = False
    return LOCK_FOLDER if for_all else _FALLBACK_FOLDER


class MachineLock:
    """The lock of one machine: one file per GPU UUID, or one for the machine.

    Args:
        keys: GPU UUIDs, or `machine`.
        folder: Where the files lie; tests give their own.
    """

    def __init__(self, keys: tuple[str, ...] = (MACHINE,), folder: Path | None = None) -> None:
        self.keys = tuple(sorted(keys))
        self.folder = folder or lock_folder()
        self._asked: dict[str, tuple[float, int]] = {}
        self._scope = f"-{self.folder.stat().st_dev}-{self.folder.stat().st_ino}" if folder else ""

    def _file(self, key: str) -> Path:
        return self.folder / f"sparkray-{key}.lock"

    def _note(self, key: str) -> Path:
        return self.folder / f"sparkray-{key}.json"

    def holder(self, key: str | None = None) -> Holder | None:
        """The holder in the note, which may be dead."""
        return _read_note(self._note(key or self.keys[0]))

    @contextmanager
    def held(
        self,
        mode: Literal["wait", "fail"],
        *,
        on_wait: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> Iterator[Holder | None]:
        """Hold every key, in sorted order to avoid deadlocks.

        Yields:
            The note of the previous holder, if it died without releasing; else None.

        Raises:
            LockHeldError: Another process holds it and `mode` is `fail`, or the wait was stopped.
            HostError: What lies at its place is no file that can be locked.
        """
        with ExitStack() as stack:
            for key in sorted({*self.keys, MACHINE}):
                self._acquire(stack, key, mode, on_wait=on_wait, should_stop=should_stop)
            before = next((note for note in map(self.holder, self.keys) if note is not None), None)
            self.note("")
            yield before

    def must_be_free(self) -> None:
        """Refuse a machine that another process holds now. Raises LockHeldError, HostError."""
        for key in sorted({*self.keys, MACHINE}):
            held = self._try(key)
            if held is None:
                raise self._busy(self._who(key)[1])
            held.close()

    def _busy(self, holder: str) -> LockHeldError:
        return LockHeldError(f"this machine is busy: {holder}", "Wait for it: --lock wait")

    def _acquire(
        self,
        stack: ExitStack,
        key: str,
        mode: str,
        *,
        on_wait: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> None:
        reported: int | None = None
        while (held := self._try(key)) is None:
            pid, holder = self._who(key)
            if mode == "fail" or should_stop():
                raise self._busy(holder)
            if reported is None or (pid and pid != reported):  # each holder once, not each of its runs
                on_wait(holder)
                reported = pid
            time.sleep(_POLL_S)
        stack.push(held)
        if key in self.keys:
            stack.callback(self._drop_note, key)

    def _try(self, key: str) -> ExitStack | None:
        """The lock of a key, held until it is closed; None where somebody else has it."""
        shared = key not in self.keys
        with ExitStack() as stack:
            handle = _open(self._file(key))
            stack.callback(os.close, handle)
            try:
                fcntl.flock(handle, fcntl.LOCK_NB | (fcntl.LOCK_SH if shared else fcntl.LOCK_EX))
            except BlockingIOError:
                return None
            if not shared:
                name = stack.enter_context(socket.socket(socket.AF_UNIX))
                try:
                    name.bind(self._name(key))
                except OSError as error:
                    if error.errno == errno.EADDRINUSE:
                        return None
                    raise HostError(f"the lock {self._name(key)[1:]} cannot be taken: {error.strerror}") from None
                name.listen(_BACKLOG)  # so that others can ask the kernel who holds it
            return stack.pop_all()

    def _name(self, key: str) -> str:
        return f"\0sparkray-{key}{self._scope}"

    def _who(self, key: str) -> tuple[int, str]:
        """Pid of a key's holder, 0 where it cannot be seen, and what to say of it."""
        notes = (_read_note(path) for path in sorted(self.folder.glob("sparkray-*.json")))
        others = (
            next((note for note in notes if note is not None and note.is_alive()), None) if key == MACHINE else None
        )
        holder = self.holder(key) or others
        if holder is None or not holder.is_alive():
            pid = self._pid(key)
            return pid, f"{f'process {pid} measures; ' if pid else ''}{self._file(key)} is locked"
        what = f", run {holder.run}" if holder.run else ""
        where = holder.dataset or "a dataset"
        return holder.pid, f"process {holder.pid} of user id {holder.user} is measuring{what} into {where}"

    def _pid(self, key: str) -> int:
        """Pid of whoever holds a key, as the kernel knows it; 0 where it cannot be seen from here."""
        asked, pid = self._asked.get(key, (-_ASK_S, 0))
        if time.monotonic() - asked >= _ASK_S or (pid and not process_start(pid)):
            pid = _listener(self._name(key))
            self._asked[key] = time.monotonic(), pid
        return pid

    def note(self, run: str, dataset: str = "") -> None:
        """Record the run that starts under the lock."""
        holder = Holder(os.getpid(), process_start(os.getpid()), os.getuid(), run, dataset)
        for key in self.keys:
            write_note(self._note(key), asdict(holder))

    def _drop_note(self, key: str) -> None:
        holder = self.holder(key)
        if holder is not None and holder.pid == os.getpid():  # a dead holder's note is for who gets every key
            remove_note(self._note(key))


def _read_note(path: Path) -> Holder | None:
    with suppress(OSError, ValueError, TypeError, RecursionError):
        return Holder(**json.loads(read_regular(path, limit=_NOTE_BYTES, follow=False)))
    return None


def _open(path: Path) -> int:
    """A lock's file, made where there is none; through no link, and of no other kind. Raises HostError."""
    careful = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
    try:
        try:
            handle = os.open(path, careful)  # creating is refused for another user's (fs.protected_regular)
        except FileNotFoundError:
            handle = _create(path, careful)
    except OSError as error:
        reason = "it is a link" if error.errno == errno.ELOOP else refusal(error, path)
        known = host_error_of(error) if error.errno in (errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EMFILE) else None
        remedy = known.remedy if known else "Remove it, as its owner or as root"
        raise HostError(f"the lock {path} cannot be opened: {reason}", remedy) from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise HostError(f"the lock {path} is no regular file", "Remove it, as its owner or as root")
    return handle


def _create(path: Path, careful: int) -> int:
    """Make a lock's file; the one that another made in the same moment is taken as it is."""
    try:
        handle = os.open(path, careful | os.O_CREAT | os.O_EXCL, 0o666)
    except FileExistsError:
        return os.open(path, careful)
    os.fchmod(handle, 0o666)
    return handle


def _listener(name: str) -> int:
    """The pid of whoever holds a name, as the kernel recorded it; 0 where it cannot be seen from here."""
    with socket.socket(socket.AF_UNIX) as asking, suppress(OSError):
        asking.setblocking(False)
        asking.connect(name)
        pid, _, _ = struct.unpack("3i", asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        return int(pid)
    return 0


def write_note(path: Path, content: Mapping[str, object]) -> None:
    """Replace a note, readable by all. In a sticky folder another user's note can only be rewritten.

    What lies at its name may be planted by anybody: a link there is replaced or refused, never written through.
    """
    data = json.dumps(content).encode()
    try:
        replace_file(path, data, mode=0o666)
    except PermissionError:
        _rewrite(path, data)


def remove_note(path: Path) -> None:
    """Remove a note; another user's in a sticky folder is emptied."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        _rewrite(path, b"")


def _rewrite(path: Path, data: bytes) -> None:
    """Write into an existing note: creating is refused for another user's (fs.protected_regular). Best effort."""
    with suppress(OSError):
        rewrite_file(path, data)
