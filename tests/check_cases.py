"""Runs for the checks: one that is in order, and a hundred of them as an ordinary machine makes them, noise included."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from random import Random
from typing import Any

from builders import MS, S, card, experiment, shape, site, study

from sparkray.checks import Asked, Evidence, Late, Row
from sparkray.checks.steady import pace_drift_ratio
from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Protocol, Workload
from sparkray.metrics import RunData, compute_all, counted
from sparkray.plan import PlannedRun, Study, make_plan
from sparkray.records import EngineFacts, Measurement, Request, Verdict
from sparkray.runtimes import StartState
from sparkray.units import MIB

DIGEST, WEIGHTS = "sha256:good", "1" * 64
START = asdict(StartState(rlimits={"nofile": (1024, 4096)}))
ENVIRONMENT = {"LANG": "C.UTF-8"}
STATE: dict[str, Any] = {
    "nice": 0,
    "oom_score_adj": 0,
    "umask": "0022",
    "rlimits": {"nofile": (1024, 4096), "stack": (8, -1)},
    "signals_blocked": "0000000000000000",
    "signals_ignored": "0000000000000000",
    "cpus_allowed": "0-1",
    "environment": ENVIRONMENT,
}
LIMITS: dict[str, Any] = {
    "memory_bytes": -1,
    "memory_swap_bytes": -1,
    "cpus": -1,
    "cpu_shares": 1024,
    "cpuset": "0-1",
    "pids": -1,
}
OUTSIDE: dict[str, Any] = {
    "namespaces": dict.fromkeys(("mnt", "pid", "net", "ipc", "uts", "user", "cgroup"), "host"),
    "cgroup_limits": LIMITS,
    "cpus_online": "0-1",
    "cpus_allowed": "0-1",
    "seccomp": "0",
    "no_new_privs": "0",
    "shm_bytes": 12 << 30,
    "root_read_only": False,
    "model_filesystem": None,
    "model_source": None,
    "model_read_only": None,
}
MODEL = {"model_filesystem": "ext4", "model_source": "/dev/vda1", "model_read_only": True}
NATIVE = OUTSIDE | MODEL | {"namespaces": OUTSIDE["namespaces"] | {"mnt": "own"}, "root_read_only": True}
CONTAINER = (
    OUTSIDE
    | MODEL
    | {
        "namespaces": dict.fromkeys(("mnt", "pid", "net", "ipc", "uts"), "own") | {"user": "host", "cgroup": "host"},
        "seccomp": "2",
        "shm_bytes": 64 * MIB,
        "interfaces": ["eth0", "lo"],
        "rlimits": {"stack": (67108864, 67108864), "memlock": (8388608, 8388608)},
    }
)
STATES = {"host": OUTSIDE, "native": NATIVE, "container_baseline": CONTAINER}
"""The effective state of a run in order, by environment, but for what it started from."""
MACHINE = json.dumps({"cpus": 2})
ASKED = Asked(
    rootfs_digest=DIGEST, model_sha256=WEIGHTS, environment=ENVIRONMENT, start=START, options=DockerOptions(ipc="host")
)
LOAD = Workload(requests=12, input_tokens=8, output_tokens=32, warmup_requests=1)


def question(runs: int = 4, *, protocol: Protocol | None = None, **changes: Any) -> Study:
    """One request at a time, 12 of them, on a machine whose memory feeds 74 tokens a second of this model."""
    values: dict[str, Any] = {"workload": replace(LOAD, concurrency=1), "runs": runs, **changes}
    asked = experiment(protocol=protocol or Protocol(), **values)
    small = card(shape=shape(params_total=135_000_000, tied_embeddings=True))
    return study(experiment=asked, cards=(small,), site=site(bandwidth_gb_s=20.0, memory_gib=23.5))


def requests_of(paces_ms: Sequence[float], *, begin_ns: int = S) -> tuple[Request, ...]:
    """One after another, each of 32 tokens at its own ms per token; the first is the warm-up."""
    found: list[Request] = []
    now = begin_ns
    for index, pace in enumerate((20.0, *paces_ms)):
        step = int(pace * MS)
        tokens = tuple(now + step * (k + 1) for k in range(32))
        found.append(Request(index, index == 0, 8, 32, now, tokens[0], tokens[-1], tokens))
        now = tokens[-1] + MS
    return tuple(found)


def measured(paces_ms: Sequence[float] = (20.0,) * 12, **facts: Any) -> Measurement:
    """What the engine of such a run left."""
    known: dict[str, Any] = {"version": "1.0", "model_sha256": WEIGHTS, "model_architecture": "llama"}
    return Measurement(requests_of(paces_ms), EngineFacts(**known | facts))


def samples_of(
    requests: Sequence[Request], *, foreign: float = 0.1, engine: float = 1.5, swap: float = 0.0
) -> list[Row]:
    """The host and the process tree ten times a second, a second before and after the requests; cores of two."""
    end = max(request.end_ns for request in requests) + S
    return [
        {
            "sampler": "host",
            "t_ns": t,
            "device": None,
            "cpu_busy_pct": min(100.0, (foreign + engine) / 2 * 100),
            "process_cpu_s": engine * t / S,
            "swap_used_gib": swap,
        }
        for t in range(0, end, S // 10)
    ]


def row_of(
    planned: PlannedRun, measurement: Measurement, samples: Sequence[Row] = (), **changes: Any
) -> dict[str, Any]:
    """The row of a run, metrics computed."""
    data = RunData(counted(measurement.requests), samples, measurement.facts, {})
    end = max((request.end_ns for request in measurement.requests), default=0)
    values: dict[str, Any] = {
        **asdict(planned),
        "attempt": 1,
        "status": "ok",
        "simulated": False,
        "machine": MACHINE,
        "effective_state": json.dumps(STATE),
        "rootfs_digest": DIGEST,
        "engine_version": measurement.facts.version,
        "model_sha256": measurement.facts.model_sha256,
        "model_architecture": measurement.facts.model_architecture,
        "duration_s": end / S + 1,
        "wall_clock_step_s": 0.001,
        "observer_cpu_s": 0.1,
        "ray_cpu_s": None,
        "mem_total_gib": 23.5,
        "mem_free_before_gib": 20.0,
        "mem_available_before_gib": 22.0,
        "page_cache_before_gib": 1.8,
        "swap_used_before_gib": 0.0,
        "page_cache_dropped": None,
        "pace_drift_ratio": pace_drift_ratio(data.requests, 1),
        **compute_all(data),
    }
    return values | changes


def evidence(study_: Study | None = None, /, *, position: int = 0, **changes: Any) -> Evidence:
    """A run that is in order: `row` changes columns, the rest replaces what `Evidence` holds."""
    of = study_ or question()
    planned = make_plan(of)[position]
    measurement = changes.pop("measurement", measured())
    samples = changes.pop("samples", samples_of(measurement.requests) if measurement.requests else ())
    row = row_of(planned, measurement, samples, **changes.pop("row", {}))
    values: dict[str, Any] = {"state": STATE, "asked": ASKED, **changes}
    return Evidence(of, planned, measurement, row=row, samples=samples, **values)


def verdict_of(check: Any, found: Evidence) -> Verdict:
    """A verdict that must be there."""
    verdict = check.judge(found)
    assert verdict is not None
    return verdict  # type: ignore[no-any-return]


def rows(of: Study, values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows of the first runs of a plan, in its order, each with some columns of its own."""
    plan = make_plan(of)
    return [row_of(planned, measured(), **own) for planned, own in zip(plan, values, strict=False)]


def marked(found: Sequence[Late], stored: Sequence[Row]) -> list[int]:
    """Which rows, by their place, were given a late verdict."""
    told = {(late.run_id, late.attempt) for late in found}
    return [place for place, row in enumerate(stored) if (row["run_id"], row["attempt"]) in told]


def noisy(random: Random, share: float = 0.1) -> float:
    """A factor of time: lognormal, and once in twenty 30 % longer."""
    return math.exp(random.gauss(0, share)) * (1.3 if random.random() < 0.05 else 1.0)


def state_of(environment: str) -> dict[str, Any]:
    """The effective state of a run in order; a container shares the host's IPC, as `ASKED` has it."""
    seen = STATES[environment]
    if environment.startswith("container"):
        shared = {"namespaces": seen["namespaces"] | {"ipc": "host"}, "shm_bytes": OUTSIDE["shm_bytes"]}
        return seen | shared | STATE
    return seen | STATE


def clean_run(of: Study, planned: PlannedRun, random: Random, *, drifted_gib: float) -> Evidence:
    """A run of a shared two-core machine: runs scatter by 10 %, requests by 5, probes by 10 (a GPU's by 1)."""
    speed = math.exp(random.gauss(0, 0.1))
    measurement = measured([20.0 * speed * math.exp(random.gauss(0, 0.05)) for _ in range(12)])
    foreign = max(0.0, random.gauss(0.1, 0.04))
    samples = samples_of(measurement.requests, foreign=foreign, swap=0.01)
    probes = {
        f"probe_{name}_{when}_ms": usual * (noisy(random) if usual > 50 else math.exp(random.gauss(0, 0.01)))
        for name, usual in (("cpu", 100.0), ("memory", 80.0), ("gpu_memory", 30.0), ("gpu_compute", 40.0))
        for when in ("before", "after")
    }
    state = state_of(planned.environment)
    cached = 1.8 + drifted_gib + random.gauss(0, 0.02)
    row = row_of(
        planned,
        measurement,
        samples,
        effective_state=json.dumps(state),
        page_cache_before_gib=cached,
        mem_free_before_gib=22.0 - cached + random.gauss(0, 0.1),
        mem_available_before_gib=22.0 + random.gauss(0, 0.1),
        swap_used_before_gib=0.01,
        gpu_temp_gate_c=float(random.randint(40, 43)),
        gpu_throttled_pct=0.0,
        gpu_sm_clock_mean_mhz=2400.0 * math.exp(random.gauss(0, 0.01)),
        **probes,
    )
    asked = ASKED if planned.environment.startswith("container") else replace(ASKED, options=DockerOptions())
    return Evidence(of, planned, measurement, row=row, samples=samples, state=state, asked=asked)
