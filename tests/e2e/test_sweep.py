"""The command line as a user meets it: real Ray, real Docker, real chroot, and mostly the double for speed."""

import json
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest
from sweeping import DOUBLE, NOTHING, await_true, command, remains, sparkray

OUTPUT_TOKENS = 12
HOLD = """
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.lock import MachineLock
with MachineLock(fingerprint().lock_keys).held("wait", on_wait=lambda _: None, should_stop=lambda: False):
    print("held", flush=True)
    input()
"""

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray]


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """One real sweep of three arms with llama.cpp, as the acceptance of the project runs it."""
    results = tmp_path_factory.mktemp("real")
    done = sparkray(
        "baseline",
        "--runs",
        "1",
        "--requests",
        "4",
        "--set",
        f"experiment.workload.output_tokens={OUTPUT_TOKENS}",
        "--environments",
        "host,native,container_baseline",
        "--results-dir",
        str(results),
        "--json",
        "--yes",
    )
    return results, done


def test_one_json_document_and_nothing_else_on_stdout(real):
    results, done = real
    document = done.document()
    assert done.code == 0, done.err
    assert {"experiment", "results_dir", "runs", "environments", "comparisons"} <= set(document)
    assert document["runs"] == {"planned": 3, "ok": 3, "failed": 0, "invalid": 0}
    assert document["results_dir"] == str(results / "local")
    assert "Ray dashboard" in done.err
    assert {row["environment"] for row in document["environments"]} == {"host", "native", "container_baseline"}
    assert {row["against"] for row in document["comparisons"]} == {"native"}


def test_rows_are_ok_and_every_arm_ran_the_same_files(real):
    runs = pl.read_parquet(real[0] / "local/runs/*.parquet")
    assert runs["status"].to_list() == ["ok"] * 3
    assert runs["rootfs_digest"].n_unique() == 1
    assert runs["model_sha256"].n_unique() == 1
    assert runs["dataset_sha256"].n_unique() == 1
    assert runs["simulated"].to_list() == [False] * 3
    assert (runs["output_throughput_tok_s"] > 0).all()
    assert (runs["requests_done"] == 4).all()
    assert (runs["docker_command"].is_null() == (runs["environment"] != "container_baseline")).all()


def test_every_arm_began_from_the_declared_state(real):
    runs = pl.read_parquet(real[0] / "local/runs/*.parquet")
    states = [json.loads(text) for text in runs["effective_state"].to_list()]
    assert {state["nice"] for state in states} == {0}
    assert {state["oom_score_adj"] for state in states} == {0}
    assert all("OMP_NUM_THREADS" not in state["environment"] for state in states)
    assert all(int(state["signals_blocked"], 16) == 0 for state in states)
    in_image = [s["environment"] for s, e in zip(states, runs["environment"], strict=True) if e != "host"]
    own = {"HOSTNAME", "SPARKRAY_RUN"}
    assert len({json.dumps({k: v for k, v in env.items() if k not in own}, sort_keys=True) for env in in_image}) == 1


def test_requests_and_samples_are_there(real):
    requests = pl.read_parquet(real[0] / "local/requests/*.parquet")
    assert requests.height == 3 * (4 + 2)
    assert requests.filter(~pl.col("warmup"))["output_tokens"].unique().to_list() == [OUTPUT_TOKENS]
    samples = pl.read_parquet(real[0] / "local/samples/*.parquet")
    assert samples["process_rss_gib"].drop_nulls().max() > 0.05
    in_container = pl.read_parquet(real[0] / "local/runs/*.parquet").filter(
        pl.col("environment") == "container_baseline"
    )
    assert (in_container["cgroup_anon_peak_gib"] > 0).all()


def test_the_same_command_again_runs_nothing(real):
    done = sparkray(
        "baseline",
        "--runs",
        "1",
        "--requests",
        "4",
        "--set",
        f"experiment.workload.output_tokens={OUTPUT_TOKENS}",
        "--environments",
        "host,native,container_baseline",
        "--results-dir",
        str(real[0]),
        "--json",
        "--yes",
        timeout_s=60,
    )
    assert done.code == 0
    assert "0 to go" in done.err
    assert "Ray dashboard" not in done.err


def test_status_tells_counts_and_last_results(real):
    done = sparkray("status", "--results-dir", str(real[0]), "--json")
    state = done.document()["datasets"][0]
    assert state["counts"] == {"ok": 3}
    assert state["now"] is None
    assert len(state["last"]) == 3


def test_a_printed_docker_line_can_be_pasted(real, tmp_path):
    runs = pl.read_parquet(real[0] / "local/runs/*.parquet").filter(pl.col("docker_command").is_not_null())
    line = runs["docker_command"][0]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    out = Path(line.split(":/sparkray/out")[0].rpartition("--volume=")[2])
    document = json.loads((out / "result.json").read_text())
    assert len(document["requests"]) == 6
    import shutil

    shutil.rmtree(out.parent)
    assert remains(real[0]) == NOTHING


@pytest.mark.slow
def test_two_sweeps_never_overlap(tmp_path):
    """Started together, each with a Ray of its own: one waits for the other, shown from the rows' times."""
    both = [
        subprocess.Popen(
            command(
                "baseline",
                "--environments",
                "native",
                "--runs",
                "1",
                "--yes",
                *DOUBLE,
                "--results-dir",
                str(tmp_path / name),
            ),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            stdin=subprocess.DEVNULL,
        )
        for name in ("a", "b")
    ]
    outs = [driver.communicate(timeout=200)[0] for driver in both]
    assert [driver.returncode for driver in both] == [0, 0], outs
    assert any("waiting: process" in out for out in outs)
    rows = pl.concat([pl.read_parquet(tmp_path / name / "local/runs/*.parquet") for name in ("a", "b")]).sort(
        "started_at"
    )
    assert rows.height == 2
    assert (rows["started_at"][1:] >= rows["ended_at"][:-1]).all()


def test_a_sweep_waits_for_a_busy_machine_or_is_refused(tmp_path):
    log = tmp_path / "log"
    words = ["--environments", "native", "--runs", "1", "--yes", *DOUBLE, "--results-dir"]
    with (
        subprocess.Popen(
            [sys.executable, "-c", HOLD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as holder,
        log.open("wb") as file,
    ):
        assert holder.stdout.readline() == "held\n"
        waiting = subprocess.Popen(
            command("baseline", *words, str(tmp_path / "waits")), stdout=file, stderr=file, stdin=subprocess.DEVNULL
        )
        try:
            refused = sparkray("baseline", *words, str(tmp_path / "refused"), "--lock", "fail")
            assert refused.code == 3
            assert f"process {holder.pid}" in refused.err
            assert await_true(lambda: "waiting: process" in log.read_text() or waiting.poll() is not None, 120)
            released = time.time()
            holder.communicate("\n")
            assert waiting.wait(200) == 0, log.read_text()
        finally:
            waiting.kill()
            waiting.wait()
    assert "waiting: process" in log.read_text()
    [began] = pl.read_parquet(tmp_path / "waits/local/runs/*.parquet")["started_at"].dt.epoch("ms")
    assert began / 1000 >= released
