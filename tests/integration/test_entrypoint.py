"""What an image's entrypoint would have set reaches every arm, asked from a real image with a real entrypoint."""

import uuid

import pytest

from sparkray.config.docker import DockerOptions
from sparkray.docker_engine import connect
from sparkray.errors import ImageError
from sparkray.images.entrypoint import added_variables, entrypoint_variables
from sparkray.images.rootfs import Images

SCRIPT = (
    "import os, subprocess, sys; print('a banner, as NVIDIA has one'); sys.stdout.flush(); "
    "os.environ.update(SET_BY_ENTRYPOINT='yes', LANG='changed'); os.execvp(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.docker
def test_what_the_entrypoint_sets_is_found(tmp_path):
    images = Images(connect(), tmp_path)
    plain = images.from_venv()
    assert entrypoint_variables(images.client, plain, DockerOptions()) == {}
    files = {"bin/sh": b"", "entry.py": SCRIPT.encode()}
    shell = (
        "#!/opt/sparkray/bin/python3\nimport os, sys\n"
        "sys.stdout.buffer.write(b'@@sparkray-environment\\0')\n"
        "sys.stdout.buffer.write(b''.join(f'{k}={v}'.encode() + b'\\0' for k, v in os.environ.items()))\n"
    )
    files["bin/sh"] = shell.encode()
    repository = f"sparkray/test-entrypoint-{uuid.uuid4().hex[:8]}"
    made = images.from_files(files, repository)
    container = images.client.containers.create(made.digest, command=["true"])
    try:
        changes = ['ENTRYPOINT ["/opt/sparkray/bin/python3", "/opt/sparkray/entry.py"]']
        committed = container.commit(repository=repository, tag="entry", changes=changes)
        found = images.find(f"{repository}:entry")
        assert found.has_entrypoint
        assert entrypoint_variables(images.client, found, DockerOptions(ipc="host")) == {
            "SET_BY_ENTRYPOINT": "yes",
            "LANG": "changed",
        }
        images.client.images.remove(committed.id, force=True)
    finally:
        container.remove(force=True)
        images.client.images.remove(made.digest, force=True)


def test_an_entrypoint_that_does_not_run_the_command_is_reported():
    with pytest.raises(ImageError, match="licence"):
        added_variables(b"please accept the licence first", {}, "image")
