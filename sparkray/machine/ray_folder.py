"""The private folder of a Ray of our own: its sockets, logs and token. Nobody else can enter it; it goes with the sweep."""

import fcntl
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sparkray.errors import ClusterError, refusal
from sparkray.stopping import LEFT

_PREFIX, _INSIDE, _IN_USE, _TOKEN = "ray-", "r", "in-use", "token"
_FRESH_S = 600.0
# A socket's path has 107 bytes: those of Ray's below the folder (session_<date>_<time>_<pid>/sockets/plasma_store), and
# those of the folder below its parent.
_MOST_BYTES = 107 - len("/session_2026-11-29_14-33-09_821474_4194304/sockets/plasma_store") - len("/ray-12345678/r")
_SHORT = Path("/tmp")  # noqa: S108 - a folder of a name that nobody can guess is made in it


@contextmanager
def ray_folder() -> Iterator[Path]:
    """A folder for Ray (`ray.init(_temp_dir=...)`) in one that only this user may enter; gone at the end.

    Ray opens its own folder to every user, so that the one around it is what keeps them out. It holds a new token too,
    which `token_in` names.

    Raises:
        ClusterError: No folder can be made.
    """
    base = base_folder()
    _remove_dead(base)
    try:
        private = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=base))
        handle = os.open(private / _IN_USE, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX)
        token = os.open(private / _TOKEN, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(token, "w") as file:
            file.write(secrets.token_hex(32))
    except OSError as error:
        raise ClusterError(
            f"Ray cannot be started: {base} cannot be written: {refusal(error, base)}", _remedy()
        ) from None
    LEFT["ray"] = f"Ray's folder {private}"
    try:
        yield private / _INSIDE
    finally:
        shutil.rmtree(private, ignore_errors=True)
        LEFT.pop("ray", None)
        os.close(handle)


def token_in(folder: Path) -> Path:
    """The token of the Ray whose folder this is."""
    return folder.parent / _TOKEN


def base_folder() -> Path:
    """Where the folder is made: TMPDIR, else /tmp where TMPDIR is too long for the sockets of Ray.

    Raises:
        ClusterError: TMPDIR names no folder that can be written.
    """
    named = os.environ.get("TMPDIR")
    if not named:
        return _SHORT
    if not os.access(named, os.W_OK | os.X_OK) or not Path(named).is_dir():
        raise ClusterError(f"TMPDIR={named} is no folder that this user can write to", _remedy())
    return Path(named).absolute() if len(os.fsencode(Path(named).absolute())) <= _MOST_BYTES else _SHORT


def _remedy() -> str:
    return "Set TMPDIR to a folder that exists and can be written, or unset it" if os.environ.get("TMPDIR") else ""


def _remove_dead(base: Path) -> None:
    """Folders of this user's that a killed sweep left: nobody holds their lock, in whatever PID namespace it ran."""
    for path in base.glob(f"{_PREFIX}*/{_IN_USE}"):
        with suppress(OSError):
            if path.parent.stat().st_uid != os.getuid() or time.time() - path.stat().st_mtime < _FRESH_S:
                continue
            handle = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path.parent, ignore_errors=True)
            finally:
                os.close(handle)
