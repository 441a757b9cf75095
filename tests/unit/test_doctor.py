"""`doctor`: every finding has a state, a reason and, where it stops somebody, a remedy."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from builders import Ended

from sparkray.catalog import Catalog, data_root
from sparkray.cluster import Node
from sparkray.machine.doctor import Finding, _site, examine, look
from sparkray.machine.finding import DockerFacts, Gpus, Programs, Seen
from sparkray.machine.fingerprint import Machine, fingerprint, site_for
from sparkray.sweep.doctor import names_of

NAMES = {"machine", "site", "root", "docker", "cgroups", "capabilities", "memory", "swap", "disk", "lock"}
SPARK = Machine("spark", ("NVIDIA GB10",), ("GPU-1",), {})
LAPTOP = Machine("laptop", (), (), {})


@pytest.fixture(scope="module")
def findings() -> list[Finding]:
    return examine(look(Catalog(data_root()).site(fingerprint().site)))


def test_everything_a_sweep_needs_is_looked_at_once(findings: list[Finding]) -> None:
    assert {finding.name for finding in findings} >= NAMES
    assert len({finding.name for finding in findings}) == len(findings)


def test_nodes_of_one_name_are_told_apart() -> None:
    nodes = [Node("1f", "spark"), Node("2f", "other"), Node("3f", "spark")]
    assert names_of(nodes) == ["spark (node 1f)", "other", "spark (node 3f)"]


def test_every_finding_says_why_and_what_to_do(findings: list[Finding]) -> None:
    for finding in findings:
        assert finding.state in ("good", "warn", "stop", "info")
        assert finding.value
        assert finding.why
        assert finding.state in ("good", "info") or finding.remedy
        assert set(finding.document()) == {"name", "state", "value", "why", "remedy"}


def test_what_is_found_is_so(findings: list[Finding]) -> None:
    by_name = {finding.name: finding for finding in findings}
    assert (by_name["root"].state == "good") == (os.geteuid() == 0)
    assert (by_name["disk"].state == "good") == (shutil.disk_usage(Path.cwd()).free > 2 * 2**30)
    assert fingerprint().host in by_name["machine"].value
    assert f"{psutil.virtual_memory().total / 2**30:.1f} GiB" in by_name["memory"].value


@pytest.mark.parametrize(
    ("machine", "wanted", "state"),
    [
        (SPARK, "dgx-spark", "good"),
        (SPARK, "cpu", "good"),
        (SPARK, "discrete-gpu", "stop"),
        (LAPTOP, "cpu", "good"),
        (LAPTOP, "dgx-spark", "stop"),
        (LAPTOP, "discrete-gpu", "stop"),
    ],
)
def test_a_site_with_a_gpu_needs_that_gpu(machine: Machine, wanted: str, state: str) -> None:
    site = Catalog(data_root()).site(wanted)
    finding = _site(Seen(site, (), machine, Gpus(), DockerFacts(), Programs()))
    assert finding.state == state
    assert state == "good" or (wanted in finding.value and finding.remedy == f"--site {machine.site}")


@pytest.mark.parametrize(
    ("gpus", "site"),
    [
        ((), "cpu"),
        (("NVIDIA GB10",), "dgx-spark"),
        (("NVIDIA H100 80GB HBM3",), "discrete-gpu"),
        (("NVIDIA H200", "NVIDIA H200"), "discrete-gpu"),
    ],
)
def test_a_machine_is_recognised_by_its_gpus(gpus: tuple[str, ...], site: str) -> None:
    assert site_for(gpus) == Machine("h", gpus, (), {}).site == site


def test_the_lock_is_of_every_gpu_else_of_the_machine() -> None:
    assert SPARK.lock_keys == ("GPU-1",)
    assert LAPTOP.lock_keys == ("machine",)


def test_the_fingerprint_is_the_same_again_and_plain_json() -> None:
    assert fingerprint() == fingerprint()
    assert json.loads(json.dumps(fingerprint().facts)) == fingerprint().facts


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        (Finding("swap", "good", "none", "why", "do"), "ok    swap: none"),
        (Finding("cgroups", "info", "version 2", "why"), "      cgroups: version 2"),
        (Finding("x", "warn", "v", "w", "d"), "WARN  x: v\n        why: w\n        do:  d"),
        (Finding("x", "stop", "v", "w"), "STOP  x: v\n        why: w"),
    ],
)
def test_a_finding_reads_well(finding: Finding, text: str) -> None:
    assert finding.text() == text


def test_without_a_docker_engine_it_stops_and_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "sparkray.sweep", "doctor", "--json"],
        env=os.environ | {"DOCKER_HOST": f"unix://{tmp_path}/nobody"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    [docker] = [f for f in json.loads(done.stdout)["findings"] if f["name"] == "docker"]
    assert docker["state"] == "stop"
    assert docker["remedy"]


def test_a_site_that_is_another_ends_with_1(command_line: Callable[..., Ended]) -> None:
    if fingerprint().site == "dgx-spark":
        pytest.skip("this machine is the one that would be missed")
    done = command_line("doctor", "--site", "dgx-spark")
    assert done.status == 1
    assert "STOP  site: dgx-spark asked for, this machine is " in done.out
    assert f"do:  --site {fingerprint().site}" in done.out
