"""Writes a tar stream to disk and hashes it on the way, so that a 30 GB image is read once."""

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sparkray.images.digest import Entry, counts, hash_stream

# Pythons before 3.11.4 (Debian 12 has 3.11.2) know no filters: they extract what they are given, which is what is meant.
_TRUSTED: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}


def extract(tar: tarfile.TarFile, folder: Path) -> Iterator[Entry]:
    """Write every member that belongs on disk, and yield its digest entry.

    Devices and files that Docker injects are left out. Owners are kept where permitted.

    Raises:
        OSError: The disk is full or refuses.
        KeyError: A hard link points to a file that did not precede it.
    """
    written: dict[str, Entry] = {}
    for member in tar:
        path = member.name.removeprefix("./")
        if member.isdir():
            tar.extract(member, folder, **_TRUSTED)
        elif counts(path) and member.isreg():
            entry = _write(tar, member, folder / path)
            written[path] = entry
            yield entry
        elif counts(path) and member.islnk():
            tar.extract(member, folder, **_TRUSTED)
            source = written[member.linkname.removeprefix("./")]
            yield Entry(path, "f", source.mode, source.content)
        elif counts(path) and member.issym():
            tar.extract(member, folder, **_TRUSTED)
            yield Entry(path, "l", 0o777, member.linkname)


def _write(tar: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> Entry:
    """One regular file."""
    stream = tar.extractfile(member)
    if stream is None:
        raise OSError(f"{member.name} has no content")
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        content = hash_stream(stream, file)
        if os.geteuid() == 0:
            os.fchown(file.fileno(), member.uid, member.gid)
        os.fchmod(file.fileno(), member.mode & 0o7777)
    os.utime(target, (member.mtime, member.mtime))
    return Entry(member.name.removeprefix("./"), "f", member.mode & 0o7777, content)
