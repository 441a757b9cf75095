"""What a dead sweep leaves is dealt with at the next start, and nobody else's: real processes, containers and spools."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import docker
import psutil
import pytest
from docker.errors import NotFound
from real_machine import require_root
from small_bench import changed, dataset_of, model_of, planned, run, study_of

from sparkray.errors import LockHeldError
from sparkray.execute.leftovers import Leftovers, container_log, end_processes
from sparkray.execute.prepared_host import prepare_host
from sparkray.execute.recovery import store_interrupted
from sparkray.images import venv
from sparkray.images.rootfs import Image
from sparkray.machine.fingerprint import fingerprint
from sparkray.runtimes import MARKER
from sparkray.runtimes.linux.owner import LABEL, VARIABLE, process_start, this_process
from sparkray.runtimes.linux.process import marked
from sparkray.store import Dataset

pytestmark = [pytest.mark.docker, pytest.mark.usefixtures("machine_lock")]

PATIENCE_S = 60
SLEEP = [sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(120)"]
# A sweep of one run that hangs: what a kill -9 ends in the middle. Arguments: folder, cache, environment.
SWEEP = """
import sys
from pathlib import Path
from small_bench import bench_of, changed, run, study_of
import builders
from sparkray.config.model import Weights
folder, cache, environment = sys.argv[1:]
card = builders.card("Tiny", weights=Weights(kind="file", path=folder + "/Tiny.gguf"))
bench = bench_of(study_of(card, environments=(environment,)), Path(folder, "results"), Path(cache))
run(changed(bench, fault="hang"), environment)
"""


def await_true(what: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.02)
    return False


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts a process with the marker of a run, or without any."""
    processes: list[subprocess.Popen[bytes]] = []

    def start(run_name: str | None, owner: str | None = None) -> subprocess.Popen[bytes]:
        environment = {"PATH": os.environ["PATH"], **({MARKER: run_name} if run_name else {})}
        environment |= {VARIABLE: owner} if owner else {}
        processes.append(subprocess.Popen(SLEEP, env=environment, start_new_session=True))
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture
def contained(client: docker.DockerClient, image: Image) -> Iterator[Callable[..., str]]:
    """Makes a container with labels, started or not; gives its id."""
    made: list[str] = []

    def make(labels: dict[str, str], *, start: bool = False) -> str:
        idle = [venv.PYTHON, "-S", "-c", "import time; time.sleep(120)"]
        container = client.containers.create(
            image.reference, command=idle, labels=labels, name=f"leftover-{uuid4().hex[:8]}", network_mode="none"
        )
        made.append(str(container.id))
        if start:
            container.start()
        return made[-1]

    yield make
    for identity in made:
        try:
            client.containers.get(identity).remove(force=True, v=True)
        except NotFound:
            continue


def is_there(client: docker.DockerClient, identity: str) -> bool:
    try:
        client.containers.get(identity)
    except NotFound:
        return False
    return True


def test_containers_of_ours_go_and_no_others(client: docker.DockerClient, contained: Callable[..., str]) -> None:
    ours = [
        contained({"io.sparkray.run": "a"}, start=True),
        contained({"io.sparkray.run": "b", "io.sparkray.experiment": "x"}),
        contained({"io.sparkray.probe": "1"}),
    ]
    foreign = [contained({}, start=True), contained({"io.example.run": "a"}), contained({"owner": "io.sparkray.run"})]
    names = [client.containers.get(identity).name for identity in ours]
    told: list[str] = []
    assert sorted(Leftovers(client).clear(told.append)) == sorted(names)
    assert [is_there(client, identity) for identity in ours] == [False] * 3
    assert [is_there(client, identity) for identity in foreign] == [True] * 3
    assert client.containers.get(foreign[0]).status == "running"
    assert sorted(told) == sorted(f"removing a leftover container: {name}" for name in names)


def test_processes_of_ours_end_and_no_others(started: Callable[[str | None], subprocess.Popen[bytes]]) -> None:
    ours = [started("sparkray-one"), started("sparkray-one"), started("sparkray-two")]
    foreign = started(None)
    assert await_true(lambda: len(marked()) == 3)
    told: list[str] = []
    assert Leftovers(None).clear(told.append) == ["sparkray-one", "sparkray-two"]
    assert [process.wait(10) for process in ours] == [-signal.SIGKILL] * 3
    assert foreign.poll() is None
    assert told == [f"ending a leftover process: {MARKER}=sparkray-{name}" for name in ("one", "two")]


@pytest.fixture
def neighbour() -> Iterator[str]:
    """The owner that another process is, which lives."""
    with subprocess.Popen(["sleep", "120"]) as process:
        yield replace(this_process(), pid=process.pid, started=process_start(process.pid)).text
        process.kill()


def test_what_lives_is_refused_and_never_ended(
    client: docker.DockerClient,
    contained: Callable[..., str],
    started: Callable[..., subprocess.Popen[bytes]],
    neighbour: str,
) -> None:
    """Whoever holds the lock may have a neighbour that does not share it: in another mount namespace, with other keys."""
    dead = replace(this_process(), started=1).text
    left = contained({"io.sparkray.run": "a", LABEL: dead}, start=True)
    theirs = contained({"io.sparkray.run": "b", LABEL: neighbour}, start=True)
    with pytest.raises(
        LockHeldError, match=r"another sparkray measures here .*container leftover-\S+ \(of process \d+, which"
    ):
        Leftovers(client).clear(lambda _: None)
    assert [is_there(client, identity) for identity in (left, theirs)] == [True, True]
    client.containers.get(theirs).remove(force=True)
    engine, stray = started("sparkray-b", neighbour), started(None, dead)
    assert await_true(lambda: len(marked()) == 1)
    with pytest.raises(LockHeldError, match=f"process {engine.pid} of sparkray-b"):
        end_processes(lambda _: None)
    assert engine.poll() is stray.poll() is None
    engine.kill()
    engine.wait()
    assert len(Leftovers(client).clear(lambda _: None)) == 1
    assert not is_there(client, left)
    assert stray.wait(10) == -signal.SIGKILL


def test_nothing_left_is_nothing_told(client: docker.DockerClient, image: Image) -> None:
    told: list[str] = []
    assert Leftovers(client).clear(told.append) == []
    assert end_processes(told.append) == []
    assert told == []


def killed_sweep(folder: Path, cache: Path, environment: str) -> Dataset:
    """The dataset of a sweep that was killed while its engine ran; the engine is alive still."""
    study = study_of(model_of(folder), environments=(environment,))
    tests = Path(__file__).resolve().parent
    path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
    command = [sys.executable, "-c", SWEEP, str(folder), str(cache), environment]
    sweep = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": path}, start_new_session=True)
    dataset = dataset_of(study, folder / "results")
    try:
        under_way = dataset.spool.glob
        assert await_true(lambda: bool(list(under_way("*/samples.arrow")) and marked()) or sweep.poll() is not None)
        time.sleep(1.2)  # samples are flushed every second
        assert sweep.poll() is None, "the sweep ended before it could be killed"
    finally:
        os.killpg(sweep.pid, signal.SIGKILL)
        sweep.wait()
    return dataset


@pytest.mark.root
@pytest.mark.parametrize("environment", [pytest.param("host", marks=pytest.mark.slow), "native", "container_baseline"])
def test_a_killed_sweep_is_recovered(
    client: docker.DockerClient, image: Image, cache: Path, tmp_path: Path, environment: str
) -> None:
    require_root("native")
    dataset = killed_sweep(tmp_path, cache, environment)
    orphans = marked()
    assert orphans != [], "the engine outlives a sweep that is killed: else there is nothing to test"
    told: list[str] = []
    assert store_interrupted(dataset, "another-host", told.append, container_log) == []
    (run_id,) = store_interrupted(dataset, fingerprint().host, told.append, container_log)
    assert len(Leftovers(client).clear(told.append)) == 1
    assert marked() == []
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).status() != "zombie" for pid in orphans)
    (row,) = dataset.read("runs")
    assert (row["run_id"], row["attempt"], row["status"]) == (run_id, 1, "interrupted")
    assert row["reason"] == "sparkray died during the run"
    assert (row["environment"], row["model"], row["engine"]) == (environment, "Tiny", "double")
    assert row["output_throughput_tok_s"] is None
    samples = dataset.read("samples")
    assert {sample["run_id"] for sample in samples} == {run_id}
    assert len([s for s in samples if s["sampler"] == "host"]) > 1
    assert (dataset.path / "logs" / f"{run_id}-1.log").read_bytes().startswith(b"double: loading")
    assert list(dataset.spool.iterdir()) == []
    assert store_interrupted(dataset, fingerprint().host, told.append, container_log) == []
    assert dataset.attempts(run_id) == 1


@pytest.mark.root
def test_the_next_attempt_counts_on(image: Image, cache: Path, tmp_path: Path) -> None:
    require_root("host")
    study = study_of(model_of(tmp_path), environments=("host",))
    dataset = dataset_of(study, tmp_path / "results")
    prepared = changed(prepare_host(study, fingerprint(), dataset, lambda _: None, cache=cache), load_s=0.02)
    run_id = planned(prepared, "host").run_id
    for name, content in (
        (
            f"{run_id}-1",
            json.dumps({"run_id": run_id, "attempt": 1, "model": "Tiny", "environment": "host", "host": "here"}),
        ),
        ("broken", "{"),
        ("empty", None),
    ):
        (dataset.spool / name).mkdir()
        if content is not None:
            (dataset.spool / name / "row.json").write_text(content)
    assert store_interrupted(dataset, "here", lambda _: None, lambda _: None) == [run_id]
    assert list(dataset.spool.iterdir()) == []
    outcome = run(prepared, "host")
    assert (outcome.row["attempt"], outcome.status) == (2, "ok")
    assert sorted((row["attempt"], row["status"]) for row in dataset.read("runs")) == [(1, "interrupted"), (2, "ok")]
