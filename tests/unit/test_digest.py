"""What an arm runs, as one hash: the same from disk and from a tar, and another after one altered byte."""

import io
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.images.digest import (
    INJECTED,
    INJECTED_FOLDERS,
    Entry,
    Remembered,
    counts,
    digest_of,
    fingerprint,
    hash_stream,
    tar_entries,
    tree_entries,
)
from sparkray.images.export import extract

Change = Callable[[Path], object]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A small root file system: programs, links, a hard link, an odd name, and what Docker injects."""
    root = tmp_path / "rootfs"
    for folder in ("usr/bin", "etc", "dev", "proc", "sys", "sparkray/in", "var/empty"):
        (root / folder).mkdir(parents=True)
    (root / "usr/bin/engine").write_bytes(bytes(range(256)) * 5000)
    (root / "usr/bin/engine").chmod(0o755)
    (root / "usr/bin/setuid").write_bytes(b"s")
    (root / "usr/bin/setuid").chmod(0o4755)
    (root / "usr/bin/also").hardlink_to(root / "usr/bin/engine")
    (root / "usr/bin/link").symlink_to("engine")
    (root / "bin").symlink_to("usr/bin")
    (root / "etc/passwd").write_text("root\n")
    (root / "etc/empty").touch()
    (root / "etc/with space\nand line").write_text("x")
    Path(os.fsdecode(os.fsencode(root / "etc") + b"/not-utf8-\xff")).write_text("y")
    os.mkfifo(root / "etc/pipe")
    inject(root)
    return root


def inject(root: Path, text: str = "") -> None:
    for path in (*INJECTED, *(f"{folder}file" for folder in INJECTED_FOLDERS)):
        (root / path).write_text(text)


def tar_of(root: Path, prefix: str = "") -> bytes:
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w") as archive:
        archive.add(root, arcname=prefix or ".")
    return sink.getvalue()


def entries_in(data: bytes) -> list[Entry]:
    with tarfile.open(fileobj=io.BytesIO(data), mode="r|") as archive:
        return list(tar_entries(archive))


def digest(root: Path) -> str:
    return digest_of(tree_entries(root))


def test_disk_and_tar_agree_entry_by_entry(tree: Path) -> None:
    on_disk = sorted(tree_entries(tree))
    assert sorted(entries_in(tar_of(tree))) == on_disk
    assert [(e.path, e.kind, oct(e.mode)) for e in on_disk if e.path.startswith(("usr", "bin"))] == [
        ("bin", "l", "0o777"),
        ("usr/bin/also", "f", "0o755"),
        ("usr/bin/engine", "f", "0o755"),
        ("usr/bin/link", "l", "0o777"),
        ("usr/bin/setuid", "f", "0o4755"),
    ]
    assert "pipe" not in {e.path for e in on_disk}
    assert not [e.path for e in on_disk if e.path.startswith(INJECTED_FOLDERS) or e.path in INJECTED]


def test_an_exported_and_unpacked_tree_has_the_same_digest(tree: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    with tarfile.open(fileobj=io.BytesIO(tar_of(tree))) as archive:
        entries = list(extract(archive, copy))
    assert digest_of(entries) == digest(tree)
    assert digest(copy) == digest(tree)


def test_a_hard_link_to_what_docker_injects_still_counts(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "hosts").write_text("h")
    (tmp_path / "zz").hardlink_to(tmp_path / "etc" / "hosts")
    assert [e.path for e in entries_in(tar_of(tmp_path))] == [e.path for e in tree_entries(tmp_path)] == ["zz"]
    assert digest_of(entries_in(tar_of(tmp_path))) == digest(tmp_path)


def _flip(root: Path) -> None:
    with (root / "usr/bin/engine").open("r+b") as file:
        file.seek(1_100_000)
        byte = file.read(1)
        file.seek(1_100_000)
        file.write(bytes([byte[0] ^ 1]))


def _retarget(root: Path) -> None:
    (root / "usr/bin/link").unlink()
    (root / "usr/bin/link").symlink_to("setuid")


def _link_to_file(root: Path) -> None:
    (root / "usr/bin/link").unlink()
    (root / "usr/bin/link").write_text("engine")


CHANGES: dict[str, Change] = {
    "one bit": _flip,
    "mode": lambda root: (root / "etc/passwd").chmod(0o600),
    "setuid": lambda root: (root / "usr/bin/setuid").chmod(0o755),
    "link target": _retarget,
    "link becomes file": _link_to_file,
    "a file more": lambda root: (root / "etc/new").touch(),
    "a file less": lambda root: (root / "etc/empty").unlink(),
    "a name": lambda root: (root / "etc/empty").rename(root / "etc/empti"),
    "a link more": lambda root: (root / "lib").symlink_to("usr"),
    "an injected name elsewhere": lambda root: (root / "usr/hosts").touch(),
}
NO_CHANGES: dict[str, Change] = {
    "injected files": lambda root: inject(root, "from Docker"),
    "mounted folders": lambda root: (root / "sparkray/in/model").write_text("weights"),
    "a time": lambda root: os.utime(root / "etc/passwd", (1, 1)),
    "an empty folder": lambda root: (root / "var/more").mkdir(),
    "the same bytes again": lambda root: (root / "etc/passwd").write_text("root\n"),
    "a hard link becomes a copy": lambda root: (
        (root / "usr/bin/also").unlink(),
        (root / "usr/bin/also").write_bytes((root / "usr/bin/engine").read_bytes()),
        (root / "usr/bin/also").chmod(0o755),
    ),
}


@pytest.mark.parametrize("what", CHANGES)
def test_an_altered_tree_has_another_digest_from_disk_and_tar(tree: Path, what: str) -> None:
    before = digest(tree)
    CHANGES[what](tree)
    assert digest(tree) != before
    assert digest_of(entries_in(tar_of(tree))) == digest(tree)


@pytest.mark.parametrize("what", NO_CHANGES)
def test_what_is_no_part_of_the_bits_leaves_the_digest(tree: Path, what: str) -> None:
    before = digest(tree)
    NO_CHANGES[what](tree)
    assert digest(tree) == before


def test_an_owner_is_left_out(tree: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("giving a file away needs root")
    before = digest(tree)
    os.chown(tree / "etc/passwd", 1234, 1234)
    assert digest(tree) == before


ENTRIES = st.lists(
    st.builds(Entry, st.text(min_size=1), st.sampled_from("fl"), st.integers(0, 0o7777), st.text("0123456789abcdef")),
    max_size=8,
)


@given(ENTRIES, st.randoms(use_true_random=False))
def test_a_digest_does_not_see_the_order(entries: list[Entry], random: object) -> None:
    shuffled = list(entries)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    assert digest_of(shuffled) == digest_of(entries)
    assert digest_of(entries).startswith("sha256:")


@given(ENTRIES.filter(len), st.data())
def test_every_field_of_every_entry_is_in_the_digest(entries: list[Entry], data: st.DataObject) -> None:
    entry = data.draw(st.sampled_from(entries))
    others = list(entries)
    others.remove(entry)
    changed = data.draw(
        st.sampled_from(
            [
                Entry(entry.path + "x", entry.kind, entry.mode, entry.content),
                Entry(entry.path, "l" if entry.kind == "f" else "f", entry.mode, entry.content),
                Entry(entry.path, entry.kind, entry.mode ^ 1, entry.content),
                Entry(entry.path, entry.kind, entry.mode, entry.content + "0"),
            ]
        )
    )
    assert digest_of([*others, changed]) != digest_of(entries)
    assert digest_of(others) != digest_of(entries)


@pytest.mark.parametrize("path", [*INJECTED, "dev/null", "proc/1/stat", "sys/x", "sparkray/in/prompts"])
def test_what_docker_and_the_kernel_bring_does_not_count(path: str) -> None:
    assert not counts(path)
    assert counts(f"usr/{path}")
    assert counts(f"{path.partition('/')[0]}x")


def test_a_stream_is_hashed_and_copied_on_the_way() -> None:
    data, copy = b"x" * 3_000_000, io.BytesIO()
    expected = hash_stream(io.BytesIO(data))
    assert hash_stream(io.BytesIO(data), copy) == expected
    assert copy.getvalue() == data
    assert hash_stream(io.BytesIO()) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def _same_size_and_time(root: Path) -> None:
    before = (root / "etc/passwd").stat()
    (root / "etc/passwd").write_text("toor\n")
    os.utime(root / "etc/passwd", ns=(before.st_atime_ns, before.st_mtime_ns))


MOVES: dict[str, Change] = {
    **{name: change for name, change in CHANGES.items() if name != "an injected name elsewhere"},
    "a write that sets its time back": _same_size_and_time,
    "a touch": lambda root: (root / "etc/passwd").touch(),
    "a replacement": lambda root: (
        (root / "etc/copy").write_text("root\n"),
        (root / "etc/copy").replace(root / "etc/passwd"),
    ),
}


@pytest.mark.parametrize("what", MOVES)
def test_a_fingerprint_moves_with_every_write(tree: Path, what: str) -> None:
    before = fingerprint([tree])
    time.sleep(0.02)  # a tick of the file system's clock
    MOVES[what](tree)
    assert fingerprint([tree]) != before


def test_a_fingerprint_stays_while_nothing_is_written(tree: Path) -> None:
    before = fingerprint([tree, tree / "usr"])
    digest(tree)
    inject(tree, "from Docker")
    assert fingerprint([tree, tree / "usr"]) == before
    assert fingerprint([tree]) != before


def test_digests_are_remembered_and_a_broken_memory_is_an_empty_one(tmp_path: Path) -> None:
    memory = Remembered(tmp_path / "cache" / "digests.json")
    assert memory.get("a") is None
    memory.put("a", "sha256:1")
    memory.put("b", "sha256:2")
    memory.put("a", "sha256:3")
    again = Remembered(memory.path)
    assert (again.get("a"), again.get("b"), again.get("c")) == ("sha256:3", "sha256:2", None)
    for text in ("{", "[1]", ""):
        memory.path.write_text(text)
        assert memory.get("a") is None
    memory.put("c", "sha256:4")
    assert memory.get("c") == "sha256:4"
    assert [path.name for path in memory.path.parent.iterdir()] == ["digests.json"]


def test_a_cache_of_digests_is_not_written_through_a_link(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_text("kept")
    for name in ("digests.json", "digests.new"):
        (tmp_path / name).symlink_to(outside)
    Remembered(tmp_path / "digests.json").put("key", "digest")
    assert outside.read_text() == "kept"
    assert Remembered(tmp_path / "digests.json").get("key") == "digest"
