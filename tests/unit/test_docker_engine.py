"""What a Docker engine says of itself, where it is found, and the patience with one that hangs."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import urllib3

from sparkray.docker_engine import (
    DEFAULT_SOCKET,
    Patience,
    connect,
    docker_errors,
    endpoint,
    local_endpoint,
    versions_of,
)
from sparkray.errors import DockerError
from sparkray.machine.fingerprint import Machine

TOLD = {
    "Version": "28.3.3",
    "Components": [
        {"Name": "Engine", "Version": "28.3.3"},
        {"Name": "containerd", "Version": "1.7.27"},
        {"Name": "runc", "Version": "1.2.5"},
        {"Name": "docker-init", "Version": "0.19.0"},
    ],
}


def test_versions_are_those_of_the_engine_and_of_what_it_runs_containers_by() -> None:
    assert versions_of(TOLD) == {"docker": "28.3.3", "containerd": "1.7.27", "runc": "1.2.5"}


def test_what_an_engine_does_not_tell_is_left_out() -> None:
    assert versions_of({"Version": "20.10.24", "Components": None}) == {"docker": "20.10.24"}
    assert versions_of({}) == {}


def test_a_machine_with_an_engine_is_the_same_machine() -> None:
    machine = Machine("box", ("NVIDIA GB10",), ("GPU-1",), {"kernel": "6.11"})
    found = machine.running(versions_of(TOLD))
    assert found.facts == {"kernel": "6.11", "docker": "28.3.3", "containerd": "1.7.27", "runc": "1.2.5"}
    assert (found.host, found.site, found.lock_keys) == (machine.host, machine.site, machine.lock_keys)
    assert machine.facts == {"kernel": "6.11"}


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """An engine that takes connections and never answers."""
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "docker.sock"))
        server.listen(8)
        yield f"unix://{tmp_path}/docker.sock"


def test_an_engine_that_hangs_is_given_up_and_named(silent: str) -> None:
    with pytest.raises(DockerError, match=r"has not answered for 0.3 s\. Restart the engine"):
        connect(Patience(silent_s=0.3), {"DOCKER_HOST": silent})


def test_a_call_that_hangs_is_named_and_ended_by_a_stop() -> None:
    lines: list[str] = []
    stop, forever = threading.Event(), threading.Event()
    patience = Patience(lines.append, stop.is_set, grace_s=0.3, silent_s=0.3)
    threading.Timer(1.0, stop.set).start()
    began = time.monotonic()
    with pytest.raises(DockerError, match="starting x: Docker does not answer"), docker_errors("starting x"):
        patience.call(forever.wait, "POST /containers/x/start", report_silence=True)
    assert lines == ["Docker has not answered for 0.3 s (POST /containers/x/start)"]
    assert 1.0 < time.monotonic() - began < 4.0
    began = time.monotonic()
    with pytest.raises(DockerError), docker_errors("removing x"):
        patience.call(forever.wait, "DELETE /containers/x", report_silence=True)
    assert time.monotonic() - began < 1.5, "one that is silent is not waited for again"
    forever.set()


def test_a_silence_in_the_middle_of_an_answer_is_named_too() -> None:
    words = "UnixHTTPConnectionPool(host='localhost', port=None): Read timed out."
    with pytest.raises(DockerError, match=r"waiting: Docker does not answer\. Restart"), docker_errors("waiting"):
        raise requests.ConnectionError(words)
    with pytest.raises(DockerError, match=r"waiting: Docker does not answer\. Restart"), docker_errors("waiting"):
        raise urllib3.exceptions.ReadTimeoutError(None, "/events", "Read timed out.")  # type: ignore[arg-type]


def test_an_engine_that_ended_meanwhile_is_named_in_words() -> None:
    words = "('Connection aborted.', ConnectionRefusedError(111, 'Connection refused'))"
    with pytest.raises(DockerError, match=r"waiting: the Docker engine went away\. Start"), docker_errors("waiting"):
        raise requests.ConnectionError(words)
    with pytest.raises(DockerError, match=r"waiting: the Docker engine went away\. Start"), docker_errors("waiting"):
        raise urllib3.exceptions.ProtocolError("Connection broken: InvalidChunkLength(got length b'', 0 bytes read)")


def context(folder: Path, name: str, host: str) -> None:
    meta = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest()
    meta.mkdir(parents=True)
    (meta / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))


def test_the_engine_is_the_one_that_docker_of_this_user_would_use(tmp_path: Path) -> None:
    context(tmp_path, "rootless", "unix:///run/user/1000/docker.sock")
    own = {"DOCKER_CONFIG": str(tmp_path)}
    assert endpoint(own) == (DEFAULT_SOCKET, "")
    rootless = ("unix:///run/user/1000/docker.sock", "Docker context 'rootless'")
    assert endpoint({**own, "DOCKER_CONTEXT": "rootless"}) == rootless
    (tmp_path / "config.json").write_text('{"currentContext": "rootless"}')
    assert endpoint(own) == rootless
    assert endpoint({**own, "DOCKER_CONTEXT": "default"}) == (DEFAULT_SOCKET, "")
    assert endpoint({**own, "DOCKER_HOST": "unix:///a"}) == ("unix:///a", "DOCKER_HOST")
    with pytest.raises(DockerError, match="the Docker context 'gone' cannot be found in"):
        endpoint({**own, "DOCKER_CONTEXT": "gone"})
    for broken in ("[]", "{", '{"currentContext": null}'):
        (tmp_path / "config.json").write_text(broken)
        assert endpoint(own) == (DEFAULT_SOCKET, "")


def test_an_engine_of_another_machine_is_refused_by_what_names_it(tmp_path: Path) -> None:
    context(tmp_path, "far", "ssh://a@b")
    for variables, said in (
        ({"DOCKER_HOST": "ssh://a@b"}, "DOCKER_HOST is 'ssh://a@b'"),
        ({"DOCKER_CONFIG": str(tmp_path), "DOCKER_CONTEXT": "far"}, "Docker context 'far' is 'ssh://a@b'"),
    ):
        with pytest.raises(DockerError, match=f"{said}: sparkray measures processes of this machine"):
            local_endpoint(variables)


@pytest.mark.root
def test_a_socket_of_somebody_else_is_refused_as_such(tmp_path: Path) -> None:
    """As nobody, at root's socket."""
    if os.geteuid() != 0:
        pytest.skip("becoming nobody needs root")
    with tempfile.TemporaryDirectory(dir="/tmp") as folder, socket.socket(socket.AF_UNIX) as server:
        Path(folder).chmod(0o755)
        server.bind(f"{folder}/d.sock")
        Path(f"{folder}/d.sock").chmod(0o600)
        code = (
            "import os\nfrom sparkray.errors import DockerError\nfrom sparkray.docker_engine import connect\n"
            "os.setgroups([]); os.setgid(65534); os.setuid(65534)\n"
            "try:\n    connect()\nexcept DockerError as error:\n    print(error)\n"
        )
        command = [sys.executable, "-c", code]
        env = {**os.environ, "DOCKER_HOST": f"unix://{folder}/d.sock"}
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=env)
    assert done.stdout.startswith(f"no permission on the Docker socket unix://{folder}/d.sock. Run as root, or add")
