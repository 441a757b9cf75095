"""Files that somebody else may have prepared: no link is followed, no FIFO waited for, no more read than is expected.

A folder that several users may write to (`/run/lock`, `/tmp`) can hold a link or a FIFO at any name that can be guessed,
and a path that a user gives can be a device. Everything here raises OSError with a reason in plain words.
"""

import errno
import fcntl
import os
import secrets
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from sparkray.units import MIB

_LIMIT_BYTES = 64 * MIB
_KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISLNK, "a link"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a FIFO"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_ABANDONED_S = 86_400.0
_PSEUDO = (Path("/proc"), Path("/sys"))


def open_regular(path: Path, flags: int = os.O_RDONLY, *, follow: bool = True) -> int:
    """A descriptor of a regular file; never blocks.

    Args:
        path: The file.
        flags: As of `os.open`, without O_CREAT and O_TRUNC: the file is judged once more when it is open.
        follow: Whether its last part may be a link.

    Raises:
        OSError: It is not there, no regular file, or a file of the kernel (`/proc`, `/sys`), whose read may block.
    """
    _must_be_regular(path, path.stat(follow_symlinks=follow))  # opening a device can already act
    careful = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    handle = os.open(path, flags | careful)
    try:
        _must_be_regular(path, os.fstat(handle))
    except OSError:
        os.close(handle)
        raise
    return handle


def check_regular(path: Path) -> None:
    """Refuse what is no regular file, before another library opens it. Raises OSError."""
    os.close(open_regular(path))


def check_plain(folder: Path) -> None:
    """Refuse a folder in which something is neither file nor folder, or another user's link, for whoever writes to it.

    Raises:
        OSError: Something is, or the folder cannot be read. None where there is no folder.
    """
    refuse_foreign_link(folder)
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # a link to nothing
                refuse_foreign_link(Path(entry.path))
                found = entry.stat()
                if not stat.S_ISDIR(found.st_mode):
                    _must_be_regular(Path(entry.path), found)


def refuse_foreign_link(path: Path) -> None:
    """Refuse a link that another user left: it decides what is written to. Raises OSError."""
    with suppress(FileNotFoundError):
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode) and found.st_uid not in (0, os.geteuid()):
            raise OSError(errno.EINVAL, "it is a link of another user's", str(path))


def read_regular(path: Path, *, limit: int = _LIMIT_BYTES, follow: bool = True) -> bytes:
    """What a regular file holds.

    Raises:
        OSError: As `open_regular`, or it is larger than `limit` bytes.
    """
    with os.fdopen(open_regular(path, follow=follow), "rb") as file:
        data = file.read(limit + 1)
    if len(data) > limit:
        raise OSError(errno.EFBIG, f"it is larger than {limit // MIB or 1} MiB", str(path))
    return data


def last_line(log: Path, otherwise: str) -> str:
    """The last thing that a log says, shortened; `otherwise` where that is nothing."""
    try:
        lines = log.read_bytes()[-8192:].decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip()[:300] if lines else otherwise


def replace_file(path: Path, data: bytes, *, mode: int | None = None, durable: bool = False) -> None:
    """Write, then rename: the file is there whole, or not at all. A link at its name is replaced, not followed.

    Args:
        path: The file.
        data: What is in it.
        mode: Its permissions; None: what the umask leaves.
        durable: Whether it must be there after a power cut.

    Raises:
        OSError: It cannot be written; nothing is left behind.
    """
    partial = path.with_name(f".{path.name}.{secrets.token_hex(6)}.partial")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
    try:
        try:
            _adopt(handle, path.parent)
            if mode is not None:
                os.fchmod(handle, mode)
            left = memoryview(data)
            while left:  # a `write` may take a part
                left = left[os.write(handle, left) :]
            if durable:
                os.fsync(handle)
        finally:
            os.close(handle)
        partial.rename(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        error.filename = str(path)  # a `write` that fails names none
        raise


def fresh_file(path: Path) -> BinaryIO:
    """A new file, open for writing, in the place of whatever lies at its name. Raises OSError."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.fdopen(os.open(path, flags, 0o666), "wb")
    _adopt(file.fileno(), path.parent)
    return file


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder, gone at the end. Its lock says that it is in use, in whatever PID or mount namespace somebody asks.

    Raises:
        OSError: It cannot be made.
    """
    with tempfile.TemporaryDirectory(dir=parent, prefix=prefix, ignore_cleanup_errors=True) as name:
        handle = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield Path(name)
        finally:
            os.close(handle)


def is_in_use(folder: Path) -> bool:
    """Whether somebody works in a scratch folder; without locks, as on NFS, one that is younger than a day is."""
    try:
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return time.time() - os.fstat(handle).st_mtime < _ABANDONED_S
    finally:
        os.close(handle)
    return False


def _adopt(handle: int, folder: Path) -> None:
    """What root writes in a user's folder is the user's."""
    if os.geteuid() == 0:
        with suppress(OSError):
            found = folder.stat()
            if found.st_uid != 0:
                os.fchown(handle, found.st_uid, found.st_gid)


def drop_foreign(folder: Path) -> None:
    """Remove what a program must not leave below a folder that is read next: links that lead out of it, FIFOs, devices.

    A program in a container knows other files by the same paths; read on the host, its link shows one of the host's.
    """
    top = os.path.realpath(folder)
    for parent, folders, names in os.walk(folder):
        for path in (Path(parent, name) for name in (*folders, *names)):
            with suppress(OSError):  # it is gone again
                if _is_foreign(path, top):
                    path.unlink()


def give_to(folder: Path, user: int, group: int, *, only: Callable[[str], bool] | None = None) -> None:
    """Hand what root made in a folder to a user; what cannot be handed over stays root's.

    With `only`, not the folder itself, and of what lies in it what it is true of by name, with everything below.

    Never through a link: folders are held open while what is in them is named, links change owner themselves, and a file
    with a second name is left alone, since that name may be one of the system's.
    """
    for at, folders, names, handle in os.fwalk(folder, follow_symlinks=False):
        is_top = only is not None and at == str(folder)
        if only is not None and is_top:
            folders[:] = [name for name in folders if only(name)]
            names = [name for name in names if only(name)]  # noqa: PLW2901 - the rest is not ours
        for name in (*folders, *names):
            with suppress(OSError):
                found = os.stat(name, dir_fd=handle, follow_symlinks=False)
                if found.st_uid == 0 and (stat.S_ISDIR(found.st_mode) or found.st_nlink == 1):
                    os.chown(name, user, group, dir_fd=handle, follow_symlinks=False)
        with suppress(OSError):
            if not is_top and os.fstat(handle).st_uid == 0:
                os.fchown(handle, user, group)


def give_to_owner(folder: Path) -> None:
    """Hand what root made below a user's folder to that user."""
    if os.geteuid() == 0:
        with suppress(OSError):
            found = folder.lstat()
            if found.st_uid != 0 and stat.S_ISDIR(found.st_mode):
                give_to(folder, found.st_uid, found.st_gid)


def rewrite_file(path: Path, data: bytes) -> None:
    """Replace what an existing file holds, where its folder allows no other way: never through a link of any kind.

    Raises:
        OSError: It is no regular file, has a second name, or belongs to somebody who refuses.
    """
    with os.fdopen(open_regular(path, os.O_WRONLY, follow=False), "wb") as file:
        if os.fstat(file.fileno()).st_nlink != 1:
            raise OSError(errno.EMLINK, "it has a second name (a hard link)", str(path))
        file.truncate()
        file.write(data)


def _is_foreign(path: Path, top: str) -> bool:
    mode = path.lstat().st_mode
    if stat.S_ISLNK(mode):
        return not Path(os.path.realpath(path)).is_relative_to(top)
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def irregular(mode: int) -> str | None:
    """What something is that is no regular file, by its mode: such a thing may block or fill whoever reads it."""
    if stat.S_ISREG(mode):
        return None
    kind = next((words for is_kind, words in _KINDS if is_kind(mode)), "of another kind")
    return f"it is {kind}, not a regular file"


def _must_be_regular(path: Path, found: os.stat_result) -> None:
    if why := irregular(found.st_mode):
        raise OSError(errno.EINVAL, why, str(path))
    for folder in _PSEUDO:
        with suppress(FileNotFoundError):
            if found.st_dev == folder.stat().st_dev:
                raise OSError(errno.EINVAL, f"it is a file of the kernel ({folder}), not a regular file", str(path))
