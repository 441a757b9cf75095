"""A run that ended by its time-out says whether the engine was slow or the machine busy, as far as its samples show."""

import os
import signal
import subprocess
import sys

import pytest

from sparkray.errors import RunTimeoutError
from sparkray.execute.lateness import late, reason_of_timeout
from sparkray.machine.load import LoadMeter
from sparkray.units import NS_PER_S

LATE = RunTimeoutError("the engine had not ended after 300 s", "Raise it: --set experiment.timeout_s=N")


def samples(busy_pct: float, engine_cores: float) -> list[dict[str, object]]:
    return [
        row
        for second in range(5)
        for row in (
            {"t_ns": second * NS_PER_S, "cpu_busy_pct": busy_pct},
            {"t_ns": second * NS_PER_S, "process_cpu_s": 3.0 + engine_cores * second},
        )
    ]


def test_a_busy_machine_is_named_and_the_time_out_is_not_to_be_raised() -> None:
    said = reason_of_timeout(LATE, samples(99.9, 0.5), cpus=2, own_cores=0.1)
    assert said == (
        "the engine had not ended after 300 s; the CPUs were 99.9 % busy, other processes used 1.4 of 2 cores: "
        "the machine is not quiet. End other programs, then give the same command again"
    )


@pytest.mark.parametrize(("busy_pct", "engine"), [(99.9, 1.9), (10.0, 0.0)])
def test_an_engine_that_was_slow_by_itself_may_get_more_time(busy_pct: float, engine: float) -> None:
    said = reason_of_timeout(LATE, samples(busy_pct, engine), cpus=2, own_cores=0.0)
    assert "not quiet" not in said
    assert said.startswith(f"{LATE} (the CPUs were {busy_pct} % busy, other processes used 0.")


def test_without_samples_nothing_is_claimed() -> None:
    assert reason_of_timeout(LATE, [], cpus=2, own_cores=0.0) == str(LATE)
    assert reason_of_timeout(LATE, samples(99.0, 1.0), cpus=None, own_cores=0.0) == str(LATE)


def test_the_load_of_other_programs_is_measured_and_named() -> None:
    with subprocess.Popen(["sh", "-c", "while :; do :; done"]) as busy:
        load = LoadMeter(seconds=0.5).read()
        busy.kill()
    assert load.others_cores > 0.2
    assert any(f"[{busy.pid}]" in name for name, _ in load.largest) or load.others_cores > 1.5, load
    assert load.text.startswith("other programs use ")


def test_a_process_that_somebody_stopped_is_not_called_slow() -> None:
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as engine:
        try:
            assert late("it had not ended", engine.pid).remedy.startswith("Raise it")
            os.kill(engine.pid, signal.SIGSTOP)
            os.waitid(os.P_PID, engine.pid, os.WSTOPPED | os.WNOWAIT)
            error = late("it had not ended", engine.pid)
        finally:
            engine.kill()
    said = reason_of_timeout(error, samples(99.9, 0.5), cpus=2, own_cores=0.1)
    assert said == (
        "it had not ended: its process is stopped, as by SIGSTOP. Find out who halted it, then give the same command again"
    )
    assert late("it had not ended", engine.pid).remedy.startswith("Raise it"), "one that is gone is not halted"
