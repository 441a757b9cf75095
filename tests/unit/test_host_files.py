"""An image of the host's own files: what is imported, what is bound, and a digest that costs no walk before each run."""

import io
import os
import tarfile
from pathlib import Path

import pytest

from sparkray.catalog import Catalog, data_root
from sparkray.errors import ConfigError, ImageError
from sparkray.execute.prepared_host import must_reach_venv
from sparkray.images.digest import Remembered, digest_of, tar_entries
from sparkray.images.host_files import BoundFolders, ImportedFiles, bound_folders, variables


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """A root with a merged /usr, a folder of an older system at the root, and files that root alone may read."""
    for folder in ("usr/bin", "usr/lib", "opt/tool", "sbin", "etc/ssl/private", "home"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "bin").symlink_to("usr/bin")
    (tmp_path / "lib").symlink_to("/usr/lib")
    (tmp_path / "initrd.img").symlink_to("boot/initrd.img")
    (tmp_path / "etc/ld.so.cache").write_bytes(b"cache")
    (tmp_path / "etc/alternatives").symlink_to("/usr/bin")
    (tmp_path / "etc/shadow").write_text("root:secret")
    (tmp_path / "etc/shadow").chmod(0o640)
    (tmp_path / "etc/ssl/private/key.pem").write_text("secret")
    (tmp_path / "etc/ssl/private").chmod(0o710)
    (tmp_path / "etc/hostname").write_text("box")
    return tmp_path


def members(layer: bytes) -> dict[str, tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
        return {member.name: member for member in tar}


def test_the_imported_part_is_mount_points_links_and_what_all_may_read(host: Path) -> None:
    bound = bound_folders(("/usr", "/opt", "/opt/tool"), host)
    assert bound == ("/opt", "/sbin", "/usr"), "a root folder that is no link is bound too"
    imported = ImportedFiles(bound, host)
    found = members(imported.layer())
    assert {"usr", "opt", "sbin", "proc", "tmp", "sparkray", "etc/ssl/private"} <= set(found)
    assert (found["bin"].linkname, found["lib"].linkname) == ("usr/bin", "/usr/lib")
    assert found["etc/ld.so.cache"].size == 5
    assert not {"etc/shadow", "etc/ssl/private/key.pem", "etc/hostname", "initrd.img", "home"} & set(found)
    assert imported.layer() == imported.layer()
    with tarfile.open(fileobj=io.BytesIO(imported.layer())) as tar:
        assert digest_of(tar_entries(tar)) == imported.digest()


def test_a_folder_that_is_not_there_is_said(host: Path) -> None:
    with pytest.raises(ImageError, match="/nowhere is not a folder"):
        bound_folders(("/nowhere",), host)


@pytest.mark.parametrize("folder", ["usr", "/", "/proc", "/tmp/", "/a:b"])
def test_a_folder_that_cannot_be_bound_is_refused(folder: str) -> None:
    with pytest.raises(ConfigError, match="host_files"):
        Catalog(data_root()).site("cpu", {"host_files": [folder]})


def test_the_variables_are_the_hosts_search_paths() -> None:
    """What the arms do not have is left out: another shell's environment makes no other image."""
    mine = {
        "PATH": "/home/me/venv/bin:/opt/bin:/usr/bin",
        "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64:/srv",
        "CXX": "g++",
    }
    found = variables(mine, ("/opt", "/usr"))
    assert found == {
        "HOME": "/root", "LANG": "C.UTF-8", "PATH": "/opt/bin:/usr/bin", "LD_LIBRARY_PATH": "/usr/local/nvidia/lib64"
    }  # fmt: skip
    assert set(variables({"PATH": "/home/me/bin"}, ("/usr",))) == {"HOME", "LANG"}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_digest_holds_until_a_folder_changes_or_it_is_old(tmp_path: Path) -> None:
    file = tmp_path / "lib/deep/libx.so"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"1234")
    clock = Clock()
    bound = BoundFolders((str(tmp_path),), clock=clock)
    first = bound.digest()
    assert (bound.digest(), bound.walks) == (first, 1), "no second walk"
    (file.parent / "new").touch()
    second = bound.digest()
    assert (second != first, bound.walks) == (True, 2)
    file.write_bytes(b"4321")  # in place: it changes no folder
    assert bound.digest() == second
    clock.now += 601
    third = bound.digest()
    assert third != second
    replaced = file.with_suffix(".tmp")
    replaced.write_bytes(b"4321")
    replaced.replace(file)
    assert bound.digest() != third, "another inode"


def test_bytecode_does_not_count(tmp_path: Path) -> None:
    bound = BoundFolders((str(tmp_path),))
    (tmp_path / "module.py").touch()
    before = bound.digest()
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__/module.pyc").touch()
    assert bound.digest() == before


def test_content_does_not_depend_on_inodes_and_is_read_once(tmp_path: Path) -> None:
    digests = []
    for name in ("a", "b"):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "file").write_bytes(b"same")
        (folder / "link").symlink_to("file")
    remembered = Remembered(tmp_path / "digests.json")
    for name in ("a", "b"):
        (tmp_path / name).rename(tmp_path / "folder")
        bound = BoundFolders((str(tmp_path / "folder"),), content=True, remembered=remembered)
        digests.append(bound.digest())
        (tmp_path / "folder").rename(tmp_path / f"was-{name}")
    assert digests[0] == digests[1]
    (tmp_path / "was-b/file").write_bytes(b"else")
    (tmp_path / "was-b").rename(tmp_path / "folder")
    assert BoundFolders((str(tmp_path / "folder"),), content=True, remembered=remembered).digest() != digests[0]


def test_an_engine_of_the_virtual_environment_must_be_reached() -> None:
    with pytest.raises(ImageError, match="its packages") as caught:
        must_reach_venv(("/opt",))
    assert "site.host_files=[/opt, " in caught.value.remedy
    must_reach_venv((os.sep,))
