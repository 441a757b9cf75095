"""Files that somebody else may have prepared: planted links, FIFOs and devices neither change nor block anything."""

import json
import os
import socket
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sparkray.client import LoadResult
from sparkray.engines import SERVING_FILE
from sparkray.errors import HostError, StorageError
from sparkray.execute.leftovers import drop_unfinished
from sparkray.execute.row import RunRecord
from sparkray.execute.run import _make_folders
from sparkray.execute.serving import _write
from sparkray.files import (
    check_regular,
    drop_foreign,
    fresh_file,
    give_to,
    is_in_use,
    read_regular,
    replace_file,
    rewrite_file,
    scratch_folder,
)
from sparkray.machine.lock import MachineLock, write_note
from sparkray.store import open_dataset
from sparkray.sweep.command_line import _keep_details

SECRET = b"of root alone"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """A file that a planted link leads to."""
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


def untouched(secret: Path) -> bool:
    return secret.read_bytes() == SECRET and secret.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("kind", "said"),
    [("folder", "a folder"), ("fifo", "a FIFO"), ("socket", "a socket"), ("device", "a device"), ("link", "a link")],
)
def test_what_is_no_regular_file_is_refused_at_once(tmp_path: Path, secret: Path, kind: str, said: str) -> None:
    path = tmp_path / "given"
    bound = socket.socket(socket.AF_UNIX)
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "socket":
            bound.bind(str(path))
        case "device":
            path = Path("/dev/zero")
        case "link":
            path.symlink_to(secret)
    with bound, pytest.raises(OSError, match=f"it is {said}, not a regular file"):
        read_regular(path, follow=False)


@pytest.mark.parametrize("name", ["/proc/kmsg", "/proc/self/environ", "/sys/kernel/uevent_seqnum"])
def test_files_of_the_kernel_are_refused(name: str) -> None:
    if not Path(name).exists():
        pytest.skip(f"no {name} here")
    with pytest.raises(OSError, match="a file of the kernel"):
        check_regular(Path(name))


def test_no_more_is_read_than_is_expected(secret: Path) -> None:
    assert read_regular(secret, limit=len(SECRET)) == SECRET
    with pytest.raises(OSError, match="it is larger than"):
        read_regular(secret, limit=len(SECRET) - 1)


def test_a_link_at_the_name_is_replaced_and_not_followed(tmp_path: Path, secret: Path) -> None:
    for write in (lambda path: replace_file(path, b"new", mode=0o666), lambda path: write_note(path, {"pid": 1})):
        path = tmp_path / "note.json"
        path.unlink(missing_ok=True)
        path.symlink_to(secret)
        write(path)
        assert untouched(secret)
        assert not path.is_symlink()
    with fresh_file(tmp_path / "note.json") as file:
        file.write(b"log")
    (tmp_path / "log").symlink_to(secret)
    with fresh_file(tmp_path / "log") as file:
        file.write(b"log")
    assert untouched(secret)


@pytest.mark.parametrize("kind", ["symbolic link", "hard link", "FIFO"])
def test_a_note_is_rewritten_through_no_link(tmp_path: Path, secret: Path, kind: str) -> None:
    path = tmp_path / "note.json"
    match kind:
        case "symbolic link":
            path.symlink_to(secret)
        case "hard link":
            path.hardlink_to(secret)
        case "FIFO":
            os.mkfifo(path)
    with pytest.raises(OSError, match=r"it (is|has)"):
        rewrite_file(path, b"{}")
    assert untouched(secret)


def test_names_of_the_lock_that_somebody_took_hurt_nobody(tmp_path: Path, secret: Path) -> None:
    lock = MachineLock(folder=tmp_path)
    note = tmp_path / "sparkray-machine.json"
    for name in (note.name, f"sparkray-machine.{os.getpid()}"):  # the second: what its partial file was once called
        (tmp_path / name).symlink_to(secret)
    assert lock.holder() is None
    with lock.held("fail", on_wait=print, should_stop=lambda: False):
        holder = lock.holder()
        assert holder is not None
        assert holder.pid == os.getpid()
    os.mkfifo(note)
    assert lock.holder() is None  # and does not wait for a writer
    (tmp_path / "sparkray-machine.lock").unlink()
    (tmp_path / "sparkray-machine.lock").symlink_to(secret)
    with pytest.raises(HostError, match=r"sparkray-machine\.lock cannot be opened: it is a link") as refused:
        lock.held("fail", on_wait=print, should_stop=lambda: False).__enter__()
    assert "Remove it" in refused.value.remedy
    assert untouched(secret)


def test_what_a_program_left_leads_nowhere_else(tmp_path: Path, secret: Path) -> None:
    out = tmp_path / "out"
    (out / "inner").mkdir(parents=True)
    (out / "report.json").write_text("{}")
    (out / "latest").symlink_to("report.json")
    (out / "inner" / "up").symlink_to("../report.json")
    (out / "engine.log").symlink_to(secret)
    (out / "inner" / "root").symlink_to("/")
    (out / "loop").symlink_to("loop")
    os.mkfifo(out / "waits")
    drop_foreign(out)
    left = {str(path.relative_to(out)) for path in out.rglob("*")}
    assert left - {"loop"} == {"inner", "inner/up", "latest", "report.json"}
    assert untouched(secret)


@pytest.mark.root
def test_what_root_made_is_handed_over_through_no_link(tmp_path: Path, secret: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("handing files over needs root")
    made = tmp_path / "results"
    (made / "runs").mkdir(parents=True)
    (made / "runs" / "r.parquet").touch()
    (made / "link").symlink_to(secret)
    (made / "folder").symlink_to(tmp_path)
    (made / "hard").hardlink_to(secret)
    give_to(made, 1234, 4321)
    owners = {name: (made / name).lstat().st_uid for name in (".", "runs", "runs/r.parquet", "link", "hard")}
    assert owners == {".": 1234, "runs": 1234, "runs/r.parquet": 1234, "link": 1234, "hard": 0}
    assert (secret.stat().st_uid, tmp_path.stat().st_uid) == (0, 0)
    shared = tmp_path / "shared"
    for name in ("local", "local@2", "localhost", "other"):
        (shared / name / "runs").mkdir(parents=True)
    give_to(shared, 1234, 4321, only=lambda name: name in ("local", "local@2"))
    assert {path.name for path in shared.iterdir() if path.stat().st_uid == 1234} == {"local", "local@2"}
    assert [(shared / name / "runs").stat().st_uid for name in ("local", "other")] == [1234, 0]
    assert shared.stat().st_uid == 0


def test_the_details_of_a_defect_are_private_under_a_name_of_their_own() -> None:
    names = [_keep_details(ValueError("x")).removeprefix("The details are in ") for _ in range(2)]
    assert len(set(names)) == 2
    for name in names:
        assert Path(name).stat().st_mode & 0o777 == 0o600
        assert "ValueError: x" in Path(name).read_text()
        Path(name).unlink()


def test_a_server_s_link_is_not_written_through(tmp_path: Path, secret: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / SERVING_FILE).symlink_to(secret)
    run = SimpleNamespace(folder=out, model="m", hashed=False)
    _write(
        cast("Any", run),
        LoadResult((), 0.0, None, (), "complete", "built-in"),
        None,
        cast("Any", SimpleNamespace(engine_pid=1)),
    )
    assert untouched(secret)
    assert json.loads((out / SERVING_FILE).read_text())["ended"] == "complete"


def test_a_scratch_folder_in_use_is_nobodys_leftover(tmp_path: Path) -> None:
    dropped: list[str] = []
    with scratch_folder(tmp_path, "ask-") as folder:
        (tmp_path / "image-of-a-dead-sweep").mkdir()
        (folder / "log").write_text("")
        drop_unfinished(tmp_path, dropped.append)
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
        assert is_in_use(folder)
    assert len(dropped) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("age_s", "in_use"), [(60, True), (2 * 86_400, False)])
def test_without_locks_a_young_scratch_folder_is_in_use(tmp_path: Path, monkeypatch, age_s: int, in_use: bool) -> None:
    def refuse(*_: object) -> None:
        raise OSError(9, "Bad file descriptor")  # flock of a folder on NFS

    monkeypatch.setattr("fcntl.flock", refuse)
    os.utime(tmp_path, (time.time() - age_s,) * 2)
    assert is_in_use(tmp_path) is in_use


@pytest.mark.root
@pytest.mark.parametrize("name", ["logs", "spool", "inputs", "cache"])
def test_another_user_s_link_in_a_dataset_is_not_followed(tmp_path: Path, name: str) -> None:
    dataset = open_dataset(tmp_path, "question", "d")
    (tmp_path / "kept").mkdir()
    folder = dataset.path / name
    if folder.is_dir():
        folder.rmdir()
    folder.symlink_to(tmp_path / "kept")
    dataset.make_folders()  # one's own is
    os.lchown(folder, 65534, 65534)
    with pytest.raises(StorageError, match="it is a link of another user's"):
        dataset.make_folders()


@pytest.mark.parametrize("in_container", [False, True])
def test_nobody_else_enters_the_folder_of_a_run_of_root(tmp_path: Path, in_container: bool) -> None:
    spool = tmp_path / "spool" / "r-1"
    _make_folders(spool, RunRecord({"run_id": "r"}), in_container=in_container)
    assert (spool.stat().st_mode & 0o077 == 0) is not in_container
    assert (spool / "out").stat().st_mode & 0o1777 == 0o1777
