"""One run's life, on one page: folders, gates, samplers, start, read back, wait, read, check, row.

Whatever happens becomes an outcome with a status and a reason; only what makes every further run impossible (Docker gone,
disk full) is raised, after the outcome is stored.
"""

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from sparkray import __version__
from sparkray.engines import EngineCommand, Job, Paths
from sparkray.errors import (
    EngineFailedError,
    HostError,
    RunError,
    RunInterruptedError,
    RunInvalidError,
    RunOutOfMemoryError,
    RunTimeoutError,
    RunUnreadyError,
    StorageError,
)
from sparkray.execute.arms import Arm
from sparkray.execute.bench import Bench
from sparkray.execute.gates import Gates, reference_of, thermometer
from sparkray.execute.layout import binds_of, container_name, host_paths, inside_paths, job_of, labels_of
from sparkray.execute.verify import verify
from sparkray.execute.watchdog import Watchdog
from sparkray.images.digest import hash_stream
from sparkray.metrics import RunData, compute_all, counted
from sparkray.plan import PlannedRun, experiment_sha256
from sparkray.records import EngineFacts, Measurement, Outcome, Verdict
from sparkray.runtimes import Exit, Launch, Running, Stop, await_end
from sparkray.runtimes._readback import effective_state
from sparkray.runtimes.container import container_spec
from sparkray.spec.container import run_line
from sparkray.spec.experiment import Experiment
from sparkray.spec.site import HOST
from sparkray.store import Dataset, storage_errors, write_atomically
from sparkray.telemetry import Target, load_sampler, sampler_names
from sparkray.telemetry.host import memory_row, parse_meminfo
from sparkray.telemetry.recorder import Recorder, recover
from sparkray.units import NS_PER_S, gib

ENGINE_LOG, SAMPLES = "engine.log", "samples.arrow"


@dataclass
class Trace:
    """What is learnt of a run while it goes on; becomes its row."""

    columns: dict[str, Any]
    state: Mapping[str, Any] = field(default_factory=dict)
    measurement: Measurement | None = None
    checks: tuple[Verdict, ...] = ()

    def deviates(self, *notes: str) -> None:
        """Adds to where the run departs from what was asked."""
        self.columns["deviations"] = json.dumps([*json.loads(self.columns["deviations"]), *notes])


def run_once(bench: Bench, planned: PlannedRun, stop: Stop, note: Callable[[str], None]) -> Outcome:
    """One attempt at a planned run, stored.

    Args:
        bench: The machine, ready.
        planned: The run.
        stop: Asks for an early end.
        note: Told the run's name before anything is started, so that the next holder of the lock can find it.

    Returns:
        The outcome as it was stored.

    Raises:
        HostError: Docker no longer answers, or the disk is full: the attempt is stored as failed, and no further run
            can do better.
    """
    attempt = bench.dataset.attempts(planned.run_id) + 1
    spool = bench.dataset.spool / f"{planned.run_id}-{attempt}"
    trace = Trace(_first_columns(bench, planned, attempt))
    broken: HostError | None = None
    note(container_name(planned.run_id))
    try:
        _make_folders(spool, trace)
        _attempt(bench, planned, trace, spool, stop)
        trace.columns.update(status="ok", reason=None)
    except RunError as error:
        trace.columns.update(status=error.status, reason=str(error))
    except HostError as error:
        trace.columns.update(status="failed", reason=str(error))
        broken = error
    outcome = _stored(bench.dataset, trace, spool)
    if broken is not None:
        raise broken
    if outcome.status != "ok":
        bench.dataset.check_space()
    return outcome


def _stored(dataset: Dataset, trace: Trace, spool: Path) -> Outcome:
    """The outcome, on disk. When the disk is full, at least its row as failed, in the room kept for that.

    Raises:
        StorageError: It could not be stored as it is.
    """
    run_id, attempt = trace.columns["run_id"], trace.columns["attempt"]
    outcome = _outcome(trace, spool)
    try:
        dataset.keep_log(run_id, attempt, spool / "out" / ENGINE_LOG)
        dataset.write(outcome)
    except StorageError as error:
        dataset.drop_spool(spool)
        dataset.write_last({**outcome.row, "status": "failed", "reason": str(error)})
        raise
    dataset.drop_spool(spool)
    return outcome


def _attempt(bench: Bench, planned: PlannedRun, trace: Trace, spool: Path, stop: Stop) -> None:
    """Start to end of the engine, with its result read and checked. Raises RunError, HostError."""
    if planned.model in bench.unready:
        raise RunUnreadyError(bench.unready[planned.model])
    arm = bench.arms[planned.environment]
    job, command, launch = _launch(bench, planned, arm, spool)
    _tell_launch(trace, arm, command, launch)
    trace.columns["rootfs_digest"] = bench.digest_now(planned.environment)
    _pass_gates(bench, planned, trace, stop)
    oom_before = _kernel_oom_kills()
    with _recording(trace, spool) as recorder:
        trace.columns.update(_memory_before())
        cpu_before = time.process_time()
        ended = _run_engine(arm, launch, bench.study.experiment, recorder=recorder, trace=trace, stop=stop)
        trace.columns["observer_cpu_s"] = time.process_time() - cpu_before
    try:
        _judge_exit(ended, launch.log, out_of_memory=ended.out_of_memory or _kernel_oom_kills() > oom_before)
        trace.measurement = bench.engine.read(spool / "out", job)
    except RunError:
        trace.measurement = bench.engine.salvage(spool / "out", job)
        trace.deviates(*(trace.measurement.notes if trace.measurement else ()))
        raise
    trace.deviates(*trace.measurement.notes)
    trace.checks = verify(bench, planned, trace.measurement, trace.state, trace.columns["rootfs_digest"])
    if refused := [check for check in trace.checks if check.verdict == "invalid"]:
        raise RunInvalidError("; ".join(f"{check.check}: {check.evidence}" for check in refused))


def _pass_gates(bench: Bench, planned: PlannedRun, trace: Trace, stop: Stop) -> None:
    """Last before the start, since all that is read after it would be in the page cache. Raises RunInterruptedError."""
    protocol = bench.study.experiment.protocol
    reference_c = None
    if protocol.cooldown != "none":
        reference_c = reference_of(bench.dataset.read("runs", ["started_at", "gpu_temp_start_c"]), protocol)
    with thermometer() as temperature:
        record = Gates(protocol, temperature=temperature).before(bench.weights[planned.model].path, stop, reference_c)
    trace.columns.update(gate_wait_s=record.waited_s, page_cache_dropped=record.page_cache_dropped)
    trace.deviates(*record.notes)


@contextmanager
def _recording(trace: Trace, spool: Path) -> Iterator[Recorder]:
    """A recorder of every sampler; what it lost stands in the row, however the run ends. Raises StorageError."""
    recorder = Recorder(spool / SAMPLES, [load_sampler(name) for name in sampler_names()])
    try:
        with recorder:
            yield recorder
    finally:
        trace.deviates(*(f"samples lost: {problem}" for problem in recorder.problems))


def _run_engine(
    arm: Arm, launch: Launch, experiment: Experiment, *, recorder: Recorder, trace: Trace, stop: Stop
) -> Exit:
    """The engine from start to end, with the wall time around the whole of it. Raises RunError, HostError."""
    floor_gib = experiment.protocol.memory_floor_gib
    trace.columns["started_at"] = datetime.now(UTC)
    began = time.monotonic_ns()
    try:
        with arm.runtime.start(launch) as running:
            recorder.attach(Target(running.pid or None, running.in_container))
            if running.pid:
                trace.state = effective_state(running.pid)
            with Watchdog(floor_gib, lambda _: running.kill()) as watchdog:
                ended = _await(running, experiment.timeout_s, stop)
    finally:
        trace.columns["duration_s"] = (time.monotonic_ns() - began) / NS_PER_S
        trace.columns["ended_at"] = datetime.now(UTC)
    trace.columns["exit_code"] = ended.code
    if watchdog.reason is not None:
        raise RunOutOfMemoryError(watchdog.reason)
    return ended


def _await(running: Running, timeout_s: float, stop: Stop) -> Exit:
    how = await_end(running.pid, timeout_s, stop)
    if how != "ended":
        running.kill()
        running.finish()
    if how == "timeout":
        raise RunTimeoutError(
            f"the engine had not ended after {timeout_s:g} s", "Raise it: --set experiment.timeout_s=N"
        )
    if how == "stopped":
        raise RunInterruptedError("stopped while the engine ran")
    return running.finish()


def _judge_exit(ended: Exit, log: Path, *, out_of_memory: bool) -> None:
    """Raises EngineFailedError, RunOutOfMemoryError for a status other than 0."""
    if ended.code == 0:
        return
    last = last_line(log)
    if out_of_memory:
        raise RunOutOfMemoryError(f"the engine was killed for memory (exit {ended.code}): {last}")
    what = f"signal {-ended.code}" if ended.code < 0 else f"status {ended.code}"
    raise EngineFailedError(f"the engine ended with {what}: {last}")


def last_line(log: Path, length: int = 300) -> str:
    """The last thing an engine said, for a reason."""
    try:
        lines = log.read_bytes()[-8192:].decode(errors="replace").strip().splitlines()
    except OSError:
        lines = []
    return lines[-1].strip()[:length] if lines else "it said nothing"


def _launch(bench: Bench, planned: PlannedRun, arm: Arm, spool: Path) -> tuple[Job, EngineCommand, Launch]:
    """The command, its inputs on disk, and the launch of it."""
    study = bench.study
    card = study.card(planned.model)
    weights = bench.weights[planned.model].path
    job = job_of(study, planned, arm.tool)
    on_host = planned.environment == HOST
    inputs = f"{planned.model}-host" if on_host else planned.model
    folders = {"in": bench.dataset.path / "inputs" / inputs, "out": spool / "out"}
    paths: Paths = host_paths(weights, folders, sys.executable) if on_host else inside_paths(card, bench.engine)
    command = bench.engine.command(job, paths)
    for name, content in command.inputs.items():
        bench.dataset.put_input(folders["in"] / name, content)
    launch = Launch(
        name=container_name(planned.run_id),
        argv=command.argv,
        environment={**arm.environment, **command.environment},
        log=folders["out"] / ENGINE_LOG,
        scratch=spool / "tmp",
        python=sys.executable,
        start=arm.start,
        binds=() if on_host else (*binds_of(weights, paths, folders), *arm.binds),
        made=arm.made,
        rootfs=arm.rootfs,
        image=arm.image.reference if arm.image else None,
        options=arm.treatment.options,
        labels=labels_of(planned.run_id, study.experiment.name),
    )
    return job, command, launch


def _make_folders(spool: Path, trace: Trace) -> None:
    """A fresh folder for the attempt, with its row so far: what a later sweep stores if this one dies."""
    shutil.rmtree(spool, ignore_errors=True)
    with storage_errors(spool):
        for folder in (spool / "out", spool / "tmp"):
            folder.mkdir(parents=True)
            folder.chmod(0o1777)
    write_atomically(spool / "row.json", json.dumps(trace.columns, default=str).encode())


def _first_columns(bench: Bench, planned: PlannedRun, attempt: int) -> dict[str, Any]:
    """What is known of a run before it starts."""
    study = bench.study
    arm = bench.arms[planned.environment]
    located = bench.weights.get(planned.model)
    return {
        **asdict(planned),
        "attempt": attempt,
        "experiment": study.experiment.name,
        "experiment_sha256": experiment_sha256(study),
        "site": study.site.name,
        "host": bench.machine.host,
        "workload": study.experiment.workload.kind,
        "simulated": study.site.simulated,
        "engine": study.engine,
        "image": arm.image.reference if arm.image else None,
        "checkpoint_sha256": located.checkpoint if located else None,
        "image_digest": arm.image.digest if arm.image else None,
        "start_state": json.dumps(asdict(arm.start)),
        "deviations": json.dumps([*study.site.deviations, *arm.deviations]),
        "machine": json.dumps(bench.machine.facts),
        "sparkray_version": __version__,
        "seed": study.experiment.seed,
        "requests_planned": study.experiment.workload.requests,
    }


def _tell_launch(trace: Trace, arm: Arm, command: EngineCommand, launch: Launch) -> None:
    trace.columns.update(
        engine_command=json.dumps(command.argv),
        dataset_sha256=command.dataset_sha256,
        docker_command=run_line(container_spec(launch)) if arm.treatment.in_container else None,
    )


def _memory_before() -> dict[str, float | None]:
    """Host memory just before the start, under the names of the row."""
    fields = parse_meminfo(Path("/proc/meminfo").read_text())
    before = {f"{name.removesuffix('_gib')}_before_gib": value for name, value in memory_row(fields).items()}
    return {**before, "mem_total_gib": gib(psutil.virtual_memory().total)}


def _kernel_oom_kills() -> int:
    """The kernel's count of processes killed for memory since boot; 0 where it does not tell."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return 0


def _outcome(trace: Trace, spool: Path) -> Outcome:
    """Row, requests and samples of an attempt, metrics computed from them."""
    samples = recover(spool / SAMPLES) if (spool / SAMPLES).exists() else []
    row = {
        **trace.columns,
        "effective_state": json.dumps(trace.state, default=list) if trace.state else None,
        "log_sha256": _sha256_of(spool / "out" / ENGINE_LOG),
    }
    requests = trace.measurement.requests if trace.measurement else ()
    facts = trace.measurement.facts if trace.measurement else EngineFacts()
    data = RunData(counted(requests), samples, facts, {k: v for k, v in row.items() if k.endswith("_before_gib")})
    row.update(compute_all(data))
    row.update(_from_facts(facts, row))
    if trace.measurement is not None:
        row.update(requests_done=len(data.requests), simulated=trace.measurement.simulated or row["simulated"])
    return Outcome(row=row, requests=requests, samples=samples, checks=trace.checks)


def _sha256_of(log: Path) -> str | None:
    if not log.is_file():
        return None
    with log.open("rb") as stream:
        return hash_stream(stream)


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
    }


def store_interrupted(dataset: Dataset, tell: Callable[[str], None]) -> list[str]:
    """Attempts that a dead sweep left in the spool, stored as interrupted with the samples up to their last second.

    Returns:
        Their run ids.
    """
    found: list[str] = []
    dataset.drop_partials()
    for spool in sorted(dataset.spool.iterdir()):
        try:
            row = json.loads((spool / "row.json").read_text())
        except (OSError, ValueError):
            dataset.drop_spool(spool)
            continue
        if dataset.attempts(row["run_id"]) < row["attempt"]:
            tell(f"keeping an interrupted attempt: {row['model']} {row['environment']} {row['run_id']}")
            row.update(status="interrupted", reason="sparkray died while the engine ran")
            dataset.keep_log(row["run_id"], row["attempt"], spool / "out" / ENGINE_LOG)
            dataset.write(_outcome(Trace(row), spool))
            found.append(row["run_id"])
        dataset.drop_spool(spool)
    return found
