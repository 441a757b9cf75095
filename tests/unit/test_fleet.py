"""One search on several machines, which are pretended: a thread each over one SQLite file, with nothing lost or doubled."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from optuna.trial import FrozenTrial
from simulated_runner import Pretending, Truth, context_in, pretending

from sparkray.cluster import RunnerLostError
from sparkray.errors import HostError, SparkrayError, StorageError, UnknownNameError
from sparkray.machine.capabilities import About
from sparkray.machine.fingerprint import Machine
from sparkray.optimize.context import OptimizationContext
from sparkray.optimize.rows import Rows, all_rows
from sparkray.optimize.runner import InterruptedSweepError
from sparkray.optimize.screen import Screened
from sparkray.optimize.search import default_storage, open_storage
from sparkray.optimize.search.machines import Companion, Helper, datasets_of
from sparkray.optimize.search.stage import Searched, dataset_of, searched
from sparkray.plan import PlannedRun
from sparkray.store import Dataset
from sparkray.sweep.progress import MachineDisplay
from sparkray.workflows.fleet import Fleet, differs, unlike
from sparkray.workflows.session import same_files

TRUTH = Truth(gains={"cpus": -0.7, "pid": 0.03, "security_opt": 0.02}, refuses=())
PATIENCE_S = 20.0


def screened_of(context: OptimizationContext, dataset: Dataset) -> Screened:
    """A screen that spoke against nothing."""
    models = tuple(card.name for card in context.study.cards)
    overhead: Any = None
    return Screened(dataset, (), {}, {}, overhead, models, (), simulated=True, rows=Rows(()))


@dataclass
class Two:
    """A search on two machines: `first`, and `second`, which is four times as fast."""

    folder: Path
    trials: int = 6
    first: Pretending = field(init=False)
    second: Pretending = field(init=False)
    home: Dataset = field(init=False)
    context: OptimizationContext = field(init=False)

    def __post_init__(self) -> None:
        self.context = context_in(self.folder, trials=self.trials)
        self.first = pretending(self.folder, ExitStack(), TRUTH)
        self.home = dataset_of(self.context, self.first)
        inside = replace(self.first.options, results_dir=self.home.path / "machines" / "second")
        self.second = replace(
            self.first, options=inside, asked=threading.Event(), host="second", speed=4.0, made=[], turned=set()
        )
        self.first.others = [Companion("second", "a boot", self.second)]
        together = threading.Barrier(2)
        self.first.before = self.second.before = OnFirst(partial(together.wait, PATIENCE_S))

    def search(self) -> Searched:
        try:
            return searched(self.context, screened_of(self.context, self.home), self.first, self.home)
        finally:
            assert not [thread for thread in threading.enumerate() if "_attend" in thread.name]

    @property
    def rows(self) -> Rows:
        return all_rows(self.home, *datasets_of(self.home).values())

    @property
    def trials_of_study(self) -> Sequence[FrozenTrial]:
        storage = open_storage(default_storage(self.home.path))
        [study] = storage.get_all_studies()
        return storage.get_all_trials(study._study_id)

    @property
    def said(self) -> str:
        return self.first.out.file.getvalue()  # type: ignore[attr-defined]


class OnFirst:
    """Does something on each thread's first run: both machines are at work before either goes on."""

    def __init__(self, do: Callable[[], object]) -> None:
        self.do, self.seen = do, set[int]()

    def __call__(self, run: PlannedRun) -> None:
        if threading.get_ident() not in self.seen:
            self.seen.add(threading.get_ident())
            self.do()


@pytest.fixture
def two(tmp_path: Path) -> Two:
    return Two(tmp_path)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> tuple[Two, Searched]:
    """A search that both machines have ended."""
    two = Two(tmp_path_factory.mktemp("shared"), trials=8)
    return two, two.search()


def nothing_lost_or_doubled(two: Two) -> None:
    trials = two.trials_of_study
    assert [trial.number for trial in trials if not trial.state.is_finished()] == []
    assert max(Counter(run_id for one in (two.first, two.second) for run_id, _, _ in one.made).values()) == 1
    reported = Counter(
        (trial.user_attrs["key"], facts["block"])
        for trial in trials
        for facts in trial.user_attrs.get("evaluations", ())
    )
    assert set(reported.values()) == {1}


def test_two_machines_share_a_search_in_blocks_of_their_own(shared: tuple[Two, Searched]) -> None:
    two, found = shared
    nothing_lost_or_doubled(two)
    settled = [one for one in found.document.tried if one.environment != "container_baseline"] if found.document else []
    assert 8 <= len(settled) <= 9, "the best guess may be a finalist that was not tried before"
    blocks = [{block for _, _, block in one.made} for one in (two.first, two.second)]
    assert all(blocks)
    assert not blocks[0] & blocks[1]
    assert set(datasets_of(two.home)) == {"second"}
    by_host = {row["block"]: row["host"] for row in two.rows.rows}
    assert {by_host[block] for block in blocks[0]} == {"box"}
    assert {by_host[block] for block in blocks[1]} == {"second"}
    assert found.folders == {
        "search": str(two.home.path),
        "search on second": str(datasets_of(two.home)["second"].path),
    }
    assert "second: takes part in the search" in two.said


def test_every_ratio_is_to_the_baseline_of_the_same_machine(shared: tuple[Two, Searched]) -> None:
    two, found = shared
    assert found.document is not None
    rows = {row["run_id"]: row for row in two.rows.rows}
    hosts = set()
    measured = [
        one for one in found.document.tried if one.environment != "container_baseline" and one.state == "complete"
    ]
    for one in measured:
        for mine, base in zip(one.run_ids[::2], one.run_ids[1::2], strict=True):
            assert (rows[mine]["host"], rows[mine]["block"]) == (rows[base]["host"], rows[base]["block"])
            assert abs(np.log(rows[mine]["output_throughput_tok_s"] / rows[base]["output_throughput_tok_s"])) < 0.8
            hosts.add(rows[mine]["host"])
    assert hosts == {"box", "second"}
    [base] = [one for one in found.document.tried if one.environment == "container_baseline"]
    assert base.n == len({block for one in (two.first, two.second) for _, _, block in one.made})


def test_configurations_are_parted_among_the_machines_that_have_none(shared: tuple[Two, Searched]) -> None:
    two, _ = shared
    counts = Counter(block for one in (two.first, two.second) for _, name, block in one.made)
    exploring = [counts[min(block for _, _, block in one.made)] for one in (two.first, two.second)]
    assert exploring == [5, 5], "four of eight and a baseline each"


@pytest.mark.parametrize("error", [StorageError("the disk is full"), UnknownNameError("model", "A", ["B"])])
def test_an_error_of_one_machine_stops_the_other(two: Two, error: SparkrayError) -> None:
    said = error.message
    began = threading.Event()

    def full(run: PlannedRun) -> None:
        began.wait(PATIENCE_S)
        raise error

    def lasts(run: PlannedRun) -> None:
        began.set()
        two.first.asked.wait(PATIENCE_S)

    two.first.before, two.second.before = lasts, full
    with pytest.raises(type(error), match=f"second: {said}"):
        two.search()
    assert len(two.first.made) == 1, "the run that was under way is stored, and no further one is made"
    assert two.second.made == []


@dataclass
class Alone:
    """A machine of a sweep that fails."""

    host: str = "second"
    asked: threading.Event = field(default_factory=threading.Event)

    def say(self, line: str) -> None:
        assert line == "takes part in the sweep"

    def release(self) -> None:
        self.asked.wait(PATIENCE_S)


def test_an_error_that_ends_a_sweep_is_no_interruption_by_the_user() -> None:
    asked, failed, machine = threading.Event(), threading.Event(), Alone()
    ends: list[bool] = []
    fleet: Fleet[Alone] = Fleet(asked, lambda: [Helper(machine, machine, str)], "sweep", end=failed.set)

    def full(_: Alone) -> None:
        raise StorageError("the disk is full")

    with pytest.raises(StorageError, match="second: the disk is full"):
        fleet.work_beside(lambda: ends.append(failed.wait(PATIENCE_S)), full)
    assert ends == [True]
    assert not asked.is_set()
    assert machine.asked.is_set()


def test_a_stop_is_one_of_every_machine(two: Two) -> None:
    two.second.before = lambda run: two.second.asked.wait(PATIENCE_S)
    two.first.before = lambda run: two.first.asked.set()
    with pytest.raises(InterruptedSweepError):
        two.search()
    assert len(two.first.made) == 1
    assert len(two.second.made) <= 1


def test_a_lost_machine_is_left_out_and_what_it_measured_counts(two: Two) -> None:
    lost = threading.Event()

    def dies(run: PlannedRun) -> None:
        if len(two.second.made) > 1 and any(name == "container_baseline" for _, name, _ in two.second.made):
            lost.set()
            raise RunnerLostError("the runner died")

    two.second.before = dies
    two.first.before = lambda run: lost.wait(PATIENCE_S)
    found = two.search()
    nothing_lost_or_doubled(two)
    assert "second: lost to the search, which goes on without it: the runner died" in two.said
    assert found.found is not None
    assert found.found.abandoned >= 1
    reported = {run_id for one in found.found.evaluated for run_id in one.run_ids}
    assert reported >= {run_id for run_id, _, _ in two.second.made}
    assert sum(1 for one in found.found.evaluated if one.log_ratios or one.state == "failed") >= two.trials


def test_a_machine_that_cannot_be_made_ready_is_left_out_with_the_reason(two: Two) -> None:
    two.second.truth = replace(TRUTH, refuses=("ipc",))
    two.first.before = str
    two.search()
    nothing_lost_or_doubled(two)
    assert two.second.made == []
    assert "second: left out of the search: this host cannot honour the flags of container_baseline" in two.said


def test_the_same_command_again_musters_nobody(shared: tuple[Two, Searched]) -> None:
    two, first = shared
    again = Two(two.folder, two.trials)
    found = again.search()
    assert [one.made for one in (again.first, again.second)] == [[], []]
    assert [one.turned for one in (again.first, again.second)] == [set(), set()]
    assert found.document == first.document


def test_lines_of_a_further_machine_name_it(two: Two) -> None:
    display = MachineDisplay(two.first.out, "second")
    display.say("measuring")
    assert two.said.endswith("second: measuring\n")
    assert display.bar is None


SPARK = {"architecture": "aarch64", "cpu": "Grace", "cpus": 20, "gpus": ["NVIDIA GB10"], "memory_gib": 119.0}


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., str | None]:
    context = context_in(tmp_path)

    def reported(**changes: Any) -> About:
        facts = {**SPARK, **{name: value for name, value in changes.items() if name in SPARK}}
        gpus = tuple(changes.get("uuids", ()))
        machine = Machine(changes.get("host", "one"), ("NVIDIA GB10",), gpus, facts)
        return About(machine, changes.get("boot", "1"), changes.get("can", context.facts))

    return lambda **changes: unlike(reported(**changes), [reported()]) or differs(context, reported(**changes))


def test_a_machine_of_one_kind_with_the_same_levels_helps(fit: Callable[..., str | None]) -> None:
    assert fit(host="two", boot="2") is None
    assert fit(host="two", boot="1", uuids=["GPU-2"]) is None, "a container with a GPU of its own"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, "another node stands for already"),
        ({"host": "another name", "boot": "1"}, "another node stands for already"),
        ({"host": "two", "boot": "2", "cpus": 72}, "it is of another kind: cpus 72, and 20 on one"),
    ],
)
def test_why_one_cannot_help_is_reported(fit: Callable[..., str | None], changes: dict[str, Any], why: str) -> None:
    assert why in str(fit(**changes))


def test_other_levels_of_a_machine_are_reported(fit: Callable[..., str | None], tmp_path: Path) -> None:
    facts = replace(context_in(tmp_path).facts, security=())
    said = fit(host="two", boot="2", can=facts)
    assert said == (
        "seccomp=unconfined is excluded (Docker uses no seccomp on this machine) there, and here feasible as "
        "security_opt=['seccomp=unconfined']"
    )


IDENTITY = {
    "rootfs_digest": {"": "r"},
    "weights": {"A": "w", "B": None},
    "weights_digest": {"A": None, "B": "d"},
}


@pytest.mark.parametrize(
    "changes", [{"rootfs_digest": {"": "else"}}, {"weights": {"A": "else"}}, {"weights_digest": {"B": "else"}}]
)
def test_machines_run_the_same_files(changes: dict[str, Any]) -> None:
    same_files(IDENTITY, {**IDENTITY, "host": "two", "image_digest": {"": "built elsewhere"}})
    with pytest.raises(HostError, match="else; there"):
        same_files(IDENTITY, {**IDENTITY, **changes})
