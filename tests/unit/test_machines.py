"""A plan between machines: whole blocks, those of a lost machine begun again, and rows that are kept until acknowledged."""

import threading
import time
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from builders import experiment, outcome, study
from rich.console import Console

from sparkray.analysis.arms import arms_between
from sparkray.analysis.frames import Cell, frames_of_rows
from sparkray.cluster import Cluster, Node
from sparkray.plan import PlannedRun, make_plan
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.progress import Display
from sparkray.timing import Timing
from sparkray.workflows.blocks import Blocks, key_of
from sparkray.workflows.machines import Share, Together, _machine
from sparkray.workflows.options import Options
from sparkray.workflows.session import Session
from sparkray.workflows.sweeping import Sweep, name_of

PLAN = make_plan(study(experiment=experiment(runs=3)))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path / "results", "question", "d" * 64)


def never() -> bool:
    return False


def write(dataset: Dataset, run: PlannedRun, host: str | None, **changes: object) -> None:
    place = {"model": run.model, "environment": run.environment, "block": run.block, "host": host}
    dataset.write(outcome(run.run_id, **{**place, **changes}))


@pytest.mark.parametrize("total", [1, 20, 100, 101, 100_000])
def test_a_run_has_a_name_on_rays_dashboard_and_a_long_plan_has_few(total: int) -> None:
    """Ray's metrics keep every name of a task in the driver's memory: 29 KiB a run, 483 MiB after 16,600 runs."""
    names = [name_of(done, total) for done in range(total)]
    assert len(set(names)) == min(total, 100 if total != 101 else 51)
    assert names[0].startswith("run 1")
    for done, name in enumerate(names):
        first = int(name.split()[1].removesuffix("+"))
        assert first <= done + 1 < first + max(1, -(-total // 100)), name
        assert name.endswith(f" of {total}")


@pytest.mark.parametrize(("total", "arms"), [(90, 6), (10_000, 30), (10_000, 200)])
def test_the_names_that_ray_keeps_are_few_with_any_number_of_arms(total: int, arms: int) -> None:
    kept = {(name_of(done, total, arms), done % arms) for done in range(total)}
    assert len(kept) <= 100 + arms


def blocks_of(dataset: Dataset, hosts: Collection[str], todo: Collection[PlannedRun] = PLAN) -> Blocks:
    return Blocks(dataset, PLAN, list(todo), hosts)


def ok_hosts(dataset: Dataset) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for row in dataset.read("runs", ["block", "host", "status"]):
        if row["status"] == "ok":
            found.setdefault(row["block"], []).append(row["host"])
    return found


def measure(blocks: Blocks, host: str, *, dies_after: int | None = None) -> None:
    """A machine's part: every run is stored; it is lost after so many."""
    made = 0
    while runs := blocks.take(host, never):
        for run in runs:
            with blocks.guard:
                assert blocks.expected_s(lambda _: 1.0) == len(blocks.runs)
            if made == dies_after:
                blocks.leave(host, lost=True)
                return
            blocks.begin(host, run)
            write(blocks.dataset, run, host, attempt=blocks.dataset.attempts(run.run_id) + 1)
            made += 1
    blocks.leave(host)


def test_blocks_are_measured_whole_and_once_by_several_machines(dataset: Dataset) -> None:
    blocks = blocks_of(dataset, ["a", "b"])
    with ThreadPoolExecutor() as pool:
        for each in [pool.submit(measure, blocks, host) for host in ("a", "b")]:
            each.result(20)
    assert {block: len(set(hosts)) for block, hosts in ok_hosts(dataset).items()} == {0: 1, 1: 1, 2: 1}
    assert sum(map(len, ok_hosts(dataset).values())) == len(PLAN)


@pytest.mark.parametrize("after", [1, 3])
def test_the_block_of_a_lost_machine_is_begun_again_elsewhere_and_the_dataset_equals_the_plan(
    dataset: Dataset, after: int
) -> None:
    blocks = blocks_of(dataset, ["a", "b"])
    with ThreadPoolExecutor() as pool:
        lost = pool.submit(measure, blocks, "b", dies_after=after)
        lost.result(20)  # the other comes later, so that all that is left is its own
        measure(blocks, "a")
    hosts = ok_hosts(dataset)
    assert {block: len(set(found)) for block, found in hosts.items()} == {0: 1, 1: 1, 2: 1}
    assert dataset.ok_run_ids() == {run.run_id for run in PLAN}
    assert sum(map(len, hosts.values())) == len(PLAN), "none counts twice"
    kept = [row for row in dataset.read("runs") if row["status"] == "interrupted"]
    assert [row["host"] for row in kept] == ["b"]
    assert "its block was not completed on b" in kept[0]["reason"]


def test_a_block_goes_on_where_it_was_begun_and_elsewhere_only_if_that_machine_is_not_there(dataset: Dataset) -> None:
    first, *rest = PLAN
    write(dataset, first, "b")
    both = blocks_of(dataset, ["a", "b"], rest)
    assert key_of(first) not in {key_of(run) for run in both.take("a", never)}
    assert {key_of(run) for run in both.take("b", never)} == {key_of(first)}
    alone = blocks_of(dataset, ["a"], rest)
    assert {run.block for run in alone.take("a", never)} != {first.block}, "blocks that nobody began come first"
    assert alone.take("a", never)
    again = alone.take("a", never)
    assert first in again, "the whole block again"
    assert first.run_id in dataset.ok_run_ids(), "it counts until the other machine begins"
    assert alone.begin("a", first) == 1
    assert alone.begin("a", again[1]) == 0
    assert first.run_id not in dataset.ok_run_ids()


def test_ok_runs_of_a_lost_machine_count_where_no_other_is_left_to_measure(dataset: Dataset) -> None:
    blocks = blocks_of(dataset, ["a", "b"])
    measure(blocks, "b", dies_after=1)
    runs = blocks.take("a", never)
    blocks.leave("a", runs, lost=True)
    blocks.wait(never)
    assert [(row["host"], row["status"]) for row in dataset.read("runs")] == [("b", "ok")]
    assert len(blocks.runs) == len(PLAN) - 1
    assert {run.block for run in blocks.runs} == {0, 1, 2}


def test_rows_without_a_machine_are_of_no_machine(dataset: Dataset) -> None:
    first, *rest = PLAN
    write(dataset, first, "b")
    write(dataset, next(run for run in PLAN if run.block != first.block), None)
    blocks = blocks_of(dataset, ["a"], rest)
    assert set(blocks.homes.values()) == {"b"}
    assert len(blocks.runs) == len(PLAN) - 2
    assert blocks.take("a", never)


def test_the_sweep_waits_for_runs_that_a_machine_measures_again(dataset: Dataset) -> None:
    blocks = blocks_of(dataset, ["a"], [])
    blocks.hold("a", PLAN[:1])
    polls = iter([False, True])
    blocks.wait(lambda: next(polls))
    assert next(polls, None) is None, "it ended by the stop"
    assert blocks.take("a", never) == []
    blocks.wait(never)


def test_time_left_is_estimated_outside_the_guard_of_progress(dataset: Dataset) -> None:
    """A machine that stores late results holds the guard of the blocks, and then reports."""
    blocks = blocks_of(dataset, ["a"])

    def rest_s() -> float:
        with ThreadPoolExecutor() as pool:
            assert pool.submit(is_free).result()
        return 7.0

    def is_free() -> bool:
        if free := together.guard.acquire(timeout=1):
            together.guard.release()
        return free

    together = Together(Display(Console(file=StringIO()), len(PLAN), 0), blocks, rest_s)
    Share(together, "a").expect(1.0)
    assert together.progress.left_s == 8.0


def test_what_a_lost_machine_had_taken_is_no_longer_in_the_time_left(dataset: Dataset) -> None:
    blocks = blocks_of(dataset, ["a", "b"])
    together = Together(Display(Console(file=StringIO()), len(PLAN), 0), blocks, lambda: 4.0)
    Share(together, "b").expect(100.0)
    Share(together, "a").expect(2.0)
    assert together.progress.left_s == (100.0 + 2.0 + 4.0) / 2
    blocks.leave("b", lost=True)
    Share(together, "a").expect(2.0)
    assert together.progress.left_s == 2.0 + 4.0


def test_the_machines_share_one_plan(dataset: Dataset) -> None:
    """To make one of 100,000 runs takes the driver seconds, for each machine."""
    display, blocks = Display(Console(file=StringIO()), len(PLAN), 0), blocks_of(dataset, ["a", "b"])
    asked = study(experiment=experiment(runs=3))
    nowhere = Cluster(None, own=False, address="")
    sweep = Sweep(asked, dataset, Session(nowhere, Options(), display, threading.Event()), Timing(asked, dataset))
    together = Together(display, blocks, lambda: 0.0)
    machines = [_machine(sweep, together, Node(host, host)) for host in ("a", "b")]
    assert all(machine.sweep.plan is blocks.plan for machine in machines)


def test_a_machine_waits_for_a_block_that_another_may_give_back(dataset: Dataset) -> None:
    one = [run for run in PLAN if run.block == 0]
    blocks = blocks_of(dataset, ["a", "b"], one)
    assert blocks.take("a", never) == one
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(blocks.take, "b", never)
        until = time.monotonic() + 10
        while "b" not in blocks.idle and time.monotonic() < until:
            time.sleep(0.01)
        assert not waiting.done()
        blocks.leave("a", lost=True)
        assert waiting.result(10) == one


def test_without_a_machine_or_after_a_stop_nobody_waits(dataset: Dataset) -> None:
    blocks = blocks_of(dataset, ["a", "b"])
    stop = threading.Event()
    stop.set()
    assert blocks.take("a", stop.is_set) == []
    blocks.leave("a")
    blocks.leave("b", lost=True)
    blocks.wait(never)
    assert blocks.waiting, "what is left is known to be left"


# ---- the machine as blocking factor ----


def test_a_pair_is_never_made_across_machines() -> None:
    def rows() -> Iterator[dict[str, object]]:
        for run in PLAN:
            host = "a" if run.block != 1 or run.environment == "native" else "b"
            place = {"model": run.model, "environment": run.environment, "block": run.block, "host": host}
            yield outcome(run.run_id, **place, output_throughput_tok_s=100.0).row

    frames = frames_of_rows(rows(), {run.run_id for run in PLAN})
    arms = arms_between(
        frames, Cell("Alpha", "", "container_baseline"), Cell("Alpha", "", "native"), "output_throughput_tok_s"
    )
    assert arms.blocks.tolist() == [0, 2]
    assert set(replace(arms).clusters) == {"a"}
