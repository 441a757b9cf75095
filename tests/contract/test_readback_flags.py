"""Every Docker flag in a container that really runs: what /proc and the cgroups show is what was asked.

A flag that this host refuses to set is passed over, as a sweep would stop there; the pure rules have tests of their own.
"""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import docker
import psutil
import pytest
from builders import measurement, study
from real_machine import require_root

from sparkray.checks import Asked, Evidence
from sparkray.checks.readback import Check
from sparkray.config.docker import DockerOptions, flag_of, option_names
from sparkray.config.effect import readings
from sparkray.config.equivalence import differing_fields, find_equivalences, state_signature
from sparkray.errors import RunUnreadyError
from sparkray.images import venv
from sparkray.images.rootfs import Image
from sparkray.plan import make_plan
from sparkray.records import Verdict
from sparkray.runtimes import INSIDE, Launch, Runtime
from sparkray.runtimes.container import Runtime as Container
from sparkray.runtimes.host import Runtime as Host
from sparkray.runtimes.linux.readback import effective_state
from sparkray.runtimes.native import Runtime as Native
from sparkray.units import gib

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("machine_lock")]

PARENT = flag_of("cgroup_parent").examples[0].strip("/")
STUDY = study()
SLEEP = ("-S", "-c", "import time; time.sleep(60)")
GIVEN = {
    name: options
    for name in option_names()
    if (
        options := [
            made
            for value in flag_of(name).values
            if readings(made := DockerOptions(**{name: value}, **flag_of(name).beside), {})
        ]
    )
}
"""Every example of every flag that leaves a trace."""
TRIED = [
    pytest.param(options, id=str(options), marks=() if place == 0 else pytest.mark.slow)
    for examples in GIVEN.values()
    for place, options in enumerate(examples)
]
"""One example a flag; the others with SPARKRAY_SLOW=1."""
NO_EFFECT = (
    DockerOptions(ipc="private"),
    DockerOptions(ipc="shareable"),
    DockerOptions(network="bridge"),
    DockerOptions(shm_size="64m"),
    DockerOptions(cap_add=("NET_RAW",)),
)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(b"GGUF")
    return path


@contextmanager
def state_of(runtime: Runtime, image: Image, folder: Path, **changes: Any) -> Iterator[Mapping[str, Any]]:
    """The state of a process that sleeps, as soon as it is there."""
    scratch = folder / "scratch"
    scratch.mkdir(exist_ok=True)
    values: dict[str, Any] = {
        "name": f"readback-{uuid4().hex[:12]}",
        "argv": (venv.PYTHON, *SLEEP),
        "environment": {},
        "log": folder / "log",
        "scratch": scratch,
        "python": sys.executable,
        "image": image.digest,
    }
    with runtime.start(Launch(**values | changes)) as running:
        yield effective_state(running.engine_pid)


@contextmanager
def contained(
    client: docker.DockerClient, image: Image, folder: Path, options: DockerOptions, **changes: Any
) -> Iterator[Mapping[str, Any]]:
    try:
        with state_of(Container(client), image, folder, options=options, **changes) as state:
            yield state
    except RunUnreadyError as error:
        pytest.skip(f"this host refuses the flag: {error.message[-120:]}")


def judged(environment: str, state: Mapping[str, Any], options: DockerOptions | None = None) -> Verdict:
    planned = replace(make_plan(STUDY)[0], environment=environment)
    row = {"mem_total_gib": gib(psutil.virtual_memory().total)}
    asked = Asked(options=options or DockerOptions())
    verdict = Check().judge(Evidence(STUDY, planned, measurement(), row=row, state=state, asked=asked))
    assert verdict is not None
    return verdict


def test_every_flag_with_a_trace_is_tried() -> None:
    traced = {name for name in option_names() if flag_of(name).trace is not None}
    assert set(GIVEN) == traced


@pytest.fixture
def no_parent_left() -> Iterator[None]:
    """Docker makes the parent of a container's cgroup and leaves it."""
    yield
    for folder in Path("/sys/fs/cgroup").rglob(PARENT):
        folder.rmdir()


@pytest.mark.usefixtures("no_parent_left")
@pytest.mark.parametrize("options", TRIED)
def test_a_flag_is_seen_to_act(
    client: docker.DockerClient, image: Image, tmp_path: Path, model: Path, options: DockerOptions
) -> None:
    if options.cgroup_parent is not None and client.info()["CgroupDriver"] == "systemd":
        options = DockerOptions(cgroup_parent="sparkray.slice")
    binds = ((str(model), f"{INSIDE}/model/m.gguf", True),)
    with contained(client, image, tmp_path, options, binds=binds) as state:
        assert state["cgroup_limits"]
        shown = readings(options, state)
        verdict = judged("container_baseline", state, options)
    assert [(reading.acts, reading.sentence) for reading in shown if reading.acts is not True] == []
    assert verdict.verdict == "pass", verdict.evidence


@pytest.mark.parametrize("options", TRIED)
def test_a_container_without_the_flag_is_seen_not_to_have_it(plain: Mapping[str, Any], options: DockerOptions) -> None:
    if find_equivalences({"plain": DockerOptions(), "flag": options}):
        return
    if all(reading.acts for reading in readings(options, plain)):
        pytest.skip(
            "every container of this host has it"
        )  # one memory node, unlimited memlock; `flag_cases` has a denial
    assert False in {reading.acts for reading in readings(options, plain)}


@pytest.fixture(scope="module")
def plain(client: docker.DockerClient, image: Image, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    with contained(client, image, tmp_path_factory.mktemp("plain"), DockerOptions()) as state:
        return state


@pytest.mark.parametrize("options", NO_EFFECT, ids=str)
def test_flags_that_are_folded_lead_to_the_same_state(
    client: docker.DockerClient, image: Image, tmp_path: Path, plain: Mapping[str, Any], options: DockerOptions
) -> None:
    assert len(find_equivalences({"plain": DockerOptions(), "flag": options})) == 1
    with contained(client, image, tmp_path, options) as state:
        assert differing_fields(state_signature(DockerOptions(), plain), state_signature(options, state)) == ()


def test_shm_beside_host_ipc_is_called_idle_and_leads_to_the_same_state(
    client: docker.DockerClient, image: Image, tmp_path: Path, model: Path
) -> None:
    with_shm, without = DockerOptions(ipc="host", shm_size="32g"), DockerOptions(ipc="host")
    binds = ((str(model), f"{INSIDE}/model/m.gguf", True),)
    with contained(client, image, tmp_path, with_shm, binds=binds) as state:
        verdict = judged("container_optimized", state, with_shm)
        one = state_signature(with_shm, state)
    with contained(client, image, tmp_path, without, binds=binds) as state:
        other = state_signature(without, state)
    assert verdict.verdict == "warn"
    assert "did not act: --shm-size cannot act under --ipc=host" in verdict.evidence
    assert differing_fields(one, other) == ()


def test_a_native_run_and_a_plain_process_pass(image: Image, rootfs: Path, tmp_path: Path, model: Path) -> None:
    require_root("native")
    binds = ((str(model), f"{INSIDE}/model/m.gguf", True),)
    with state_of(Native(), image, tmp_path, rootfs=rootfs, binds=binds, environment=image.environment) as state:
        verdict = judged("native", state)
    assert verdict.verdict == "pass", verdict.evidence
    assert state["root_read_only"] is True
    assert (state["umask"], state["model_read_only"]) == ("0022", True)
    with state_of(Host(), image, tmp_path, argv=(sys.executable, *SLEEP)) as state:
        verdict = judged("host", state)
    assert verdict.verdict == "pass", verdict.evidence


def test_both_arms_read_the_model_from_the_same_place(
    client: docker.DockerClient, image: Image, rootfs: Path, tmp_path: Path, model: Path
) -> None:
    require_root("native")
    binds = ((str(model), f"{INSIDE}/model/m.gguf", True),)
    told = ("model_filesystem", "model_source", "model_read_only")
    with state_of(Native(), image, tmp_path, rootfs=rootfs, binds=binds, environment=image.environment) as state:
        native = [state[name] for name in told]
    with contained(client, image, tmp_path, DockerOptions(), binds=binds) as state:
        assert [state[name] for name in told] == native
    assert native[0] is not None
