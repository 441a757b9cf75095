"""The printed `docker run` line, pasted into a shell: it runs and leaves nothing."""

import os
import subprocess
from pathlib import Path
from uuid import uuid4

import docker
import pytest
from docker.errors import NotFound

from sparkray.config.container import ContainerSpec, run_line
from sparkray.config.docker import DockerOptions
from sparkray.docker_engine import DEFAULT_SOCKET
from sparkray.images import venv
from sparkray.images.rootfs import Image

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("machine_lock")]


def test_a_pasted_line_runs_and_leaves_nothing(client: docker.DockerClient, image: Image, tmp_path: Path) -> None:
    name = f"pasted-{uuid4().hex[:12]}"
    (tmp_path / "out put").mkdir()
    spec = ContainerSpec(
        name=name,
        image=image.reference,
        argv=(venv.PYTHON, "-c", "import os; print(os.environ['A'], os.getcwd()); open('made', 'w').close()"),
        options=DockerOptions(ipc="host", network="none", ulimit_nofile=1024, memory="256m", init=True),
        environment={"A": "x  y'$HOME"},
        binds=((str(tmp_path / "out put"), "/sparkray/out", False),),
        labels={"io.example.flags": "it's"},
        workdir="/sparkray/out",
    )
    before = {c.id for c in client.containers.list(all=True, ignore_removed=True)}
    volumes = {v.id for v in client.volumes.list()}
    variables = {**os.environ, "DOCKER_HOST": os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET}
    done = subprocess.run(
        ["sh", "-c", run_line(spec)],
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "x  y'$HOME /sparkray/out\n"), done.stderr
    assert (tmp_path / "out put" / "made").is_file()
    with pytest.raises(NotFound):
        client.containers.get(name)
    assert {v.id for v in client.volumes.list()} <= volumes
    assert name not in {c.name for c in client.containers.list(all=True, ignore_removed=True) if c.id not in before}
