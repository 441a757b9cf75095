"""Execute one run from start to end: folders, gates, samplers, start, read back, wait, read, check, row.

Whatever happens becomes an outcome with a status and a reason; only what makes every further run impossible (Docker gone,
disk full) is raised, after the outcome is stored.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from sparkray.config.container import run_line, variables_of
from sparkray.config.docker_columns import column_values
from sparkray.config.experiment import Experiment
from sparkray.config.secrets import masked_words, secret_values
from sparkray.engines import EngineCommand
from sparkray.errors import (
    EngineFailedError,
    HostError,
    RunError,
    RunInterruptedError,
    RunInvalidError,
    RunOutOfMemoryError,
    RunSaturatedError,
    RunTimeoutError,
    RunUnreadyError,
    StorageError,
    host_error_of,
)
from sparkray.execute import warm_start
from sparkray.execute.arms import Arm
from sparkray.execute.gates import Gates, pause, reference_of, thermometer
from sparkray.execute.history import reason_of, revalidate
from sparkray.execute.lateness import late, reason_of_timeout
from sparkray.execute.launch import make_launch, serving_run
from sparkray.execute.layout import container_name
from sparkray.execute.observer import Observer
from sparkray.execute.prepared_host import PreparedHost
from sparkray.execute.recording import recording
from sparkray.execute.row import (
    ENGINE_LOG,
    SAMPLES,
    RunRecord,
    first_columns,
    memory_before,
    outcome_of,
    without_secrets,
)
from sparkray.execute.serving import ServingRun, serve
from sparkray.execute.verify import verify
from sparkray.execute.watchdog import Watchdog
from sparkray.files import drop_foreign, give_to_owner, last_line
from sparkray.machine.cpu_isolation import client_overlaps
from sparkray.machine.probe import take_probe
from sparkray.plan import PlannedRun, refused
from sparkray.records import WARMUP, Outcome
from sparkray.runtimes import Exit, Launch, Running, Stop, await_end
from sparkray.runtimes.container import container_spec
from sparkray.runtimes.linux.readback import effective_state
from sparkray.store import Dataset
from sparkray.store.writing import storage_errors, write_atomically
from sparkray.telemetry import Target
from sparkray.telemetry.recorder import Recorder, recover
from sparkray.units import NS_PER_S

PROBED = ("cpu", "memory", "gpu_memory", "gpu_compute")
# Drivers average power over a second, and a GPU takes about as long to fall back to its idle clock.
SETTLE_S = 2.0
_FILES = ("row.json", SAMPLES, f"out/{ENGINE_LOG}")


def run_once(
    prepared: PreparedHost,
    planned: PlannedRun,
    stop: Stop,
    note: Callable[[str], None],
    companions: Callable[[], Iterable[int]] = tuple,
) -> Outcome:
    """One attempt at a planned run, stored.

    Args:
        prepared: The machine, ready.
        planned: The run.
        stop: Asks for an early end.
        note: Gets the run's name before anything is started, so that the next holder of the lock can find it.
        companions: Processes that are there for sparkray's sake beside this one (Ray's), whose cost stands in the row.

    Returns:
        The outcome as it was stored, with the earlier runs that count no more now that this one is known.

    Raises:
        HostError: Docker no longer answers, or the disk is full: the attempt is stored as failed, and no further run
            can do better.
    """
    for warm_up in warm_start.missing(prepared, planned):
        if stop.is_set():
            break
        prepared.warmed.add(warm_up.run_id)  # one that fails is not made again: the run itself shows the cause
        warmed = _run(prepared, warm_up, RunControl(stop, Observer(companions), counted=False), note)
        warm_start.keep(prepared, warm_up, warmed.row)
    outcome = _run(prepared, planned, RunControl(stop, Observer(companions)), note)
    if outcome.status != "ok":
        prepared.dataset.check_space()
        return outcome
    return _with_revalidation(prepared, planned, outcome)


def _run(prepared: PreparedHost, planned: PlannedRun, control: "RunControl", note: Callable[[str], None]) -> Outcome:
    """One attempt at a run, stored. Raises as `run_once`."""
    attempt = prepared.dataset.attempts(planned.run_id) + 1
    spool = prepared.dataset.spool / f"{planned.run_id}-{attempt}"
    record = RunRecord(first_columns(prepared, planned, attempt))
    broken: HostError | None = None
    made: Path | None = None
    note(container_name(planned.run_id))
    try:
        _make_folders(spool, record, in_container=prepared.study.treatment(planned.environment).in_container)
        made = spool
        _attempt(prepared, planned, record, spool, control)
        record.columns.update(status="ok" if control.counted else WARMUP, reason=None)
    except RunTimeoutError as error:
        record.columns.update(status=error.status, reason=_late(error, prepared, record, spool, control))
    except RunError as error:
        gone = _removed(prepared, planned, made)
        record.columns.update(status="interrupted" if gone else error.status, reason=gone or str(error))
    except HostError as error:
        stopped = control.stop.is_set()  # what is given up after a stop is no fault of the machine
        gone = _removed(prepared, planned, made)
        record.columns.update(status="interrupted" if stopped or gone else "failed", reason=gone or str(error))
        broken = None if gone or (stopped and not isinstance(error, StorageError)) else error
    except Exception as error:  # noqa: BLE001 - whatever it is, the attempt is stored before the sweep ends
        record.columns.update(status="failed", reason=f"{type(error).__name__}: {error}")
        if gone := _removed(prepared, planned, made):
            record.columns.update(status="interrupted", reason=gone)
        else:
            known = host_error_of(error)
            broken = known or HostError(
                f"the run {planned.run_id} broke in an unforeseen way: {type(error).__name__}: {error}"
            )
    outcome = _stored(prepared.dataset, record, spool)
    if broken is not None:
        raise broken
    return outcome


def _removed(prepared: PreparedHost, planned: PlannedRun, spool: Path | None) -> str | None:
    """What somebody removed while a run went on, which is then made again; None where it is all there."""
    rootfs = prepared.arms[planned.environment].rootfs
    if spool is not None and not (spool / "row.json").is_file():
        return f"somebody removed {spool} during the run"
    return f"somebody removed {rootfs} during the run" if rootfs is not None and not rootfs.is_dir() else None


def _late(error: RunTimeoutError, prepared: PreparedHost, record: RunRecord, spool: Path, control: "RunControl") -> str:
    """Why a run was late, in words."""
    own = control.observer.end()
    record.columns.update(own)
    own_s = sum(own.get(name) or 0.0 for name in ("observer_cpu_s", "ray_cpu_s"))
    samples = recover(spool / SAMPLES) if (spool / SAMPLES).exists() else []
    cores = own_s / (record.columns.get("duration_s") or float("inf"))
    return reason_of_timeout(error, samples, cpus=prepared.machine.facts.get("cpus"), own_cores=cores)


def _with_revalidation(prepared: PreparedHost, planned: PlannedRun, outcome: Outcome) -> Outcome:
    """The outcome after runs of its kind are re-validated, which may refuse earlier runs and this one."""
    prepared.history.add(outcome.row)
    refused = revalidate(prepared.study, prepared.history, planned)
    own = refused.pop(planned.run_id, None)
    row = outcome.row if own is None else {**outcome.row, "status": "invalid", "reason": own}
    return replace(outcome, row=row, refused=refused)


def _stored(dataset: Dataset, record: RunRecord, spool: Path) -> Outcome:
    """The outcome, on disk. When the disk is full, at least its row as failed, in the room kept for that.

    Raises:
        StorageError: It could not be stored as it is.
    """
    run_id, attempt = record.columns["run_id"], record.columns["attempt"]
    outcome = without_secrets(outcome_of(record, spool), record.secrets)
    try:
        dataset.keep_log(run_id, attempt, spool / "out" / ENGINE_LOG, record.secrets)
        if outcome.status == "ok" and not all((spool / name).is_file() for name in _FILES):  # what was read may be less
            row = {**outcome.row, "status": "interrupted", "reason": f"somebody removed {spool} during the run"}
            outcome = replace(outcome, row=row)
        dataset.write(outcome)
    except StorageError as error:
        dataset.drop_spool(spool)
        dataset.write_last({**outcome.row, "status": "failed", "reason": str(error)})
        raise
    dataset.drop_spool(spool)
    return outcome


@dataclass(frozen=True)
class RunControl:
    """Stop signal and overhead monitor for one run. One that is not counted is not checked: it may compile."""

    stop: Stop
    observer: Observer
    counted: bool = True


def _attempt(prepared: PreparedHost, planned: PlannedRun, record: RunRecord, spool: Path, control: RunControl) -> None:
    """Start to end of the engine, with its result read and checked. Raises RunError, HostError."""
    if (
        why := prepared.unready.get(planned.model) or refused(prepared.study, planned, prepared.memory_gib)
    ) is not None:
        raise RunUnreadyError(why)
    arm = prepared.arms[planned.environment]
    job, command, launch = make_launch(prepared, planned, arm, record.columns["attempt"])
    _tell_launch(record, arm, command, launch)
    record.columns["rootfs_digest"] = prepared.digest_now(planned.environment)
    record.columns["weights_digest"] = prepared.weights_now(planned.model)
    _pass_gates(prepared, planned, record, control.stop)
    oom_before = _kernel_oom_kills()
    with recording(record, spool, gpus=prepared.machine.gpus, history=prepared.history) as recorder:
        record.columns.update(memory_before())
        control.observer.begin()
        serving = serving_run(prepared, planned, job, launch)
        if serving is not None and not serving.recipe.verified:
            record.deviates(f"sparkray has not run the recipe of {serving.recipe.name} before")
        if serving is not None:
            cpuset = {planned.environment: launch.options.cpuset_cpus}
            record.deviates(*client_overlaps(serving.client_cpus, cpuset))
        ended = _run_engine(
            arm, launch, prepared.study.experiment, recorder=recorder, record=record, stop=control.stop, serving=serving
        )
        record.columns.update(control.observer.end())
    drop_foreign(spool / "out")
    record.columns["sampler_cpu_s"] = recorder.cpu_s
    _tell_kills(record, arm, ended, oom_before)
    _probe(prepared, record, "after")
    try:
        _judge_exit(ended, launch.log, out_of_memory=ended.out_of_memory or bool(record.columns["oom_kills"]))
        record.measurement = prepared.engine.read(spool / "out", job)
    except RunError:
        record.measurement = prepared.engine.salvage(spool / "out", job)
        record.deviates(*(record.measurement.notes if record.measurement else ()))
        raise
    record.deviates(*record.measurement.notes)
    if not control.counted:
        return
    so_far = outcome_of(record, spool)
    record.checks = verify(
        prepared, planned, launch, measurement=record.measurement, outcome=so_far, state=record.state
    )
    if invalid := [check for check in record.checks if check.verdict == "invalid"]:
        raise RunInvalidError(reason_of(invalid))
    if record.measurement.saturated:
        raise RunSaturatedError(record.measurement.saturated)


def _probe(prepared: PreparedHost, record: RunRecord, when: str) -> None:
    """The control probe's times, into the row, and what went wrong with it; nothing where nobody will judge them."""
    if prepared.study.experiment.checks.get("power_state") == "off":
        return
    probe = take_probe()
    record.columns.update({f"probe_{name}_{when}_ms": getattr(probe, f"{name}_ms") for name in PROBED})
    record.deviates(*probe.notes)


def _probe_and_settle(prepared: PreparedHost, record: RunRecord, stop: Stop) -> None:
    """The probe before a run, and a pause after work on a GPU: its power must not count as the run's.

    Raises:
        RunInterruptedError: Stopped.
    """
    _probe(prepared, record, "before")
    if record.columns.get("probe_gpu_compute_before_ms") is not None and pause(SETTLE_S, stop):
        raise RunInterruptedError("stopped while the GPU settled after the control probe")


def _pass_gates(prepared: PreparedHost, planned: PlannedRun, record: RunRecord, stop: Stop) -> None:
    """Wait at the gates, last before the start: later reads would fill the page cache. Raises RunInterruptedError."""
    protocol = prepared.study.experiment.protocol
    reference_c = None
    if protocol.cooldown != "none":
        rows = prepared.dataset.read("runs", ["started_at", "gpu_temp_gate_c", "host"])
        reference_c = reference_of([row for row in rows if row["host"] == prepared.machine.host], protocol)
    with thermometer() as temperature:
        gate = Gates(protocol, temperature=temperature).before(
            prepared.weights[planned.model].path,
            stop,
            reference_c,
            once_cool=lambda: _probe_and_settle(prepared, record, stop),
        )
    record.columns.update(
        gate_wait_s=gate.waited_s,
        gpu_temp_gate_c=gate.temp_start_c,
        gpu_temp_reference_c=gate.reference_c,
        page_cache_dropped=gate.page_cache_dropped,
    )
    record.deviates(*gate.notes)


def _run_engine(
    arm: Arm,
    launch: Launch,
    experiment: Experiment,
    *,
    recorder: Recorder,
    record: RunRecord,
    stop: Stop,
    serving: ServingRun | None,
) -> Exit:
    """The engine from start to end, with the wall time around the whole of it. Raises RunError, HostError."""
    floor_gib = experiment.protocol.memory_floor_gib
    record.columns["started_at"] = datetime.now(UTC)
    began, wall_began = time.monotonic_ns(), time.time_ns()
    try:
        with arm.runtime.start(launch) as running:
            started_s = (time.monotonic_ns() - began) / NS_PER_S
            recorder.attach(Target(running.pid or None, running.in_container))
            if engine_pid := running.engine_pid:
                record.state = effective_state(engine_pid)
            with Watchdog(floor_gib, lambda _: running.kill()) as watchdog:
                if serving is None:
                    ended = _await(running, experiment.timeout_s, stop)
                else:
                    serving.columns["start_to_container_s"] = started_s
                    ended = serve(serving, running, stop, timeout_s=experiment.timeout_s)
    finally:
        took = time.monotonic_ns() - began
        record.columns["duration_s"] = took / NS_PER_S
        record.columns["wall_clock_step_s"] = (time.time_ns() - wall_began - took) / NS_PER_S
        record.columns["ended_at"] = datetime.now(UTC)
        record.columns.update(serving.columns if serving is not None else {})
    record.columns["exit_code"] = ended.code
    record.state = {**record.state, "touched": ended.touched} if ended.touched else record.state
    if watchdog.reason is not None:
        raise RunOutOfMemoryError(watchdog.reason)
    return ended


def _await(running: Running, timeout_s: float, stop: Stop) -> Exit:
    how = await_end(running.pid, timeout_s, stop)
    if how == "ended":
        return running.finish()
    error = late(f"the engine had not ended after {timeout_s:g} s", running.engine_pid)
    running.kill()
    running.finish()
    raise error if how == "timeout" else RunInterruptedError("stopped while the engine ran")


def _judge_exit(ended: Exit, log: Path, *, out_of_memory: bool) -> None:
    """Raises EngineFailedError, RunOutOfMemoryError for a fault of a server's end, else for a status other than 0."""
    if ended.fault == "" or (ended.fault is None and ended.code == 0):
        return
    last = last_line(log, "its output is lost too" if ended.log_lost else "it said nothing")
    if out_of_memory:
        raise RunOutOfMemoryError(f"the engine was killed for memory (exit {ended.code}): {last}")
    raise EngineFailedError(f"{ended.fault or f'the engine ended with {ended.how}'}: {last}")


def _make_folders(spool: Path, record: RunRecord, *, in_container: bool) -> None:
    """A fresh folder for the attempt, with its row so far: what a later sweep stores if this one dies."""
    shutil.rmtree(spool, ignore_errors=True)
    with storage_errors(spool):
        for folder in (spool / "out", spool / "tmp"):
            folder.mkdir(parents=True)
            folder.chmod(0o1777)  # the image's user may be another
        if not in_container:  # where root's engine would follow a link that another user leaves in them
            spool.chmod(0o700)
            give_to_owner(spool.parent)
    write_atomically(spool / "row.json", json.dumps(record.columns, default=str).encode())


def _tell_launch(record: RunRecord, arm: Arm, command: EngineCommand, launch: Launch) -> None:
    record.columns.update(
        engine_command=json.dumps(masked_words(command.argv)),
        dataset_sha256=command.dataset_sha256,
        docker_command=run_line(container_spec(launch)) if arm.treatment.in_container else None,
        **(column_values(launch.options) if arm.treatment.in_container else {}),
    )
    own = variables_of(launch.options) if arm.treatment.in_container else {}
    record.secrets = secret_values({**launch.environment, **own}, command.argv)


def _kernel_oom_kills() -> int | None:
    """The kernel's count of processes killed for memory since boot; None where it does not tell."""
    for line in Path("/proc/vmstat").read_text().splitlines():
        if line.startswith("oom_kill "):
            return int(line.split()[1])
    return None


def _tell_kills(record: RunRecord, arm: Arm, ended: Exit, before: int | None) -> None:
    """An engine can end well although a process of its tree was killed: what is known of that goes into the row."""
    after = _kernel_oom_kills()
    record.columns["oom_kills"] = None if before is None or after is None else after - before
    record.columns["container_oom_killed"] = ended.out_of_memory if arm.treatment.in_container else None
