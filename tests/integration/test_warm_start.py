"""A simulated vLLM in a chroot and in a container: uncounted starts fill the compile caches, counted runs load them."""

import shutil
from dataclasses import replace

import builders
import pytest
from small_bench import BASELINE

from sparkray.catalog import Catalog, data_root
from sparkray.config.experiment import Protocol, Workload
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import prepare_host
from sparkray.execute.run import run_once
from sparkray.machine.fingerprint import fingerprint
from sparkray.plan import Study, Treatment, definition_sha256, make_plan
from sparkray.runtimes import Stop
from sparkray.store import open_dataset

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock")]
ARMS = ("native", "container_baseline")
TREATMENTS = (Treatment("native"), Treatment("container_baseline", BASELINE.options, BASELINE.adapt))
LOAD = Workload(requests=4, input_tokens=8, output_tokens=6, warmup_requests=1, concurrency=2)
# The simulated times say nothing about this machine.
OFF = dict.fromkeys(("exclusive", "power_state", "roofline", "sampled", "hardware"), "off")


def study_of(protocol: Protocol, *, environments: tuple[str, ...] = ARMS, runs: int = 1) -> Study:
    card = Catalog(data_root()).card("Qwen2-1.5B-random")
    site = builders.site(name="made-up", image="double", engine="vllm", environments={"container_baseline": BASELINE})
    experiment = builders.experiment(
        models=(card.name,),
        environments=environments,
        runs=runs,
        workload=LOAD,
        timeout_s=120,
        protocol=protocol,
        checks=OFF,
    )
    return Study(
        experiment,
        replace(site, simulated=True, memory_gib=140.0),
        (card,),
        tuple(one for one in TREATMENTS if one.environment in environments),
        "vllm",
        load_engine("vllm").options({"dtype": "bfloat16"}, "test"),
    )


def run_all(study, folder):
    dataset = open_dataset(folder / "results", study.experiment.name, definition_sha256(study))
    prepared = prepare_host(study, fingerprint(), dataset, lambda _: None, cache=folder / "cache")
    outcomes = [run_once(prepared, planned, Stop(), lambda _: None) for planned in make_plan(study)]
    return prepared, dataset, outcomes


def test_each_arm_starts_once_before_the_counted_runs(tmp_path):
    prepared, dataset, outcomes = run_all(study_of(Protocol()), tmp_path)
    assert [(one.status, one.row["reason"]) for one in outcomes] == [("ok", None)] * 2
    rows = sorted(dataset.read("runs"), key=lambda row: row["started_at"])
    assert [row["status"] for row in rows] == ["warmup", "warmup", "ok", "ok"]
    assert {row["environment"] for row in rows[:2]} == set(ARMS)
    assert [row["compile_state"] for row in rows] == ["cold"] * 2 + ["warm"] * 2
    assert {row["compile_cache"] for row in rows} == {rows[0]["compile_cache"]} != {None}
    assert {(row["warm_start"], row["weights_kind"], row["simulated"]) for row in rows} == {("arm", "random", True)}
    kept = tmp_path / "cache" / "compiled"
    assert kept.stat().st_mode & 0o777 == 0o700, "every user may write into what is below"
    # A cache that is lost in one arm: its start compiles, which no counted run may.
    for folder in (tmp_path / "cache" / "compiled").glob("*/native/vllm/*"):
        shutil.rmtree(folder)
    again = next(run for run in make_plan(prepared.study) if run.environment == "native")
    refused = run_once(prepared, again, Stop(), lambda _: None)
    assert refused.status == "invalid"
    assert "engine_setup: the engine compiled its code for 17.97 s" in refused.row["reason"]


@pytest.mark.slow
def test_without_a_warm_start_every_run_compiles(tmp_path):
    study = study_of(Protocol(warm_start="none"), environments=("native",), runs=2)
    _, dataset, outcomes = run_all(study, tmp_path)
    assert [one.status for one in outcomes] == ["ok"] * 2
    rows = dataset.read("runs")
    assert {row["compile_state"] for row in rows} == {"cold"}
    assert {row["warm_start"] for row in rows} == {None}


def test_a_shared_cache_is_filled_once_and_found_by_both_arms(tmp_path):
    _, dataset, outcomes = run_all(study_of(Protocol(warm_start="shared")), tmp_path)
    assert [one.status for one in outcomes] == ["ok"] * 2
    rows = sorted(dataset.read("runs"), key=lambda row: row["started_at"])
    assert [(row["status"], row["compile_state"]) for row in rows] == [
        ("warmup", "cold"),
        ("warmup", "warm"),
        *[("ok", "warm")] * 2,
    ]
    assert {row["environment"] for row in rows[:2]} == set(ARMS)
