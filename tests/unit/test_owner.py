"""Whoever started something is distinguished from what is dead: by pid and start time, boot and PID namespace."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from sparkray.runtimes import MARKER, TRIAL_MARKER, Launch
from sparkray.runtimes.container import container_spec
from sparkray.runtimes.linux.owner import DOCTOR, PROBE, Owner, process_start, this_process

PRINT = """
import time
from sparkray.runtimes.linux.owner import this_process
print(this_process().text, flush=True)
time.sleep(60)
"""


def test_an_owner_is_read_back_from_its_text() -> None:
    me = this_process()
    assert Owner.parse(me.text) == me
    assert me.is_alive()
    assert [Owner.parse(text) for text in ("", "a/b", "boot/1/x/3")] == [None] * 3


def test_a_reused_pid_another_boot_and_a_zombie_are_dead() -> None:
    me = this_process()
    assert replace(me, started=me.started - 1).is_alive() is False
    assert replace(me, boot="another").is_alive() is False
    child = subprocess.Popen(["sleep", "60"])
    started = process_start(child.pid)
    assert started > 0
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # it stays a zombie
    assert replace(me, pid=child.pid, started=started).is_alive() is False
    child.wait()


@pytest.mark.root
def test_an_owner_in_another_pid_namespace_is_found_by_who_sees_it() -> None:
    if os.geteuid() != 0:
        pytest.skip("a PID namespace of its own needs root")
    command = ["unshare", "--pid", "--fork", "--kill-child", sys.executable, "-c", PRINT]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as inside:
        assert inside.stdout is not None
        owner = Owner.parse(inside.stdout.readline().strip())
        assert owner is not None
        alive = owner.is_alive()
        inside.send_signal(signal.SIGKILL)
    assert owner.namespace != this_process().namespace
    assert (alive, replace(owner, started=1).is_alive()) in ((True, False), (None, None), (True, None))


def test_what_doctor_starts_is_not_taken_for_a_run() -> None:
    """Where its owner cannot be seen (another PID namespace), sweeps would wait for it for ever."""
    asked = Launch("sparkray-probe-1", (), {}, Path("log"), Path("tmp"), "python", labels={PROBE: DOCTOR})
    assert MARKER not in container_spec(asked).environment
    assert container_spec(asked).environment[TRIAL_MARKER] == asked.name, "by which its process is found"
    assert container_spec(replace(asked, labels={PROBE: "1"})).environment[MARKER] == asked.name
