"""One run's whole life, in every arm: the real engine room, with the double in the engine's place."""

import hashlib
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import docker
import pytest
from docker.errors import APIError, NotFound
from real_machine import require_root
from small_bench import ARMS, NEIGHBOURLY, bench_of, changed, model_of, planned, run, study_of

from sparkray.config.docker import DockerOptions
from sparkray.config.docker_columns import DOCKER_COLUMNS, options_of_row
from sparkray.execute.layout import container_name
from sparkray.execute.prepared_host import PreparedHost
from sparkray.execute.run import run_once
from sparkray.execute.verify import verify
from sparkray.metrics import RECORDED
from sparkray.records import STATUSES, Outcome, Verdict
from sparkray.runtimes import MARKER, Launch, Running, Runtime, Stop
from sparkray.runtimes.linux.process import marked
from sparkray.store.tables import TABLES

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock")]

FAULTS: Mapping[str, tuple[str, str]] = {
    "crash": (
        "failed",
        r"ended with status 1: double: terminate called after throwing an instance of 'std::bad_alloc'",
    ),
    "signal": ("failed", r"ended with signal 11: double: loading .*Tiny\.gguf"),
    "hang": ("timeout", r"had not ended after 1 s(\. Raise it: --set experiment\.timeout_s=N|; the CPUs were)"),
    "missing": ("failed", r"ended with status 0 but left no result\.json"),
    "garbage": ("failed", r"result\.json cannot be read: "),
    "truncated": ("failed", r"result\.json cannot be read: "),
    "short": ("invalid", r"tokens: .*20 out, asked for were 4 of 32 and 24"),
    "clock": ("invalid", r"tokens: .*clock runs backwards"),
    "lost": ("failed", r"returned 4 requests of 5"),
    "wrong_model": ("invalid", r"identity: the engine loaded a model with SHA-256 0{64}, not [0-9a-f]{64}"),
}
CLOCK_TICK_S = 0.011  # an engine tells its lifetime from a start time that the kernel keeps in clock ticks of 10 ms
NO_GPU = {
    column.name for column in TABLES["runs"] if column.name.startswith(("probe_gpu_", "gpu_", "power_", "energy_"))
}
ALWAYS_NULL = {
    "reason",
    "page_cache_dropped",
    "pace_drift_ratio",
    "checkpoint_sha256",
    "weights_digest",
    "process_pss_peak_gib",
    "engine_devices",
    "engine_reported_peak_gib",
    "ray_cpu_s",
    "ray_memory_gib",
    *NO_GPU,
    *RECORDED,
    *("goodput_req_s", "slo", "network_mode", "network_published", "network_route"),
    *("client", "client_cpus", "client_cpu_s", "client_rate_ratio", "kv_cache_tokens", "context_length"),
    *("gpu_route", "warm_start", "attention_backend", "flash_attention", "engine_init_s"),
    *("compile_cache", "compile_state", "compile_s", "graph_capture_s"),
}
MAYBE_NULL = {"cpu_busy_serving_pct", "engine_cpu_serving_pct"}  # half a second of load holds few samples
NULL_BY_ARM = {
    "host": {
        *("image", "image_digest", "docker_command", "container_oom_killed"),
        *("cgroup_anon_peak_gib", "cgroup_file_peak_gib"),
    },
    "native": {"docker_command", "container_oom_killed", "cgroup_anon_peak_gib", "cgroup_file_peak_gib"},
    "container_baseline": set(),
}


@pytest.fixture(scope="module")
def prepared(machine_lock: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedHost:
    require_root("native")
    folder = tmp_path_factory.mktemp("execute")
    cards = model_of(folder), model_of(folder, "Large", size=64 << 20)
    study = study_of(*cards)
    study = replace(study, experiment=replace(study.experiment, checks=NEIGHBOURLY))
    return bench_of(study, folder / "results", cache)


@pytest.fixture(autouse=True)
def nothing_left(prepared: PreparedHost, client: docker.DockerClient) -> Iterator[None]:
    yield
    assert marked() == []
    assert client.containers.list(all=True, ignore_removed=True, filters={"label": "io.sparkray.run"}) == []
    assert list(prepared.dataset.spool.iterdir()) == []


def stored(prepared: PreparedHost, table: str, outcome: Outcome) -> list[dict]:
    key = outcome.row["run_id"], outcome.row["attempt"]
    return [row for row in prepared.dataset.read(table) if (row["run_id"], row["attempt"]) == key]


def log_of(prepared: PreparedHost, outcome: Outcome) -> bytes:
    return (prepared.dataset.path / "logs" / f"{outcome.row['run_id']}-{outcome.row['attempt']}.log").read_bytes()


@pytest.mark.parametrize("environment", ARMS)
def test_an_ok_run_fills_its_row(prepared: PreparedHost, environment: str, client: docker.DockerClient) -> None:
    slow = changed(prepared, probed=True, tokens_per_s=60.0)
    outcome = run(slow, environment, "Tiny")
    assert (outcome.status, outcome.row["reason"]) == ("ok", None)
    (row,) = stored(prepared, "runs", outcome)
    assert {*row} == {column.name for column in TABLES["runs"]}
    device = {name for name in NO_GPU if row[name] is not None} if slow.machine.gpus else set()
    asked = slow.arms[environment].treatment.options if environment == "container_baseline" else DockerOptions()
    assert options_of_row(row) == asked
    null = {name for name, value in row.items() if value is None} - MAYBE_NULL - {c.name for c in DOCKER_COLUMNS}
    assert null == (ALWAYS_NULL - device | NULL_BY_ARM[environment])
    assert row["simulated"] is True
    assert json.loads(row["machine"])["docker"] == client.version()["Version"]
    assert row["exit_code"] == 0
    assert (row["requests_planned"], row["requests_done"]) == (4, 4)
    assert 0 < row["engine_lifetime_s"] < row["duration_s"] + CLOCK_TICK_S
    assert row["dead_time_s"] == pytest.approx(row["duration_s"] - row["engine_lifetime_s"])
    assert row["rootfs_digest"] == prepared.expected_digest(environment)
    assert row["model_sha256"] == prepared.weights["Tiny"].sha256
    assert row["log_sha256"] == hashlib.sha256(log_of(prepared, outcome)).hexdigest()
    assert row["output_throughput_tok_s"] == pytest.approx(60, rel=0.25)
    assert row["started_at"] < row["ended_at"]
    assert b"double: loading" in log_of(prepared, outcome)


@pytest.mark.parametrize("environment", ARMS)
def test_an_ok_run_keeps_requests_samples_and_checks(prepared: PreparedHost, environment: str) -> None:
    outcome = run(changed(prepared, probed=True, tokens_per_s=61.0), environment, "Tiny")
    requests = stored(prepared, "requests", outcome)
    assert [(r["request"], r["warmup"], r["output_tokens"], len(r["token_ns"])) for r in requests] == [
        (i, i == 0, 6, 6) for i in range(5)
    ]
    samples = stored(prepared, "samples", outcome)
    in_container = environment.startswith("container")
    assert {s["sampler"] for s in samples} >= {"host", "process"} | ({"cgroup"} if in_container else set())
    assert ("cgroup" in {s["sampler"] for s in samples}) == in_container
    # null where a sample met nothing but zombies, at the very end
    held = [s["process_rss_gib"] for s in samples if s["sampler"] == "process" and s["process_rss_gib"] is not None]
    assert held
    assert min(held) > 0.001
    checks = stored(prepared, "checks", outcome)
    assert {c["verdict"] for c in checks if c["check"] not in NEIGHBOURLY} == {"pass"}
    assert {c["check"] for c in checks} >= {
        "environment", "identity", "power_state", "readback", "start_state", "tokens",
    }  # fmt: skip


def test_every_arm_starts_alike(prepared: PreparedHost) -> None:
    rows = {name: run(changed(prepared, tokens_per_s=62.0), name, "Tiny").row for name in ARMS}
    states = {name: json.loads(row["effective_state"]) for name, row in rows.items()}
    native, container = states["native"], states["container_baseline"]
    for state in states.values():
        assert (state["nice"], state["oom_score_adj"]) == (0, 0)
    if not json.loads(rows["native"]["deviations"]):
        assert native["rlimits"] == container["rlimits"]
    assert {*container["environment"]} - {*native["environment"]} == set()
    own = {"HOSTNAME", MARKER}
    assert {k: v for k, v in native["environment"].items() if k not in own} == {
        k: v for k, v in container["environment"].items() if k not in own
    }
    assert own <= {*native["environment"]}
    assert rows["native"]["engine_command"] == rows["container_baseline"]["engine_command"]
    assert rows["native"]["dataset_sha256"] == rows["host"]["dataset_sha256"]
    assert len({row["rootfs_digest"] for row in rows.values()}) == 1
    assert (native["namespaces"]["mnt"], native["namespaces"]["pid"]) == ("own", "host")
    assert (container["namespaces"]["pid"], container["namespaces"]["ipc"]) == ("own", "host")


@pytest.mark.parametrize(
    ("fault", "environment"),
    [
        pytest.param(fault, arm, marks=[] if place % len(ARMS) == turn else pytest.mark.slow)
        for turn, arm in enumerate(ARMS)
        for place, fault in enumerate(FAULTS)
    ],
)
def test_a_fault_becomes_a_status_with_a_reason(prepared: PreparedHost, environment: str, fault: str) -> None:
    status, reason = FAULTS[fault]
    faulty = changed(prepared, fault=fault, timeout_s=1.0 if fault == "hang" else None)
    outcome = run(faulty, environment, "Tiny")
    (row,) = stored(prepared, "runs", outcome)
    assert row["status"] == status in STATUSES
    assert row["reason"] is not None
    assert re.search(reason, row["reason"]), row["reason"]
    assert b"double: loading" in log_of(prepared, outcome)
    assert row["started_at"] is not None
    assert row["duration_s"] > 0
    assert (row["output_throughput_tok_s"] is None) == (status != "invalid")


def test_a_second_try_is_a_second_attempt(prepared: PreparedHost) -> None:
    faulty = changed(prepared, fault="crash", load_s=0.02)
    assert [run(faulty, "native", "Tiny").row["attempt"] for _ in range(2)] == [1, 2]


@contextmanager
def once_it_loads(
    client: docker.DockerClient, prepared: PreparedHost, environment: str, act: Callable[[], object]
) -> Iterator[None]:
    """Acts from beside, as soon as the engine of the run within has said its first words."""
    run_id = planned(prepared, environment, "Tiny").run_id
    over = threading.Event()

    def said() -> bytes:
        if environment.startswith("container"):
            return client.containers.get(container_name(run_id)).logs()
        return b"".join(log.read_bytes() for log in prepared.dataset.spool.glob(f"{run_id}-*/out/engine.log"))

    def watch() -> None:
        while not over.wait(0.05):
            with suppress(NotFound, APIError):
                if b"loading" in said():
                    act()
                    return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


@pytest.mark.parametrize("environment", ARMS)
def test_a_stop_interrupts(client: docker.DockerClient, prepared: PreparedHost, environment: str) -> None:
    stop = Stop()
    hanging = changed(prepared, fault="hang", load_s=0.03)
    with once_it_loads(client, hanging, environment, stop.set):
        outcome = run(hanging, environment, "Tiny", stop)
    assert (outcome.status, outcome.row["reason"]) == ("interrupted", "stopped while the engine ran")
    assert outcome.row["duration_s"] < hanging.study.experiment.timeout_s
    assert b"double: loading" in log_of(prepared, outcome)
    assert stored(prepared, "samples", outcome) != []


def test_the_note_is_reported_before_the_start(prepared: PreparedHost) -> None:
    told: list[str] = []
    chosen = planned(changed(prepared, fault="missing"), "native", "Tiny")
    run_once(changed(prepared, fault="missing"), chosen, Stop(), told.append)
    assert told == [container_name(chosen.run_id)]


@dataclass(frozen=True)
class Leaking:
    """A runtime that starts from another state than the one declared, as one would under a Ray actor."""

    inner: Runtime
    nice: int
    name: str = "leaking"

    def start(self, launch: Launch) -> AbstractContextManager[Running]:
        return self.inner.start(replace(launch, start=replace(launch.start, nice=self.nice)))


@pytest.mark.parametrize("environment", ["host", "native"])
def test_a_start_state_that_leaked_is_refused(prepared: PreparedHost, environment: str) -> None:
    arm = prepared.arms[environment]
    leaking = {**prepared.arms, environment: replace(arm, runtime=Leaking(arm.runtime, 15))}
    outcome = run(replace(changed(prepared, load_s=0.04), arms=leaking), environment, "Tiny")
    assert outcome.status == "invalid"
    assert outcome.row["reason"] == "start_state: nice is 15, declared 0"
    assert json.loads(outcome.row["effective_state"])["nice"] == 15
    assert outcome.row["output_throughput_tok_s"] > 0, "kept, and marked"


def test_an_altered_file_makes_that_arm_invalid(prepared: PreparedHost) -> None:
    root = prepared.arms["native"].rootfs
    assert root is not None
    victim = root / "etc" / "group"
    whole = victim.read_bytes()
    other = changed(prepared, load_s=0.05)
    try:
        victim.write_bytes(whole.replace(b"root", b"toor"))
        outcomes = {name: run(other, name, "Tiny") for name in ARMS}
    finally:
        victim.write_bytes(whole)
    assert {name: outcome.status for name, outcome in outcomes.items()} == {
        "host": "ok", "native": "invalid", "container_baseline": "ok",
    }  # fmt: skip
    reason = outcomes["native"].row["reason"]
    assert reason.startswith("identity: the files of this arm are not the image's: sha256:")
    assert prepared.expected_digest("native") in reason
    assert run(other, "native", "Tiny").status == "ok"


def test_a_container_that_somebody_kills_has_failed(prepared: PreparedHost, client: docker.DockerClient) -> None:
    hanging = changed(prepared, fault="hang", load_s=0.06)
    name = container_name(planned(hanging, "container_baseline", "Tiny").run_id)
    with once_it_loads(client, hanging, "container_baseline", lambda: client.containers.get(name).kill()):
        outcome = run(hanging, "container_baseline", "Tiny")
    assert outcome.status == "failed"
    assert outcome.row["exit_code"] == -9
    why = "the engine ended with signal 9 (another client of Docker stopped or killed its container): double: loading"
    assert outcome.row["reason"].startswith(why)


def test_a_spool_that_is_removed_after_the_checks_leaves_no_ok_run(
    prepared: PreparedHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify_and_remove(*arguments: Any, **named: Any) -> tuple[Verdict, ...]:
        verdicts = verify(*arguments, **named)
        for spool in prepared.dataset.spool.iterdir():
            shutil.rmtree(spool)
        return verdicts

    monkeypatch.setattr("sparkray.execute.run.verify", verify_and_remove)
    outcome = run(changed(prepared, load_s=0.09), "native", "Tiny")
    assert outcome.status == "interrupted"
    assert outcome.row["reason"].startswith("somebody removed ")


@pytest.mark.parametrize("init", [None, True])
def test_too_little_memory_is_distinguished(prepared: PreparedHost, init: bool | None) -> None:
    arm = prepared.arms["container_baseline"]
    options = DockerOptions(memory="24m", memory_swap="24m", init=init)
    tight = {**prepared.arms, "container_baseline": replace(arm, treatment=replace(arm.treatment, options=options))}
    outcome = run(replace(changed(prepared, load_s=0.07), arms=tight), "container_baseline", "Large")
    assert outcome.status == "oom", outcome.row["reason"]
    assert outcome.row["reason"].startswith("the engine was killed for memory (exit -9): double: loading")
    assert "--memory=24m" in outcome.row["docker_command"]


def test_a_model_that_is_unready_is_not_started(prepared: PreparedHost) -> None:
    unready = replace(changed(prepared, load_s=0.08), unready={"Tiny": "no checkpoint at /nowhere"})
    outcome = run(unready, "native", "Tiny")
    assert (outcome.status, outcome.row["reason"]) == ("unready", "no checkpoint at /nowhere")
    (row,) = stored(prepared, "runs", outcome)
    assert (row["started_at"], row["duration_s"], row["log_sha256"]) == (None, None, None)
