"""Content digest of an arm, computed separately from each arm's own files: one altered byte in one arm shows.

The hash covers the sorted list of (path, kind, mode, content hash or link target) of files and symbolic links.
Excluded: owners and times (an export by a user has others), files that Docker injects into every container, kernel
mounts, and `/sparkray`, where sparkray mounts the run's folders.

Reading every byte before every run would cost seconds on a 30 GB image, so a digest is cached under a *fingerprint*:
sizes, inode numbers, modification and change times. User space cannot set a change time back, so any write changes the
fingerprint.
"""

import hashlib
import json
import os
import stat
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sparkray.files import read_regular, replace_file

_CHUNK = 1 << 20
INJECTED = (".dockerenv", "etc/hosts", "etc/hostname", "etc/resolv.conf", "etc/mtab")
INJECTED_FOLDERS = ("dev/", "proc/", "sys/", "sparkray/")


@dataclass(frozen=True, order=True)
class Entry:
    """One file or symbolic link: relative path, `f` or `l`, permission bits, SHA-256 or target."""

    path: str
    kind: str
    mode: int
    content: str


def counts(path: str) -> bool:
    """Whether a path is part of an arm's digest."""
    return path not in INJECTED and not path.startswith(INJECTED_FOLDERS)


def digest_of(entries: Iterable[Entry]) -> str:
    """The hash of a set of entries, in any order, as `sha256:...`."""
    total = hashlib.sha256()
    for entry in sorted(entries):
        total.update(f"{entry.path}\0{entry.kind}\0{entry.mode:o}\0{entry.content}\n".encode(errors="surrogateescape"))
    return f"sha256:{total.hexdigest()}"


def hash_stream(stream: IO[bytes], copy_to: IO[bytes] | None = None) -> str:
    """SHA-256 of a stream; optionally copies it."""
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK):
        digest.update(chunk)
        if copy_to is not None:
            copy_to.write(chunk)
    return digest.hexdigest()


def tree_entries(root: Path) -> Iterator[Entry]:
    """Entries of a folder on disk."""
    for path, status in _walk(root):
        if stat.S_ISLNK(status.st_mode):
            yield Entry(path, "l", 0o777, str((root / path).readlink()))
        elif stat.S_ISREG(status.st_mode):
            with (root / path).open("rb") as file:
                yield Entry(path, "f", stat.S_IMODE(status.st_mode), hash_stream(file))


def tar_entries(archive: tarfile.TarFile) -> Iterator[Entry]:
    """Entries of a tar stream (`docker export`); hard links count as the file they point to."""
    hashes: dict[str, tuple[int, str]] = {}
    for member in archive:
        path = member.name.removeprefix("./")
        if member.issym() and counts(path):
            yield Entry(path, "l", 0o777, member.linkname)
        elif member.isreg():
            stream = archive.extractfile(member)
            hashes[path] = (member.mode & 0o7777, hash_stream(stream) if stream else "")
        elif member.islnk():
            hashes[path] = hashes[member.linkname.removeprefix("./")]
        if path in hashes and counts(path):
            yield Entry(path, "f", *hashes[path])


def _walk(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(relative path, lstat) of everything that counts below a folder."""
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        with os.scandir(root / folder) as items:
            for item in items:
                path = f"{folder}{item.name}"
                if item.is_dir(follow_symlinks=False):
                    if counts(f"{path}/"):
                        waiting.append(f"{path}/")
                elif counts(path):
                    yield path, item.stat(follow_symlinks=False)


def fingerprint(roots: Iterable[Path]) -> str:
    """A hash that changes when any file below the folders is written, replaced or removed; reads no content."""
    total = hashlib.sha256()
    for root in roots:
        for path, s in sorted(_walk(root)):
            total.update(
                f"{path}\0{s.st_mode:o}\0{s.st_size}\0{s.st_ino}\0{s.st_mtime_ns}\0{s.st_ctime_ns}\n".encode(
                    errors="surrogateescape"
                )
            )
    return total.hexdigest()


class Remembered:
    """Content digests by fingerprint, in one JSON file of the user's cache."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def get(self, key: str) -> str | None:
        """The cached digest of a fingerprint, or None."""
        return self._load().get(key)

    def put(self, key: str, digest: str) -> None:
        """Store a digest; a crash leaves the old file. Best effort: on a full disk it is made again each time."""
        known = {**self._load(), key: digest}
        with suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(self.path, json.dumps(known, indent=1).encode())

    def _load(self) -> dict[str, str]:
        with suppress(OSError, ValueError):
            known = json.loads(read_regular(self.path))
            if isinstance(known, dict):
                return known
        return {}
