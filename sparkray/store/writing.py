"""Files that are there whole or not at all, also after a power cut, and what the system refuses as StorageError."""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from sparkray.errors import StorageError, refusal
from sparkray.files import replace_file

_OTHER_FOLDER = "Check the folder and its permissions, or name another: --results-dir DIR"
_TOO_LARGE = "This user's files may be no larger: raise the limit, as with `ulimit -f unlimited`"
GO_ON = "Free some space, then give the same command again: it goes on where it stopped"


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """OSError as StorageError. Raises StorageError."""
    try:
        yield
    except OSError as error:
        remedies = {errno.ENOSPC: GO_ON, errno.EDQUOT: GO_ON, errno.EFBIG: _TOO_LARGE}
        remedy = remedies.get(error.errno or 0, _OTHER_FOLDER)
        raise StorageError(f"{path} cannot be written: {refusal(error, path)}", remedy) from None


def write_atomically(path: Path, data: bytes, *, durable: bool = True) -> None:
    """Write, fsync, rename: the file is there whole, or not at all.

    Args:
        path: The file.
        data: What is in it.
        durable: Whether it must be there after a power cut; without fsync for what can be made again.

    Raises:
        StorageError: The disk is full or refuses.
    """
    with storage_errors(path):
        replace_file(path, data, durable=durable)
    if durable:
        _sync_folder(path.parent)


def write_together(files: Iterable[tuple[Path, bytes]]) -> None:
    """Write files in this order; those of one folder that follow each other are made durable together.

    Every file of a folder is there after a power cut before the first of the next folder is. Raises StorageError.
    """
    for folder, group in groupby(files, key=lambda file: file[0].parent):
        for path, data in group:
            with storage_errors(path):
                replace_file(path, data, durable=True)
        _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    with storage_errors(folder):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
