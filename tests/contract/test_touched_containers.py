"""What other clients of Docker, and kills, do to a container that runs."""

import os
import signal
import time

import docker
import pytest
from docker.models.containers import Container
from runtime_arm import IDLE, PATIENCE_S, Arm, await_true, only

from sparkray.runtimes import Exit, Stop, await_end
from sparkray.runtimes.linux.halted import halted
from sparkray.runtimes.linux.process import parent

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock", "nothing_left")]


@only("container")
@pytest.mark.parametrize("how", ["remove", "kill", "stop", "restart"])
def test_what_another_client_does_to_a_container_is_reported(client: docker.DockerClient, arm: Arm, how: str) -> None:
    launch = arm.launch(*arm.argv(f"print('said', flush=True); {IDLE}"))
    with arm.runtime.start(launch) as running:
        await_true(lambda: b"said" in client.containers.get(launch.name).logs())
        other = client.containers.get(launch.name)
        act = {"remove": lambda: other.remove(force=True), "stop": lambda: other.stop(timeout=0)}
        act.get(how, lambda: getattr(other, how)(**({"timeout": 0} if how == "restart" else {})))()
        assert await_end(running.pid, PATIENCE_S, Stop()) == "ended"
        ended = running.finish()
    words = {"remove": "killed and removed", "restart": "restarted"}.get(how, "stopped or killed")
    assert ended.how == f"signal 9 (another client of Docker {words} its container)"
    assert ended.log_lost is (how == "remove")
    if how != "remove":
        assert launch.log.read_text().startswith("said\n")


@only("container")
def test_a_container_that_is_removed_as_it_starts_has_ended(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    start = Container.start

    def start_and_remove(container: Container) -> None:
        start(container)
        container.remove(force=True)

    monkeypatch.setattr(Container, "start", start_and_remove)
    with arm.runtime.start(arm.launch(*arm.argv(IDLE))) as running:
        assert running.pid == 0
        assert running.finish().how == "signal 9 (another client of Docker killed and removed its container)"


@only("container")
def test_what_others_change_in_a_container_that_ends_well_is_reported(client: docker.DockerClient, arm: Arm) -> None:
    launch = arm.launch(*arm.argv("import os, time\nwhile not os.path.exists('/tmp/end'): time.sleep(0.05)"))
    with arm.runtime.start(launch) as running:
        other = client.containers.get(launch.name)
        other.update(mem_limit="1g", memswap_limit="2g")
        other.pause()
        other.unpause()
        other.exec_run(arm.argv("open('/tmp/end', 'w')"))
        assert await_end(running.pid, PATIENCE_S, Stop()) == "ended"
        ended = running.finish()
    assert ended.code == 0
    memory, swap, paused = ended.touched["changed"]
    assert (memory, swap) == ("Memory from 0 to 1073741824", "MemorySwap from 0 to 2147483648")
    assert paused.startswith("paused for ")
    assert ended.touched["entered"] == ("docker exec, 1 times",)


@only("container")
def test_no_wait_depends_on_the_wall_clock(arm: Arm, monkeypatch: pytest.MonkeyPatch) -> None:
    hour = arm.launch(*arm.argv("raise SystemExit(7)"))
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + 3600)  # a step, for us and not for the events of Docker
    began = time.monotonic()
    assert arm.run(hour) == Exit(7)
    assert time.monotonic() - began < PATIENCE_S


@only("container")
def test_a_shim_that_is_killed_is_named(arm: Arm) -> None:
    with arm.runtime.start(arm.launch(*arm.argv(IDLE))) as running:
        os.kill(parent(running.pid), signal.SIGKILL)
        assert await_end(running.pid, PATIENCE_S, Stop()) == "ended"
        assert running.finish().how == "status 255 (its containerd-shim was killed, and it by containerd)"


@only("container")
def test_a_paused_container_is_halted(client: docker.DockerClient, arm: Arm) -> None:
    launch = arm.launch(*arm.argv(IDLE))
    with arm.runtime.start(launch) as running:
        assert halted(running.pid) == ""
        client.containers.get(launch.name).pause()
        assert "docker pause" in halted(running.pid)
