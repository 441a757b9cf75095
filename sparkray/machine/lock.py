"""Machine-wide lock: one benchmark at a time on a machine, or on a GPU, over all users.

The kernel holds the lock (`flock` through `filelock`) and releases it when its holder dies, so it is never stale. A
note beside it names the holder and its run: for those waiting, and for the next holder, which cleans up after a dead
one. The files lie where every user may write, so the lock works between users.
"""

import json
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from sparkray.errors import LockHeldError

LOCK_FOLDER = Path("/run/lock")
_FALLBACK_FOLDER = Path("/tmp")  # noqa: S108 - every user must find the lock
_POLL_S = 0.2
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


def process_start(pid: int) -> int:
    """Start time of a process in clock ticks since boot; 0 when it does not exist."""
    with suppress(OSError, IndexError, ValueError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    return 0


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

    def _file(self, key: str) -> Path:
        return self.folder / f"sparkray-{key}.lock"

    def _note(self, key: str) -> Path:
        return self.folder / f"sparkray-{key}.json"

    def holder(self, key: str | None = None) -> Holder | None:
        """The holder in the note, which may be dead."""
        with suppress(OSError, ValueError, TypeError):
            return Holder(**json.loads(self._note(key or self.keys[0]).read_text()))
        return None

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
        """
        with ExitStack() as stack:
            for key in self.keys:
                self._acquire(key, mode, on_wait=on_wait, should_stop=should_stop)
                stack.callback(self._release, key)
            before = next((note for note in map(self.holder, self.keys) if note is not None), None)
            self.note("")
            yield before

    def _acquire(
        self,
        key: str,
        mode: str,
        *,
        on_wait: Callable[[str], None],
        should_stop: Callable[[], bool],
    ) -> None:
        lock = FileLock(self._file(key), mode=0o666, thread_local=False, is_singleton=False)
        reported = ""
        while True:
            try:
                lock.acquire(timeout=0)
                break
            except Timeout:
                holder = self._who(key)
                if mode == "fail" or should_stop():
                    raise LockHeldError(f"this machine is busy: {holder}", "Wait for it: --lock wait") from None
                if holder != reported:
                    on_wait(holder)
                    reported = holder
                time.sleep(_POLL_S)
        _LOCKS[self._file(key)] = lock

    def _who(self, key: str) -> str:
        holder = self.holder(key)
        if holder is None:
            return f"{self._file(key)} is locked"
        what = f", run {holder.run}" if holder.run else ""
        return f"process {holder.pid} of user id {holder.user} is measuring{what} into {holder.dataset or 'a dataset'}"

    def note(self, run: str, dataset: str = "") -> None:
        """Record the run that starts under the lock."""
        holder = Holder(os.getpid(), process_start(os.getpid()), os.getuid(), run, dataset)
        for key in self.keys:
            write_note(self._note(key), asdict(holder))

    def _release(self, key: str) -> None:
        try:
            holder = self.holder(key)
            if holder is not None and holder.pid == os.getpid():  # a dead holder's note is for who gets every key
                remove_note(self._note(key))
        finally:
            lock = _LOCKS.pop(self._file(key), None)
            if lock is not None:
                lock.release(force=True)


# Locks this process holds: kept alive here, since a FileLock releases when garbage-collected.
_LOCKS: dict[Path, FileLock] = {}


def write_note(path: Path, content: Mapping[str, object]) -> None:
    """Replace a note, readable by all. In a sticky folder another user's note can only be rewritten."""
    text = json.dumps(content)
    partial = path.with_suffix(f".{os.getpid()}")
    try:
        partial.write_text(text)
        partial.chmod(0o666)
        partial.replace(path)
    except PermissionError:
        partial.unlink(missing_ok=True)
        _rewrite(path, text)


def remove_note(path: Path) -> None:
    """Remove a note; another user's in a sticky folder is emptied."""
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        _rewrite(path, "")


def _rewrite(path: Path, text: str) -> None:
    """Write into an existing file: creating is refused for another user's (fs.protected_regular)."""
    with suppress(OSError), path.open("r+") as file:
        file.truncate()
        file.write(text)
