"""Earlier runs: what a run is compared with, and how a late verdict reaches what is stored."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from builders import experiment, outcome, study

from sparkray.checks import Late
from sparkray.config.docker import DockerOptions
from sparkray.errors import DatasetError
from sparkray.execute.history import History, revalidate, revalidate_all
from sparkray.plan import PlannedRun, Study, Treatment, make_plan, run_id_of
from sparkray.records import Outcome, Verdict
from sparkray.store import Dataset, open_dataset

START = datetime(2026, 1, 2, tzinfo=UTC)
SLOW = Verdict("outliers", "warn", "0.5 of its pair")
WRONG = Verdict("outliers", "invalid", "0.5 of its pair")


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    dataset = open_dataset(tmp_path, "question", "d" * 64)
    for position, planned in reversed(list(enumerate(make_plan(study())[:4]))):
        dataset.write(stored(planned.run_id, position))
    return dataset


def stored(run_id: str, position: int, **changes: Any) -> Outcome:
    values = {"model": "Alpha", "level": "", "host": "here", "started_at": START + timedelta(minutes=position)}
    return outcome(run_id, **values | changes)


def says(**verdicts: Verdict) -> Any:
    def reviews(_: object, rows: Sequence[Mapping[str, Any]]) -> list[Late]:
        present = {row["run_id"]: row["attempt"] for row in rows}
        return [Late(run_id, present[run_id], found) for run_id, found in verdicts.items() if run_id in present]

    return reviews


def lates(dataset: Dataset) -> list[tuple[str, str]]:
    return [(row["run_id"], row["verdict"]) for row in dataset.read("checks") if row["check"] == "outliers"]


def test_runs_of_the_same_kind_on_this_machine_are_known_oldest_first(dataset: Dataset) -> None:
    plan = make_plan(study())
    dataset.write(stored("elsewhere", 9, host="there"))
    dataset.write(stored("other", 9, model="Beta"))
    dataset.write(stored("levelled", 9, level="batch=2"))
    dataset.write(stored("failed", 9, status="failed"))
    history = History(dataset, "here")
    assert [row["run_id"] for row in history.of(plan[4])] == [run.run_id for run in plan[:4]]
    assert {row["run_id"] for row in history.every} == {run.run_id for run in plan[:4]} | {"other", "levelled"}


def test_a_warning_is_stored_beside_the_run_and_goes_when_it_is_no_longer_said(dataset: Dataset) -> None:
    plan = make_plan(study())
    history = History(dataset, "here")
    run_id = plan[1].run_id
    assert revalidate(study(), history, plan[3], says(**{run_id: SLOW})) == {}
    assert lates(dataset) == [(run_id, "warn")]
    assert run_id in dataset.ok_run_ids()
    revalidate(study(), history, plan[3], says())
    assert lates(dataset) == []


def test_a_run_that_is_found_invalid_late_counts_no_more_and_keeps_all_else_of_its_row(dataset: Dataset) -> None:
    plan = make_plan(study())
    history = History(dataset, "here")
    run_id = plan[0].run_id
    before = next(row for row in dataset.read("runs") if row["run_id"] == run_id)
    assert revalidate(study(), history, plan[3], says(**{run_id: WRONG})) == {run_id: "outliers: 0.5 of its pair"}
    after = next(row for row in dataset.read("runs") if row["run_id"] == run_id)
    assert after == before | {"status": "invalid", "reason": "outliers: 0.5 of its pair"}
    assert run_id not in dataset.ok_run_ids()
    assert run_id not in {row["run_id"] for row in history.of(plan[3])}
    revalidate(study(), history, plan[3], says(**{run_id: WRONG}))
    assert lates(dataset) == [(run_id, "invalid")]


def test_a_run_that_is_not_there_cannot_be_revised(dataset: Dataset) -> None:
    with pytest.raises(DatasetError, match=r"nobody-1\.parquet cannot be read"):
        dataset.revise("nobody", 1, status="invalid", reason="")


def test_a_run_that_the_study_does_not_plan_is_let_be(dataset: Dataset) -> None:
    dataset.write(stored("of other flags", 0))
    history = History(dataset, "here")
    assert revalidate(study(), history, make_plan(study())[3], says(**{"of other flags": WRONG})) == {}
    assert "of other flags" in dataset.ok_run_ids()


def test_the_plan_of_a_study_is_made_once_and_anew_for_another(dataset: Dataset) -> None:
    history, one, other = History(dataset, "here"), study(), study(experiment=experiment(runs=1))
    ids = history.planned(one)
    assert ids == {run.run_id for run in make_plan(one)}
    assert history.planned(one) is ids
    assert history.planned(other) == {run.run_id for run in make_plan(other)} != ids


def test_what_a_sweep_that_died_had_not_come_to_is_looked_back_upon(dataset: Dataset) -> None:
    """The order of the two writes: a row that is refused and not yet explained is measured again all the same."""
    run_id = make_plan(study())[2].run_id
    assert revalidate_all(study(), History(dataset, "here"), says(**{run_id: WRONG})) == {
        run_id: "outliers: 0.5 of its pair"
    }
    assert run_id not in dataset.ok_run_ids()
    assert revalidate_all(study(), History(dataset, "here"), says(**{run_id: WRONG})) == {}


def test_a_run_is_known_alike_in_the_sweep_that_made_it_and_in_a_later_one(dataset: Dataset) -> None:
    planned = make_plan(study())[4]
    history = History(dataset, "here")
    history.of(planned)
    outcome = stored(planned.run_id, 9, effective_state="{}", machine="{}")
    dataset.write(outcome)
    history.add(outcome.row)
    assert history.of(planned)[-1] == History(dataset, "here").of(planned)[-1]
    assert history.of(planned)[-1]["effective_state"] == "{}"


def beyond(environment: str, block: int, of: Study | None = None) -> PlannedRun:
    """A run of a block that the study's plan does not have."""
    made = of or study()
    level, card = made.experiment.levels[0], made.card("Alpha")
    run_id = run_id_of(made, card, made.treatment(environment), block=block, level=level)
    return PlannedRun(run_id, block, 0, "Alpha", environment, block + 1)


def seen_by(found: list[list[str]], **verdicts: Verdict) -> Any:
    def reviews(asked: object, rows: Sequence[Mapping[str, Any]]) -> list[Late]:
        found.append([row["run_id"] for row in rows])
        return says(**verdicts)(asked, rows)  # type: ignore[no-any-return]

    return reviews


def test_a_search_revalidates_the_block_that_it_is_in(dataset: Dataset) -> None:
    """A search makes blocks one by one, far beyond those that a plan of its study would have."""
    here = [beyond("container_baseline", 64), beyond("native", 64)]
    other = beyond("container_baseline", 128)
    flags = study(treatments=(*study().treatments[:1], Treatment("container_baseline", DockerOptions(pid="host"))))
    edited = beyond("container_baseline", 64, of=flags)
    for place, run in enumerate((other, edited, *here)):
        dataset.write(stored(run.run_id, 10 + place, environment=run.environment, block=run.block))
    seen: list[list[str]] = []
    reviews = seen_by(seen, **{run.run_id: WRONG for run in (other, edited, here[0])})
    assert revalidate(study(), History(dataset, "here"), here[1], reviews) == {
        here[0].run_id: "outliers: 0.5 of its pair"
    }
    assert {other.run_id, *(run.run_id for run in here)} <= set(seen[0])
    assert edited.run_id not in seen[0]
    assert {other.run_id, edited.run_id} <= dataset.ok_run_ids()


def test_what_was_said_of_another_block_of_a_search_stands(dataset: Dataset) -> None:
    runs = [beyond("container_baseline", 64), beyond("container_baseline", 128)]
    for place, run in enumerate(runs):
        dataset.write(stored(run.run_id, 10 + place, environment=run.environment, block=run.block))
    revalidate(study(), History(dataset, "here"), runs[0], says(**{runs[0].run_id: SLOW}))
    revalidate(study(), History(dataset, "here"), runs[1], says())
    assert lates(dataset) == [(runs[0].run_id, "warn")]
