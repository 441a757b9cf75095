"""What is known of a run reaches the checks: each thing that is wrong is found by the check that is for it."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import S, card, measurement, request, shape, site, study, treatments

from sparkray.catalog.weights import Located
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import Arm, Files, PreparedHost
from sparkray.execute.verify import verify
from sparkray.machine.fingerprint import Machine
from sparkray.plan import make_plan
from sparkray.records import Outcome
from sparkray.runtimes import MARKER, Launch, StartState
from sparkray.runtimes.host import Runtime as Host
from sparkray.store import Dataset

START = StartState(rlimits={"nofile": (1024, 4096)})
STATE: dict[str, Any] = {
    "nice": 0,
    "oom_score_adj": 0,
    "rlimits": {"nofile": (1024, 4096), "stack": (8, -1)},
    "signals_blocked": "0000000000000000",
    "signals_ignored": "0000000000000000",
    "environment": {"LANG": "C.UTF-8", MARKER: "sparkray-1"},
    "cpus_allowed": "0-1",
}
SEEN = tuple({"sampler": "host", "t_ns": second * S} for second in range(5))
REQUESTS = tuple(request(i, output_tokens=4) for i in range(4))


def bench_of(tmp_path: Path) -> PreparedHost:
    environments = ("native", "container_baseline")
    arm = Arm(treatments("native")[0], Host(), None, None, {}, START)
    (tmp_path / "runs").mkdir(exist_ok=True)
    return PreparedHost(
        study=study(cards=(card(engine_architecture="llama"),)),
        engine=load_engine("llamacpp"),
        machine=Machine("host", (), (), {}),
        dataset=Dataset(tmp_path),
        images=None,
        arms={name: replace(arm, treatment=treatments(name)[0]) for name in environments},
        weights={"Alpha": Located(tmp_path / "alpha.gguf", "1" * 64)},
        files={"": Files(None, "sha256:good")},
    )


def judged(prepared: PreparedHost, **changes: Any) -> Mapping[str, str]:
    """Check to verdict, of a sound run with changes."""
    facts = {"model_sha256": "1" * 64, "model_architecture": "llama"} | changes.get("facts", {})
    row = {"rootfs_digest": "sha256:good", "duration_s": 60.0, "environment": "native"} | changes.get("row", {})
    planned = next(run for run in make_plan(prepared.study) if run.environment == "native")
    launch = Launch("sparkray-1", (), {"LANG": "C.UTF-8"}, Path("log"), Path("tmp"), "python")
    found = verify(
        prepared,
        planned,
        launch,
        measurement=measurement(*changes.get("requests", REQUESTS), **facts),
        outcome=Outcome(row=row, samples=SEEN),
        state=STATE | changes.get("state", {}),
    )
    return {verdict.check: verdict.verdict for verdict in found}


def test_a_sound_run_passes_every_check_that_has_something_to_judge_by(tmp_path: Path) -> None:
    found = judged(bench_of(tmp_path))
    assert set(found.values()) == {"pass"}
    assert {"identity", "start_state", "environment", "tokens"} <= set(found)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"row": {"rootfs_digest": "sha256:other"}}, "identity"),
        ({"facts": {"model_sha256": "2" * 64}}, "identity"),
        ({"facts": {"model_architecture": "qwen"}}, "identity"),
        ({"state": {"nice": 15}}, "start_state"),
        ({"state": {"environment": {"OMP_NUM_THREADS": "1"}}}, "environment"),
        ({"requests": tuple(request(i, output_tokens=4, input_tokens=8 + (i == 3)) for i in range(4))}, "tokens"),
        ({"row": {"wall_clock_step_s": -30.0}}, "tokens"),
    ],
)
def test_one_thing_that_is_wrong_is_found_by_its_own_check(tmp_path: Path, changes: dict[str, Any], check: str) -> None:
    found = judged(bench_of(tmp_path), **changes)
    assert [name for name, verdict in found.items() if verdict == "invalid"] == [check]


def test_the_experiment_says_what_a_finding_means(tmp_path: Path) -> None:
    prepared = bench_of(tmp_path)

    def under(policy: str) -> Mapping[str, str]:
        experiment = replace(prepared.study.experiment, checks={"start_state": policy})
        changed = replace(prepared, study=replace(prepared.study, experiment=experiment))
        return judged(changed, state={"nice": 15})

    assert under("invalid")["start_state"] == "invalid"
    assert under("warn")["start_state"] == "warn"
    assert "start_state" not in under("off")


@pytest.mark.parametrize(("bandwidth_gb_s", "verdict"), [(1e-5, "invalid"), (2e-5, "pass")])
def test_a_site_that_tells_its_bandwidth_has_its_runs_judged_by_it(
    tmp_path: Path, bandwidth_gb_s: float, verdict: str
) -> None:
    """9.1 tok/s of a model that reads 1808 bytes a step, 320 of them KV cache."""
    prepared = bench_of(tmp_path)
    known = card(engine_architecture="llama", shape=shape())
    told = replace(prepared.study, site=site(bandwidth_gb_s=bandwidth_gb_s), cards=(known,))
    assert judged(replace(prepared, study=told), requests=(request(0), request(1)))["roofline"] == verdict


def test_each_arm_is_judged_by_the_files_of_its_own_image(tmp_path: Path) -> None:
    prepared = bench_of(tmp_path)
    files = {"": Files(None, "sha256:other"), "own:2": Files(None, "sha256:good")}
    (native, contained) = prepared.study.treatments
    own = replace(contained, image="own:2")
    two = replace(
        prepared,
        study=replace(prepared.study, treatments=(native, own)),
        arms={**prepared.arms, "container_baseline": replace(prepared.arms["container_baseline"], treatment=own)},
        files=files,
    )
    assert two.expected_digest("native") == "sha256:other"
    assert two.expected_digest("container_baseline") == "sha256:good"
    assert judged(two)["identity"] == "invalid"
    assert two.identity["rootfs_digest"] == {"": "sha256:other", "container_baseline": "sha256:good"}
