"""Images on this machine: found or built, exported once for the native arm, and digests of what each arm runs."""

import hashlib
import io
import json
import os
import shutil
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, cast

import docker
from docker.errors import ImageNotFound
from docker.models.containers import Container

from sparkray.config.recognise import ImageConfig
from sparkray.docker_engine import docker_errors, until_stopped
from sparkray.errors import ImageError, refusal
from sparkray.files import scratch_folder
from sparkray.images import host_files, venv
from sparkray.images.digest import Remembered, digest_of, fingerprint, tar_entries, tree_entries
from sparkray.images.export import extract
from sparkray.images.host_files import BoundFolders
from sparkray.runtimes.linux.nvidia_driver import MOUNT_POINT as DRIVER_MOUNT_POINT
from sparkray.runtimes.linux.owner import LABEL as OWNER
from sparkray.runtimes.linux.owner import this_process
from sparkray.units import GIB

_SPACE_FACTOR = 2
_RING = 16
_ONE_FILE = "sparkray/idle"
_MOUNT_POINTS = ("proc", "sys", "dev", "tmp", "sparkray", DRIVER_MOUNT_POINT.lstrip("/"))


@dataclass(frozen=True)
class Image:
    """An image that Docker has: what was asked for, its identity, its size in bytes, what it brings to a container.

    `bound` are folders of the host that are mounted read-only in every arm: the rest of an image of the host's own files.
    """

    reference: str
    digest: str
    size: int
    config: ImageConfig = field(default_factory=ImageConfig)
    bound: tuple[str, ...] = ()

    @property
    def environment(self) -> Mapping[str, str]:
        """Its variables."""
        return self.config.environment

    @property
    def has_entrypoint(self) -> bool:
        """Whether it starts a program of its own before any command."""
        return bool(self.config.entrypoint)


class Images:
    """Images of one Docker engine, and their exports in a folder of the user's cache."""

    def __init__(self, client: docker.DockerClient, cache: Path) -> None:
        self.client = client
        self.cache = cache
        self.remembered = Remembered(cache / "digests.json")
        self.bound: BoundFolders | None = None

    def from_venv(self) -> Image:
        """The image of the running virtual environment; built when no image of that content is there.

        Raises:
            ImageError: It cannot be put together or loaded.
            DockerError: The engine refused.
        """
        return self._from_parts(venv.parts(), venv.REPOSITORY)

    def from_files(self, files: Mapping[str, bytes], repository: str) -> Image:
        """An image of an interpreter and further files, by path below the prefix. Raises as `from_venv` does."""
        return self._from_parts(venv.interpreter_parts(files), repository)

    def of_one_file(self, program: Path) -> Image:
        """An image that holds one program, for containers that do nothing. Raises ImageError, DockerError."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            tar.add(program, program.name, filter=_anonymous)
        reference = f"{_ONE_FILE}:{hashlib.sha256(buffer.getvalue()).hexdigest()[:_RING]}"
        if not self._has(reference):
            name, _, tag = reference.partition(":")
            with docker_errors(f"importing {reference}"):
                self.client.api.import_image_from_data(buffer.getvalue(), repository=name, tag=tag)
        return self.find(reference)

    def _from_parts(self, files: list[venv.Part], repository: str) -> Image:
        reference, _ = venv.content_tag(files, repository)
        if not self._has(reference):
            with self._archive_folder() as folder:
                layer, archive = folder / "layer.tar", folder / "image.tar"
                layer_sha256 = venv.write_layer(files, layer)
                venv.write_archive(reference, layer, layer_sha256, archive)
                layer.unlink()
                self._load(reference, archive)
        return self._as_latest(reference, repository)

    def from_host(self, folders: Sequence[str], *, content: bool = False) -> Image:
        """The image of this host's own files, with what is bound beside it.

        Args:
            folders: What to bind.
            content: Whether the digest reads the bound files (`host_files`).

        Raises:
            ImageError: A folder is not there, or a file cannot be read.
            DockerError: The engine refused.
        """
        bound = host_files.bound_folders(folders)
        layer, environment = host_files.ImportedFiles(bound).layer(), host_files.variables(os.environ, bound)
        identity = hashlib.sha256(layer + json.dumps([bound, environment], sort_keys=True).encode()).hexdigest()
        reference = f"{host_files.REPOSITORY}:{identity[:_RING]}"
        if not self._has(reference):
            with self._archive_folder() as folder:
                file, archive = folder / "layer.tar", folder / "image.tar"
                file.write_bytes(layer)
                sha256 = hashlib.sha256(layer).hexdigest()
                venv.write_archive(reference, file, sha256, archive, environment=environment)
                self._load(reference, archive)
        self.bound = BoundFolders(bound, content, self.remembered)
        return replace(self._as_latest(reference, host_files.REPOSITORY), bound=bound)

    @contextmanager
    def _archive_folder(self) -> Iterator[Path]:
        """A folder in the cache for an archive that Docker loads. Raises ImageError."""
        try:
            self.cache.mkdir(parents=True, exist_ok=True)
            with scratch_folder(self.cache, "image-") as folder:
                yield folder
        except OSError as error:
            raise self._not_written(error) from None

    def _not_written(self, error: OSError) -> ImageError:
        why = refusal(error, self.cache)
        return ImageError(f"the cache {self.cache} cannot be written: {why}", "Name another: XDG_CACHE_HOME=DIR")

    def _load(self, reference: str, archive: Path) -> None:
        with docker_errors(f"loading the image {reference}"), archive.open("rb") as stream:
            self.client.images.load(stream)

    def _as_latest(self, reference: str, repository: str) -> Image:
        """The image, under the name too that `plan` prints, which cannot know the content."""
        with docker_errors(f"tagging {reference}"):
            self.client.images.get(reference).tag(repository, "latest")
        return self.find(reference)

    def with_bound(self, digest: str, image: Image) -> str:
        """The digest of an arm's files from that of its root file system: with that of the bound folders, if any.

        Raises:
            ImageError: A bound folder cannot be read.
        """
        if self.bound is None or not image.bound:
            return digest
        return f"sha256:{hashlib.sha256(f'{digest} {self.bound.digest()}'.encode()).hexdigest()}"

    def host_digest(self, image: Image | None) -> str:
        """Digest of what a plain process runs: of an image of the host's files those, else of the virtual environment's.

        Raises:
            ImageError: A file cannot be read.
        """
        if image is None or not image.bound:
            return host_digest()
        return self.with_bound(host_files.ImportedFiles(image.bound).digest(), image)

    def _has(self, reference: str) -> bool:
        with docker_errors(f"looking for the image {reference}"):
            try:
                self.client.images.get(reference)
            except ImageNotFound:
                return False
            return True

    def find(self, reference: str) -> Image:
        """An image that is there already: nothing is pulled.

        Raises:
            ImageError: It is not there.
        """
        with docker_errors(f"looking for the image {reference}"):
            try:
                image = self.client.images.get(reference)
            except ImageNotFound:
                raise ImageError(f"no image {reference!r} on this machine", f"docker pull {reference}") from None
        return Image(reference, str(image.id), int(image.attrs["Size"]), _config(image.attrs["Config"] or {}))

    def container_digest(self, image: Image) -> str:
        """Digest of the files a container of this image runs, from Docker's own storage.

        Read again when the fingerprint of the layers' folders moved. Where they cannot be seen (containerd's image store,
        no root), it is remembered under the image's own digest, which Docker checks when it unpacks: an image of 30 GB
        cannot be read before every run.
        """
        layers = self._layer_folders(image)
        key = f"container {image.digest} {fingerprint(layers) if layers else 'unseen layers'}"
        known = self.remembered.get(key)
        if known is not None:
            return known
        with self._stopped(image) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
            digest = digest_of(tar_entries(tar))
        self.remembered.put(key, digest)
        return digest

    def _layer_folders(self, image: Image) -> list[Path]:
        """Folders of the image's layers under the overlay2 driver; empty when they cannot be read."""
        with docker_errors(f"inspecting {image.reference}"):
            driver = self.client.images.get(image.digest).attrs.get("GraphDriver") or {}
        data = driver.get("Data") or {}
        folders = [Path(p) for p in [data.get("UpperDir", ""), *data.get("LowerDir", "").split(":")] if p]
        try:
            return folders if all(_has_entries(folder) for folder in folders) else []
        except OSError:
            return []

    def export_step(self, image: Image) -> str:
        """What `rootfs` will do, in words."""
        if export_folder(self.cache, image.digest).is_dir():
            return "comparing the exported file system with the image's"
        return "exporting the image's file system, once"

    def rootfs(self, image: Image) -> Path:
        """The image's file system in a folder, exported once.

        Raises:
            ImageError: No space for twice its size, or the export failed; nothing half-done is left under the name.
        """
        target = export_folder(self.cache, image.digest)
        if target.is_dir():
            _make_mount_points(target)  # an export that an earlier version made may lack one
            if self.rootfs_digest(target) == self.container_digest(image):
                return target
            shutil.rmtree(target, ignore_errors=True)  # somebody changed it since, or removed a part
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._not_written(error) from None
        free = shutil.disk_usage(target.parent).free
        if free < _SPACE_FACTOR * image.size:
            raise ImageError(
                f"exporting {image.reference} needs {_SPACE_FACTOR * image.size / GIB:.1f} GiB free under "
                f"{target.parent}, there are {free / GIB:.1f} GiB",
                "Free some space, or set XDG_CACHE_HOME to a larger disk",
            )
        try:
            with scratch_folder(target.parent, ".partial-") as partial:
                with self._stopped(image) as stream, tarfile.open(fileobj=stream, mode="r|") as tar:
                    digest = digest_of(extract(tar, partial))
                _make_mount_points(partial)
                partial.chmod(0o755)
                partial.rename(target)
            self.remembered.put(self._rootfs_key(target), digest)
        except (OSError, tarfile.TarError, KeyError) as error:
            reason = refusal(error, target) if isinstance(error, OSError) else error
            raise ImageError(f"exporting {image.reference} to {target}: {reason}") from None
        return target

    def _rootfs_key(self, root: Path) -> str:
        return f"rootfs {root.name} {fingerprint([root])}"

    def rootfs_digest(self, root: Path) -> str:
        """Digest of the native arm's files; read again when their fingerprint moved."""
        key = self._rootfs_key(root)
        known = self.remembered.get(key)
        if known is None:
            known = digest_of(tree_entries(root))
            self.remembered.put(key, known)
        return known

    def _stopped(self, image: Image) -> "_Export":
        with docker_errors(f"creating a container of {image.reference} to export it"):
            labels = {"io.sparkray.probe": "1", OWNER: this_process().text}
            return _Export(self.client, self.client.containers.create(image.digest, command=["true"], labels=labels))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """A member without owner and time: the same bytes for the same content."""
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    return member


def _make_mount_points(root: Path) -> None:
    """The folders that the native arm mounts something on, where the image has none of that name.

    Raises:
        ImageError: One cannot be made.
    """
    try:
        for name in _MOUNT_POINTS:
            (root / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImageError(
            f"no folder to mount on can be made in the export {root}: {error.strerror}",
            "Remove that folder, so that the image is exported again",
        ) from None


def _config(found: Mapping[str, Any]) -> ImageConfig:
    pairs = (item.partition("=") for item in found.get("Env") or [])
    return ImageConfig(
        tuple(found.get("Entrypoint") or ()),
        tuple(found.get("Cmd") or ()),
        {name: value for name, _, value in pairs},
        found.get("WorkingDir") or "",
        tuple(
            int(port) for port, _, kind in (p.partition("/") for p in found.get("ExposedPorts") or {}) if kind == "tcp"
        ),
        found.get("User") or "",
    )


def export_folder(cache: Path, digest: str) -> Path:
    """Where the files of an image are exported to, by its digest."""
    return cache / "rootfs" / digest.removeprefix("sha256:")[:_RING]


def _has_entries(folder: Path) -> bool:
    return next(folder.iterdir(), None) is not None


def host_digest() -> str:
    """Digest of the files that the host arm runs, laid out as the image would have them.

    Raises:
        ImageError: The running virtual environment cannot be read.
    """
    return venv.content_tag(venv.parts())[1]


class _Export:
    """The export stream of a container that was never started, removed with the block."""

    def __init__(self, client: docker.DockerClient, container: Container) -> None:
        self.client, self.container = client, container

    def __enter__(self) -> IO[bytes]:
        return cast("IO[bytes]", _Stream(until_stopped(self.client, cast("Iterable[bytes]", self.container.export()))))

    def __exit__(self, *_: object) -> None:
        with docker_errors("removing the exported container"):
            self.container.remove(force=True, v=True)


class _Stream:
    """Chunks as a file that can be read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.chunks = iter(chunks)
        self.left = b""

    def read(self, size: int) -> bytes:
        """Up to `size` bytes, fewer only at the end."""
        ready = [self.left]
        have = len(self.left)
        while have < size and (chunk := next(self.chunks, b"")):
            ready.append(chunk)
            have += len(chunk)
        data = b"".join(ready)
        self.left = data[size:]
        return data[:size]
