"""The soak ends within its time and prints what it has seen, whatever a sweep does."""

import hashlib
import importlib
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from sparkray.store.parquet import file_of, rows_of

_FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"
_STUCK = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); time.sleep(60)"


@pytest.fixture(scope="module")
def module() -> ModuleType:
    sys.path.insert(0, str(_FOLDER))
    try:
        module = importlib.import_module("soak")
    finally:
        sys.path.remove(str(_FOLDER))
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
    module.report(soak, 1, over)
    assert [driver.returncode for driver in drivers] == [-signal.SIGKILL]
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("stopped early, the time was up: ")
    assert last.endswith("0 ok of 200 planned, 0 lost, 0 doubled, 0 left over; 0 violations")


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
        soak.round(600.0)
    assert soak.blocks == module._MOST_BLOCKS
    assert "status 0 after no fault; 200 runs not ok, 200 not tried" in soak.wrong


@dataclass(frozen=True)
class Row:
    """An attempt, `at` seconds from now, one second long."""

    run_id: str
    block: int
    attempt: int = 1
    status: str = "ok"
    at: float = 0.0

    def write(self, folder: Path) -> None:
        key = {"run_id": self.run_id, "attempt": self.attempt}
        began, now_ns = datetime.now(UTC) + timedelta(seconds=self.at), time.monotonic_ns() + round(self.at * 1e9)
        log = b"it said this"
        (folder / "logs" / f"{self.run_id}-{self.attempt}.log").write_bytes(log)
        tables = {
            "requests": [{**key, "request": n, "submit_ns": now_ns, "end_ns": now_ns + n} for n in range(3)],
            "samples": [{**key, "sampler": "host", "t_ns": now_ns + n * 10**8} for n in range(3)],
            "runs": [
                {
                    **key,
                    "block": self.block,
                    "model": "m",
                    "environment": "native",
                    "status": self.status,
                    "started_at": began,
                    "ended_at": began + timedelta(seconds=1),
                    "requests_planned": 2,
                    "log_sha256": hashlib.sha256(log).hexdigest(),
                }
            ],
        }
        for table, rows in tables.items():
            (folder / table / f"{self.run_id}-{self.attempt}.parquet").write_bytes(file_of(table, rows))


def damaged(folder: Path, name: str, table: str, **columns: object) -> None:
    """One value of each row of a file is another."""
    path = folder / table / name
    path.write_bytes(file_of(table, [{**row, **columns} for row in rows_of(path, table)]))


SOUND = (Row("a", 0), Row("b", 1, status="failed", at=2), Row("b", 1, attempt=2, at=4))
A, B = "a-1.parquet", "b-1.parquet"
DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (lambda _: None, ""),
    "a second ok": (lambda folder: damaged(folder, B, "runs", status="ok"), "b is ok 2 times"),
    "a run is gone": (lambda folder: (folder / "runs" / A).unlink(), "requests without a run: a-1"),
    "no number 3": (lambda folder: Row("b", 1, 4, "failed", at=8).write(folder), "not numbered 1 to 4"),
    "another time": (lambda folder: damaged(folder, A, "requests", submit_ns=1), "requests of another time"),
    "overlap": (lambda folder: damaged(folder, A, "samples", t_ns=time.monotonic_ns() + 21 * 10**8), "overlap"),
    "another run": (lambda folder: damaged(folder, A, "samples", run_id="b"), "samples of another run"),
    "no log": (lambda folder: (folder / "logs" / "a-1.log").unlink(), "ok without its log"),
    "no samples": (lambda folder: (folder / "samples" / A).unlink(), "ok without samples"),
    "no request": (lambda folder: damaged(folder, A, "runs", requests_planned=3), "ok with 3 requests"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_what_does_not_hold_in_the_data_is_named(module: ModuleType, tmp_path: Path, what: str) -> None:
    for table in ("runs", "samples", "requests", "logs"):
        (tmp_path / table).mkdir()
    for row in SOUND:
        row.write(tmp_path)
    damage, said = DAMAGE[what]
    damage(tmp_path)
    data = module.Invariants(tmp_path, ("native",), 1)
    data.check()
    data.check_plan(2)
    assert any(said in line for line in data.wrong) if said else not data.wrong, data.wrong


def test_what_was_ok_and_is_gone_or_not_of_the_plan_is_named(module: ModuleType, tmp_path: Path) -> None:
    for table in ("runs", "samples", "requests", "logs"):
        (tmp_path / table).mkdir()
    Row("a", 0).write(tmp_path)
    data = module.Invariants(tmp_path, ("native",), 1)
    data.check()
    damaged(tmp_path, "a-1.parquet", "runs", status="failed")
    data.check()
    data.check_plan(1)
    assert data.wrong == ["a was ok and is gone", "the dataset is not the plan: 1 runs are missing, 0 too many"]
