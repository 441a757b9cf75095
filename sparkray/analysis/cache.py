"""Frames kept beside a dataset: one file in place of a file for each attempt, which takes longer to open than to read.

`<dataset>/cache/<name>-<key>-<checksum>` holds what was made of the files in one folder. The key is a hash of these
files' names, sizes, times and inodes and of the code that made the frame, so that a file of another key is never read; the
checksum is of its own content, so that a damaged one is not either. Both are removed and made again. Where nothing can be
written (a read-only folder, a full disk, another owner) nothing is kept, and every file is read as before.
"""

import hashlib
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

import polars as pl

import sparkray
from sparkray import __version__
from sparkray.errors import DatasetError
from sparkray.files import irregular

FOLDER = "cache"
# Fewer files than this are read as fast without a cache.
LEAST_FILES = 64
_DIGEST_BYTES = 16
_MODE = 0o644
_CHUNK = 1 << 16
PACKAGE = Path(sparkray.__file__).parent
_CODE = (".py", ".csv", ".yaml")


@dataclass(frozen=True)
class Listing:
    """Files of a folder at one moment: what distinguishes them from the same files after any change."""

    folder: Path
    files: tuple[tuple[str, int, int, int, int], ...]

    @property
    def names(self) -> frozenset[str]:
        """Names of the files."""
        return frozenset(name for name, *_ in self.files)

    @property
    def paths(self) -> list[Path]:
        """The files, by name."""
        return [self.folder / name for name, *_ in self.files]


def listing(folder: Path, suffix: str = ".parquet") -> Listing:
    """The files of a folder by name, each with its size, times and inode; none where there is no such folder.

    A file that is written again has another inode, also where its name, size and time stay the same.

    Raises:
        DatasetError: One is no regular file: whoever opened it could wait for ever.
    """
    found = []
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(suffix) and not entry.name.startswith("."):
                with suppress(FileNotFoundError):  # a writer may rename or remove it meanwhile
                    stat = entry.stat()
                    if why := irregular(stat.st_mode):
                        raise DatasetError(f"{entry.path} cannot be read: {why}", "Remove it")
                    found.append((entry.name, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino))
    return Listing(folder, tuple(sorted(found)))


def kept(files: Listing, make: Callable[[], pl.DataFrame], *, code: Path) -> pl.DataFrame:
    """The frame that `make` makes of these files: from the cache where it is of them, else made now, and kept.

    Args:
        files: What it is made of. List them before they are read: what changes in between is then seen the next time.
        make: Reads the files.
        code: What `make` rests on, a file or a folder of them; another version of it makes another frame.
    """
    if len(files.files) < LEAST_FILES:
        return make()
    name, folder = files.folder.name, files.folder.parent / FOLDER
    key = digest(f"{files.files}{__version__}{pl.__version__}{sources(code)}".encode())
    path = find(folder, name, key)
    if path is not None:
        with suppress(OSError, pl.exceptions.PolarsError):
            return pl.read_ipc(path)
    frame = make()
    keep(folder, name, key, frame.write_ipc)
    return frame


def find(folder: Path, name: str, key: str) -> Path | None:
    """The file that was kept by that name and key; None where there is none, or it is damaged."""
    with suppress(OSError):
        for path in folder.glob(f"{name}-{key}-*"):
            if path.name.rpartition("-")[2] == _checksum(path):
                return path
    return None


def keep(folder: Path, name: str, key: str, write: Callable[[IO[bytes]], object]) -> None:
    """Keep a file whole or not at all, and remove those of that name with other keys; nothing where it cannot be written."""
    partial: Path | None = None
    try:
        folder.mkdir(exist_ok=True)
        descriptor, text = tempfile.mkstemp(prefix=f".{name}.", suffix=".partial", dir=folder)
        partial = Path(text)
        with os.fdopen(descriptor, "wb") as file:
            write(file)
        partial.chmod(_MODE)
        path = folder / f"{name}-{key}-{_checksum(partial)}"
        partial.rename(path)
        for other in folder.glob(f"{name}-*"):
            if other != path:
                other.unlink(missing_ok=True)
    except OSError:
        if partial is not None:
            with suppress(OSError):
                partial.unlink(missing_ok=True)


def digest(content: bytes) -> str:
    """A hash of content, as keys are made of."""
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest()


def _checksum(path: Path) -> str:
    checksum = 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            checksum = zlib.crc32(chunk, checksum)
    return f"{checksum:08x}"


@cache
def sources(code: Path) -> str:
    """A hash of a program's file; of the names, sizes and times of its files where it is a folder."""
    if code.is_file():
        return digest(code.read_bytes())
    paths = (Path(folder, name) for folder, _, names in os.walk(code) for name in names if name.endswith(_CODE))
    stats = sorted((str(path), path.stat()) for path in paths)
    return digest(repr([(path, stat.st_size, stat.st_mtime_ns) for path, stat in stats]).encode())
