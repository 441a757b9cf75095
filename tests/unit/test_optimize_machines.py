"""A stage of an optimisation on several machines, which a test plays: whole blocks on each, and flags given up for all."""

import io
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from simulated_runner import NOTHING, Truth, context_in, row_of

from sparkray.cluster import Node
from sparkray.config.site import CONTAINER_BASELINE, NATIVE
from sparkray.errors import HostError
from sparkray.optimize.context import OptimizationContext
from sparkray.optimize.rows import PATIENCE
from sparkray.plan import PlannedRun, Study, Treatment
from sparkray.records import Outcome
from sparkray.store import Dataset, open_dataset
from sparkray.store.parcel import receive
from sparkray.sweep.progress import Display
from sparkray.timing import Timing
from sparkray.workflows.blocks import Blocks
from sparkray.workflows.machines import Share, Together
from sparkray.workflows.options import Options
from sparkray.workflows.session import Session
from sparkray.workflows.stage import Stage
from sparkray.workflows.sweeping import Sweep

RUNS = 6
HOSTS = ("a", "b")


@dataclass
class Machine:
    """A cluster and a runner in one, of one host; every machine takes its turn, so that each makes blocks."""

    study: Study
    dataset: Dataset
    truth: Truth
    host: str
    together: threading.Barrier = field(default_factory=lambda: threading.Barrier(1))
    ran: int = 0

    def runner(self, *_: object, **_more: object) -> "Machine":
        return self

    def prepare(self, *_: object) -> dict[str, Any]:
        return {"host": self.host, "rootfs_digest": {}, "image_digest": {}, "weights": {}}

    def run(self, planned: PlannedRun, *_: object) -> Outcome:
        if self.ran == 0:
            self.together.wait(20)
        self.ran += 1
        attempt = self.dataset.attempts(planned.run_id) + 1
        outcome = Outcome(row_of(self.study, planned, self.truth, attempt) | {"host": self.host})
        self.dataset.write(outcome)
        return outcome

    def stop(self) -> None:
        return None

    release = stop


def stage_of(context: OptimizationContext, folder: Path) -> Stage:
    levels = [context.level(verdict) for verdict in context.verdicts if verdict.alone]
    study = context.stage("screen", (Treatment(NATIVE), context.baseline, *levels), RUNS)
    dataset = open_dataset(folder / "results", study.experiment.name, "d" * 64)

    def idle(rows: Any) -> dict[str, str]:
        return {t.environment: "a no-op" for t in levels if rows.same_state(t, context.baseline)}

    return Stage(study, dataset, (NATIVE, CONTAINER_BASELINE), idle, lambda _: False)


def measured(stage: Stage, truth: Truth) -> tuple[Display, str]:
    """All machines at the stage, to its end."""
    out = io.StringIO()
    display = Display(Console(file=out, width=200), len(stage.plan), 0)
    todo = stage.to_make(stage.rows())
    blocks = Blocks(stage.dataset, stage.plan, todo, HOSTS)
    together, barrier = Together(display, blocks, lambda: 0.0), threading.Barrier(len(HOSTS))

    def work(host: str) -> None:
        machine = Machine(stage.study, stage.dataset, truth, host, barrier)
        share = Share(together, host)
        session = Session(machine, Options(), share, threading.Event(), node=Node(host, host), store=receive)  # type: ignore[arg-type]
        timing = Timing(stage.study, stage.dataset)
        sweep = Sweep(stage.study, stage.dataset, session, timing, stage.plan, blocks=blocks, unneeded=stage.unneeded)
        sweep.carry_out([])
        blocks.leave(host)

    with ThreadPoolExecutor() as pool:
        for one in [pool.submit(work, host) for host in HOSTS]:
            one.result(60)
    return display, out.getvalue()


def test_blocks_of_a_stage_are_whole_on_each_machine_and_flags_are_given_up_for_all(tmp_path: Path) -> None:
    stage = stage_of(context_in(tmp_path), tmp_path)
    display, said = measured(stage, Truth())
    rows = stage.dataset.read("runs", ["environment", "block", "host", "status"])
    hosts: dict[int, set[str]] = {}
    for row in rows:
        hosts.setdefault(row["block"], set()).add(row["host"])
    assert {len(found) for found in hosts.values()} == {1}
    assert set().union(*hosts.values()) == set(HOSTS)
    made = Counter(row["environment"] for row in rows)
    assert made[NATIVE] == made[CONTAINER_BASELINE] == made["container:cpus=half"] == RUNS
    assert PATIENCE <= made["container:memory=tight"] <= PATIENCE + len(HOSTS) - 1
    assert made["container:cgroupns=host"] < RUNS
    assert display.done == display.total
    gone = stage.given_up()
    assert gone["container:memory=tight"].startswith("none of its")
    assert gone["container:cgroupns=host"] == "a no-op"
    assert said.count("container:memory=tight: none of its") == 1
    assert stage.to_make(stage.rows()) == [], "the same command again measures nothing"


def test_a_stage_ends_where_there_is_nothing_to_compare_with(tmp_path: Path) -> None:
    stage = stage_of(context_in(tmp_path), tmp_path)
    measured(stage, Truth(too_large=tuple(card.name for card in stage.study.cards)))
    assert isinstance(stage.error, HostError)
    assert "there is nothing to compare with" in stage.error.message
    blocks = {row["block"] for row in stage.dataset.read("runs", ["block"])}
    assert len(blocks) <= PATIENCE + len(HOSTS)


def test_a_stage_that_failed_is_measured_when_its_cause_is_mended(tmp_path: Path) -> None:
    stage = stage_of(context_in(tmp_path), tmp_path)
    measured(stage, Truth(too_large=tuple(card.name for card in stage.study.cards)))
    again = stage_of(context_in(tmp_path), tmp_path)
    measured(again, Truth())
    assert again.error is None
    ok = again.rows().ok
    assert Counter(row["environment"] for row in ok)[NATIVE] == RUNS


def test_nothing_is_concluded_while_another_machine_tries_again(tmp_path: Path) -> None:
    stage = stage_of(context_in(tmp_path), tmp_path)
    measured(stage, Truth(too_large=tuple(card.name for card in stage.study.cards)))
    fresh = stage_of(context_in(tmp_path), tmp_path)
    retried = next(run for run in fresh.plan if run.environment == NATIVE)
    assert fresh.unneeded([], [retried])[0] == set()
    assert fresh.error is None
    fresh.unneeded([], [])
    assert fresh.error is not None


def test_a_stage_that_is_decided_makes_no_further_block(tmp_path: Path) -> None:
    stage = stage_of(context_in(tmp_path), tmp_path)
    stage.over = lambda rows: len(rows.of(NATIVE)) >= 2
    display, _ = measured(stage, NOTHING)
    assert len({row["block"] for row in stage.dataset.read("runs", ["block"])}) <= 2 + len(HOSTS) - 1
    assert display.done == display.total


@pytest.mark.parametrize("block", [0, 3])
def test_a_flag_that_fails_once_is_kept(tmp_path: Path, block: int) -> None:
    stage = stage_of(context_in(tmp_path), tmp_path)
    measured(stage, Truth(fails_at=(("cpus", block),)))
    made = [row for row in stage.dataset.read("runs", ["environment", "status"]) if "cpus" in row["environment"]]
    assert Counter(row["status"] for row in made) == {"ok": RUNS - 1, "failed": 1}
