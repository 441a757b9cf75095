"""Bad days of a cluster: what befalls its head, and the results of the driver. One cluster, one fault after another."""

import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import psutil
import pytest
from support.two_machines import Machines, machines
from sweeping import DOUBLE, await_true, command

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(2400)]
LIMIT_S = 900.0
FOREIGN = ("Traceback", "unforeseen", "Exception ignored", "(raylet)")


@pytest.fixture
def cluster() -> Iterator[Machines]:
    folder = Path(tempfile.mkdtemp(prefix="sr-", dir="/tmp"))  # Ray's sockets need a short path
    try:
        with machines(folder) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class Sweeps:
    """Sweeps of one dataset on a cluster."""

    cluster: Machines
    folder: Path
    lost: set[Path] = field(default_factory=set)
    """What machines keep of a dataset that somebody removed."""

    @property
    def dataset(self) -> Path:
        return self.folder / "results" / "local"

    def rows(self) -> pl.DataFrame:
        files = list(self.dataset.glob("runs/*.parquet"))
        return pl.read_parquet(files) if files else pl.DataFrame({"status": [], "run_id": []})

    def run(self, runs: int, act: Callable[[], object] | None = None) -> tuple[int, str]:
        """A sweep in which something happens once it has stored a further run: its status, and all that it reported."""
        before, log = self.rows().height, self.folder / "log"
        words = ["--runs", str(runs), "--yes", *DOUBLE, "--set", "engine.tokens_per_s=120"]
        words += ["--address", self.cluster.address, "--results-dir", str(self.folder / "results")]
        with log.open("wb") as file:
            driver = subprocess.Popen(
                command("baseline", *words),
                env=self.cluster.environment(),
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        try:
            assert await_true(lambda: self.rows().height > before or driver.poll() is not None, LIMIT_S)
            if act is not None:
                assert driver.poll() is None, log.read_text()
                act()
            assert await_true(lambda: driver.poll() is not None, LIMIT_S), log.read_text()
        finally:
            driver.kill()
        text = log.read_text()
        assert [word for word in FOREIGN if word in text] == [], text
        return driver.wait(), text

    def equals_the_plan(self, runs: int) -> None:
        ok = self.rows().filter(pl.col("status") == "ok")
        assert ok.height == ok["run_id"].n_unique() == 2 * runs
        blocks = ok.group_by("block").agg(pl.col("host").n_unique(), pl.len())
        assert set(blocks["host"]) == {1}
        assert set(blocks["len"]) == {2}
        assert self.kept() == self.lost, "acknowledged, then removed"

    def kept(self) -> set[Path]:
        """What machines keep of what they measured."""
        return {path for folder in self.cluster.folders.values() for path in folder.glob("cache/sparkray/measured/*")}


def test_a_cluster_whose_head_hangs_dies_or_loses_the_results(cluster: Machines, tmp_path: Path) -> None:
    sweeps = Sweeps(cluster, tmp_path)
    head = psutil.Process(cluster.processes["head"].pid)
    [gcs] = [process for process in head.children(recursive=True) if process.name() == "gcs_server"]

    try:
        status, text = sweeps.run(2, gcs.suspend)
    finally:
        gcs.resume()
    assert status == 0, text
    sweeps.equals_the_plan(2)

    status, text = sweeps.run(4, lambda: shutil.rmtree(sweeps.dataset))
    assert status == 3, text
    assert "is no dataset any more: somebody removed or moved it" in text
    assert not sweeps.rows().height
    sweeps.lost = sweeps.kept()
    status, text = sweeps.run(4)
    assert status == 0, text
    sweeps.equals_the_plan(4)

    status, text = sweeps.run(6, lambda: gcs.send_signal(signal.SIGKILL))
    assert status == 3, text
    assert re.search(r"sparkray: (the connection to Ray was lost|no Ray cluster answers|the runner)", text), text
