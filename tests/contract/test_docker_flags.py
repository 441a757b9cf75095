"""Every Docker option, both ways: what the SDK call makes and what the printed line makes are the same container.

Containers are created and looked at, not started, so that a flag needs no GPU and no privilege to be compared.
"""

import io
import os
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import pytest
from docker.errors import NotFound

from sparkray.config.container import ContainerSpec, run_words
from sparkray.config.docker import DockerOptions, flag_of, option_names
from sparkray.docker_engine import DEFAULT_SOCKET
from sparkray.runtimes.container import create

pytestmark = [pytest.mark.docker, pytest.mark.beside]

TOGETHER = DockerOptions(
    gpus="all", ipc="host", shm_size="32g", network="host", ulimit_memlock=-1, ulimit_stack=67108864, ulimit_nofile=4096
)


def command_lines() -> list[str]:
    """Every `docker` on PATH, the first first: machines that were upgraded have two."""
    found = [Path(folder, "docker") for folder in os.environ["PATH"].split(":")]
    return list(dict.fromkeys(str(path.resolve()) for path in found if os.access(path, os.X_OK)))


def environment() -> dict[str, str]:
    return {**os.environ, "DOCKER_HOST": os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET}


@pytest.fixture
def name(client: docker.DockerClient) -> Iterator[str]:
    chosen = f"flags-{uuid4().hex[:12]}"
    yield chosen
    try:
        client.containers.get(chosen).remove(force=True, v=True)
    except NotFound:
        return


@pytest.fixture(scope="module")
def image(client: docker.DockerClient) -> Iterator[str]:
    """An image without a file, of which containers can be created."""
    data = io.BytesIO()
    tarfile.open(fileobj=data, mode="w").close()
    tag = uuid4().hex[:12]
    client.api.import_image_from_data(data.getvalue(), repository="sparkray-test/empty", tag=tag)
    yield f"sparkray-test/empty:{tag}"
    client.images.remove(f"sparkray-test/empty:{tag}")


@pytest.fixture(scope="module")
def imposing(client: docker.DockerClient, image: str) -> Iterator[str]:
    """An image that brings an entrypoint, a command, a folder and a label of its own."""
    made = client.containers.create(image, command=["true"])
    reference = f"sparkray-test/imposing:{uuid4().hex[:12]}"
    changes = 'ENTRYPOINT ["/entry"]\nCMD ["own"]\nWORKDIR /var\nLABEL own=1\nENV OWN=1'
    repository, tag = reference.split(":")
    made.commit(repository=repository, tag=tag, changes=changes)
    made.remove()
    yield reference
    client.images.remove(reference)


def spec_of(name: str, image: str, options: DockerOptions, **changes: Any) -> ContainerSpec:
    values: dict[str, Any] = {
        "argv": ("/bin/worker", "two words", "$HOME", ""),
        "environment": {"A": "x y", "EMPTY": "", "OWN": "2", "QUOTED": "a'b\"c"},
        "binds": (("/proc", "/sparkray/in", True), ("/var", "/sparkray/out", False)),
        "labels": {"io.example.flags": "a b"},
    }
    return ContainerSpec(name, image, options=options, **values | changes)


def seen(client: docker.DockerClient, name: str) -> dict[str, Any]:
    """What `docker inspect` says of a container, which is removed."""
    found = client.api.inspect_container(name)
    client.api.remove_container(name, force=True, v=True)
    config = found["Config"]
    return {
        "host": settled(found["HostConfig"]),
        "config": {key: settled(config[key]) for key in ("Image", "Entrypoint", "Labels", "WorkingDir", "Tty", "User")},
        "cmd": config["Cmd"],
        "env": sorted(config["Env"]),
        "mounts": sorted((m["Destination"], m["Source"], m["RW"], m["Type"]) for m in found["Mounts"]),
    }


def settled(value: Any) -> Any:
    """Null, empty, false and zero are Docker's ways to say nothing; so is a restart policy of `no`.

    Binds and limits have no order: the command line keeps them in a map.
    """
    if isinstance(value, dict):
        inner = {key: settled(item) for key, item in value.items() if key != "ContainerIDFile"}
        unordered = {key: sorted(inner[key] or [], key=str) for key in ("Binds", "Ulimits") if key in inner}
        return {key: item for key, item in {**inner, **unordered}.items() if item} or None
    if isinstance(value, list):
        items = [settled(item) for item in value]
        return items if any(item is not None for item in items) else None
    return None if value in ("", "no", 0, False) else value


def flat(value: Any, path: str = "") -> dict[str, Any]:
    if not isinstance(value, dict):
        return {path: value}
    return {name: found for key, item in value.items() for name, found in flat(item, f"{path}/{key}").items()}


def the_same(client: docker.DockerClient, spec: ContainerSpec) -> dict[str, Any]:
    """The container of the SDK call, which every printed line makes as well."""
    create(client, spec)
    by_sdk = seen(client, spec.name)
    for program in command_lines():
        words = [program, *run_words(spec, ("create",))[1:]]
        done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        one, other = flat(by_sdk), flat(seen(client, spec.name))
        apart = {key: (one.get(key), other.get(key)) for key in {*one, *other} if one.get(key) != other.get(key)}
        assert apart == {}, program
    return by_sdk


def test_a_command_line_is_there() -> None:
    assert command_lines(), "no docker on PATH: the printed line would be nobody's to paste"


@pytest.mark.parametrize("option", option_names())
def test_both_ways_make_the_same_container_and_the_option_changes_it(
    option: str, client: docker.DockerClient, image: str, name: str
) -> None:
    """It changes it, else both could leave a flag out. One value may be Docker's default."""
    flag = flag_of(option)
    values = [DockerOptions(**{option: value}, **flag.beside) for value in flag.values]
    assert values
    if option == "cgroup_parent" and client.info()["CgroupDriver"] == "systemd":
        values = [DockerOptions(cgroup_parent="sparkray.slice")]
    create(client, spec_of(name, image, DockerOptions(**flag.beside)))
    plain = seen(client, name)
    made = [the_same(client, spec_of(name, image, options)) for options in values]
    assert any((one["host"], one["env"]) != (plain["host"], plain["env"]) for one in made)


@pytest.mark.parametrize("workdir", [None, "/tmp"])
def test_nothing_of_the_image_imposes_itself(
    client: docker.DockerClient, imposing: str, name: str, workdir: str | None
) -> None:
    spec = spec_of(name, imposing, TOGETHER, workdir=workdir)
    by_sdk = the_same(client, spec)
    assert by_sdk["cmd"] == list(spec.argv)
    assert by_sdk["config"]["Entrypoint"] is None
    assert by_sdk["config"]["WorkingDir"] == (workdir or "/var")
    assert "OWN=2" in by_sdk["env"]
    assert by_sdk["mounts"] == [
        ("/sparkray/in", "/proc", False, "bind"),
        ("/sparkray/out", "/var", True, "bind"),
    ]


@pytest.mark.parametrize(
    "option", ["systempaths=unconfined", "seccomp=/etc/profile.json", "seccomp={}", "mask=/proc", "unconfined"]
)
def test_a_security_option_that_only_one_way_knows_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match="security_opt"):
        DockerOptions(security_opt=(option,))
