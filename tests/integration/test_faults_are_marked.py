"""A sweep in which every fault happens once: exactly the runs that it touched are marked, by the check that is for it."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from real_machine import require_root
from small_bench import bench_of, changed, model_of, study_of

from sparkray.config.experiment import Workload
from sparkray.execute.gates import drop_page_cache
from sparkray.execute.prepared_host import PreparedHost
from sparkray.execute.run import run_once
from sparkray.plan import PlannedRun, make_plan
from sparkray.runtimes import Launch, Running, Runtime, Stop

pytestmark = [pytest.mark.docker, pytest.mark.root, pytest.mark.usefixtures("machine_lock")]

ARMS = ("native", "container_baseline")
WORKLOAD = Workload(requests=12, input_tokens=8, output_tokens=6, warmup_requests=1)
PACE_TOK_S = 60.0
CACHED_BYTES = 3 << 30
QUIET = 6
"""Blocks before the first fault: what is usual must be known before something is unusual."""
NOISY = {"exclusive", "memory_state", "steady", "outliers"}
"""Checks that a neighbour of this machine can set off at any time."""
MOST_DISTURBED = 8
"""Of 22 runs without a fault, those that a neighbour may have disturbed."""


def spin() -> None:
    os.nice(-5)  # on a machine that is busy with other work, too, it must get its share; samplers need one as well
    while True:
        pass


@contextmanager
def busy_cores(_: Path) -> Iterator[None]:
    """One process a core: what one core adds can drown in a shared machine's usual spread."""
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=spin, daemon=True) for _ in os.sched_getaffinity(0)]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.join()


@contextmanager
def fuller_page_cache(folder: Path) -> Iterator[None]:
    path = folder / "large"
    chunk = b"\1" * (16 << 20)
    with path.open("wb") as file:
        for _ in range(CACHED_BYTES // len(chunk)):
            file.write(chunk)
    try:
        yield
    finally:
        path.unlink()


@dataclass(frozen=True)
class Nicer:
    """A runtime through which the worker's nice value leaks into the engine."""

    runtime: Runtime
    name: str = "native"

    @contextmanager
    def start(self, launch: Launch) -> Iterator[Running]:
        with self.runtime.start(launch) as running:
            os.setpriority(os.PRIO_PROCESS, running.engine_pid, 5)
            yield running


def other_weights(prepared: PreparedHost, folder: Path, _: str) -> PreparedHost:
    path = folder / "other" / "Tiny.gguf"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(b"GGUF" + b"another model")
    return replace(prepared, weights={"Tiny": replace(prepared.weights["Tiny"], path=path)})


def leaking(prepared: PreparedHost, _: Path, environment: str) -> PreparedHost:
    arm = prepared.arms[environment]
    return replace(prepared, arms={**prepared.arms, environment: replace(arm, runtime=Nicer(arm.runtime))})


def idle_flag(prepared: PreparedHost, _: Path, environment: str) -> PreparedHost:
    arm = prepared.arms[environment]
    treatment = replace(arm.treatment, options=replace(arm.treatment.options, shm_size="8g"))
    return replace(prepared, arms={**prepared.arms, environment: replace(arm, treatment=treatment)})


def playing(**options: object) -> Callable[[PreparedHost, Path, str], PreparedHost]:
    return lambda prepared, _folder, _environment: changed(prepared, **options)


@dataclass(frozen=True)
class Fault:
    """What happens in one run, the check that is for it, and its verdict there."""

    environment: str
    check: str
    verdict: str
    prepared: Callable[[PreparedHost, Path, str], PreparedHost] = lambda prepared, _folder, _environment: prepared
    beside: Callable[[Path], AbstractContextManager[None]] = lambda _: nullcontext()


FAULTS: Mapping[str, Fault] = {
    "wrong GGUF in one arm": Fault("native", "identity", "invalid", other_weights),
    "busy cores": Fault("container_baseline", "exclusive", "invalid", beside=busy_cores),
    "page cache changed": Fault("native", "memory_state", "invalid", beside=fuller_page_cache),
    "shm flag under host IPC": Fault("container_baseline", "readback", "warn", idle_flag),
    "leaked nice value": Fault("native", "start_state", "invalid", leaking),
    "truncated generation": Fault("container_baseline", "tokens", "invalid", playing(fault="short")),
    "twice as slow": Fault("native", "outliers", "warn", playing(tokens_per_s=PACE_TOK_S / 2)),
    "clock jump": Fault("container_baseline", "tokens", "invalid", playing(fault="clock")),
}


@pytest.fixture(scope="module")
def prepared(machine_lock: None, cache: Path, tmp_path_factory: pytest.TempPathFactory) -> PreparedHost:
    require_root("native")
    # a page cache that takes all memory already cannot be filled further: the fault would not happen, or in other runs
    assert drop_page_cache() is None
    folder = tmp_path_factory.mktemp("marked")
    study = study_of(model_of(folder), environments=ARMS)
    study = replace(study, experiment=replace(study.experiment, runs=QUIET + len(FAULTS) + 1, workload=WORKLOAD))
    return changed(bench_of(study, folder / "results", cache), tokens_per_s=PACE_TOK_S)


def faulty(planned: PlannedRun) -> Fault | None:
    """The fault of a planned run: one a block, after the quiet ones."""
    number = planned.block - QUIET
    fault = [*FAULTS.values()][number] if 0 <= number < len(FAULTS) else None
    return fault if fault is not None and fault.environment == planned.environment else None


def sweep(prepared: PreparedHost, folder: Path) -> dict[str, str]:
    """Every run of the plan, once, each in its turn; the names of what happened, by run id."""
    happened: dict[str, str] = {}
    names = {id(fault): name for name, fault in FAULTS.items()}
    for planned in make_plan(prepared.study):
        fault = faulty(planned)
        with ExitStack() as stack:
            here = prepared
            if fault is not None:
                stack.enter_context(fault.beside(folder))
                here = fault.prepared(prepared, folder, planned.environment)
                happened[planned.run_id] = names[id(fault)]
            here.__dict__["history"] = prepared.history
            outcome = run_once(here, planned, Stop(), lambda _: None)
            if outcome.status == "invalid" and fault is not None and fault.verdict == "warn":
                # something else spoiled it; a sweep would measure it again, and so must this, or the fault goes unjudged
                run_once(here, planned, Stop(), lambda _: None)
        time.sleep(0.05)
    return happened


def test_exactly_the_touched_runs_are_marked_by_the_check_that_is_for_it(
    prepared: PreparedHost, tmp_path: Path
) -> None:
    happened = sweep(prepared, tmp_path)
    assert sorted(happened.values()) == sorted(FAULTS)
    marked: dict[str, dict[str, str]] = {}
    said: dict[tuple[str, str], str] = {}
    for row in prepared.dataset.read("checks"):
        said[row["run_id"], row["check"]] = row["evidence"]
        if row["verdict"] != "pass":
            marked.setdefault(row["run_id"], {})[row["check"]] = row["verdict"]
    ended = {row["run_id"]: (row["status"], row["reason"]) for row in prepared.dataset.read("runs")}
    for run_id, name in happened.items():
        fault = FAULTS[name]
        told = marked.get(run_id, {}).get(fault.check)
        assert told == fault.verdict, (name, said.get((run_id, fault.check)), ended[run_id])
    sound = {run_id: checks for run_id, checks in marked.items() if run_id not in happened}
    certain = {run_id: checks for run_id, checks in sound.items() if set(checks) - NOISY}
    because = {key: said[key] for key in said if key[0] in sound}
    assert certain == {}, because
    assert len(sound) <= MOST_DISTURBED, because
    rows = sorted(prepared.dataset.read("runs"), key=lambda row: row["attempt"])
    last = {row["run_id"]: row["status"] for row in rows}
    assert {happened[run_id] for run_id, status in last.items() if run_id in happened and status == "invalid"} == {
        name for name, fault in FAULTS.items() if fault.verdict == "invalid"
    }


def test_a_flag_that_cannot_act_is_named(prepared: PreparedHost) -> None:
    """Runs after the sweep: what it stored is what a user reads."""
    told = [
        row["evidence"]
        for row in prepared.dataset.read("checks")
        if row["check"] == "readback" and row["verdict"] == "warn"
    ]
    assert told
    assert all("--shm-size" in evidence for evidence in told)
