"""A stop ends a sweep in 15 seconds whatever hangs: here a runner that is stopped by SIGSTOP, with its engine running."""

import os
import signal
import subprocess
import time

import pytest
from sweeping import DOUBLE, NOTHING, actor_pid, await_true, command, remains, under_way

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray]


def test_a_stop_ends_a_sweep_whose_runner_is_frozen(tmp_path):
    hanging = ("--environments", "container_baseline", "--set", "engine.fault=hang", "--runs", "1", "--yes", *DOUBLE)
    driver = subprocess.Popen(
        command("baseline", *hanging, "--no-dashboard", "--results-dir", str(tmp_path)),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert await_true(lambda: under_way(tmp_path), 120)
    os.kill(actor_pid(driver.pid), signal.SIGSTOP)
    began = time.monotonic()
    driver.send_signal(signal.SIGINT)
    out, _ = driver.communicate(timeout=60)
    assert time.monotonic() - began < 16, out
    assert driver.returncode == 130, out
    assert "Traceback" not in out
    assert "ended at once" in out or remains(tmp_path) == NOTHING, (out, remains(tmp_path))
