"""One suite over every storage of the search: what is stored, resumed, taken up after a kill, shared by two drivers."""

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import optuna
import pytest
import search_driver
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from search_driver import Machine, answer, answers, settings_for, small_feasible_space

from sparkray.errors import ConfigError
from sparkray.optimize.search import Batch, Found, Result, Settings, Trial, open_storage, open_study, read, search
from sparkray.optimize.search.batch import NEAR_S

pytestmark = pytest.mark.slow

KINDS = ("optuna.db", "optuna.journal", "memory:")
FILES = KINDS[:2]
KILLS = 10
TOLD = {"noise": {"model": 0.007}, "finalists": 2, "per_block": 3}
"""As `search_driver.main` searches."""


@pytest.fixture(params=KINDS)
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return request.param if request.param == "memory:" else str(tmp_path / request.param)


@pytest.fixture
def storage(where: str) -> Iterator[BaseStorage]:
    opened = open_storage(where)
    yield opened
    opened.remove_session()


def study_of(storage: BaseStorage, settings: Settings) -> optuna.Study:
    return open_study(small_feasible_space(), settings, storage=storage)


def measured(study: optuna.Study) -> Counter[tuple[str, int]]:
    """How often each result is stored, over all trials of a configuration."""
    return Counter(
        (trial.user_attrs["key"], facts["block"])
        for trial in study.get_trials(deepcopy=False)
        for facts in trial.user_attrs.get("evaluations", ())
    )


def whole(storage: BaseStorage, settings: Settings, *, drivers: int = 1) -> Found:
    """No trial is left open, none is doubled, and as many configurations as were asked for are settled."""
    study = study_of(storage, settings)
    found = read(study, small_feasible_space(), settings)
    trials = study.get_trials(deepcopy=False)
    assert [t.number for t in trials if not t.state.is_finished()] == []
    assert set(measured(study).values()) <= {1}
    settled = [one for one in found.evaluated if one.log_ratios or one.state == "failed"]
    assert len({one.environment for one in settled}) == len(settled)
    assert settings.trials <= len(settled) <= settings.trials + drivers, "a finalist may be one that was not tried yet"
    retried = Counter(
        t.user_attrs["retry_of"] for t in trials if "retry_of" in t.user_attrs and "same_as" not in t.user_attrs
    )
    assert set(retried.values()) <= {1}
    return found


def test_a_search_ends_with_the_best_and_everything_stored(storage: BaseStorage) -> None:
    settings = settings_for("", 12, finalists=2)
    found = search(small_feasible_space(), answers, settings=settings, storage=storage)
    assert found.best is not None
    assert (found.best.choices["cpuset"], found.best.choices["seccomp"]) == ("fast", "off")
    assert whole(storage, settings) == found
    trial = next(t for t in study_of(storage, settings).trials if t.number == found.best.trials[-1])
    assert trial.user_attrs["docker_command"] == found.best.docker_command
    assert trial.user_attrs["choices"] == found.best.choices
    assert "--cpuset-cpus=5-9" in trial.user_attrs["flags"]
    assert list(trial.intermediate_values.values()) == list(found.best.log_ratios.values())
    assert trial.value == pytest.approx(found.best.mean)
    assert trial.user_attrs["runs"] == list(found.best.run_ids)


def test_the_same_name_goes_on_and_measures_nothing_again(storage: BaseStorage) -> None:
    search(small_feasible_space(), answers, settings=settings_for("", 5), storage=storage)
    before = measured(study_of(storage, settings_for("", 5)))
    search(small_feasible_space(), answers, settings=settings_for("", 9), storage=storage)
    after = measured(study_of(storage, settings_for("", 9)))
    assert before < after
    assert set(after.values()) == {1}
    whole(storage, settings_for("", 9))


def never(batch: Batch) -> list[Result]:
    raise AssertionError(batch)


def test_a_finished_search_submits_nothing(storage: BaseStorage) -> None:
    first = search(small_feasible_space(), answers, settings=settings_for("", 6), storage=storage)
    trials = len(study_of(storage, settings_for("", 6)).trials)
    assert search(small_feasible_space(), never, settings=settings_for("", 6), storage=storage) == first
    assert len(study_of(storage, settings_for("", 6)).trials) == trials


def test_a_container_that_fails_is_a_failed_trial_with_its_reason(storage: BaseStorage) -> None:
    def submit(batch: Batch) -> list[Result]:
        return [
            Result(None, reason="oom: killed", run_id=trial.environment, attempt=1)
            if trial.choices["init"] == "yes"
            else answer(trial, batch.model, batch.block)
            for trial in batch.trials
        ]

    settings = settings_for("", 9, finalists=1)
    found = search(small_feasible_space(), submit, settings=settings, storage=storage)
    failed = [one for one in found.evaluated if one.state == "failed"]
    assert failed
    assert {one.reason for one in failed} == {"oom: killed"}
    assert found.best is not None
    assert found.best.choices["init"] == "baseline"
    states = {t.user_attrs.get("reason"): t.state for t in study_of(storage, settings).trials}
    assert states["oom: killed"] == TrialState.FAIL
    whole(storage, settings)


def test_what_breaks_a_constraint_is_never_the_best(storage: BaseStorage) -> None:
    def submit(batch: Batch) -> list[Result]:
        told = [answer(trial, batch.model, batch.block) for trial in batch.trials]
        over = [0.5 if trial.choices["cpuset"] == "fast" else -0.5 for trial in batch.trials]
        return [Result(one.log_ratio, constraints={"memory": value}) for one, value in zip(told, over, strict=True)]

    settings = settings_for("", 10, finalists=2)
    found = search(small_feasible_space(), submit, settings=settings, storage=storage)
    over = [one for one in found.evaluated if one.choices["cpuset"] == "fast" and one.log_ratios]
    assert over
    assert {(one.state, one.reason) for one in over} == {("infeasible", "memory +0.5")}
    assert found.best is not None
    assert found.best.choices["cpuset"] != "fast"
    infeasible = [t for t in study_of(storage, settings).trials if t.constraints.get("memory", -1.0) > 0]
    assert len(infeasible) == len(over)


class Falling:
    """A machine whose driver dies in the middle of a batch, after so many runs of it were made."""

    def __init__(self, batches: int, runs: int) -> None:
        self.batches, self.runs = batches, runs
        self.asked: list[Batch] = []
        self.made: list[tuple[str, int]] = []

    def falls(self, batch: Batch) -> list[Result]:
        self.asked.append(batch)
        dies = len(self.asked) == self.batches
        self.made += [(trial.environment, batch.block) for trial in batch.trials[: self.runs if dies else None]]
        if dies:
            raise KeyboardInterrupt
        return answers(batch)

    def goes_on(self, batch: Batch) -> list[Result]:
        """A block that is over is told as far as it was made; any other is measured to its end."""
        self.asked.append(batch)
        found = []
        for trial in batch.trials:
            place = trial.environment, batch.block
            if not batch.over and place not in self.made:
                self.made.append(place)
            known = place in self.made
            found.append(answer(trial, batch.model, batch.block) if known else Result(None, answered=False))
        return found


def fallen(storage: BaseStorage, settings: Settings) -> Falling:
    machine = Falling(batches=2, runs=2)
    with pytest.raises(KeyboardInterrupt):
        search(small_feasible_space(), machine.falls, settings=settings, storage=storage)
    left = [t for t in study_of(storage, settings).trials if t.state == TrialState.RUNNING]
    assert len(left) == len(machine.asked[-1].trials) >= 3
    assert {t.user_attrs["block"]["number"] for t in left} == {machine.asked[-1].block}, "written before the first run"
    return machine


def test_a_batch_that_was_begun_is_gone_on_with_in_its_block(storage: BaseStorage) -> None:
    settings = settings_for("", 8, **TOLD)
    machine = fallen(storage, settings)
    begun = machine.asked[-1]
    search(small_feasible_space(), machine.goes_on, settings=settings, storage=storage)
    resumed = machine.asked[2]
    assert (resumed.model, resumed.block, resumed.over) == (begun.model, begun.block, False)
    assert {t.environment for t in resumed.trials} == {t.environment for t in begun.trials}
    assert max(Counter(machine.made).values()) == 1
    assert whole(storage, settings).abandoned == len(begun.trials)


def test_a_batch_that_lies_too_far_back_keeps_what_was_measured_and_begins_anew(storage: BaseStorage) -> None:
    settings = settings_for("", 8, **TOLD)
    machine = fallen(storage, settings)
    begun = machine.asked[-1]
    later = time.time() + 2 * NEAR_S
    search(small_feasible_space(), machine.goes_on, settings=settings, storage=storage, clock=lambda: later)
    looked = [batch for batch in machine.asked[2:] if batch.over]
    assert [(batch.block, len(batch.trials)) for batch in looked] == [(begun.block, 1)] * len(begun.trials)
    places = {trial.environment: begun.block for trial in begun.trials[:2]}
    found = whole(storage, settings)
    for one in found.evaluated:
        if one.environment in places:
            assert ("model", begun.block) in one.log_ratios
    afresh = [batch for batch in machine.asked[2:] if not batch.over and batch.block == begun.block]
    assert afresh == []


def test_another_list_of_models_is_another_study(storage: BaseStorage) -> None:
    search(small_feasible_space(), answers, settings=settings_for("", 2), storage=storage)
    other = Settings("small", "", 2, ("other",))
    with pytest.raises(ConfigError, match="other models"):
        search(small_feasible_space(), answers, settings=other, storage=storage)


SETS = ("set_trial_param", "_set_trial_param")
"""What Optuna calls to store a parameter; the latter of a database, which it keeps a cache before."""


class Dying:
    """A storage whose user dies when the n-th parameter of a trial is to be stored."""

    def __init__(self, storage: BaseStorage, at: int) -> None:
        self._storage, self._left = storage, at

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._storage, name)
        return self._counted(found) if name in SETS else found

    def _counted(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            self._left -= 1
            if self._left == 0:
                raise KeyboardInterrupt
            return method(*words, **named)

        return call


def dies_at(storage: BaseStorage, at: int) -> BaseStorage:
    """Optuna looks for the kind of a storage, so that one in its place must be of it."""
    dying = Dying(storage, at)
    made = type(
        "Made", (type(storage),), {"__init__": lambda _: None, "__getattribute__": lambda _, name: _of(dying, name)}
    )
    return made()  # type: ignore[no-any-return]


def _of(dying: Dying, name: str) -> Any:
    return type(dying) if name == "__class__" else Dying.__getattr__(dying, name)


@pytest.mark.parametrize("at", [1, 3])
def test_a_retry_that_dies_before_it_has_asked_for_its_choices_is_not_lost(storage: BaseStorage, at: int) -> None:
    """It was taken from the queue, and its parameters are not all written: its choices are among the system's attributes."""
    settings = settings_for("", 6, **TOLD)
    begun = fallen(storage, settings).asked[-1]
    choices = {frozenset(t.choices.items()) for t in begun.trials}
    with pytest.raises(KeyboardInterrupt):
        search(small_feasible_space(), never, settings=settings, storage=dies_at(storage, at))
    search(small_feasible_space(), answers, settings=settings, storage=storage)
    found = whole(storage, settings)
    settled = {frozenset(one.choices.items()) for one in found.evaluated if one.log_ratios}
    assert choices <= settled


def drive(where: str, trials: int, log: Path, seconds: float = 0.05) -> subprocess.Popen[bytes]:
    words = [sys.executable, search_driver.__file__, where, str(trials), str(log), str(seconds)]
    return subprocess.Popen(words)


def ended(*drivers: subprocess.Popen[bytes]) -> None:
    for driver in drivers:
        assert driver.wait(180) == 0


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def progressed(log: Path, more: int, driver: subprocess.Popen[bytes]) -> None:
    """Until so many further runs have ended, or the driver is done."""
    before, deadline = len(lines(log)), time.monotonic() + 60
    while len(lines(log)) < before + more and driver.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kind", FILES)
def test_killed_at_ten_random_moments_nothing_is_lost_and_nothing_doubled(kind: str, tmp_path: Path) -> None:
    where, log, rng = str(tmp_path / kind), tmp_path / "log", random.Random(kind)
    killed = 0
    for _ in range(KILLS):
        driver = drive(where, 14, log)
        progressed(log, rng.randint(0, 2), driver)
        time.sleep(rng.uniform(0, 0.3))
        killed += driver.poll() is None
        driver.kill()
        driver.wait()
    assert killed >= KILLS - 2
    ended(drive(where, 14, log))
    found = whole(open_storage(where), settings_for(where, 14, **TOLD))
    made = Counter(lines(log))
    assert max(made.values()) == 1, "a run that was made is not made again"
    stored = {run for one in found.evaluated for run in one.run_ids}
    assert stored <= set(made)
    unused = {run for run in made if run not in stored}
    assert not unused, "blocks are gone on with, so that no run was made for nothing"


@pytest.mark.parametrize("kind", FILES)
def test_two_drivers_share_the_work(kind: str, tmp_path: Path) -> None:
    where, logs = str(tmp_path / kind), (tmp_path / "one", tmp_path / "two")
    study_of(open_storage(where), settings_for(where, 12, **TOLD))
    ended(*[drive(where, 12, log, 0.2) for log in logs])
    study = study_of(open_storage(where), settings_for(where, 12, **TOLD))
    assert set(measured(study).values()) == {1}
    assert all(len(lines(log)) >= 4 for log in logs)
    assert not set(lines(logs[0])) & set(lines(logs[1])), "each has blocks of its own"
    whole(open_storage(where), settings_for(where, 12, **TOLD), drivers=6)


def test_a_driver_lets_go_between_batches_only_while_another_is_there(tmp_path: Path) -> None:
    where, gone = str(tmp_path / "optuna.db"), []
    settings = settings_for(where, 6, **TOLD)
    search(small_feasible_space(), answers, settings=settings, let_go=lambda: gone.append(1))
    assert gone == []
    other = drive(where, 200, tmp_path / "log", 0.3)
    progressed(tmp_path / "log", 1, other)
    more = settings_for(where, 12, **TOLD)

    def lets_go() -> None:
        gone.append(1)
        other.kill()
        other.wait()

    search(small_feasible_space(), Machine(tmp_path / "mine", 0.0).submit, settings=more, let_go=lets_go)
    assert len(gone) == 1


def test_a_storage_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is none"):
        open_storage(str(tmp_path / "study.txt"))
    with pytest.raises(ConfigError, match="cannot be opened"):
        open_storage("nosuchdatabase://host/name")


def test_a_trial_is_a_set_of_flags() -> None:
    trial = Trial(1, small_feasible_space().options({"init": "yes"}), "container:trial-x", {"init": "yes"})
    assert answer(trial, "model", 64) == answer(trial, "model", 64)
