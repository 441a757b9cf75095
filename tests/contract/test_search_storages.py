"""One suite over every storage of the search: what is stored, resumed, taken up after a kill, shared by two drivers."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import optuna
import pytest
import search_driver
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from search_driver import INSTANCES, answer, settings_for, small_ground

from sparkray.errors import ConfigError
from sparkray.search import Found, Instance, Result, Settings, Trial, open_storage, open_study, read, search

pytestmark = pytest.mark.slow

KINDS = ("optuna.db", "optuna.journal", "memory:")
FILES = KINDS[:2]


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.param if request.param == "memory:" else str(tmp_path / request.param)


@pytest.fixture
def storage(where: str) -> Iterator[BaseStorage]:
    opened = open_storage(where)
    yield opened
    opened.remove_session()


def study_of(storage: BaseStorage, settings: Settings) -> optuna.Study:
    return open_study(small_ground(), settings, storage=storage)


def measured(study: optuna.Study) -> Counter[tuple[str, int]]:
    """How often each evaluation is stored, over all trials of a configuration."""
    return Counter(
        (trial.user_attrs["key"], int(step))
        for trial in study.get_trials(deepcopy=False)
        for step in trial.user_attrs.get("evaluations", {})
    )


def whole(storage: BaseStorage, settings: Settings, *, drivers: int = 1) -> Found:
    """No trial is left open, none is doubled, and as many configurations as were asked for are settled."""
    study = study_of(storage, settings)
    found = read(study, small_ground(), settings)
    trials = study.get_trials(deepcopy=False)
    assert [t.number for t in trials if not t.state.is_finished()] == []
    assert set(measured(study).values()) <= {1}
    settled = [one for one in found.evaluated if one.log_ratios or one.state == "failed"]
    assert settings.trials <= len(settled) < settings.trials + drivers
    retried = Counter(
        t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs and "same_as" not in t.user_attrs
    )
    assert set(retried.values()) <= {1}
    return found


def test_a_search_ends_with_the_best_and_everything_stored(storage: BaseStorage) -> None:
    settings = settings_for("", 10, finalists=2)
    found = search(small_ground(), answer, settings=settings, storage=storage)
    assert found.best is not None
    assert (found.best.choices["cpuset"], found.best.choices["seccomp"]) == ("fast", "off")
    assert whole(storage, settings) == found
    trial = next(t for t in study_of(storage, settings).trials if t.number == found.best.trials[-1])
    assert trial.user_attrs["docker_command"] == found.best.docker_command
    assert trial.user_attrs["choices"] == found.best.choices
    assert "--cpuset-cpus=5-9" in trial.user_attrs["flags"]
    assert trial.intermediate_values == {INSTANCES.index(i): value for i, value in found.best.log_ratios.items()}
    assert trial.value == pytest.approx(found.best.mean)
    assert len(found.best.run_ids) == len(found.best.log_ratios)


def test_the_same_name_goes_on_and_measures_nothing_again(storage: BaseStorage) -> None:
    search(small_ground(), answer, settings=settings_for("", 5), storage=storage)
    before = measured(study_of(storage, settings_for("", 5)))
    search(small_ground(), answer, settings=settings_for("", 9), storage=storage)
    after = measured(study_of(storage, settings_for("", 9)))
    assert before < after
    assert set(after.values()) == {1}
    whole(storage, settings_for("", 9))


def test_a_finished_search_submits_nothing(storage: BaseStorage) -> None:
    first = search(small_ground(), answer, settings=settings_for("", 6), storage=storage)

    def never(trial: Trial, instance: Instance) -> Result:
        raise AssertionError(f"{trial} {instance}")

    assert search(small_ground(), never, settings=settings_for("", 6), storage=storage) == first


def test_a_container_that_fails_is_a_failed_trial_with_its_reason(storage: BaseStorage) -> None:
    def submit(trial: Trial, instance: Instance) -> Result:
        if trial.choices["init"] == "yes":
            return Result(None, reason="oom: killed", run_ids=("r",))
        return answer(trial, instance)

    found = search(small_ground(), submit, settings=settings_for("", 9, finalists=1), storage=storage)
    failed = [one for one in found.evaluated if one.state == "failed"]
    assert failed
    assert {one.reason for one in failed} == {"oom: killed"}
    assert found.best is not None
    assert found.best.choices["init"] == "baseline"
    states = {t.user_attrs.get("reason"): t.state for t in study_of(storage, settings_for("", 9, finalists=1)).trials}
    assert states["oom: killed"] == TrialState.FAIL
    whole(storage, settings_for("", 9, finalists=1))


def test_what_breaks_a_constraint_is_never_the_best(storage: BaseStorage) -> None:
    def submit(trial: Trial, instance: Instance) -> Result:
        told = answer(trial, instance)
        return Result(told.log_ratio, {"memory": 0.5 if trial.choices["cpuset"] == "fast" else -0.5})

    settings = settings_for("", 10, finalists=2)
    found = search(small_ground(), submit, settings=settings, storage=storage)
    over = [one for one in found.evaluated if one.choices["cpuset"] == "fast" and one.log_ratios]
    assert over
    assert {(one.state, one.reason) for one in over} == {("infeasible", "memory +0.5")}
    assert found.best is not None
    assert found.best.choices["cpuset"] != "fast"
    infeasible = [t for t in study_of(storage, settings).trials if t.constraints.get("memory", -1.0) > 0]
    assert len(infeasible) == len(over)


def test_a_driver_that_stops_in_the_middle_is_taken_up(storage: BaseStorage) -> None:
    calls: list[tuple[str, Instance]] = []

    def falls(trial: Trial, instance: Instance) -> Result:
        calls.append((trial.environment, instance))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return answer(trial, instance)

    settings = settings_for("", 6, noise=0.007)
    with pytest.raises(KeyboardInterrupt):
        search(small_ground(), falls, settings=settings, storage=storage)
    assert [t.state for t in study_of(storage, settings).trials].count(TrialState.RUNNING) == 1
    again: list[tuple[str, Instance]] = []

    def submit(trial: Trial, instance: Instance) -> Result:
        again.append((trial.environment, instance))
        return answer(trial, instance)

    search(small_ground(), submit, settings=settings, storage=storage)
    assert again[0] == calls[-1], "the evaluation that was begun is the first to be asked for again"
    assert whole(storage, settings).abandoned == 1


def test_another_list_of_instances_is_another_study(storage: BaseStorage) -> None:
    search(small_ground(), answer, settings=settings_for("", 2), storage=storage)
    other = Settings("small", "", 2, (Instance("other", 0),))
    with pytest.raises(ConfigError, match="other instances"):
        search(small_ground(), answer, settings=other, storage=storage)


def drive(where: str, trials: int, log: Path, seconds: float = 0.05) -> subprocess.Popen[bytes]:
    words = [sys.executable, search_driver.__file__, where, str(trials), str(log), str(seconds)]
    return subprocess.Popen(words)


def ended(*drivers: subprocess.Popen[bytes]) -> None:
    for driver in drivers:
        assert driver.wait(120) == 0


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def progressed(log: Path, more: int, driver: subprocess.Popen[bytes]) -> None:
    """Until so many further evaluations have begun, or the driver is done."""
    before, deadline = len(lines(log)), time.monotonic() + 60
    while len(lines(log)) < before + more and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kind", FILES)
def test_killed_at_random_moments_nothing_is_lost_and_nothing_doubled(kind: str, tmp_path: Path) -> None:
    where, log, rng = str(tmp_path / kind), tmp_path / "log", random.Random(kind)
    for _ in range(3):
        driver = drive(where, 6, log)
        progressed(log, 2, driver)
        time.sleep(rng.uniform(0, 0.15))
        driver.kill()
        driver.wait()
    ended(drive(where, 6, log))
    found = whole(open_storage(where), settings_for(where, 6, noise=0.007))
    begun, stored = Counter(lines(log)), sum(len(one.log_ratios) for one in found.evaluated)
    assert len(begun) == stored, (
        "an evaluation that a killed driver began was asked for again, not another in its place"
    )
    assert sum(begun.values()) <= stored + 3


@pytest.mark.parametrize("kind", FILES)
def test_two_drivers_share_the_work(kind: str, tmp_path: Path) -> None:
    where, logs = str(tmp_path / kind), (tmp_path / "one", tmp_path / "two")
    study_of(open_storage(where), settings_for(where, 8))
    ended(*[drive(where, 8, log, 0.2) for log in logs])
    study = study_of(open_storage(where), settings_for(where, 8))
    assert set(measured(study).values()) == {1}
    assert all(len(lines(log)) >= 3 for log in logs)
    assert not set(lines(logs[0])) & set(lines(logs[1]))
    whole(open_storage(where), settings_for(where, 8), drivers=2)


@pytest.mark.parametrize("workers", [3])
def test_several_evaluations_at_once(storage: BaseStorage, workers: int) -> None:
    settings = settings_for("", 7, workers=workers, finalists=2)
    search(small_ground(), answer, settings=settings, storage=storage)
    whole(storage, settings)


def test_a_storage_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is none"):
        open_storage(str(tmp_path / "study.txt"))
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_storage("nosuchdatabase://host/name")
