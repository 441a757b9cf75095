"""An image that is this host's own files: `/usr`, `/opt` and further folders bound read-only into every arm.

Imported is only what cannot be bound: mount points, the links at the root (`bin`, `lib`, ...) and `/etc`, less what root
alone may read. So an engine that is installed on the host runs in a container and in a chroot from the same inodes, and
nothing of 10 GB is copied.

The bound folders are part of every arm's digest by path, mode, size, inode and times of each file, or by content where
that is asked for. Bytecode (`__pycache__`) is left out: it follows from the source, and any Python of the host may write
it. A walk takes seconds, so that it is not done before every run: its digest holds while no folder has another change time
(a file that was made, removed or replaced changes its folder's), for ten minutes at most, since a file that is written in
place changes no folder.
"""

import hashlib
import io
import os
import stat
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sparkray.errors import ImageError
from sparkray.images.digest import Entry, Remembered, counts, digest_of, hash_stream

REPOSITORY = "sparkray/host-files"
# Root folders that are links into /usr on newer systems; where they are folders, they are bound as well.
_ROOT_FOLDERS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
_MOUNT_POINTS = ("dev", "proc", "root", "run", "sparkray", "sys", "tmp", "var", "var/tmp")
_STICKY = {"tmp": 0o1777, "var/tmp": 0o1777}
_BYTECODE = "__pycache__"
_HELD_S = 600.0
_OTHERS_READ, _OTHERS_ENTER = 0o004, 0o001


def bound_folders(folders: Sequence[str], root: Path = Path("/")) -> tuple[str, ...]:
    """What is bound: the folders that were asked for, and root folders that are no links; none inside another.

    Raises:
        ImageError: One is not a folder of this host.
    """
    for folder in folders:
        if not (root / folder.lstrip("/")).is_dir():
            raise ImageError(f"host_files: {folder} is not a folder of this machine", "Leave it out of site.host_files")
    real = [f"/{name}" for name in _ROOT_FOLDERS if (root / name).is_dir() and not (root / name).is_symlink()]
    every = sorted({folder.rstrip("/") for folder in (*folders, *real)})
    return tuple(folder for folder in every if not any(folder.startswith(f"{other}/") for other in every))


def is_bound(path: str, folders: Sequence[str]) -> bool:
    """Whether a path lies in one of some folders."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def variables(environment: Mapping[str, str], folders: Sequence[str]) -> dict[str, str]:
    """The image's variables: the host's search paths as far as the arms have them, and what every image has."""
    present = (*folders, *(f"/{name}" for name in _ROOT_FOLDERS))
    own = {
        name: ":".join(path for path in environment.get(name, "").split(":") if is_bound(path, present))
        for name in ("PATH", "LD_LIBRARY_PATH")
    }
    return {"HOME": "/root", "LANG": "C.UTF-8", **{name: value for name, value in own.items() if value}}


@dataclass(frozen=True)
class ImportedFiles:
    """The part of the image that is imported.

    Attributes:
        folders: What is bound, for the mount points.
        root: The host's root.
    """

    folders: tuple[str, ...]
    root: Path = Path("/")

    def layer(self) -> bytes:
        """A tar of it, the same bytes for the same files.

        Raises:
            ImageError: A file cannot be read.
        """
        buffer = io.BytesIO()
        try:
            with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
                for name in self._mount_points():
                    tar.addfile(_member(name, tarfile.DIRTYPE, _STICKY.get(name, 0o755)))
                for name in self._links():
                    link = _member(name, tarfile.SYMTYPE, 0o777)
                    link.linkname = str((self.root / name).readlink())
                    tar.addfile(link)
                for name, mode in self._files():
                    content = (self.root / name).read_bytes()
                    member = _member(name, tarfile.REGTYPE, mode)
                    member.size = len(content)
                    tar.addfile(member, io.BytesIO(content))
        except OSError as error:
            raise ImageError(f"{error.filename or '/etc'} cannot be read: {error.strerror}") from None
        return buffer.getvalue()

    def digest(self) -> str:
        """The digest that an export of the image has. Raises ImageError."""
        try:
            return digest_of(self._entries())
        except OSError as error:
            raise ImageError(f"{error.filename or '/etc'} cannot be read: {error.strerror}") from None

    def _entries(self) -> Iterator[Entry]:
        for name in self._links():
            yield Entry(name, "l", 0o777, str((self.root / name).readlink()))
        for name, mode in self._files():
            with (self.root / name).open("rb") as stream:
                yield Entry(name, "f", mode, hash_stream(stream))

    def _mount_points(self) -> list[str]:
        names = {*_MOUNT_POINTS}
        for folder in self.folders:
            path = Path(folder.lstrip("/"))
            names.update(str(part) for part in (path, *path.parents) if str(part) != ".")
        names.update(name for name, status in self._etc() if stat.S_ISDIR(status.st_mode))
        return sorted({*names, "etc"})

    def _links(self) -> list[str]:
        """Links at the root to what is bound, and those of /etc."""
        at_root = [path.name for path in sorted(self.root.iterdir()) if path.is_symlink()]
        targets = {name: os.path.normpath(Path("/", (self.root / name).readlink())) for name in at_root}
        kept = [name for name, target in targets.items() if is_bound(target, self.folders)]
        return [*kept, *(name for name, status in self._etc() if stat.S_ISLNK(status.st_mode))]

    def _files(self) -> list[tuple[str, int]]:
        """Files of /etc that everybody may read, with their modes."""
        return [
            (name, stat.S_IMODE(status.st_mode))
            for name, status in self._etc()
            if stat.S_ISREG(status.st_mode) and status.st_mode & _OTHERS_READ
        ]

    def _etc(self) -> Iterator[tuple[str, os.stat_result]]:
        """Everything below /etc that is part of a digest, by name below the root, in a fixed order.

        What lies in a folder that others may not enter is left out.
        """
        for folder, folders, files in os.walk(self.root / "etc"):
            for name in sorted([*folders, *files]):
                path = Path(folder, name)
                relative, status = str(path.relative_to(self.root)), path.lstat()
                if counts(relative):
                    yield relative, status
                if name in folders and not status.st_mode & _OTHERS_ENTER:
                    folders.remove(name)
            folders.sort()


@dataclass
class BoundFolders:
    """Digest of folders that are bound, taken by a walk and held while no folder of theirs changes.

    Attributes:
        folders: Which.
        content: Whether file content counts in place of inodes and times.
        remembered: Keeps digests of content by those of inodes and times; None reads it at each walk.
        clock: Monotonic seconds.
        walks: How often the folders were walked.
    """

    folders: tuple[str, ...]
    content: bool = False
    remembered: Remembered | None = None
    clock: Callable[[], float] = time.monotonic
    walks: int = 0
    _digest: str = ""
    _taken_at: float = 0.0
    _seen: Mapping[str, int] = field(default_factory=dict)

    def digest(self) -> str:
        """The digest now.

        Raises:
            ImageError: A folder cannot be read.
        """
        if self._digest and self.clock() - self._taken_at < _HELD_S and self._unchanged():
            return self._digest
        try:
            return self._walk()
        except OSError as error:
            raise ImageError(f"host_files: {error.filename} cannot be read: {error.strerror}") from None

    def _unchanged(self) -> bool:
        try:
            return all(os.lstat(folder).st_ctime_ns == changed for folder, changed in self._seen.items())
        except OSError:
            return False

    def _walk(self) -> str:
        seen: dict[str, int] = {}
        total = hashlib.sha256()
        for path, status in _tree(self.folders, seen):
            total.update(
                f"{path}\0{status.st_mode:o}\0{status.st_size}\0{status.st_ino}\0{status.st_mtime_ns}\0"
                f"{status.st_ctime_ns}\n".encode(errors="surrogateescape")
            )
        self.walks += 1
        self._taken_at, self._seen = self.clock(), seen
        surface = f"sha256:{total.hexdigest()}"
        self._digest = self._of_content(surface) if self.content else surface
        return self._digest

    def _of_content(self, surface: str) -> str:
        """The digest of what the files hold, read once for each state of them."""
        key = f"bound {' '.join(self.folders)} {surface}"
        known = self.remembered.get(key) if self.remembered is not None else None
        if known is None:
            known = digest_of(_contents(self.folders))
            if self.remembered is not None:
                self.remembered.put(key, known)
        return known


def _tree(folders: Sequence[str], seen: dict[str, int]) -> Iterator[tuple[str, os.stat_result]]:
    """(path, lstat) of every file and link, in a fixed order; change times of folders are put into `seen`."""
    waiting = list(reversed(folders))
    while waiting:
        folder = waiting.pop()
        below: list[str] = []
        with os.scandir(folder) as items:
            entries = sorted(items, key=lambda item: item.name)
        seen[folder] = os.stat(folder).st_ctime_ns  # noqa: PTH116 - as above
        for item in entries:
            if not item.is_dir(follow_symlinks=False):
                yield item.path, item.stat(follow_symlinks=False)
            elif item.name != _BYTECODE:
                below.append(item.path)
        waiting += reversed(below)


def _contents(folders: Sequence[str]) -> Iterator[Entry]:
    for path, status in _tree(folders, {}):
        if stat.S_ISLNK(status.st_mode):
            yield Entry(path, "l", 0o777, os.readlink(path))  # noqa: PTH115 - bytes that are no text must survive
        elif stat.S_ISREG(status.st_mode):
            with open(path, "rb") as stream:  # noqa: PTH123 - likewise
                yield Entry(path, "f", stat.S_IMODE(status.st_mode), hash_stream(stream))


def _member(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode = kind, mode
    return member
