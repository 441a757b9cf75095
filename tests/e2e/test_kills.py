"""kill -9 of the driver, the actor or the engine, at random moments; the same command brings the sweep to its end.

`SPARKRAY_KILLS` asks for more than the few that the suite has time for.
"""

import json
import os
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import pytest
from sweeping import DOUBLE, NOTHING, actor_pid, await_true, command, engine_pid, remains, sparkray, under_way

KILLS = int(os.environ.get("SPARKRAY_KILLS", "1"))
RUNS = 4
ARGUMENTS = ["--runs", str(RUNS), "--yes", *DOUBLE, "--set", "engine.tokens_per_s=120"]


def victim(kind: str, driver: int) -> int | None:
    return {"driver": lambda: driver, "actor": lambda: actor_pid(driver), "engine": engine_pid}[kind]()


def kill_one(kind: str, results: Path, rng: random.Random) -> str:
    """Start the sweep, wait until an engine runs, then a random while, kill; wait for the driver's end."""
    with (results / "sweep.log").open("ab") as log:
        driver = subprocess.Popen(
            command("baseline", *ARGUMENTS, "--results-dir", str(results)),
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
        )
        try:
            began = time.time()
            alive = await_true(lambda: under_way(results, began) or driver.poll() is not None, 120)
            assert alive, "no run was started within 120 s"
            time.sleep(rng.uniform(0.0, 3.0))
            await_true(lambda: victim(kind, driver.pid) is not None or driver.poll() is not None)
            pid = victim(kind, driver.pid)
            if pid is None or driver.poll() is not None:
                return "too late"
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            if kind == "driver":
                driver.wait(30)
            return f"killed {kind}"
        finally:
            if kind != "driver":
                driver.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(90)
            assert driver.poll() is not None, "the driver did not end"


@pytest.mark.docker
@pytest.mark.root
@pytest.mark.ray
def test_kills_lose_nothing_and_leave_nothing(tmp_path):
    rng = random.Random(int(os.environ.get("SPARKRAY_SEED", "7")))
    kinds = ["driver", "engine", "actor"]  # a lost actor has a test of its own, and so has an engine that crashes
    told = [kill_one(kinds[i % 3], tmp_path, rng) for i in range(KILLS)]
    assert any(line.startswith("killed") for line in told), told
    done = sparkray("baseline", *ARGUMENTS, "--results-dir", str(tmp_path), "--json")
    document = json.loads(done.out)
    assert document["runs"] == {"planned": 2 * RUNS, "ok": 2 * RUNS, "failed": 0, "invalid": 0}, (told, done.err)
    assert done.code == 0
    import polars as pl

    rows = pl.read_parquet(tmp_path / "local" / "runs" / "*.parquet")
    ok = rows.filter(pl.col("status") == "ok")
    assert ok.height == 2 * RUNS
    assert ok["run_id"].n_unique() == 2 * RUNS
    assert set(rows["status"].to_list()) <= {"ok", "interrupted", "failed"}
    assert remains(tmp_path) == NOTHING
    print(f"{KILLS} kills: {told}; statuses {rows['status'].value_counts().to_dicts()}")
