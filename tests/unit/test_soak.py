"""The soak ends within its time and prints what it has seen, whatever a sweep does."""

import importlib.util
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest

_PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "soak.py"
_STUCK = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["soak"] = module
    spec.loader.exec_module(module)
    module._STOP_S = 0.5
    return module


def stuck() -> "subprocess.Popen[bytes]":
    return subprocess.Popen([sys.executable, "-c", _STUCK])


def test_a_sweep_that_never_ends_is_ended_with_the_time_and_the_last_line_comes(
    module: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drivers = []

    class Stuck(module.Soak):  # type: ignore[misc, name-defined] # the module is not a package's
        def start(self) -> "subprocess.Popen[bytes]":
            drivers.append(stuck())
            return drivers[-1]

    soak = Stuck(tmp_path, random.Random(1), ends=time.monotonic() + 0.5)
    over = module.play(soak, 60.0)
    module.report(soak, 0.0, 1, over)
    assert [driver.returncode for driver in drivers] == [-signal.SIGKILL]
    assert capsys.readouterr().out.splitlines()[-1] == (
        "stopped early, the time was up: 0 ok of 24 planned, 0 lost, 0 doubled, 0 left over; 0 violations"
    )


def test_a_signal_ends_it_at_once(module: ModuleType, tmp_path: Path) -> None:
    soak = module.Soak(tmp_path, random.Random(1), ends=time.monotonic() + 60)
    before = signal.signal(signal.SIGTERM, module.on_signal)
    driver = stuck()
    try:
        with pytest.raises(module.OverError, match="SIGTERM"):
            soak.waited(driver, 60.0, lambda: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGTERM, before)
        module.end(driver)


def test_what_is_left_of_a_plan_never_piles_up(module: ModuleType, tmp_path: Path) -> None:
    """Sweeps that end at their first fault make no run: the next ones plan no more."""

    class Short(module.Soak):  # type: ignore[misc, name-defined] # as above
        def start(self) -> "subprocess.Popen[bytes]":
            return subprocess.Popen([sys.executable, "-c", ""])

    soak = Short(tmp_path, random.Random(1), ends=time.monotonic() + 60)
    for _ in range(3):
        soak.round()
    assert soak.blocks == module._BLOCKS
