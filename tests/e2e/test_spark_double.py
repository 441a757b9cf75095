"""Phase 2A on the double of a DGX Spark: the whole path through real Docker and a real chroot, for each version."""

import json

import polars as pl
import pytest
from sweeping import NOTHING, remains, sparkray

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.ray]


@pytest.mark.parametrize(
    "version", [*(pytest.param(version, marks=pytest.mark.slow) for version in ("1.0", "1.1", "1.2")), "1.3"]
)
def test_a_sweep_of_each_version(tmp_path, version):
    done = sparkray(
        "baseline",
        "--site",
        "dgx-spark-simulated",
        "--set",
        f"engine.version={version}",
        "--models",
        "Qwen2-1.5B,Llama-3-70B",
        "--runs",
        "1",
        "--requests",
        "20",
        "--yes",
        "--results-dir",
        str(tmp_path),
    )
    assert done.code == 1, done.err  # the 70B is refused, and that is said
    assert "SIMULATED" in done.out
    assert "nvidia/Llama-3.3-70B-Instruct-FP4" in done.out
    rows = pl.read_parquet(tmp_path / "phase2a/runs/*.parquet")
    by_model = {name: part for (name,), part in rows.group_by("model")}
    assert by_model["Llama-3-70B"]["status"].to_list() == ["unready"] * 2
    small = by_model["Qwen2-1.5B"]
    assert small["status"].to_list() == ["ok"] * 2, small["reason"].to_list()
    assert small["simulated"].to_list() == [True, True]
    assert small["engine_version"].str.starts_with(version).all()
    assert small["dataset_sha256"].n_unique() == 1
    assert small["checkpoint_sha256"].n_unique() == 1
    assert small["rootfs_digest"].n_unique() == 1
    assert (small["kv_cache_gib"] > 0).all()
    assert (small["requests_done"] == 20).all()
    assert (small["ttft_mean_ms"] > 0).all()
    assert all("simulated" in json.loads(text)[0] for text in small["deviations"])
    commands = [json.loads(text) for text in small["engine_command"]]
    assert commands[0] == commands[1]
    assert commands[0][:3] == ["trtllm-bench", "--model", "Qwen/Qwen2-1.5B"]
    assert remains(tmp_path) == NOTHING


@pytest.mark.slow
def test_a_real_spark_is_asked_of_a_machine_that_is_none(tmp_path):
    done = sparkray("baseline", "--site", "dgx-spark", "--runs", "1", "--yes", "--results-dir", str(tmp_path))
    assert done.code == 3
    assert "dgx-spark" in done.err
    assert not list(tmp_path.glob("*/runs/*"))
