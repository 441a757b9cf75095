"""One suite over every runtime: whatever runs a command, these hold."""

import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import docker
import pytest
from docker.errors import NotFound
from runtime_arm import HOSTILE, IDLE, ISOLATED, ORPHAN, PATIENCE_S, REPORT, Arm, await_true, is_alive, only, orphans

from sparkray.config.docker import DockerOptions
from sparkray.errors import RunUnreadyError
from sparkray.images.rootfs import Image
from sparkray.runtimes import INSIDE, MARKER, Exit, StartState, Stop, await_end, exit_code, runtime_names
from sparkray.runtimes.linux.owner import VARIABLE, Owner
from sparkray.runtimes.linux.process import marked
from sparkray.runtimes.linux.readback import effective_state

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock", "nothing_left")]

INTERPRETERS_OWN = 1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1  # CPython ignores these two for itself


def test_there_are_three() -> None:
    assert runtime_names() == ["container", "host", "native"]


def test_a_runtime_is_named_as_its_file(arm: Arm) -> None:
    assert arm.runtime.name == arm.name


def test_an_exit_status_is_passed_on(arm: Arm) -> None:
    assert arm.run(arm.launch(*arm.argv("raise SystemExit(255)"))) == Exit(255)


@pytest.mark.parametrize(("told", "code"), [(0, 0), (1, 1), (128, 128), (129, -1), (137, -9), (192, -64), (193, 193)])
def test_a_status_as_a_shell_tells_it(told: int, code: int) -> None:
    assert exit_code(told) == code


def test_a_fault_is_a_negative_code(arm: Arm) -> None:
    assert arm.run(arm.launch(*arm.argv("import ctypes; ctypes.string_at(0)"))).code == -signal.SIGSEGV


def test_a_kill_from_outside_is_a_negative_code(arm: Arm) -> None:
    with arm.runtime.start(arm.launch(*arm.argv(IDLE))) as running:
        os.kill(running.pid, signal.SIGKILL)
        assert await_end(running.pid, PATIENCE_S, Stop()) == "ended"
        assert running.finish() == Exit(-signal.SIGKILL)


def test_the_log_holds_both_outputs_in_order(arm: Arm) -> None:
    code = """
import sys, time
for i in range(6):
    (sys.stderr if i % 2 else sys.stdout).write(f"line {i}\\n")
    sys.stdout.flush(); sys.stderr.flush(); time.sleep(0.05)
sys.stdout.buffer.write("caf\\u00e9\\0 without an end".encode())
"""
    launch = arm.launch(*arm.argv(code))
    arm.run(launch)
    assert (
        launch.log.read_bytes() == b"".join(b"line %d\n" % i for i in range(6)) + "caf\u00e9\0 without an end".encode()
    )


def test_a_log_driver_that_keeps_nothing_leaves_an_empty_log(client: docker.DockerClient, arm: Arm) -> None:
    launch = arm.launch(*arm.argv("print('said')"), options=DockerOptions(log_driver="none"))
    arm.run(launch)
    assert launch.log.read_bytes() == (b"" if arm.name == "container" else b"said\n")


def test_the_environment_is_built_from_nothing(arm: Arm) -> None:
    declared = {"DECLARED": "a 'b' $HOME\nc", "EMPTY": ""}
    launched = {"name": "contract-environment", "environment": {**arm.environment, **declared}}
    seen = arm.report(**launched)["environment"]
    assert ("HOSTNAME" in seen) == (arm.name == "container")
    seen.pop("HOSTNAME", None)
    owner = Owner.parse(seen.pop(VARIABLE))
    assert owner is not None
    assert owner.is_alive()
    assert seen == {**arm.environment, **declared, MARKER: "contract-environment"}


def test_the_folder_is_as_declared(arm: Arm) -> None:
    assert arm.report()["cwd"] == "/"
    assert arm.report(workdir="/tmp")["cwd"] == "/tmp"


def test_stdin_is_empty_and_nothing_is_inherited(arm: Arm) -> None:
    report = arm.report()
    assert report["stdin"] == ""
    assert report["descriptors"][:3] == [0, 1, 2]
    assert len(report["descriptors"]) == 4  # the fourth reads the folder of descriptors
    assert report["leader"] is True


@only("native", ISOLATED, "container")
def test_binds_are_read_only_or_not(arm: Arm) -> None:
    model = arm.folder / "model.gguf"
    model.write_text("weights")
    for name in ("in", "out"):
        (arm.folder / name).mkdir()
        (arm.folder / name).chmod(0o777)
    code = f"""
import errno
for place, mode in (("{INSIDE}/model/m.gguf", "a"), ("{INSIDE}/in/x", "w"), ("{INSIDE}/out/x", "w")):
    try:
        open(place, mode).write("!")
        print("wrote")
    except OSError as error:
        print(errno.errorcode[error.errno])
print(open("{INSIDE}/model/m.gguf").read(), open("/of-a-line/m.gguf").read())
"""
    binds = (
        (str(model), "/of-a-line/m.gguf", True),
        (str(model), f"{INSIDE}/model/m.gguf", True),
        (str(arm.folder / "in"), f"{INSIDE}/in", True),
        (str(arm.folder / "out"), f"{INSIDE}/out", False),
    )
    launch = arm.launch(*arm.argv(code), binds=binds)
    assert arm.run(launch) == Exit(0)
    assert launch.log.read_text().split() == ["EROFS", "EROFS", "wrote", "weights", "weights"]
    assert not (arm.rootfs / "of-a-line/m.gguf").is_file(), "the files of the arm are no longer the image's"
    shutil.rmtree(arm.rootfs / "of-a-line", ignore_errors=True)
    assert (arm.folder / "out" / "x").read_text() == "!"
    assert model.read_text() == "weights"


def test_nothing_of_the_parents_state_leaks(arm: Arm) -> None:
    (arm.folder / "out").mkdir()
    launch = arm.launch(
        *arm.argv(f"import time; time.sleep(0.5){REPORT}", arm.at("out")),
        binds=((str(arm.folder / "out"), f"{INSIDE}/out", False),),
        start=StartState(rlimits={"nofile": (1024, 1024)}),
        options=DockerOptions(ulimit_nofile=1024),
    )
    (arm.folder / "launch").write_bytes(pickle.dumps(launch))
    command = [sys.executable, "-c", HOSTILE, arm.name, str(arm.folder / "launch")]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, env={**os.environ, "LEAK": "1"}
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    state, report = said["state"], json.loads((arm.folder / "out" / "report.json").read_text())
    assert said["code"] == 0
    assert (state["nice"], state["oom_score_adj"]) == (0, 0)
    assert int(state["signals_blocked"], 16) == 0
    assert int(state["signals_ignored"], 16) & ~INTERPRETERS_OWN == 0
    assert state["rlimits"]["nofile"] == report["nofile"] == [1024, 1024]
    assert state["cpus_allowed"] == effective_state(1)["cpus_allowed"]
    assert "LEAK" not in state["environment"]
    assert report["umask"] == 0o022
    assert len(report["descriptors"]) == 4
    assert report["cwd"] == "/"


@only("host", "native", ISOLATED)
@pytest.mark.parametrize("limits", [{"nofile": (512, 1024)}, {"core": (0, 0), "stack": (1 << 22, 1 << 22)}])
def test_limits_are_set_where_no_docker_sets_them(arm: Arm, limits: dict[str, tuple[int, int]]) -> None:
    with arm.runtime.start(arm.launch(*arm.argv(IDLE), start=StartState(nice=5, rlimits=limits))) as running:
        state = effective_state(running.pid)
        running.kill()
    assert {name: state["rlimits"][name] for name in limits} == limits
    assert state["nice"] == 5


def test_a_child_that_outlives_its_parent_is_ended(arm: Arm) -> None:
    (arm.folder / "out").mkdir()
    until = f"while not os.path.exists({arm.at('out/seen')!r}): time.sleep(0.02)"
    launch = arm.launch(*arm.argv(f"{ORPHAN}\n{until}"), binds=((str(arm.folder / "out"), f"{INSIDE}/out", False),))
    with arm.runtime.start(launch) as running:
        assert await_true(lambda: len(orphans(launch.name, running.pid)) == 1)
        (orphan,) = orphans(launch.name, running.pid)
        assert is_alive(orphan)
        (arm.folder / "out" / "seen").touch()
        assert await_end(running.pid, PATIENCE_S, Stop()) == "ended"
        assert running.finish() == Exit(0)
    assert marked(launch.name) == []
    assert not is_alive(orphan)


def test_kill_ends_everything(arm: Arm) -> None:
    launch = arm.launch(*arm.argv(f"{ORPHAN}\ntime.sleep(60)"))
    with arm.runtime.start(launch) as running:
        assert await_true(lambda: len(marked(launch.name)) == 2)
        running.kill()
        assert running.finish().code == -signal.SIGKILL
        assert marked(launch.name) == []
        running.kill()


def test_a_block_that_is_left_by_an_error_leaves_nothing(arm: Arm) -> None:
    launch = arm.launch(*arm.argv(f"{ORPHAN}\ntime.sleep(60)"))

    def fall() -> None:
        with arm.runtime.start(launch):
            assert await_true(lambda: len(marked(launch.name)) == 2)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fall()
    assert marked(launch.name) == []


def test_the_three_ends_of_a_wait(arm: Arm) -> None:
    stop = Stop()
    with arm.runtime.start(arm.launch(*arm.argv(IDLE))) as running:
        began = time.monotonic()
        assert await_end(running.pid, 0.2, stop) == "timeout"
        assert 0.2 <= time.monotonic() - began < 5
        timer = threading.Timer(0.2, stop.set)
        timer.start()
        assert await_end(running.pid, PATIENCE_S, stop) == "stopped"
        assert stop.is_set()
        timer.join()
        running.kill()
        assert await_end(running.pid, PATIENCE_S, Stop()) == "ended"
        assert await_end(0, PATIENCE_S, stop) == "ended"


@pytest.mark.parametrize("words", [("/there/is/none",), ("there-is-none",), ("/etc/passwd",), ("/etc",)])
def test_what_cannot_be_started_is_unready(arm: Arm, words: tuple[str, ...]) -> None:
    launch = arm.launch(*words)
    with pytest.raises(RunUnreadyError, match="could not be started") as caught, arm.runtime.start(launch):
        pass
    assert "\n" not in caught.value.message


def test_a_process_that_ends_at_once_is_no_error(arm: Arm) -> None:
    """Faster than anybody can look: its status still counts."""
    for _ in range(3):
        launch = arm.launch(*arm.argv("import os; os._exit(7)"))
        assert arm.run(launch) == Exit(7)


def test_two_runs_of_one_name_follow_each_other(arm: Arm) -> None:
    for code in (0, 4):
        launch = arm.launch(*arm.argv(f"print({code}); raise SystemExit({code})"), name="contract-twice")
        assert arm.run(launch) == Exit(code)
        assert launch.log.read_text() == f"{code}\n"


@only("container")
def test_a_container_of_that_name_that_was_left_is_replaced(
    client: docker.DockerClient, arm: Arm, image: Image
) -> None:
    left = client.containers.create(image.reference, command=["/none"], name="contract-left")
    assert arm.run(arm.launch(*arm.argv("raise SystemExit(2)"), name="contract-left")) == Exit(2)
    with pytest.raises(NotFound):
        client.containers.get(left.id)


def test_the_host_sees_no_mount_of_a_run(arm: Arm) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    launch = arm.launch(*arm.argv(IDLE), binds=((str(arm.folder), f"{INSIDE}/out", False),))
    with arm.runtime.start(launch) as running:
        during = Path("/proc/self/mountinfo").read_text()
        inside = Path(f"/proc/{running.pid}/mountinfo").read_text()
        running.kill()
    added = [line for line in during.splitlines() if line not in before.splitlines() and str(arm.folder) in line]
    assert added == []
    assert (f" {INSIDE}/out " in inside) == (arm.name != "host")
    if arm.name != "container":  # Docker mounts a container's layers, in a folder of its own
        assert during == before
    assert await_true(lambda: Path("/proc/self/mountinfo").read_text() == before)


@only("native", ISOLATED)
def test_no_mount_spreads_where_mounts_are_shared(arm: Arm) -> None:
    """As systemd has them: what is mounted in one namespace appears in all, unless one turns away."""
    launch = arm.launch(*arm.argv(IDLE), binds=((str(arm.folder), f"{INSIDE}/out", False),))
    (arm.folder / "launch").write_bytes(pickle.dumps(launch))
    code = """
import pathlib, pickle, sys
from sparkray.runtimes.native import Runtime
mounts = pathlib.Path("/proc/self/mountinfo")
before = mounts.read_text()
assert " shared:" in before
with Runtime().start(pickle.load(open(sys.argv[1], "rb"))):
    assert mounts.read_text() == before
assert mounts.read_text() == before
"""
    command = ["unshare", "--mount", "--propagation", "shared", sys.executable, "-c", code, str(arm.folder / "launch")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


@only("native", ISOLATED)
def test_the_chroot_is_read_only_but_for_tmp(arm: Arm) -> None:
    code = f"""
import errno, os
for place in ("/made", "/etc/passwd", "/opt/sparkray/workers/new.py", "/var/tmp/made", "{INSIDE}/made", "/tmp/made"):
    try:
        open(place, "a").close()
        print("wrote")
    except OSError as error:
        print(errno.errorcode[error.errno])
print(os.path.exists("/dev/null"), os.path.exists("/proc/self"), os.path.exists("/sys/kernel"), os.listdir("{INSIDE}"))
"""
    before = sorted(str(p) for p in arm.rootfs.rglob("*"))
    launch = arm.launch(*arm.argv(code))
    assert arm.run(launch) == Exit(0)
    first, last = launch.log.read_text().splitlines()[:6], launch.log.read_text().splitlines()[6]
    assert first == ["EROFS", "EROFS", "EROFS", "EROFS", "wrote", "wrote"]
    assert last == "True True True ['made']"
    assert sorted(str(p) for p in arm.rootfs.rglob("*")) == before
    assert [p.name for p in launch.scratch.iterdir()] == ["made"]


@only("native")
def test_a_chroot_needs_a_root(arm: Arm) -> None:
    launch = replace(arm.launch(*arm.argv(IDLE)), rootfs=None)
    with pytest.raises(RunUnreadyError, match="no root file system"), arm.runtime.start(launch):
        pass
