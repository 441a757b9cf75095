"""A sweep in which every run falls to one check ends, says which, and can be taken up again."""

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from builders import experiment, row, study
from rich.console import Console

from sparkray.errors import RefusedError
from sparkray.plan import PlannedRun, Study, make_plan
from sparkray.records import Outcome, Verdict
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.progress import Display
from sparkray.timing import Timing
from sparkray.workflows.breaker import MOST, Breaker
from sparkray.workflows.options import Options
from sparkray.workflows.session import Session
from sparkray.workflows.study import Sweep

PLAN = make_plan(study())
HOT, BUSY = {"thermal": "started at 80 degrees C"}, {"exclusive": "others used 1.20 cores"}
Fate = Callable[[PlannedRun, int], Mapping[str, str]]
"""What refuses an attempt at a run, by check."""


def ended(*fates: Mapping[str, str]) -> Breaker:
    breaker = Breaker()
    for planned, refusals in zip(PLAN, fates, strict=False):
        if refusals:
            breaker.gave_up(planned, refusals)
        else:
            breaker.stands(planned)
    return breaker


def test_three_runs_in_succession_and_one_check_are_enough() -> None:
    with pytest.raises(RefusedError) as caught:
        ended(HOT, HOT | BUSY, HOT)
    assert caught.value.message == (
        "3 runs in succession were given up, the last attempt at each refused by the check thermal: started at 80 degrees C"
    )
    assert "Cool the machine" in caught.value.remedy
    assert caught.value.exit_status == 3


def test_three_runs_of_one_arm_are_enough_though_the_other_is_well() -> None:
    fates = [HOT if planned.environment == "native" else {} for planned in PLAN]
    with pytest.raises(RefusedError) as caught:
        ended(*fates)
    assert caught.value.message.startswith("3 runs in native in succession were given up")


@pytest.mark.parametrize(
    "fates", [(HOT, HOT), (HOT, HOT, {}, {}, HOT, HOT), (HOT, BUSY, HOT, BUSY), (BUSY, HOT, HOT), ({}, {}, {})]
)
def test_less_is_not(fates: tuple[Mapping[str, str], ...]) -> None:
    assert len(ended(*fates).ended) == len(fates)


def test_a_run_that_was_ok_only_until_its_partner_came_does_not_count_as_one() -> None:
    breaker = Breaker()

    def both_doubted(first: PlannedRun, second: PlannedRun) -> None:
        breaker.stands(first)
        for planned in (first, second):
            breaker.doubted(planned)

    both_doubted(PLAN[0], PLAN[1])
    breaker.gave_up(PLAN[0], HOT)
    breaker.gave_up(PLAN[1], HOT)
    both_doubted(PLAN[2], PLAN[3])
    with pytest.raises(RefusedError):
        breaker.gave_up(PLAN[2], HOT)


@dataclass
class Machine:
    """A cluster and a runner in one: every attempt is stored as its fate has it."""

    dataset: Dataset
    fate: Fate
    ran: list[PlannedRun] = field(default_factory=list)

    def runner(self, *_: object, **_more: object) -> "Machine":
        return self

    def prepare(self, *_: object) -> dict[str, Any]:
        return {"host": None, "rootfs_digest": {}, "image_digest": {}, "weights": {}}

    def run(self, planned: PlannedRun, *_: object) -> Outcome:
        self.ran.append(planned)
        attempt = self.dataset.attempts(planned.run_id) + 1
        refusals = self.fate(planned, attempt)
        checks = tuple(Verdict(check, "invalid", evidence) for check, evidence in refusals.items())
        status = "invalid" if refusals else "ok"
        stored = row(planned.run_id, attempt=attempt, status=status, reason="a test", duration_s=1.0)
        self.dataset.write(
            Outcome(stored | {"environment": planned.environment, "block": planned.block}, checks=checks)
        )
        return Outcome(stored, checks=checks)

    def stop(self) -> None:
        return None

    release = stop


def swept(folder: Path, one: Study, fate: Fate) -> Machine:
    dataset = open_dataset(folder, "question", "d")
    machine = Machine(dataset, fate)
    plan = make_plan(one)
    display = Display(Console(file=StringIO(), width=200), len(plan), 0)
    session = Session(machine, Options(), display, threading.Event())  # type: ignore[arg-type]
    todo = [run for run in plan if run.run_id not in dataset.ok_run_ids()]
    try:
        Sweep(one, dataset, session, Timing(one, dataset)).carry_out(todo)
    except RefusedError:
        return machine
    assert len(machine.ran) >= len(todo), "it ended of itself, so it came to the end"
    return machine


def test_a_lasting_cause_ends_the_sweep_and_the_next_one_tries_again(tmp_path: Path) -> None:
    one = study(experiment=experiment(runs=10, max_attempts=2))
    plan = make_plan(one)
    refused = swept(tmp_path, one, lambda planned, _: HOT if planned.position > 3 else {})
    assert refused.ran == [*plan[:4], *(run for run in plan[4 : 4 + MOST] for _ in range(2))]
    assert len(refused.dataset.ok_run_ids()) == 4
    mended = swept(tmp_path, one, lambda _, __: {})
    assert mended.ran == plan[4:]
    assert len(mended.dataset.ok_run_ids()) == 20


def test_a_lasting_cause_in_one_arm_ends_it_too(tmp_path: Path) -> None:
    one = study(experiment=experiment(runs=10, max_attempts=2))
    refused = swept(tmp_path, one, lambda planned, _: HOT if planned.environment == "native" else {})
    natives = [planned for planned in refused.ran if planned.environment == "native"]
    assert natives == [run for run in make_plan(one) if run.environment == "native" for _ in range(2)][: 2 * MOST]
    assert len(refused.ran) < 20


def test_what_an_arm_itself_brings_is_not_measured_three_times(tmp_path: Path) -> None:
    """The same evidence of a check that judges the arm, twice in a row, will be there a third time."""
    one = study(experiment=experiment(runs=10, max_attempts=3))
    variable = {"environment": "X is '1', declared None"}
    refused = swept(tmp_path, one, lambda planned, _: variable if planned.environment == "native" else {})
    natives = [planned for planned in refused.ran if planned.environment == "native"]
    in_plan = [planned for planned in make_plan(one) if planned.environment == "native"]
    assert natives == [in_plan[0], in_plan[0], in_plan[1], in_plan[2]]


@pytest.mark.parametrize("check", ["environment", "exclusive"])
def test_what_changes_from_attempt_to_attempt_is_tried_as_often_as_it_may_be(tmp_path: Path, check: str) -> None:
    """Another evidence is another reason, and a neighbour may leave whatever his name."""
    one = study(experiment=experiment(runs=1, max_attempts=3))
    said = {"environment": "PORT is '{}', declared None", "exclusive": "a neighbour uses 1.2 cores"}[check]
    refused = swept(tmp_path, one, lambda planned, attempt: {check: said.format(attempt)})
    assert len(refused.ran) == 6


def test_a_cause_that_passes_does_not(tmp_path: Path) -> None:
    one = study(experiment=experiment(runs=10, max_attempts=2))
    assert len(swept(tmp_path, one, lambda _, attempt: HOT if attempt == 1 else {}).ran) == 40
