"""The pure rules of the search: when to stop, what the results together say, who is to blame, what is asked first."""

import math
from collections import Counter
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from search_driver import answer, answers, settings_for, small_feasible_space

from sparkray.config.docker import DockerOptions
from sparkray.optimize.search import Batch, Result, Settings, search
from sparkray.optimize.search.failure_attribution import FailureAttribution, levels_of
from sparkray.optimize.search.propose import designed
from sparkray.optimize.search.race import Noise, hopeless, mean, pooled_noise
from sparkray.optimize.search.surrogate import Observations, Surrogate, hill_climb, neighbours

SURE = {"m": Noise(0.01, 1e6), "n": Noise(0.01, 1e6)}
SIZES = (3, 2, 2)
"""Axes a (x, y), b (x), c (x), beside the baseline's."""


def steps(*values: float, model: str = "m") -> dict[tuple[str, int], float]:
    return {(model, block): value for block, value in enumerate(values)}


def test_noise_is_pooled_within_configurations() -> None:
    rng = np.random.default_rng(1)
    groups = [list(centre + rng.normal(0, 0.03, 4)) for centre in rng.normal(0, 1, 500)]
    found = pooled_noise(groups)
    assert found.df == 2 + 500 * 3
    assert found.sd == pytest.approx(0.03, rel=0.05)


def test_noise_that_was_reported_gives_way_to_repeats() -> None:
    assert pooled_noise([], known=0.01) == Noise(pytest.approx(0.01), 10.0)
    assert pooled_noise([[0.0], [1.0]], known=0.01).sd == pytest.approx(0.01)
    assert pooled_noise([[0.0, 0.1] * 50], known=0.01).sd == pytest.approx(0.05, rel=0.1)


def test_plain_harm_is_stopped_after_one_run_and_a_small_loss_is_not() -> None:
    leader = steps(0.0, 0.0)
    assert hopeless(steps(-0.7), leader, SURE, tests=1) is not None
    assert hopeless(steps(-0.01), leader, SURE, tests=1) is None
    assert hopeless(steps(*[-0.01] * 30), steps(*[0.0] * 30), SURE, tests=1) is not None


def test_while_the_noise_is_a_guess_only_what_is_far_behind_is_stopped() -> None:
    """A machine whose runs scatter by 10 % and that nobody told of: what is as good as the baseline is not given up."""

    def submit(batch: Batch) -> list[Result]:
        return [answer(trial, batch.model, batch.block, 0.1) for trial in batch.trials]

    settings = Settings("s", "memory:", 16, ("m",), seed=3)
    found = search(small_feasible_space(), submit, settings=settings)
    stopped = [one for one in found.evaluated if one.state == "stopped"]
    assert stopped
    assert {one.choices["cpuset"] for one in stopped} == {"one"}


def test_the_reason_names_the_size() -> None:
    said = hopeless(steps(math.log(0.5)), None, SURE, tests=1)
    assert said is not None
    assert "-50.0% against the baseline after 1" in said


def test_slack_keeps_what_other_models_may_make_up_for() -> None:
    assert hopeless(steps(-0.05), None, SURE, tests=1) is not None
    assert hopeless(steps(-0.05), None, SURE, tests=1, slack=0.1) is None


def test_a_leader_is_held_against_on_the_models_that_both_have_seen() -> None:
    leader = {("m", 0): 0.0, ("n", 0): 0.5}
    assert hopeless({("m", 1): 0.0}, leader, SURE, tests=1) is None
    assert hopeless({("n", 1): 0.0}, leader, SURE, tests=1) is not None


def test_models_count_alike_however_often_they_were_measured() -> None:
    assert mean({("m", 0): 0.1, ("m", 1): 0.1, ("m", 2): 0.1, ("n", 0): -0.1}) == pytest.approx(0.0)
    assert mean({}) is None


@pytest.mark.parametrize("looks", [1, 4])
@pytest.mark.parametrize("blocks", [((0,), (0, 1, 2)), ((0, 1), (0, 1)), ((0, 3), (1, 2))])
def test_one_as_good_is_stopped_as_seldom_as_is_said(blocks: tuple[tuple[int, ...], ...], looks: int) -> None:
    rng, sd, stopped, tries = np.random.default_rng(2), 0.01, 0, 4000
    for _ in range(tries):
        base = rng.normal(0, sd / math.sqrt(2), 4)
        arms = [{("m", b): float(rng.normal(0, sd / math.sqrt(2)) - base[b]) for b in arm} for arm in blocks]
        stopped += hopeless(arms[0], arms[1], SURE, tests=looks) is not None
    said = 0.1 / looks
    assert stopped / tries == pytest.approx(said, abs=4 * math.sqrt(said / tries))


def seen(x: np.ndarray, values: np.ndarray, *, sd: float, df: float = 1e6, block: int | None = None) -> Observations:
    blocks = np.arange(len(values)) if block is None else np.arange(len(values)) // block
    return Observations(x, values, blocks, np.full(len(values), sd), df)


def observed(effects: dict[tuple[int, int], float], n: int, sd: float, pair: float = 0.0) -> Surrogate:
    """Random configurations, eight to a block, the noise of a block's baseline in all of it."""
    rng = np.random.default_rng(3)
    x = np.stack([rng.integers(size, size=n) for size in SIZES], axis=1)
    values = np.array([sum(effects.get((axis, int(p)), 0.0) for axis, p in enumerate(row)) for row in x])
    values += pair * ((x[:, 1] == 1) & (x[:, 2] == 1)) + rng.normal(0, sd, n)
    values -= np.repeat(rng.normal(0, sd, -(-n // 8)), 8)[:n]
    return Surrogate(SIZES, seen(x, values, sd=sd, block=8))


def test_effects_of_levels_are_found_from_mixed_configurations() -> None:
    surrogate = observed({(0, 1): 0.03, (0, 2): -0.7, (1, 1): 0.02}, 48, 0.005)
    asked = np.array([[0, 0, 0], [1, 0, 0], [2, 0, 0], [1, 1, 0], [0, 0, 1]])
    mean_, sd = surrogate.predict(asked)
    assert mean_ == pytest.approx([0.0, 0.03, -0.7, 0.05, 0.0], abs=0.01)
    assert sd[0] == 0.0
    assert np.all(sd[1:] < 0.01)


def test_a_pair_that_gains_only_together_is_found() -> None:
    mean_, _ = observed({}, 72, 0.004, pair=0.04).predict(np.array([[0, 1, 0], [0, 0, 1], [0, 1, 1]]))
    assert mean_[2] == pytest.approx(0.04, abs=0.01)
    assert np.all(np.abs(mean_[:2]) < 0.012)


def test_the_luck_of_one_baseline_run_is_nobodys_gain() -> None:
    x, values = np.array([[1, 0, 0], [0, 1, 0]] * 4), np.full(8, 0.03)
    shared = Surrogate(SIZES, seen(x, values, sd=0.02, block=8))
    apart = Surrogate(SIZES, seen(x, values, sd=0.02))
    asked = np.array([[1, 0, 0]])
    assert shared.predict(asked)[0][0] < 0.7 * apart.predict(asked)[0][0]


@pytest.mark.parametrize("told", [0.002, 0.02, 0.2])
def test_noise_that_was_guessed_wrongly_is_put_right(told: float) -> None:
    rng = np.random.default_rng(5)
    x = np.stack([rng.integers(size, size=80) for size in SIZES], axis=1)
    values = 0.03 * (x[:, 0] == 1) + rng.normal(0, 0.02, 80)
    surrogate = Surrogate(SIZES, seen(x, values, sd=told / math.sqrt(2), df=2.0))
    assert 0.014 < told * math.sqrt(surrogate.noise_factor) < 0.045
    trusting = Surrogate(SIZES, seen(x, values, sd=told / math.sqrt(2), df=1e9))
    assert trusting.noise_factor == pytest.approx(1.0, abs=1e-3)


def test_nothing_seen_is_nothing_known() -> None:
    surrogate = Surrogate(SIZES, seen(np.zeros((0, 3), dtype=np.int64), np.zeros(0), sd=0.01))
    mean_, sd = surrogate.predict(np.array([[1, 0, 0], [1, 1, 0]]))
    assert list(mean_) == [0.0, 0.0]
    assert 0 < sd[0] < sd[1]


def test_draws_scatter_as_the_doubt_says() -> None:
    surrogate, rng = observed({(0, 1): 0.03}, 24, 0.01), np.random.default_rng(7)
    asked = np.array([[1, 0, 0], [0, 1, 1], [2, 1, 0]])
    drawn = np.array([surrogate.value(asked, surrogate.draw(rng)) for _ in range(3000)])
    mean_, sd = surrogate.predict(asked)
    assert drawn.mean(axis=0) == pytest.approx(mean_, abs=0.001)
    assert drawn.std(axis=0) == pytest.approx(sd, rel=0.1)


def test_climbing_ends_where_no_two_changes_are_better() -> None:
    surrogate = observed({(0, 1): 0.03, (1, 1): 0.02, (2, 1): -0.05}, 40, 0.003)
    for start in ([2, 0, 1], [0, 0, 0]):
        found = hill_climb(np.array(start), [[0, 1, 2], [0, 1], [0, 1]], lambda x: x, lambda x: surrogate.predict(x)[0])
        assert found.tolist() == [1, 1, 0]


def test_a_pair_is_climbed_to_where_neither_level_gains_alone() -> None:
    def score(x: np.ndarray) -> np.ndarray:
        return np.asarray(0.02 * ((x[:, 1] == 1) & (x[:, 2] == 1)) - 0.001 * x.sum(axis=1))

    assert hill_climb(np.zeros(3, dtype=np.int64), [[0, 1, 2], [0, 1], [0, 1]], lambda x: x, score).tolist() == [
        0,
        1,
        1,
    ]


def test_neighbours_are_all_that_differ_on_one_axis_or_two() -> None:
    found = neighbours(np.array([1, 0, 0]), [[0, 1, 2], [0, 1], [0]])
    assert found[0].tolist() == [1, 0, 0]
    assert sorted(map(tuple, found.tolist())) == [(0, 0, 0), (0, 1, 0), (1, 0, 0), (1, 1, 0), (2, 0, 0), (2, 1, 0)]
    assert neighbours(np.zeros(1, dtype=np.int64), [[0]]).tolist() == [[0]]


GOOD = {"a": "x", "b": "baseline", "c": "x"}


def test_a_level_that_works_elsewhere_is_not_to_blame() -> None:
    failure_attribution = FailureAttribution([GOOD], [{"a": "x", "b": "x", "c": "x"}])
    rng = np.random.default_rng(1)
    assert {failure_attribution.draw(rng) for _ in range(20)} == {(frozenset({("b", "x")}),)}


def test_each_suspect_is_drawn_and_what_explains_more_is_drawn_more_often() -> None:
    bad = [{"a": "y", "b": "x"}, {"a": "y", "c": "z"}, {"a": "y", "d": "x"}]
    rng = np.random.default_rng(1)
    drawn = Counter(culprit for _ in range(400) for culprit in FailureAttribution([], bad).draw(rng))
    assert max(drawn, key=drawn.__getitem__) == frozenset({("a", "y")})
    assert set(drawn) == {frozenset({level}) for choices in bad for level in levels_of(choices)}


def test_where_every_level_works_alone_pairs_are_suspected_and_at_last_the_whole() -> None:
    rng, bad = np.random.default_rng(1), {"a": "x", "b": "x"}
    assert FailureAttribution([{"a": "x"}, {"b": "x"}], [bad]).draw(rng) == (levels_of(bad),)
    assert FailureAttribution([{**bad, "c": "x"}], [bad]).draw(rng) == (levels_of(bad),)
    assert FailureAttribution([GOOD], []).draw(rng) == ()


def test_the_first_batch_meets_every_level_and_no_configuration_twice() -> None:
    feasible_space = small_feasible_space()
    design = designed(feasible_space, 8, seed=1)
    assert design == designed(feasible_space, 8, seed=1)
    keys = [feasible_space.key(choices) for choices in design]
    assert len(set(keys)) == 8
    assert feasible_space.key({}) not in keys
    met = {choice for choices in design for choice in levels_of(choices)}
    plain = {(axis.name, label) for axis in feasible_space.axes if not axis.needs for label in axis.levels}
    assert plain <= met
    assert all(choices == feasible_space.settled(choices) for choices in design)


@given(st.fixed_dictionaries({axis.name: st.sampled_from(axis.labels) for axis in small_feasible_space().axes}))
def test_a_settled_choice_keeps_the_options_and_drops_what_cannot_act(choices: dict[str, str]) -> None:
    feasible_space = small_feasible_space()
    settled = feasible_space.settled(choices)
    assert feasible_space.settled(settled) == settled
    assert feasible_space.key(settled) == feasible_space.key(choices)
    assert ("shm_size" in settled) is (choices["ipc"] == "private")
    assert feasible_space.options(settled).ipc == ("private" if choices["ipc"] == "private" else "host")
    assert feasible_space.named(feasible_space.settle(feasible_space.encode([choices]))[0]) == settled


def test_equal_options_are_one_configuration() -> None:
    feasible_space = small_feasible_space()
    assert feasible_space.key({"shm_size": "8g"}) == feasible_space.key({})
    assert feasible_space.key({"ipc": "private", "shm_size": "8g"}) != feasible_space.key({"ipc": "private"})
    assert feasible_space.security({"seccomp": "off", "init": "yes"}) == "weakens"
    assert feasible_space.security({"init": "yes"}) == "none"


def test_what_is_barred_is_chosen_no_more_and_the_ground_stays_the_same() -> None:
    feasible_space = small_feasible_space()
    barred = small_feasible_space(barred=("cpuset=one", "init=yes"))
    assert barred.definition == feasible_space.definition
    assert barred.barred({"cpuset": "one"}) == "cpuset=one"
    assert barred.barred({"cpuset": "fast", "init": "baseline"}) is None
    assert "init" not in barred.settled({})
    found = search(barred, answers, settings=settings_for("memory:", 12))
    tried = {choice for one in found.evaluated for choice in levels_of(one.choices)}
    assert tried
    assert not tried & {("cpuset", "one"), ("init", "yes")}


def test_a_ground_that_is_edited_is_another() -> None:
    feasible_space = small_feasible_space()
    other = small_feasible_space(baseline=DockerOptions(ipc="host"))
    assert feasible_space.definition != other.definition


def test_a_small_ground_is_known_when_all_of_it_was_measured() -> None:
    small = small_feasible_space(barred=("cpuset=one", "cpuset=fast", "seccomp=off", "init=yes", "ipc=private"))
    assert small.fewer_than(20) == 1
    assert small_feasible_space().fewer_than(20) is None
    found = search(small, answers, settings=settings_for("memory:", 20))
    assert sum(len(one.log_ratios) > 0 for one in found.evaluated) == 1


@pytest.mark.parametrize(("wrong", "said"), [({"trials": 0}, "trials 0"), ({"models": ()}, "models 0")])
def test_settings_without_work_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Settings(**{"study": "s", "storage": "memory:", "trials": 1, "models": ("m",), **wrong})  # type: ignore[arg-type]


class Asked:
    """Remembers every batch, and answers."""

    def __init__(self) -> None:
        self.batches: list[Batch] = []

    def submit(self, batch: Batch) -> list[Result]:
        self.batches.append(batch)
        return [answer(trial, batch.model, batch.block, 0.001) for trial in batch.trials]


def of_models(*models: str, trials: int = 12, **more: object) -> Settings:
    values = {"noise": dict.fromkeys(models, 0.002), "finalists": 2, "rounds": 2, "per_block": 5, **more}
    return Settings("s", "memory:", trials, models, **values)  # type: ignore[arg-type]


def test_batches_fill_blocks_and_go_from_model_to_model_without_the_hopeless() -> None:
    asked = Asked()
    settings = of_models("small", "large")
    found = search(small_feasible_space(), asked.submit, settings=settings)
    places = [(batch.model, batch.block) for batch in asked.batches]
    assert len(set(places)) == len(places)
    assert [batch.model for batch in asked.batches][:2] == ["small", "large"]
    assert max(len(batch.trials) for batch in asked.batches) <= 5
    explored = [batch for batch in asked.batches if batch.model == "small"][:3]
    assert [len(batch.trials) for batch in explored] == [4, 4, 4], "12 trials make three blocks of one size"
    stopped = [one for one in found.evaluated if one.state == "stopped" and one.mean is not None and one.mean < -0.5]
    assert stopped
    assert all({model for model, _ in one.log_ratios} == {"small"} for one in stopped)
    complete = [one for one in found.evaluated if one.state == "complete" and one.log_ratios]
    assert all({model for model, _ in one.log_ratios} == {"small", "large"} for one in complete)


def test_a_search_makes_no_more_runs_than_it_was_planned_for() -> None:
    for trials in (1, 7, 12):
        for models in (("one",), ("one", "two", "three")):
            asked = Asked()
            settings = of_models(*models, trials=trials)
            search(small_feasible_space(barred=("cpuset=one",)), asked.submit, settings=settings)
            assert sum(1 + len(batch.trials) for batch in asked.batches) <= settings.most_runs


def test_finalists_are_measured_in_blocks_of_their_own() -> None:
    asked = Asked()
    found = search(small_feasible_space(), asked.submit, settings=of_models("m", finalists=3))
    raced = [one for one in found.evaluated if len(one.log_ratios) > 1]
    assert 1 <= len(raced) <= 3
    assert found.best in raced
    last = asked.batches[-1]
    assert {trial.environment for trial in last.trials} <= {one.environment for one in raced}


def test_a_run_that_nobody_could_make_count_is_tried_again_and_then_given_up() -> None:
    asked: Counter[str] = Counter()

    def submit(batch: Batch) -> list[Result]:
        found = []
        for trial in batch.trials:
            asked[trial.environment] += 1
            doubtful = trial.choices["init"] == "yes" or (
                trial.choices["pid"] == "host" and asked[trial.environment] == 1
            )
            refused = Result(None, answered=False, reason="invalid: throttled")
            found.append(refused if doubtful else answer(trial, batch.model, batch.block))
        return found

    found = search(small_feasible_space(), submit, settings=of_models("m", trials=10))
    given_up = [one for one in found.evaluated if one.choices["init"] == "yes"]
    assert given_up
    assert {(one.state, one.reason) for one in given_up} == {
        ("refused", "no run of it counts in 2 blocks: invalid: throttled")
    }
    assert {asked[one.environment] for one in given_up} == {2}
    again = [one for one in found.evaluated if one.choices["pid"] == "host" and one.choices["init"] != "yes"]
    assert again
    assert all(one.log_ratios for one in again)


def counting(*, on: str, until: int = 0) -> Callable[[Batch], list[Result]]:
    """Runs count on one model; on others those of the first trials alone."""

    def submit(batch: Batch) -> list[Result]:
        refused = Result(None, answered=False, reason="invalid: throttled")
        return [
            answer(trial, batch.model, batch.block) if batch.model == on or trial.number <= until else refused
            for trial in batch.trials
        ]

    return submit


def test_what_was_measured_on_some_models_only_is_not_complete() -> None:
    found = search(small_feasible_space(), counting(on="a"), settings=of_models("a", "b", trials=6))
    measured = [one for one in found.evaluated if one.log_ratios]
    assert measured
    assert {model for one in measured for model, _ in one.log_ratios} == {"a"}
    assert {one.state for one in measured} <= {"refused", "stopped"}
    assert {one.reason for one in measured if one.state == "refused"} == {
        "no run of it counts in 2 blocks: invalid: throttled"
    }
    assert found.best is None


def test_a_finalist_that_was_not_measured_on_every_model_is_not_complete() -> None:
    """The best guess is a finalist that was in no batch before: the first model alone does not make it the best."""
    found = search(
        small_feasible_space(), counting(on="a", until=6), settings=of_models("a", "b", trials=6, finalists=3)
    )
    late = [one for one in found.evaluated if min(one.trials) > 6 and one.log_ratios]
    assert late
    assert {model for one in late for model, _ in one.log_ratios} == {"a"}
    assert {one.state for one in late} == {"refused"}
    assert found.best is not None
    assert {model for model, _ in found.best.log_ratios} == {"a", "b"}
