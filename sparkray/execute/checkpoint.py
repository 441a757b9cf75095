"""A checkpoint's identity down to the last byte: weights, tokenizer and configuration, in many files of many GB.

Hashing 60 GB takes minutes, so a digest is remembered under the fingerprint of its files (size, inode, times), as that of an
image's files is (`images.digest`). Before each run the fingerprint is taken again, which reads no content; when it has
moved, the bytes are read anew. Symbolic links are followed: a download cache keeps the files elsewhere. Hidden files are
left out, since downloaders keep their notes in them.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sparkray.images.digest import Entry, Remembered, digest_of, hash_stream

_WORTH_A_LINE = 1e9
"""Bytes; less is hashed in a moment."""


@dataclass(frozen=True)
class Checkpoints:
    """Digests of the checkpoints of this machine. `notify` is called before one that takes long."""

    remembered: Remembered
    notify: Callable[[str], None]

    def digest(self, folder: Path) -> str:
        """The hash of every file of a checkpoint as it is now.

        Raises:
            OSError: A file cannot be read.
        """
        files = _files(folder)
        key = _fingerprint(folder, files)
        known = self.remembered.get(key)
        if known is None:
            size = sum(found.st_size for found in files.values())
            if size > _WORTH_A_LINE:
                self.notify(f"model: hashing the {size / 1e9:.0f} GB of {folder}, once; this can take minutes")
            known = digest_of(_entry(folder, name) for name in files)
            self.remembered.put(key, known)
        return known


def _files(folder: Path) -> Mapping[str, os.stat_result]:
    """Every file that is not hidden, by its path below the folder, in order."""
    found = {}
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        if path.is_file() and not any(part.startswith(".") for part in parts):
            found["/".join(parts)] = path.stat()
    return found


def _fingerprint(folder: Path, files: Mapping[str, os.stat_result]) -> str:
    total = hashlib.sha256(f"{folder}\n".encode(errors="surrogateescape"))
    for name, s in files.items():
        line = f"{name}\0{s.st_size}\0{s.st_dev}\0{s.st_ino}\0{s.st_mtime_ns}\0{s.st_ctime_ns}\n"
        total.update(line.encode(errors="surrogateescape"))
    return total.hexdigest()


def _entry(folder: Path, name: str) -> Entry:
    """Without permissions: a copy with others is the same model."""
    with (folder / name).open("rb") as file:
        return Entry(name, "f", 0, hash_stream(file))
