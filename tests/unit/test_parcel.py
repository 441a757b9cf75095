"""Rows of a machine of a cluster: kept until acknowledged, judged when they arrive, never counted twice."""

import shutil
from collections.abc import Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from builders import experiment, outcome, study
from support.parcels import Called, spoiled

from sparkray.cluster.handle import Runner, _as_stored
from sparkray.cluster.runner import BenchmarkRunner, Sent
from sparkray.errors import ClusterError, DatasetError, StorageError
from sparkray.machine.fingerprint import Machine
from sparkray.machine.lock import MachineLock
from sparkray.plan import PlannedRun, make_plan
from sparkray.records import Verdict
from sparkray.store import Dataset, open_dataset
from sparkray.store.parcel import NodeDataset, Outbox, Parcel, origin_of, receive, seeds_of
from sparkray.store.parquet import judged
from sparkray.store.run_index import INDEXED, indexed

PLAN = make_plan(study(experiment=experiment(runs=3)))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return open_dataset(tmp_path / "results", "question", "d" * 64)


def never() -> bool:
    return False


def write(dataset: Dataset, run: PlannedRun, host: str | None, **changes: object) -> None:
    place = {"model": run.model, "environment": run.environment, "block": run.block, "host": host}
    dataset.write(outcome(run.run_id, **{**place, **changes}))


# ---- from the machine's own dataset to the driver's ----


@pytest.fixture
def box(dataset: Dataset, tmp_path: Path) -> Outbox:
    return Outbox(origin_of(dataset).opened(tmp_path / "cache", {}))


def send(
    box: Outbox, dataset: Dataset, host: str = "a", *, late: bool = False, begun: Collection[str] = ()
) -> list[str]:
    said: list[str] = []
    while parcel := box.parcel():
        refused = receive(dataset, parcel, host, late=late, notify=said.append, begun=begun)
        box.acknowledge(list(parcel), refused)
    return said


def test_what_a_machine_measured_is_the_drivers_once_acknowledged_and_then_removed(
    box: Outbox, dataset: Dataset
) -> None:
    run = PLAN[0]
    write(box.dataset, run, "a")
    box.dataset.put_input(box.dataset.path / "inputs" / "prompts", b"text")
    receive(dataset, box.parcel(), "a", late=False, notify=print)
    box.close()
    assert box.dataset.path.is_dir(), "the driver may have died before it acknowledged"
    send(box, dataset)
    assert dataset.read("runs") == box.dataset.read("runs")
    assert (dataset.path / "inputs" / "prompts").read_bytes() == b"text"
    box.dataset.revise(run.run_id, 1, status="invalid", reason="it is an outlier")
    send(box, dataset)
    assert [row["status"] for row in dataset.read("runs")] == ["invalid"]
    box.close()
    assert not box.dataset.path.exists()


@pytest.mark.parametrize("acknowledged", [True, False])
def test_a_machine_that_turns_to_another_dataset_removes_what_the_driver_has(
    box: Outbox, dataset: Dataset, tmp_path: Path, acknowledged: bool
) -> None:
    write(box.dataset, PLAN[0], "a")
    if acknowledged:
        send(box, dataset)
    runner = BenchmarkRunner()
    runner.machine, runner.lock, runner.outbox = Machine("a", (), (), {}), MachineLock([]), box
    runner.enter(open_dataset(tmp_path / "other", "question", "d" * 64))
    assert runner.outbox is None
    assert box.dataset.path.is_dir() is not acknowledged


def test_the_row_comes_last(box: Outbox) -> None:
    write(box.dataset, PLAN[0], "a")
    tables = [name.partition("/")[0] for name in box.parcel()]
    assert tables[-1] == "runs"
    assert len(tables) > 1


def test_a_machine_that_comes_back_knows_its_own_runs_and_how_often_others_tried(dataset: Dataset, box: Outbox) -> None:
    write(dataset, PLAN[0], "a")
    write(dataset, PLAN[1], "b")
    box.seed(seeds_of(dataset, "a"))
    assert [row["run_id"] for row in box.dataset.read("runs")] == [PLAN[0].run_id]
    assert not box.parcel(), "the driver has it"
    there = NodeDataset(box.dataset.path, {PLAN[1].run_id: 2})
    assert (there.attempts(PLAN[0].run_id), there.attempts(PLAN[1].run_id), there.attempts("f" * 16)) == (1, 2, 0)


@pytest.mark.parametrize("case", ["elsewhere", "under way", "revised", "new"])
def test_what_comes_late_never_counts_twice(box: Outbox, dataset: Dataset, case: str) -> None:
    """A machine died before its last run was acknowledged, and comes back."""
    run = PLAN[0]
    write(box.dataset, run, "a")
    if case == "elsewhere":
        write(dataset, run, "b")
    if case == "revised":
        write(dataset, run, "a")
        dataset.revise(run.run_id, 1, status="interrupted", reason="its block was not completed")
    before = dataset.read("runs")
    said = send(box, dataset, late=True, begun=[run.run_id] if case == "under way" else [])
    if case == "new":
        assert dataset.read("runs") == box.dataset.read("runs")
        return
    assert dataset.read("runs") == before
    assert "set aside what a had measured" in said[0]
    assert (dataset.path / "set-aside" / "a" / "runs" / f"{run.run_id}-1.parquet").is_file(), "nothing is thrown away"
    assert box.dataset.read("runs") == []


def test_a_machine_whose_cache_was_cleaned_removes_nothing_of_the_drivers(box: Outbox, dataset: Dataset) -> None:
    run = PLAN[0]
    write(box.dataset, run, "a")
    box.dataset.write_late(run.run_id, 1, [Verdict("outlier", "warn", "it is slow")])
    send(box, dataset)
    before = {path: path.read_bytes() for path in dataset.path.glob("*/*.parquet")}
    assert len(before) > 2
    shutil.rmtree(box.dataset.path)
    assert box.parcel() == {}
    for path in before:
        if "-late" not in path.name:
            with pytest.raises(ClusterError, match="asked to remove"):
                receive(dataset, {path.relative_to(dataset.path).as_posix(): None}, "a", late=False, notify=print)
    assert all(path.read_bytes() == content for path, content in before.items())


def test_verdicts_of_a_revalidation_are_withdrawn(box: Outbox, dataset: Dataset) -> None:
    run = PLAN[0]
    write(box.dataset, run, "a")
    box.dataset.write_late(run.run_id, 1, [Verdict("outlier", "warn", "it is slow")])
    send(box, dataset)
    late = dataset.path / "checks" / f"{run.run_id}-1-late.parquet"
    assert late.is_file()
    box.dataset.write_late(run.run_id, 1, [])
    send(box, dataset)
    assert not late.exists()
    assert dataset.read("runs") == box.dataset.read("runs")


def test_after_a_run_only_what_was_written_since_is_offered(box: Outbox, dataset: Dataset) -> None:
    """A machine that has measured 100,000 runs does not list their files after the next one."""
    write(box.dataset, PLAN[0], "a")
    box.dataset.write_late(PLAN[0].run_id, 1, [Verdict("outlier", "warn", "it is slow")])
    box.dataset.describe_study({"experiment": {}})
    first = box.parcel(every=False)
    assert {"runs", "requests", "samples", "checks"} == {name.partition("/")[0] for name in first}
    assert next(reversed(first)).startswith("runs/"), "the row comes last"
    assert box.parcel(every=False) == {}
    box.acknowledge(list(first))
    (box.dataset.path / "runs" / "foreign.parquet").write_bytes(b"")
    assert box.parcel(every=False) == {}
    assert list(box.parcel()) == ["runs/foreign.parquet"]
    box.dataset.revise(PLAN[0].run_id, 1, status="invalid", reason="it is an outlier")
    box.dataset.write_late(PLAN[0].run_id, 1, [])
    name = f"{PLAN[0].run_id}-1"
    second = box.parcel(every=False)
    assert list(second) == [f"checks/{name}-late.parquet", f"runs/{name}.parquet"]
    assert second[f"checks/{name}-late.parquet"] is None


def test_what_is_too_large_for_one_parcel_comes_in_several(box: Outbox, dataset: Dataset) -> None:
    write(box.dataset, PLAN[0], "a")
    box.dataset.put_input(box.dataset.path / "inputs" / "weights", b"\0" * (17 << 20))
    assert list(box.parcel(every=False)) == ["inputs/weights"]
    assert box.has_more
    assert next(reversed(box.parcel(every=False))).startswith("runs/")
    assert not box.has_more


def test_what_is_sent_again_is_in_the_index_once(box: Outbox, dataset: Dataset) -> None:
    write(box.dataset, PLAN[0], "a")
    parcel = box.parcel()
    for late in (False, False, True):  # the driver died before it acknowledged, or the machine was lost
        assert receive(dataset, parcel, "a", late=late, notify=print) == []
    assert len((dataset.path / "cache" / "runs.jsonl").read_bytes().splitlines()) == 1


def test_rows_that_were_judged_are_in_the_index(box: Outbox, dataset: Dataset) -> None:
    write(box.dataset, PLAN[0], "a")
    send(box, dataset)
    paths = list((dataset.path / "runs").iterdir())
    (rows,) = indexed(paths, lambda path: pytest.fail(f"{path} is read again"))
    [whole] = box.dataset.read("runs")
    assert rows == [{name: whole[name] for name in INDEXED}]


class Direct(Runner):
    """A handle without Ray."""

    def _await(self, reference: object, *_: object, **__: object) -> object:
        return reference


def test_a_run_is_acknowledged_by_the_next_call_once_it_is_stored(box: Outbox, dataset: Dataset) -> None:
    heard: list[tuple[list[str], list[str]]] = []
    stored: list[str] = []

    def run(planned: PlannedRun, earlier: int, names: list[str], refused: list[str]) -> Sent:
        heard.append((names, refused))
        box.acknowledge(names, refused)
        write(box.dataset, planned, "a", attempt=earlier + 1)
        return Sent(outcome(planned.run_id), box.parcel(every=False), [f"made {planned.block}"], box.has_more)

    def parcel(names: list[str], refused: list[str]) -> object:
        heard.append((names, refused))
        box.acknowledge(names, refused)
        return box.parcel()

    def store(dataset: Dataset, parcel: Parcel, host: str, **options: Any) -> list[str]:
        stored.extend(parcel)
        return receive(dataset, parcel, host, **options)

    actor = SimpleNamespace(run=Called(run), parcel=Called(parcel))
    runner = Direct(actor, 0, "a", store=store, dataset=dataset)
    said: list[str] = []
    for planned in PLAN[:2]:
        assert runner.run(planned, said.append).row["run_id"] == planned.run_id
    assert said == [f"made {planned.block}" for planned in PLAN[:2]]
    assert heard[0] == ([], [])
    assert heard[1] == (stored[: len(heard[1][0])], []), "what is stored is acknowledged, and no more"
    assert dataset.ok_run_ids() == {planned.run_id for planned in PLAN[:2]}
    box.close()
    assert box.dataset.path.is_dir(), "the last run is not acknowledged yet"
    runner._collect(said.append)
    box.close()
    assert not box.dataset.path.exists()


def test_what_cannot_be_stored_is_not_acknowledged(box: Outbox, dataset: Dataset) -> None:
    def run(planned: PlannedRun, earlier: int, names: list[str], refused: list[str]) -> Sent:
        write(box.dataset, planned, "a")
        return Sent(outcome(planned.run_id), box.parcel(every=False), [])

    def full(*_: object, **__: object) -> list[str]:
        raise StorageError("the disk is full")

    runner = Direct(SimpleNamespace(run=Called(run)), 0, "a", store=full, dataset=dataset)
    with pytest.raises(StorageError):
        runner.run(PLAN[0], print)
    assert runner.pending == ([], [])


def test_what_comes_into_a_dataset_that_somebody_removed_is_kept_where_it_is(box: Outbox, dataset: Dataset) -> None:
    write(box.dataset, PLAN[0], "a")
    shutil.rmtree(dataset.path)
    with pytest.raises(StorageError, match="is no dataset any more"):
        send(box, dataset)
    assert not dataset.path.exists(), "no half of one is begun"
    assert box.parcel()


def test_pending_results_are_acknowledged_before_another_study(dataset: Dataset) -> None:
    calls: list[tuple[object, ...]] = []

    def called(name: str, answer: object) -> Called:
        return Called(lambda *given: (calls.append((name, *given)), answer)[1])

    actor = SimpleNamespace(parcel=called("parcel", {}), enter=called("enter", None), prepare=called("prepare", {}))
    runner = Direct(actor, 0, "a", store=receive, dataset=dataset)
    runner.pending = ["runs/x.parquet"], ["runs/x.parquet"]
    runner.adopt(None, dataset, print)  # type: ignore[arg-type] # what is prepared is the actor's affair
    assert calls[0] == ("parcel", ["runs/x.parquet"], ["runs/x.parquet"])
    assert [call[0] for call in calls] == ["parcel", "prepare", "parcel"], "the same dataset is not entered again"
    assert calls[-1] == ("parcel", [], []), "acknowledged once"


def test_an_attempt_is_refused_by_a_later_parcel_too(dataset: Dataset) -> None:
    row = f"runs/{PLAN[0].run_id}-1.parquet"
    rest: list[Parcel] = [{row: b"damaged"}]
    actor = SimpleNamespace(
        run=Called(lambda *_: Sent(outcome(PLAN[0].run_id), {"inputs/weights": b"w"}, [], has_more=True)),
        parcel=Called(lambda *_: rest.pop() if rest else {}),
    )

    def store(_: Dataset, parcel: Parcel, __: str, **___: Any) -> list[str]:
        return [name for name in parcel if name == row]

    runner = Direct(actor, 0, "a", store=store, dataset=dataset)
    assert runner.run(PLAN[0], print).row["status"] != "ok"
    assert rest == []


NOWHERE = [
    "../outside",
    "dataset.json",
    "runs/../../outside",
    "/etc/outside",
    "",
    "runs",
    "runs/",
    "runs/a/b",
    "runs/\0",
]


@pytest.mark.parametrize("name", [*NOWHERE, "runs/" + 256 * "a", "runs/\ud800"])
def test_a_machine_can_write_nowhere_else(dataset: Dataset, name: str) -> None:
    with pytest.raises(ClusterError, match="no file of a dataset"):
        receive(dataset, {"runs/a.parquet": b"x", name: b"x"}, "a", late=False, notify=print)
    assert not list((dataset.path / "runs").glob("*")), "nothing of it is stored"


@pytest.mark.parametrize("host", ["", "..", "a/b", "a\0"])
def test_a_machine_has_a_plain_name(dataset: Dataset, host: str) -> None:
    with pytest.raises(ClusterError, match="no name of a machine"):
        receive(dataset, {"runs/a.parquet": b"x"}, host, late=True, notify=print)


@pytest.mark.parametrize(
    ("table", "how"),
    [
        ("runs", "cut"),
        ("runs", "null"),
        ("samples", "flipped"),
        ("samples", "of another run"),
        ("checks", "another word"),
        ("requests", "another type"),
        ("runs", "a foreign column"),
    ],
)
def test_a_damaged_file_of_another_machine_is_set_aside_with_its_attempt(
    box: Outbox, dataset: Dataset, table: str, how: str
) -> None:
    bad, good = PLAN[:2]
    for run in (bad, good):
        write(box.dataset, run, "a")
    name = f"{table}/{bad.run_id}-1.parquet"
    parcel = box.parcel()
    assert {"runs", "requests", "samples", "checks"} <= {one.partition("/")[0] for one in parcel}
    said: list[str] = []
    content = parcel[name]
    assert content is not None
    first = {**parcel, name: spoiled(name, content, how)}
    row = f"runs/{bad.run_id}-1.parquet"
    late = {row: first.pop(row)} if table != "runs" else {}  # a large attempt comes in several parcels
    refused = receive(dataset, first, "a", late=False, notify=said.append)
    refused += receive(dataset, late, "a", late=False, notify=said.append)
    assert {row["run_id"] for row in dataset.read("runs")} == {good.run_id}
    assert {row, name} <= set(refused)
    assert not any(good.run_id in one for one in refused)
    assert f"set aside what a sent of {bad.run_id}-1, which is measured again: {name}: " in said[0]
    assert (dataset.path / "set-aside" / "a" / name).is_file()
    for other in ("requests", "samples", "checks"):
        dataset.read(other)
    box.acknowledge(list(parcel), refused)
    assert box.dataset.attempts(bad.run_id) == 0, "the machine makes it again"
    write(box.dataset, bad, "a")
    send(box, dataset)
    assert {row["run_id"] for row in dataset.read("runs")} == {bad.run_id, good.run_id}


@pytest.mark.parametrize("table", ["runs", "checks"])
def test_a_flipped_bit_in_an_uncompressed_file_is_found_by_its_checksum(
    box: Outbox, dataset: Dataset, table: str
) -> None:
    write(box.dataset, PLAN[0], "a", reason="as it was")
    name = f"{table}/{PLAN[0].run_id}-1.parquet"
    content = box.parcel()[name] or b""
    good, bad = (b"as it was", b"as it is,") if table == "runs" else (b"pass", b"warn")
    assert content.count(good) > 0
    damaged = (
        b"".join([content[:-4000].replace(good, bad), content[-4000:]])
        if table == "runs"
        else content.replace(good, bad)
    )
    why, _ = judged(damaged, table, f"{PLAN[0].run_id}-1")
    assert why is not None
    assert "cannot be read" in why
    path = dataset.path / name
    path.write_bytes(damaged)
    with pytest.raises(DatasetError, match="cannot be read"):
        dataset.read(table)


def test_an_attempt_whose_row_was_set_aside_is_made_again() -> None:
    made = outcome(PLAN[0].run_id)
    assert _as_stored(made, {"runs/other-1.parquet"}) is made
    assert _as_stored(made, {f"runs/{PLAN[0].run_id}-1.parquet"}).status == "interrupted"
