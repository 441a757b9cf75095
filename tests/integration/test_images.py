"""The image of the virtual environment, its export, and the digest of what each arm runs; on a real engine and disk."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from real_machine import require_root

from sparkray.errors import DockerError, ImageError
from sparkray.execute.arms import Arm, asked
from sparkray.images import venv
from sparkray.images.digest import digest_of, tree_entries
from sparkray.images.rootfs import Image, Images, host_digest
from sparkray.images.venv import Part, content_tag, write_archive, write_layer
from sparkray.plan import Treatment
from sparkray.runtimes import StartState
from sparkray.runtimes.container import Runtime as Container
from sparkray.runtimes.linux.nvidia_driver import MOUNT_POINT
from sparkray.runtimes.native import Runtime as Native

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("machine_lock")]

VICTIM = "opt/sparkray/lib/module.py"


@pytest.fixture(scope="module")
def parts() -> list[Part]:
    return venv.parts()


@pytest.fixture
def small(client: docker.DockerClient, tmp_path: Path) -> Iterator[Image]:
    """An image of three files that is nobody else's, so that its layer may be spoilt."""
    files = [
        Part("etc/passwd", text=b"root:x:0:0::/:/bin/sh\n"),
        Part(VICTIM, text=uuid4().hex.encode()),
        Part("opt/sparkray/lib/other.py", text=b"pass\n", mode=0o755),
    ]
    reference = f"sparkray-test/small:{uuid4().hex[:12]}"
    load(client, reference, files, tmp_path)
    yield Images(client, tmp_path / "cache").find(reference)
    client.images.remove(reference)


def load(client: docker.DockerClient, reference: str, files: list[Part], folder: Path) -> None:
    layer, archive = folder / "layer.tar", folder / "image.tar"
    write_archive(reference, layer, write_layer(files, layer), archive)
    with archive.open("rb") as stream:
        client.images.load(stream)


@contextmanager
def altered(path: Path) -> Iterator[None]:
    """One bit of one byte, put back afterwards; size and times as they were, as far as user space can set them."""
    whole, times = path.read_bytes(), path.stat()
    spoilt = bytes([whole[0] ^ 1]) + whole[1:]
    try:
        path.write_bytes(spoilt)
        subprocess.run(["touch", "-d", f"@{times.st_mtime_ns / 1e9:.9f}", str(path)], check=True)
        yield
    finally:
        path.write_bytes(whole)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A disk of that size at a folder."""
    require_root("a mount")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_the_same_parts_make_the_same_image(parts: list[Part]) -> None:
    assert content_tag(parts) == content_tag(venv.parts())


def test_another_byte_or_mode_makes_another_image(parts: list[Part]) -> None:
    tag, digest = content_tag(parts[:3])
    first = parts[0]
    for other in (Part(first.target, text=first.open().read() + b"\n", mode=first.mode), replace(first, mode=0o600)):
        changed = content_tag([other, *parts[1:3]])
        assert changed[0] != tag
        assert changed[1] != digest


def test_the_layer_is_the_same_to_the_byte(parts: list[Part], tmp_path: Path) -> None:
    few = parts[:20]
    assert write_layer(few, tmp_path / "one") == write_layer(few, tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_second_sweep_builds_nothing(client: docker.DockerClient, images: Images, image: Image) -> None:
    repository = image.reference.partition(":")[0]
    before = {i.id: sorted(i.tags) for i in client.images.list(repository)}
    again = Images(client, images.cache / "another").from_venv()
    assert again == image
    assert {i.id: sorted(i.tags) for i in client.images.list(repository)} == before != {}
    assert not (images.cache / "another").exists(), "a layer was written"


def test_the_image_has_both_names(client: docker.DockerClient, image: Image) -> None:
    assert image.reference.startswith("sparkray/venv:")
    assert client.images.get("sparkray/venv:latest").id == image.digest
    assert image.environment["PYTHONHOME"] == "/opt/sparkray"
    assert image.size > 10_000_000


def test_three_arms_have_one_digest(images: Images, image: Image, rootfs: Path, parts: list[Part]) -> None:
    digests = {
        "host": host_digest(),
        "container": images.container_digest(image),
        "native": images.rootfs_digest(rootfs),
        "disk": digest_of(tree_entries(rootfs)),
        "tag": content_tag(parts)[1],
    }
    assert set(digests.values()) == {digests["host"]}


def test_an_image_that_is_not_there_is_not_pulled(images: Images) -> None:
    with pytest.raises(ImageError, match=r"no image 'sparkray-test/none:1'.*docker pull"):
        images.find("sparkray-test/none:1")


def test_a_byte_of_the_export_changes_that_arm_alone(client: docker.DockerClient, small: Image, tmp_path: Path) -> None:
    images = Images(client, tmp_path / "cache")
    assert images.export_step(small) == "exporting the image's file system, once"
    root = images.rootfs(small)
    assert images.export_step(small) == "comparing the exported file system with the image's"
    whole = images.rootfs_digest(root)
    assert images.container_digest(small) == whole
    with altered(root / VICTIM):
        assert images.rootfs_digest(root) != whole
        assert images.container_digest(small) == whole
    assert images.rootfs_digest(root) == whole


def layer_folder(client: docker.DockerClient, image: Image) -> Path:
    driver = client.images.get(image.digest).attrs.get("GraphDriver") or {}
    upper = Path((driver.get("Data") or {}).get("UpperDir", "/nowhere"))
    if not (upper / VICTIM).is_file():
        pytest.skip(f"the layers of the storage driver {driver.get('Name')} cannot be reached from here")
    return upper


def test_a_byte_of_a_layer_changes_that_arm_alone(client: docker.DockerClient, small: Image, tmp_path: Path) -> None:
    images = Images(client, tmp_path / "cache")
    root = images.rootfs(small)
    whole = images.container_digest(small)
    with altered(layer_folder(client, small) / VICTIM):
        assert images.container_digest(small) != whole
        assert images.rootfs_digest(root) == whole
    assert images.container_digest(small) == whole


def test_what_does_not_move_is_read_once(client: docker.DockerClient, small: Image, tmp_path: Path) -> None:
    """A digest under a fingerprint is believed: so the file of remembered ones decides, and nothing is read again."""
    images = Images(client, tmp_path / "cache")
    layer_folder(client, small)
    root = images.rootfs(small)
    first = (images.container_digest(small), images.rootfs_digest(root))
    path = tmp_path / "cache" / "digests.json"
    path.write_text(path.read_text().replace(first[0], "sha256:believed"))
    assert (images.container_digest(small), images.rootfs_digest(root)) == ("sha256:believed",) * 2
    path.write_text("{no json")
    assert (images.container_digest(small), images.rootfs_digest(root)) == first


@pytest.mark.parametrize("name", ["opt/sparkray/lib/more.py", "etc/more", "opt/link"])
def test_a_file_more_is_seen(client: docker.DockerClient, small: Image, tmp_path: Path, name: str) -> None:
    images = Images(client, tmp_path / "cache")
    root = images.rootfs(small)
    whole = images.rootfs_digest(root)
    if name.endswith("link"):
        (root / name).symlink_to("/etc/passwd")
    else:
        (root / name).write_bytes(b"")
    assert images.rootfs_digest(root) != whole


def test_what_docker_injects_is_not_seen(client: docker.DockerClient, small: Image, tmp_path: Path) -> None:
    images = Images(client, tmp_path / "cache")
    root = images.rootfs(small)
    assert not (root / "etc" / "hosts").exists()
    assert {p.name for p in root.iterdir()} >= {"proc", "sys", "dev", "tmp", "sparkray"}
    whole = images.rootfs_digest(root)
    for name in (".dockerenv", "etc/hosts", "etc/resolv.conf", "sparkray/result.json", "dev/made"):
        (root / name).write_text("injected")
    assert images.rootfs_digest(root) == whole


def test_an_export_is_made_once(client: docker.DockerClient, small: Image, tmp_path: Path) -> None:
    images = Images(client, tmp_path / "cache")
    root = images.rootfs(small)
    made = root.stat().st_ino
    assert images.rootfs(small) == root
    assert root.stat().st_ino == made
    assert [p.name for p in root.parent.iterdir()] == [root.name]
    assert client.containers.list(all=True, ignore_removed=True, filters={"ancestor": small.digest}) == []


def test_an_export_of_an_earlier_version_gets_what_it_lacks(images: Images, image: Image) -> None:
    """It may have been made when the native arm mounted less; its digest stays what it was."""
    root = images.rootfs(image)
    whole = images.rootfs_digest(root)
    place = root / MOUNT_POINT.lstrip("/")
    place.rmdir()
    assert images.rootfs(image) == root
    assert place.is_dir()
    assert images.rootfs_digest(root) == whole


def test_an_export_without_space_is_refused(client: docker.DockerClient, image: Image, tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", "8m") as disk:
        with pytest.raises(ImageError, match=r"needs 0\.[1-9] GiB free under .*there are 0\.0 GiB.*XDG_CACHE_HOME"):
            Images(client, disk).rootfs(image)
        assert list((disk / "rootfs").iterdir()) == []


def test_an_export_that_fills_the_disk_leaves_nothing(
    client: docker.DockerClient, image: Image, tmp_path: Path
) -> None:
    """As when something else takes the space meanwhile."""
    with small_disk(tmp_path / "disk", "8m") as disk:
        with pytest.raises(ImageError, match="No space left on device"):
            Images(client, disk).rootfs(replace(image, size=0))
        assert list((disk / "rootfs").iterdir()) == []
        assert client.containers.list(all=True, ignore_removed=True, filters={"label": "io.sparkray.probe=1"}) == []


def test_an_export_of_an_image_that_is_gone_leaves_nothing(images: Images, image: Image, tmp_path: Path) -> None:
    elsewhere = Images(images.client, tmp_path / "cache")
    gone = replace(image, digest="sha256:" + "0" * 64, size=1)
    with pytest.raises(DockerError, match="No such image"):
        elsewhere.rootfs(gone)
    assert list((tmp_path / "cache" / "rootfs").iterdir()) == []


def test_an_image_of_the_hosts_own_files_is_small_and_the_same_in_every_arm(images: Images, tmp_path: Path) -> None:
    """The rest is bound: the same inodes in a container and in a chroot, and neither may write to them."""
    require_root("native")
    own = images.from_host(("/usr", "/opt"))
    assert own.size < 8 << 20
    assert images.from_host(("/usr", "/opt")).digest == own.digest
    root = images.rootfs(own)
    assert images.container_digest(own) == images.rootfs_digest(root)
    assert images.host_digest(own) == images.with_bound(images.rootfs_digest(root), own)
    code = "import os; print(os.stat('/usr/bin/env').st_ino, os.path.exists('/bin/sh'), os.access('/usr', os.W_OK))"
    binds = tuple((folder, folder, True) for folder in own.bound)
    told = []
    for name, runtime, folder in (("native", Native(), root), ("container_baseline", Container(images.client), None)):
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root"}
        arm = Arm(Treatment(name), runtime, own, folder, environment, StartState(), binds=binds)
        told.append(asked(arm, ("python3", "-I", "-S", "-c", code), tmp_path).strip())
    assert told == [f"{Path('/usr/bin/env').stat().st_ino} True False"] * 2
