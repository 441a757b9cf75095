"""The row of a run: what is known before it starts, what is learnt while it goes on, and what is computed at its end."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import psutil

from sparkray import __version__
from sparkray.checks import policies_of
from sparkray.checks.steady import pace_drift_ratio
from sparkray.config.secrets import hidden, hidden_bytes
from sparkray.energy import power_valid
from sparkray.engines import SERVER
from sparkray.execute.prepared_host import PreparedHost
from sparkray.execute.warm_start import policy_of
from sparkray.metrics import RunData, compute_all, counted
from sparkray.plan import PlannedRun, Study, experiment_sha256
from sparkray.records import EngineFacts, Measurement, Outcome, Verdict
from sparkray.telemetry.host import memory_row, parse_meminfo
from sparkray.telemetry.recorder import recover
from sparkray.units import gib

ENGINE_LOG, SAMPLES = "engine.log", "samples.arrow"
ENGINE_SETUP = (
    *("context_length", "attention_backend", "flash_attention", "compile_cache", "compile_state", "compile_s"),
    *("graph_capture_s", "engine_init_s"),
)
"""Columns that hold what the engine reports of its own start."""


@dataclass
class RunRecord:
    """What is learnt of a run while it goes on; becomes its row."""

    columns: dict[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    measurement: Measurement | None = None
    checks: tuple[Verdict, ...] = ()
    secrets: tuple[str, ...] = ()
    """Values that nothing which is kept may show."""

    def deviates(self, *notes: str) -> None:
        """Adds to where the run departs from what was asked."""
        self.columns["deviations"] = json.dumps([*json.loads(self.columns["deviations"]), *notes])


def first_columns(prepared: PreparedHost, planned: PlannedRun, attempt: int) -> dict[str, Any]:
    """What is known of a run before it starts."""
    study = prepared.study
    arm = prepared.arms[planned.environment]
    located = prepared.weights.get(planned.model)
    return {
        **asdict(planned),
        "attempt": attempt,
        "experiment": study.experiment.name,
        "experiment_sha256": experiment_sha256(study, policies_of(study)),
        "site": study.site.name,
        "host": prepared.machine.host,
        "workload": study.experiment.workload.kind,
        "simulated": study.site.simulated,
        "engine": _engine_of(study, planned),
        "image": arm.image.reference if arm.image else None,
        "checkpoint_sha256": located.checkpoint if located else None,
        "image_digest": arm.image.digest if arm.image else None,
        "gpu_route": arm.gpu_route,
        "start_state": json.dumps(asdict(arm.start)),
        "deviations": json.dumps([*study.site.deviations, *arm.deviations]),
        "machine": json.dumps(prepared.machine.facts),
        "sparkray_version": __version__,
        "seed": study.experiment.seed,
        "requests_planned": study.experiment.workload.requests,
        "concurrency": study.concurrency(planned),
        "weights_kind": study.card(planned.model).weights.kind,
        "warm_start": policy_of(prepared),
        "slo": json.dumps(asdict(serving.slo)) if (serving := study.experiment.workload.serve) else None,
    }


def _engine_of(study: Study, planned: PlannedRun) -> str:
    """The engine's name; that of the recipe where the environment has one of its own."""
    recipe = study.options_of(planned).get("recipe")
    return f"{SERVER}:{recipe['name']}" if recipe else study.engine


def memory_before() -> dict[str, float | None]:
    """Host memory just before the start, under the names of the row."""
    fields = parse_meminfo(Path("/proc/meminfo").read_text())
    before = {f"{name.removesuffix('_gib')}_before_gib": value for name, value in memory_row(fields).items()}
    return {**before, "mem_total_gib": gib(psutil.virtual_memory().total)}


def outcome_of(record: RunRecord, spool: Path) -> Outcome:
    """Row, requests and samples of an attempt, metrics computed from them."""
    samples = recover(spool / SAMPLES) if (spool / SAMPLES).exists() else []
    row = {
        **record.columns,
        "effective_state": json.dumps(record.state, default=list) if record.state else None,
        "log_sha256": _sha256_of(spool / "out" / ENGINE_LOG, record.secrets),
    }
    requests = record.measurement.requests if record.measurement else ()
    facts = record.measurement.facts if record.measurement else EngineFacts()
    row["server_weights_gib"] = facts.reported.get("weights_gib")
    data = RunData(counted(requests), samples, facts, row)
    row.update(compute_all(data))
    row["power_valid"] = power_valid(samples)
    if row.get("concurrency") is not None:
        row["pace_drift_ratio"] = pace_drift_ratio(data.requests, row["concurrency"])
    row.update(_from_facts(facts, row))
    if record.measurement is not None:
        row.update(requests_done=len(data.requests), simulated=record.measurement.simulated or row["simulated"])
    return Outcome(row=row, requests=requests, samples=samples, checks=record.checks)


# Columns that no program words: by these rows are found and compared, and a secret may be a word such as `native`.
_KEYS = (
    "run_id",
    "experiment",
    "site",
    "host",
    "workload",
    "model",
    "environment",
    "level",
    "status",
    "engine",
    "client",
)


def without_secrets(outcome: Outcome, values: Sequence[str]) -> Outcome:
    """An outcome without these values in any text of its row, but for its keys, or of its verdicts."""
    values = sorted({*values, *(json.dumps(value)[1:-1] for value in values)}, key=len, reverse=True)
    row = {
        name: hidden(value, values)
        if isinstance(value, str) and name not in _KEYS and not name.endswith(("_sha256", "_digest"))
        else value
        for name, value in outcome.row.items()
    }
    checks = tuple(replace(verdict, evidence=hidden(verdict.evidence, values)) for verdict in outcome.checks)
    return replace(outcome, row=row, checks=checks)


def _sha256_of(log: Path, secrets: Sequence[str]) -> str | None:
    """Of the log as it is kept."""
    if not log.is_file():
        return None
    return hashlib.sha256(hidden_bytes(log.read_bytes(), secrets)).hexdigest()


def _from_facts(facts: EngineFacts, row: Mapping[str, Any]) -> dict[str, Any]:
    dead = row["duration_s"] - facts.lifetime_s if facts.lifetime_s is not None and row.get("duration_s") else None
    return {
        "engine_version": facts.version,
        "engine_lifetime_s": facts.lifetime_s,
        "dead_time_s": dead,
        "model_path": facts.model_path,
        "model_sha256": facts.model_sha256,
        "model_architecture": facts.model_architecture,
        "engine_load_s": facts.load_s,
        "engine_threads": facts.threads,
        "engine_devices": facts.reported.get("world_size"),
        "kv_cache_tokens": facts.reported.get("kv_cache_tokens"),
        **{name: facts.reported.get(name) for name in ENGINE_SETUP},
    }
