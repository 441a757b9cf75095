"""An image from the running virtual environment: interpreter, engine, shared libraries; nothing else.

It is put together here rather than by `docker build`, so that the same files always give the same image, with no network
and no build cache: a docker-archive tar with one layer, loaded through the API and tagged with the hash of its content.
A second sweep finds the tag and builds nothing. Everything lies under /opt/sparkray, wherever it lay on the host.
"""

import hashlib
import io
import json
import platform
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO

from sparkray.errors import ImageError, refusal
from sparkray.images.digest import Entry, digest_of, hash_stream

PREFIX = "opt/sparkray"
PYTHON = f"/{PREFIX}/bin/python3"
WORKERS = f"/{PREFIX}/workers"
REPOSITORY = "sparkray/venv"
DOUBLE_REPOSITORY = "sparkray/trtllm-double"
ENVIRONMENT: Mapping[str, str] = {
    "PATH": f"/{PREFIX}/bin:/usr/local/bin:/usr/bin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "LD_LIBRARY_PATH": f"/{PREFIX}/lib",
    "PYTHONHOME": f"/{PREFIX}",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONPATH": f"/{PREFIX}/packages:/{PREFIX}/lib",
}
_LEFT_OUT = {
    "site-packages",
    "dist-packages",
    "__pycache__",
    "test",
    "tests",
    "idlelib",
    "tkinter",
    "turtledemo",
    "ensurepip",
    "lib2to3",
    "pydoc_data",
}
_PACKAGES = ("xllamacpp",)
_FOLDERS = ("dev", "etc", "proc", "root", "sparkray", "sys", "tmp", "var", "var/tmp")
_STICKY = {"tmp": 0o1777, "var/tmp": 0o1777}
_LDD = re.compile(r"^\s*(?:\S+ => )?(?P<path>/\S+) \(0x", re.MULTILINE)
_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclass(frozen=True)
class Part:
    """One file of the image: where it goes and where it is, or its text when it is made here."""

    target: str
    source: Path | None = None
    text: bytes = b""
    mode: int = 0o644

    def open(self) -> IO[bytes]:
        """Its bytes."""
        return self.source.open("rb") if self.source else io.BytesIO(self.text)

    def size(self) -> int:
        """Its length in bytes."""
        return self.source.stat().st_size if self.source else len(self.text)


def parts() -> list[Part]:
    """Every file of the image with the embedded engine, in order of target.

    Raises:
        ImageError: Something of the running interpreter cannot be found or read.
    """
    return _sorted(_engine_parts())


def interpreter_parts(more: Mapping[str, bytes]) -> list[Part]:
    """An interpreter and further files, by path below the prefix; those in `bin/` are executable.

    Raises:
        ImageError: Something of the running interpreter cannot be found or read.
    """
    added = [
        Part(f"{PREFIX}/{path}", text=text, mode=0o755 if path.startswith("bin/") else 0o644)
        for path, text in more.items()
    ]
    return _sorted(chain(_interpreter(), added))


def _sorted(found_parts: Iterable[Part]) -> list[Part]:
    try:
        by_target = {part.target: part for part in found_parts}
    except (OSError, subprocess.CalledProcessError) as error:
        raise ImageError(f"the running virtual environment cannot be read: {error}") from None
    return [by_target[target] for target in sorted(by_target)]


def _interpreter() -> Iterator[Part]:
    """CPython with its standard library and what the dynamic linker needs for it."""
    binary = Path(sys.executable).resolve()
    yield Part(PYTHON.lstrip("/"), binary, mode=0o755)
    yield Part("etc/passwd", text=b"root:x:0:0:root:/root:/bin/sh\n")
    yield Part("etc/group", text=b"root:x:0:\n")
    libraries: list[Path] = [binary]
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    bases = dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase"), sys.base_prefix)
    for key in ("stdlib", "platstdlib"):
        root = Path(sysconfig.get_path(key, vars=bases))
        for path in _python_files(root):
            yield Part(f"{PREFIX}/lib/{version}/{path.relative_to(root)}", path, mode=_mode(path))
            libraries += [path] if path.suffix == ".so" else []
    yield from _shared_libraries(libraries)


def _engine_parts() -> Iterator[Part]:
    """The interpreter, the embedded engine and sparkray's workers."""
    yield from _interpreter()
    libraries: list[Path] = []
    for name in _PACKAGES:
        root = _package(name)
        for path in _python_files(root):
            yield Part(f"{PREFIX}/packages/{name}/{path.relative_to(root)}", path, mode=_mode(path))
            libraries += [path] if path.suffix == ".so" else []
    workers = _package("sparkray") / "engines" / "_workers"
    for path in sorted(workers.glob("*.py")):
        yield Part(f"{WORKERS.lstrip('/')}/{path.name}", path)
    yield from _shared_libraries(libraries)


def _package(name: str) -> Path:
    spec = find_spec(name)
    if spec is None or spec.origin is None:
        raise ImageError(f"the package {name!r} is not in this virtual environment", "Run `make install`")
    return Path(spec.origin).parent


def _mode(path: Path) -> int:
    return 0o755 if path.suffix == ".so" else 0o644


def _python_files(root: Path) -> Iterator[Path]:
    """Files below a folder, bytecode and tests left out, in a fixed order."""
    for path in sorted(root.iterdir()):
        if path.name in _LEFT_OUT or path.name.startswith("config-") or path.suffix in (".pyc", ".a"):
            continue
        if path.is_dir():
            yield from _python_files(path)
        elif path.is_file():
            yield path


def _shared_libraries(binaries: list[Path]) -> Iterator[Part]:
    """What the dynamic linker would load for these binaries, and the linker itself at its own place."""
    listing = subprocess.run(["ldd", *map(str, binaries)], capture_output=True, text=True, check=False).stdout
    for path in sorted({Path(match["path"]) for match in _LDD.finditer(listing)}):
        if path.name.startswith("ld-"):
            yield Part(str(path).lstrip("/"), path.resolve(), mode=0o755)
        else:
            yield Part(f"{PREFIX}/lib/{path.name}", path.resolve(), mode=0o755)


def part_entries(files: list[Part]) -> Iterator[Entry]:
    """The parts as entries of a digest: what the image's file system will hold, computed from the host's files."""
    for part in files:
        with part.open() as stream:
            yield Entry(part.target, "f", part.mode, hash_stream(stream))


def content_tag(files: list[Part], repository: str = REPOSITORY) -> tuple[str, str]:
    """(reference, rootfs digest) of the image that these parts make."""
    digest = digest_of(part_entries(files))
    settings = json.dumps(ENVIRONMENT, sort_keys=True)
    key = hashlib.sha256(f"{digest}\n{settings}".encode()).hexdigest()[:16]
    return f"{repository}:{key}", digest


def write_layer(files: list[Part], path: Path) -> str:
    """The layer as a tar on disk, the same bytes for the same parts. Returns its SHA-256.

    Raises:
        ImageError: It cannot be written.
    """
    try:
        with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
            for name in _folders(files):
                info = tarfile.TarInfo(name)
                info.type, info.mode = tarfile.DIRTYPE, _STICKY.get(name, 0o755)
                tar.addfile(info)
            for part in files:
                info = tarfile.TarInfo(part.target)
                info.size, info.mode = part.size(), part.mode
                with part.open() as stream:
                    tar.addfile(info, stream)
        with path.open("rb") as stream:
            return hash_stream(stream)
    except OSError as error:
        raise ImageError(f"the image's layer cannot be written to {path}: {refusal(error, path)}") from None


def _folders(files: list[Part]) -> list[str]:
    """Every folder above a part, and those that a root file system needs."""
    names = set(_FOLDERS)
    for part in files:
        names.update(str(parent) for parent in Path(part.target).parents if str(parent) != ".")
    return sorted(names)


def write_archive(
    reference: str, layer: Path, layer_sha256: str, path: Path, *, environment: Mapping[str, str] = ENVIRONMENT
) -> None:
    """The docker-archive that `docker load` reads: configuration with the image's variables, one layer, manifest."""
    config = json.dumps(
        {
            "architecture": _MACHINES.get(platform.machine(), platform.machine()),
            "os": "linux",
            "created": "1970-01-01T00:00:00Z",
            "config": {"Env": [f"{k}={v}" for k, v in sorted(environment.items())], "WorkingDir": "/"},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer_sha256}"]},
            "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "sparkray"}],
        },
        sort_keys=True,
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = [{"Config": config_name, "RepoTags": [reference], "Layers": ["layer.tar"]}]
    with tarfile.open(path, "w") as tar:
        for name, data in ((config_name, config), ("manifest.json", json.dumps(manifest).encode())):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
        tar.add(layer, "layer.tar")
