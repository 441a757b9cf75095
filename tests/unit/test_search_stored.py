"""What lies in the storage of a search, as optuna-dashboard reads it, is what was told: values, steps, attributes."""

import math
import threading
from collections.abc import Sequence
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from statistics import fmean

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from sparkray.config.docker import DockerOptions
from sparkray.config.feasible_levels import judge
from sparkray.config.space import Factor, HostFacts, Space
from sparkray.errors import ConfigError
from sparkray.optimize.search import (
    Batch,
    FeasibleSpace,
    Found,
    Result,
    Settings,
    Trial,
    Work,
    Worker,
    feasible_space,
    open_storage,
    search,
)
from sparkray.optimize.search.propose import Proposer

SPACE = Space(
    "two",
    "two factors",
    (
        Factor("init", {"yes": {"init": True}}, "nothing"),
        Factor("cpus", {"1": {"cpus": 1.0}, "0.5": {"cpus": 0.5}}, "harm"),
    ),
)
GAINS = {("init", "yes"): 0.011, ("cpus", "1"): -0.21, ("cpus", "0.5"): -0.43}


class Bench:
    """Answers as a machine would, and remembers what it said."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], Result] = {}

    def submit(self, batch: Batch) -> list[Result]:
        """Gains of the levels, and a little that differs by block."""
        return [self.answer(trial, batch.block) for trial in batch.trials]

    def answer(self, trial: Trial, block: int) -> Result:
        gain = sum(GAINS.get(choice, 0.0) for choice in trial.choices.items()) + 0.0001 * (block % 7)
        made = Result(
            gain,
            constraints={"memory_over_limit_gib": -0.5},
            run_id=f"{trial.environment}-{block}",
            attempt=1,
            baseline_id=f"base-{block}",
            baseline_attempt=2,
            docker_command=f"docker run {trial.environment}",
            effective_state='{"cpus": 1}',
            metrics={"output_throughput_tok_s": 100 * math.exp(gain)},
        )
        self.told[trial.environment, block] = made
        return made


def _ground() -> FeasibleSpace:
    return feasible_space(SPACE, DockerOptions(), judge(SPACE, DockerOptions(), workload="offline", host=HostFacts()))


def _settings(storage: str) -> Settings:
    return Settings("stored", storage, trials=5, models=("Alpha",), noise={"Alpha": 0.005}, per_block=3)


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Found, list[FrozenTrial]]:
    path = tmp_path_factory.mktemp("study") / "optuna.db"
    bench = Bench()
    found = search(_ground(), bench.submit, settings=_settings(f"sqlite:///{path}"))
    return bench, found, _read(path)


def _read(path: Path) -> list[FrozenTrial]:
    """By Optuna alone, as any other reader of the file does."""
    return optuna.load_study(study_name="stored", storage=f"sqlite:///{path}").get_trials()


def test_every_answer_lies_in_the_storage_as_it_was_reported(
    searched: tuple[Bench, Found, list[FrozenTrial]],
) -> None:
    bench, _, trials = searched
    stored = {}
    for trial in trials:
        for facts in trial.user_attrs.get("evaluations", []):
            stored[trial.user_attrs["environment"], facts["block"]] = facts
            assert facts["log_ratio"] in trial.intermediate_values.values()
            assert {facts["run_id"], facts["baseline_id"]} <= set(trial.user_attrs["runs"])
            assert trial.user_attrs["docker_command"] == facts["docker_command"]
            assert trial.user_attrs["effective_state"] == facts["effective_state"]
    assert len(stored) == len(bench.told) >= 5
    for place, result in bench.told.items():
        assert {name: value for name, value in stored[place].items() if name not in ("model", "block")} == asdict(
            result
        )


def test_the_runs_of_a_block_share_its_baseline(searched: tuple[Bench, Found, list[FrozenTrial]]) -> None:
    facts = [one for trial in searched[2] for one in trial.user_attrs.get("evaluations", [])]
    blocks = {one["block"] for one in facts}
    assert 2 <= len(blocks) < len(facts)
    assert {(one["block"], one["baseline_id"]) for one in facts} == {(block, f"base-{block}") for block in blocks}


def test_the_value_of_a_trial_is_the_mean_of_its_log_ratios(
    searched: tuple[Bench, Found, list[FrozenTrial]],
) -> None:
    _, found, trials = searched
    measured = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.intermediate_values]
    assert measured
    for trial in measured:
        assert trial.value == pytest.approx(fmean(trial.intermediate_values.values()), abs=1e-12)
    for one in found.evaluated:
        mine = [trial for trial in trials if trial.number in one.trials and trial.user_attrs.get("evaluations")]
        if mine and one.mean is not None:
            assert one.mean == pytest.approx(fmean(mine[-1].intermediate_values.values()), abs=1e-12)
            assert mine[-1].user_attrs["docker_command"] == one.docker_command


def test_the_baseline_is_the_first_trial_at_0(searched: tuple[Bench, Found, list[FrozenTrial]]) -> None:
    first = searched[2][0]
    assert (first.value, set(first.params.values())) == (0.0, {"baseline"})


class Rows:
    """What the rows say now: other numbers for some runs, nothing for others."""

    def __init__(self, changed: dict[str, float | None]) -> None:
        self.changed = changed

    def recall(self, results: Sequence[Result]) -> list[Result | None]:
        return [self._now(result) for result in results]

    def _now(self, result: Result) -> Result | None:
        runs = [run for run in (result.run_id, result.baseline_id) if run in self.changed]
        if not runs:
            return result
        value = self.changed[runs[0]]
        return None if value is None else replace(result, log_ratio=value, attempt=2)


def run_of(found: Found, **choices: str) -> str:
    return next(one.run_ids[0] for one in found.evaluated if dict(one.choices) == choices)


@pytest.fixture
def stored() -> tuple[optuna.storages.BaseStorage, Bench, Found]:
    storage, bench = open_storage("memory:"), Bench()
    found = search(_ground(), bench.submit, settings=_settings(""), storage=storage)
    bench.told.clear()
    return storage, bench, found


def test_a_number_that_the_rows_no_longer_bear_out_is_replaced(
    stored: tuple[optuna.storages.BaseStorage, Bench, Found],
) -> None:
    storage, bench, first = stored
    changed = run_of(first, init="yes", cpus="1")
    again = search(
        _ground(), bench.submit, settings=_settings(""), storage=storage, recall=Rows({changed: -0.3}).recall
    )
    assert bench.told == {}, "nothing is measured again"
    one = next(one for one in again.evaluated if changed in one.run_ids)
    assert -0.3 in one.log_ratios.values()
    assert again.corrected >= 1
    trials = optuna.load_study(study_name="stored", storage=storage).get_trials()
    replaced = {number for trial in trials for number in trial.user_attrs.get("corrects", [])}
    stands = [t for t in trials if t.number not in replaced and t.user_attrs.get("evaluations")]
    for trial in stands:
        for facts in trial.user_attrs["evaluations"]:
            assert (facts["log_ratio"] == -0.3) is (facts["run_id"] == changed)
    assert [t for t in trials if not t.state.is_finished()] == []


def test_what_a_check_refused_later_is_dropped_and_measured_again(
    stored: tuple[optuna.storages.BaseStorage, Bench, Found],
) -> None:
    storage, bench, first = stored
    gone = run_of(first, init="yes", cpus="1")
    again = search(_ground(), bench.submit, settings=_settings(""), storage=storage, recall=Rows({gone: None}).recall)
    one = next(one for one in again.evaluated if dict(one.choices) == {"init": "yes", "cpus": "1"})
    assert gone not in one.run_ids
    assert one.log_ratios
    assert {environment for environment, _ in bench.told} == {one.environment} or not bench.told
    assert all(gone not in other.run_ids for other in again.evaluated)


def test_a_baseline_that_was_refused_takes_its_block_along(
    stored: tuple[optuna.storages.BaseStorage, Bench, Found],
) -> None:
    storage, bench, first = stored
    base = first.evaluated[-2].run_ids[1]
    of_block = [one.environment for one in first.evaluated if base in one.run_ids]
    assert len(of_block) > 1
    again = search(_ground(), bench.submit, settings=_settings(""), storage=storage, recall=Rows({base: None}).recall)
    assert all(base not in one.run_ids for one in again.evaluated)
    assert all(one.log_ratios for one in again.evaluated if one.environment in of_block)
    third = search(_ground(), bench.submit, settings=_settings(""), storage=storage, recall=Rows({base: None}).recall)
    assert third == again, "what is put right is put right once"


def test_a_study_over_other_models_is_refused_with_what_to_do(
    stored: tuple[optuna.storages.BaseStorage, Bench, Found],
) -> None:
    storage, bench, _ = stored
    other = replace(_settings(""), models=("Alpha", "Beta"))
    with pytest.raises(ConfigError, match="study 'stored' is over other models than are asked for: Alpha") as raised:
        search(_ground(), bench.submit, settings=other, storage=storage)
    assert raised.value.remedy == "Name another storage (--storage FILE), or start over (--fresh)"


def test_blocks_are_numbered_from_first_block() -> None:
    benches = [Bench(), Bench()]
    for bench, first in zip(benches, (0, 1 << 20), strict=True):
        search(_ground(), bench.submit, settings=replace(_settings("memory:"), first_block=first))
    plain, moved = ({block for _, block in bench.told} for bench in benches)
    assert plain
    assert moved == {block + (1 << 20) for block in plain}


class Slow(Proposer):
    """Takes its time over one trial: it is there, and not signed before the other thread asks for one, or 0.3 s have passed.

    That is the first trial after the second batch was submitted.
    """

    submitted, there, another = threading.Event(), threading.Event(), threading.Event()

    def before_trial(self, study: optuna.Study, trial: FrozenTrial) -> None:
        if self.there.is_set():
            self.another.set()
        elif self.submitted.is_set():
            self.there.set()
            self.another.wait(0.3)


class Pair:
    """Two stations at once."""

    def size(self) -> int:
        return 2

    def work(self, first: Worker, work: Work) -> None:
        batches = count()

        def submit(batch: Batch) -> Sequence[Result]:
            place = next(batches)
            if place == 1:
                Slow.submitted.set()
                Slow.there.wait(5.0)
            return first.submit(batch)

        stations = [replace(first, host=host, submit=submit) for host in ("one", "two")]
        threads = [threading.Thread(target=work, args=(worker,)) for worker in stations]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_a_trial_that_a_thread_has_not_signed_yet_is_not_taken_for_a_dead_drivers() -> None:
    storage, settings = open_storage("memory:"), replace(_settings("memory:"), per_block=1)
    found = search(_ground(), Bench().submit, settings=settings, crew=Pair(), storage=storage, sampler=Slow)
    assert found.abandoned == 0
    assert len([one for one in found.evaluated if one.log_ratios]) == 5
    [study] = storage.get_all_studies()
    blocks = [t.user_attrs["block"] for t in storage.get_all_trials(study._study_id) if "block" in t.user_attrs]
    assert {block["host"] for block in blocks} == {"one", "two"}
