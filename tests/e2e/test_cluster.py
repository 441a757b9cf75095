"""Two machines of a Ray cluster at one baseline: one is killed in the middle of a block, and the dataset equals the plan."""

import json
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from support.two_machines import Machines, machines
from sweeping import DOUBLE, NEIGHBOURLY, await_true, command

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray, pytest.mark.slow]
RUNS = 6
PATIENCE_S = 300


@pytest.fixture
def cluster() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="sr-", dir="/tmp"))  # Ray's sockets need a short path
    try:
        with machines(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(cluster: Machines, results: Path, log: Path) -> subprocess.Popen:
    arguments = ["--runs", str(RUNS), "--yes", *DOUBLE, "--set", "engine.tokens_per_s=120", "--json"]
    words = command("baseline", *arguments, "--address", cluster.address, "--results-dir", str(results))
    with log.open("wb") as file:
        return subprocess.Popen(
            words, env=cluster.environment(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=file
        )


SPACE = """\
name: one
description: One level.
factors:
  - {name: cpu_shares, levels: {"512": {cpu_shares: 512}}, why: a weight}
"""


def test_the_stages_of_an_optimisation_are_divided_in_whole_blocks(cluster: Machines, tmp_path: Path) -> None:
    space, log = tmp_path / "space.yaml", tmp_path / "log"
    space.write_text(SPACE)
    checks = f"experiment.checks={NEIGHBOURLY.format(probe='off')}"
    site = ["--site", "cpu", "--set", checks, "--set", f"site.space={space}", "--skip", "attribution", "--yes", *DOUBLE]
    asked = [
        "--runs",
        "4",
        "--trials",
        "1",
        "--confirm-runs",
        "4",
        "--set",
        "engine.tokens_per_s=120",
        "--no-dashboard",
    ]
    words = command("optimize", *site, *asked, "--address", cluster.address, "--results-dir", str(tmp_path / "results"))
    with log.open("wb") as file:
        done = subprocess.run(
            words, env=cluster.environment(), stdin=subprocess.DEVNULL, stderr=file, stdout=file, check=False
        )
    assert done.returncode == 0, log.read_text()
    for stage, arms in (("screen", 3), ("confirm", 2)):
        rows = pl.read_parquet(tmp_path / "results" / f"local-{stage}" / "runs" / "*.parquet")
        assert set(rows["status"]) == {"ok"}, log.read_text()
        hosts = rows.group_by("block").agg(pl.col("host").unique(), pl.len())
        assert hosts.height == 4
        assert set(hosts["host"].list.len()) == {1}, "a block is one machine's"
        assert set(hosts["host"].explode()) == {"spark-a", "spark-b"}
        assert min(hosts["len"]) >= arms


def test_a_machine_that_is_lost_in_mid_block_costs_nothing_but_its_block(cluster: Machines, tmp_path: Path) -> None:
    log, runs = tmp_path / "log", tmp_path / "results" / "local" / "runs"

    def rows() -> pl.DataFrame:
        files = list(runs.glob("*.parquet"))
        return pl.read_parquet(files).sort("started_at") if files else pl.DataFrame({"host": []})

    def is_in_mid_block() -> bool:
        return rows().filter(pl.col("host") == "spark-b").height % 2 == 1

    driver = sweep(cluster, tmp_path / "results", log)
    try:
        assert await_true(is_in_mid_block, PATIENCE_S), log.read_text()
        cluster.kill("spark-b")
        out, _ = driver.communicate(timeout=PATIENCE_S)
    finally:
        driver.kill()
    assert driver.returncode == 0, log.read_text()
    assert json.loads(out)["runs"] == {"planned": 2 * RUNS, "ok": 2 * RUNS, "failed": 0, "invalid": 0}
    assert "spark-b: lost to the sweep, which goes on without it" in log.read_text()
    ok = rows().filter(pl.col("status") == "ok")
    assert ok.height == ok["run_id"].n_unique() == 2 * RUNS
    hosts = ok.group_by("block").agg(pl.col("host").n_unique(), pl.len())
    assert set(hosts["host"]) == {1}
    assert set(hosts["len"]) == {2}
    given_up = rows().filter(pl.col("status") != "ok")
    assert Counter(given_up["host"]) == {"spark-b": 1}
    assert "is measured again on another machine" in given_up["reason"][0]
    assert len(list((cluster.folders["spark-b"] / "cache/sparkray/measured").iterdir())) == 1, (
        "kept on the lost machine"
    )
    assert not list((cluster.folders["spark-a"] / "cache/sparkray/measured").iterdir()), "acknowledged, then removed"
