"""A sequential experiment: which models are over by the stored rows, what a sweep leaves out, what it and a plan say."""

import io
import json
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import experiment, row, study
from rich.console import Console

from sparkray.analysis.interim import not_needed, settled, standings
from sparkray.config.boundary import parse
from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Experiment, Sequential
from sparkray.errors import ConfigError
from sparkray.plan import PlannedRun, Study, Treatment, definition_sha256, make_plan
from sparkray.records import Outcome
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.progress import Display
from sparkray.sweep.status import state_of
from sparkray.timing import Timing
from sparkray.workflows.expected_hours import protocol_hours
from sparkray.workflows.interim import count_decided, decided_in, left_out
from sparkray.workflows.options import Options

Call = Callable[..., Any]
METRIC = "output_throughput_tok_s"
START = datetime(2026, 1, 1, tzinfo=UTC)
QUIET, NOISY, SLOW = {"noise": 0.001}, {"noise": 0.05}, {"noise": 0.001, "ratio": 0.9}


def sequential(models: tuple[str, ...] = ("Alpha",), runs: int = 8, **changes: Any) -> Study:
    values: dict[str, Any] = {"models": models, "runs": runs, "sequential": Sequential((3, 5, 8)), "seed": 3}
    return study(experiment=experiment(**values | changes))


def value_of(run: PlannedRun, noise: float, ratio: float = 1.0) -> float:
    """A throughput that depends on the run alone."""
    arm = ratio if run.environment != "native" else 1.0
    return 100.0 * arm * (1 + noise * random.Random(f"{run.block} {run.environment}").gauss(0, 1))


def row_of(run: PlannedRun, at: int, status: str = "ok", **world: float) -> dict[str, Any]:
    values = {"model": run.model, "level": run.level, "environment": run.environment, "block": run.block}
    measured = value_of(run, **world) if status == "ok" else None
    ended = START + timedelta(minutes=at)
    return row(run.run_id, **values, status=status, ended_at=ended, duration_s=1.0, **{METRIC: measured})


def rows_until(one: Study, blocks: int, **world: float) -> list[dict[str, Any]]:
    return [row_of(run, run.position, **world) for run in make_plan(one) if run.block < blocks]


def over(one: Study, rows: list[dict[str, Any]]) -> set[tuple[str, str]]:
    return settled(standings(one.experiment, make_plan(one), rows))


@pytest.mark.parametrize(("world", "verdict"), [(QUIET, "equivalent"), (SLOW, "different")])
def test_a_clear_model_is_over_at_the_first_interim_analysis_and_not_before(
    world: dict[str, float], verdict: str
) -> None:
    one = sequential()
    assert over(one, rows_until(one, 2, **world)) == set()
    rows = rows_until(one, 3, **world)
    assert over(one, rows) == {("Alpha", "")}
    (standing,) = standings(one.experiment, make_plan(one), rows)
    assert (standing.interim.verdict, standing.interim.n, standing.interim.stop) == (verdict, 3, True)


def test_a_noisy_model_goes_on_to_the_last_interim_analysis() -> None:
    one = sequential()
    assert over(one, rows_until(one, 7, **NOISY)) == set()
    rows = rows_until(one, 8, **NOISY)
    assert over(one, rows) == {("Alpha", "")}
    assert standings(one.experiment, make_plan(one), rows)[0].interim.verdict == "undecided"


def test_every_primary_metric_of_every_environment_must_be_decided() -> None:
    metrics = {"primary_metrics": (METRIC, "latency_mean_ms"), "margins": {METRIC: 0.01, "latency_mean_ms": 0.01}}
    one = sequential(environments=("native", "container_baseline", "container_optimized"), **metrics)
    optimized = Treatment("container_optimized", DockerOptions(cpuset_cpus="0"))
    one = replace(one, treatments=(*one.treatments[:2], optimized))
    rows = rows_until(one, 3, **QUIET)
    assert over(one, rows) == set()
    both = [r | {"latency_mean_ms": 1 / r[METRIC]} for r in rows]
    assert over(one, both) == {("Alpha", "")}
    assert len(standings(one.experiment, make_plan(one), both)) == 4
    odd = [r | {METRIC: r[METRIC] * (1 + r["block"] / 9)} if "optimized" in r["environment"] else r for r in both]
    assert over(one, odd) == set()


def test_a_block_with_a_failed_run_is_no_pair() -> None:
    one = sequential()
    rows = rows_until(one, 3, **QUIET)
    failed = [{**rows[0], "status": "failed", METRIC: None}, *rows[1:]]
    assert over(one, failed) == set()
    assert over(one, [*failed, *rows_until(one, 4, **QUIET)[6:]]) == {("Alpha", "")}


def test_pairs_count_in_the_order_in_which_they_were_completed() -> None:
    one = sequential()
    plan = make_plan(one)
    rows = rows_until(one, 4, **QUIET)[2:]  # block 0 is missing, blocks 1 to 3 decide
    late = [row_of(run, 999, noise=0.0, ratio=0.5) for run in plan if run.block == 0]
    before, after = standings(one.experiment, plan, rows), standings(one.experiment, plan, [*late, *rows])
    assert before == after
    early = [{**r, "ended_at": START - timedelta(days=1)} for r in late]
    assert standings(one.experiment, plan, [*early, *rows])[0].interim.verdict == "undecided"


def test_when_all_runs_are_tried_the_pairs_that_are_there_are_the_last_interim_analysis() -> None:
    one = sequential(sequential=Sequential((8,)))
    rows = rows_until(one, 8, **QUIET)
    rows[-1] = {**rows[-1], "status": "failed", METRIC: None}
    (standing,) = standings(one.experiment, make_plan(one), rows)
    assert (standing.interim.verdict, standing.interim.n, standing.interim.alpha_spent) == (
        "equivalent",
        7,
        pytest.approx(0.05),
    )
    assert standings(one.experiment, make_plan(one), rows[:-2])[0].interim.n == 0


def test_a_run_that_was_tried_is_not_left_out_and_levels_stand_apart() -> None:
    one = sequential(("Alpha", "Beta"))
    plan = make_plan(one)
    rows = [r for r in rows_until(one, 4, **QUIET) if r["model"] == "Alpha"]
    rows[-1] = {**rows[-1], "status": "failed", METRIC: None}
    found = standings(one.experiment, plan, rows)
    unneeded = not_needed(plan, found, {r["run_id"] for r in rows})
    assert unneeded == {run.run_id for run in plan if run.model == "Alpha" and run.block >= 4}


def test_without_interim_analyses_nothing_is_ever_left_out(tmp_path: Path) -> None:
    one = sequential(sequential=None)
    assert standings(one.experiment, make_plan(one), rows_until(one, 8, **QUIET)) == []
    assert left_out(one, open_dataset(tmp_path, "question", "d"), make_plan(one)) == (set(), [])


@dataclass
class Machine:
    """A cluster and a runner in one: every run is stored as its model's world has it."""

    dataset: Dataset
    worlds: dict[str, dict[str, float]]
    ran: list[PlannedRun] = field(default_factory=list)
    failing: set[int] = field(default_factory=set)
    host: str | None = None

    def runner(self, *_: object, **_more: object) -> "Machine":
        return self

    def prepare(self, *_: object) -> dict[str, Any]:
        return {"host": self.host, "rootfs_digest": {}, "image_digest": {}, "weights": {}}

    def run(self, planned: PlannedRun, *_: object) -> Outcome:
        status = "failed" if len(self.ran) in self.failing else "ok"
        self.ran.append(planned)
        outcome = Outcome(row_of(planned, len(self.ran), status, **self.worlds[planned.model]) | {"reason": "a test"})
        outcome.row["attempt"] = self.dataset.attempts(planned.run_id) + 1
        if self.host:
            outcome.row["host"] = self.host
        self.dataset.write(outcome)
        return outcome

    def stop(self) -> None:
        return None

    release = stop


def swept(one: Study, folder: Path, until: float | None = None, **world: Any) -> tuple[Machine, Display, str]:
    """A sweep of everything that is planned, without a cluster."""
    from sparkray.workflows.session import Session
    from sparkray.workflows.study import Sweep

    dataset = open_dataset(folder, "question", "d")
    machine = Machine(dataset, **world)
    out = io.StringIO()
    plan = make_plan(one)
    done = dataset.ok_run_ids()
    display = Display(Console(file=out, width=200), len(plan), len(done))
    timing = Timing(one, dataset)
    session = Session(machine, Options(), display, threading.Event())  # type: ignore[arg-type]
    sweep = Sweep(one, dataset, session, timing, until=until)
    sweep.carry_out([run for run in plan if run.run_id not in done])
    return machine, display, out.getvalue()


def test_a_sweep_leaves_out_what_is_decided_and_goes_on_with_the_rest(tmp_path: Path) -> None:
    one = sequential(("Alpha", "Beta"))
    machine, display, said = swept(one, tmp_path, worlds={"Alpha": QUIET, "Beta": NOISY})
    assert [sum(run.model == model for run in machine.ran) for model in ("Alpha", "Beta")] == [6, 16]
    assert display.done == display.total == 32
    assert "Alpha needs no further runs (10 left out)\n" in said
    assert "Alpha, output_throughput_tok_s: container_baseline vs native: equivalent after 3 pairs" in said
    assert "Beta needs" not in said
    again, _, _ = swept(one, tmp_path, worlds={"Alpha": QUIET, "Beta": NOISY})
    assert again.ran == []


def test_machines_of_a_sweep_count_a_run_once(tmp_path: Path) -> None:
    """One finds that what waits is not needed, as the other does; and one makes a block anew that a lost one began."""
    from sparkray.cluster import Node
    from sparkray.store.parcel import receive
    from sparkray.workflows.blocks import Blocks
    from sparkray.workflows.machines import Share, Together
    from sparkray.workflows.session import Session
    from sparkray.workflows.study import Sweep

    one = sequential(("Alpha", "Beta"))
    plan, dataset = make_plan(one), open_dataset(tmp_path, "question", "d")
    done = [run for run in plan if run.model == "Alpha" and run.block < 3]
    done.append(next(run for run in plan if run.model == "Beta"))
    for run in done:
        dataset.write(Outcome(row_of(run, run.position, **QUIET) | {"host": "gone"}))
    blocks = Blocks(dataset, plan, [run for run in plan if run not in done], ["a", "b"])
    display = Display(Console(file=io.StringIO(), width=200), len(plan), len(done))
    together = Together(display, blocks, lambda: 0.0)
    machine = Machine(dataset, {"Beta": NOISY}, host="a")
    sweeps = []
    for host in ("a", "b"):
        session = Session(machine, Options(), Share(together, host), threading.Event(), node=Node(host, host))  # type: ignore[arg-type]
        session.store = receive
        sweeps.append(Sweep(one, dataset, session, Timing(one, dataset), blocks=blocks))
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda sweep: sweep._leave_out(sweep.queue), sweeps))
    assert display.done == len(done) + 10
    blocks.leave("b")
    sweeps[0].carry_out([])
    assert [run.model for run in machine.ran] == ["Beta"] * 16
    assert display.done == display.total == len(plan)
    assert [row["status"] for row in dataset.read("runs") if row["host"] == "gone"].count("interrupted") == 1


def test_a_sweep_that_was_stopped_goes_on_to_the_same_end(tmp_path: Path) -> None:
    one = sequential()
    short = replace(one, experiment=replace(one.experiment, runs=2))
    swept(short, tmp_path, worlds={"Alpha": QUIET})
    machine, _, _ = swept(one, tmp_path, worlds={"Alpha": QUIET})
    assert [run.block for run in machine.ran] == [2, 2]


def test_a_block_that_would_not_end_in_time_is_left_for_the_next_sweep(tmp_path: Path) -> None:
    one = sequential(sequential=None, runs=3)
    short = replace(one, experiment=replace(one.experiment, runs=1))
    swept(short, tmp_path, worlds={"Alpha": QUIET}, until=time.monotonic() + 1000)
    # One second a run, by the first block: two runs, what is between them and around them need 14 s.
    machine, _, said = swept(one, tmp_path, worlds={"Alpha": QUIET}, until=time.monotonic() + 10)
    assert machine.ran == []
    assert "time is up: the next block needs about 14 s, 10 s are left; 4 runs remain" in said
    machine, _, _ = swept(one, tmp_path, worlds={"Alpha": QUIET}, until=time.monotonic() + 1000)
    assert [run.block for run in machine.ran] == [1, 1, 2, 2]


def test_a_failed_run_is_tried_by_the_next_sweep_even_if_its_model_is_over(tmp_path: Path) -> None:
    one = sequential()
    first, _, _ = swept(one, tmp_path, worlds={"Alpha": QUIET}, failing={1})
    assert len(first.ran) == 8
    second, _, _ = swept(one, tmp_path, worlds={"Alpha": QUIET})
    assert [run.run_id for run in second.ran] == [first.ran[1].run_id]


def test_counts_and_status_tell_of_runs_that_are_not_needed(tmp_path: Path) -> None:
    one = sequential()
    machine, _, _ = swept(one, tmp_path, worlds={"Alpha": QUIET})
    rows = machine.dataset.read("runs")
    counts = {"planned": 16, "ok": len(rows)}
    plan = make_plan(one)
    count_decided(counts, standings(one.experiment, plan, rows), plan, {r["run_id"] for r in rows})
    assert counts == {"planned": 16, "ok": 6, "decided": 10}
    (line,) = state_of(machine.dataset)["decided"]
    assert line.startswith(f"Alpha, {METRIC}: container_baseline vs native: equivalent after 3 pairs, ratio ")


@pytest.mark.parametrize("text", [None, "{", "[]", json.dumps({"experiment": {"name": 3}})])
def test_status_of_a_dataset_that_does_not_tell_its_experiment_decides_nothing(
    tmp_path: Path, text: str | None
) -> None:
    dataset = open_dataset(tmp_path, "question", "d")
    if text is not None:
        (dataset.path / "experiment.json").write_text(text)
    assert decided_in(dataset) == []


def test_what_a_file_may_say_of_interim_analyses() -> None:
    base = json.loads(json.dumps(asdict(experiment())))
    found = parse(Experiment, base | {"sequential": {"looks": [4, 8]}}, "a.yaml")
    assert found.sequential == Sequential((4, 8), "linear")
    for value, said in (
        ({"look": [4]}, "did you mean 'looks'"),
        ({"looks": [2, 8]}, "greater than or equal to 3"),
        ({"looks": [8, 4]}, "must ascend"),
        ({"looks": []}, "at least 1"),
        ({"looks": [4], "spending": "all"}, "spending"),
    ):
        with pytest.raises(ConfigError, match=said):
            parse(Experiment, base | {"sequential": value}, "a.yaml")
    with pytest.raises(ConfigError, match="output_throughput_tok_s has no margin"):
        parse(Experiment, base | {"margins": {}, "sequential": {"looks": [4]}}, "a.yaml")


def test_looks_are_part_of_what_a_dataset_is() -> None:
    assert definition_sha256(sequential()) != definition_sha256(sequential(sequential=None))
    assert definition_sha256(sequential()) != definition_sha256(sequential(sequential=Sequential((3, 8))))
    assert [run.run_id for run in make_plan(sequential())] == [
        run.run_id for run in make_plan(sequential(sequential=None))
    ]


def test_hours_of_each_protocol() -> None:
    one = sequential(runs=30, sequential=Sequential((4, 8, 15, 30)))
    whole = {"fixed": 40.0, "adaptive": 30.0}
    hours = {(p["design"], p["cooldown"]): p["hours"] for p in protocol_hours(one, whole)}
    for kind in ("fixed", "adaptive"):
        quiet, noisy = hours["sequential, CV 0.3 %", kind], hours["sequential, CV 1.0 %", kind]
        assert quiet <= 0.65 * hours["fixed N = 30", kind]  # before 20 pairs it must be 2.5 times as certain
        assert quiet < noisy <= hours["fixed N = 30", kind]
    alone = sequential(environments=("native",), sequential=None)
    assert {p["design"] for p in protocol_hours(alone, whole)} == {"fixed N = 8"}


def test_a_plan_shows_them(command_line: Call) -> None:
    words = ("--site", "dgx-spark", "--experiment", "phase2a-sequential", "--models", "Qwen2-1.5B")
    document = json.loads(command_line("plan", *words, "--json").out)
    assert len(document["protocols"]) == 6
    shown = command_line("plan", *words).out
    assert shown.count(" pairs a model: ") == 3
    assert "17.4 pairs" in next(line for line in shown.splitlines() if line.startswith("sequential, CV 0.3 %"))
