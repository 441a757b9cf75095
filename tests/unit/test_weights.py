"""The weights of a model: found, and refused when they are not what the card says."""

import hashlib
from pathlib import Path

import pytest
from builders import card

from sparkray.catalog.weights import locate
from sparkray.config.model import Weights
from sparkray.errors import ModelFileError

GOOD = b"GGUF" + bytes(2_000_000)
SHA256 = hashlib.sha256(GOOD).hexdigest()


def find(tmp_path: Path, weights: Weights) -> tuple[Path, str | None]:
    found = locate(card(weights=weights, hf_id="Org/Model"), tmp_path / "root", tmp_path / "cache")
    return found.path, found.sha256


@pytest.mark.parametrize("sha256", [None, SHA256])
def test_a_file_is_found_and_hashed(tmp_path: Path, sha256: str | None) -> None:
    (tmp_path / "m.gguf").write_bytes(GOOD)
    assert find(tmp_path, Weights("file", path=str(tmp_path / "m.gguf"), sha256=sha256)) == (
        tmp_path / "m.gguf",
        SHA256,
    )


def test_what_was_fetched_before_is_not_fetched_again(tmp_path: Path) -> None:
    kept = tmp_path / "cache" / "models" / "m.gguf"
    kept.parent.mkdir(parents=True)
    kept.write_bytes(GOOD)
    weights = Weights("wheel", package="no-such-package", version="0", member="inner/m.gguf", sha256=SHA256)
    assert find(tmp_path, weights) == (kept, SHA256)


def test_a_file_that_is_another_is_refused_with_both_hashes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(GOOD[:-1] + b"\1")
    with pytest.raises(ModelFileError, match=f"{SHA256} in its card") as error:
        find(tmp_path, Weights("file", path=str(path), sha256=SHA256))
    assert hashlib.sha256(path.read_bytes()).hexdigest() in str(error.value)
    assert error.value.exit_status == 2


@pytest.mark.parametrize("content", [b"", b"GGU", b"<html>not found", bytes(8)])
def test_what_is_no_gguf_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.gguf"
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="is not a GGUF file") as error:
        find(tmp_path, Weights("file", path=str(path)))
    assert repr(content[:4]) in str(error.value)


def test_what_is_not_there_or_is_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.gguf").mkdir()
    for name, said in (("none.gguf", "No such file"), ("folder.gguf", "Is a directory")):
        with pytest.raises(ModelFileError, match=f"{name} cannot be read: {said}"):
            find(tmp_path, Weights("file", path=str(tmp_path / name)))


def test_a_checkpoint_is_a_folder_with_a_config(tmp_path: Path) -> None:
    weights = Weights("checkpoint", path="Org/Model")
    folder = tmp_path / "root" / "Org" / "Model"
    folder.mkdir(parents=True)
    with pytest.raises(ModelFileError, match=r"config\.json is missing") as error:
        find(tmp_path, weights)
    assert error.value.remedy == "Download Org/Model there, or name another folder: --set site.models_root=DIR"
    with pytest.raises(ModelFileError) as error:
        locate(card(weights=weights, hf_id=None), tmp_path / "root", tmp_path)
    assert error.value.remedy == "Name the folder of a checkpoint, which holds its config.json, or a .gguf file"
    (folder / "config.json").write_text("{}")
    assert find(tmp_path, weights) == (folder, None)
