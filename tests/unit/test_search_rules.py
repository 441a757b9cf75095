"""The pure rules of the search: when to stop, what the evaluations together say, where to measure next."""

import itertools
import math

import numpy as np
import pytest
import search_driver
from hypothesis import given
from hypothesis import strategies as st
from search_driver import small_ground

from sparkray.search.race import Noise, hopeless, pooled_noise
from sparkray.search.surrogate import Observation, Surrogate, climbed
from sparkray.search.words import Instance, Settings

SURE = Noise(0.01, 1e6)
LABELS = {"a": ("baseline", "x", "y"), "b": ("baseline", "x"), "c": ("baseline", "x")}


def test_noise_is_pooled_within_configurations() -> None:
    rng = np.random.default_rng(1)
    groups = [list(centre + rng.normal(0, 0.03, 4)) for centre in rng.normal(0, 1, 500)]
    found = pooled_noise(groups)
    assert found.df == 2 + 500 * 3
    assert found.sd == pytest.approx(0.03, rel=0.05)


def test_noise_that_was_told_gives_way_to_repeats() -> None:
    assert pooled_noise([], told=0.01) == Noise(pytest.approx(0.01), 10.0)
    assert pooled_noise([[0.0], [1.0]], told=0.01).sd == pytest.approx(0.01)
    assert pooled_noise([[0.0, 0.1] * 50], told=0.01).sd == pytest.approx(0.05, rel=0.1)


def test_plain_harm_is_stopped_after_one_run_and_a_small_loss_is_not() -> None:
    leader = {0: 0.0, 1: 0.0}
    assert hopeless({0: -0.7}, leader, SURE, shared=True) is not None
    assert hopeless({0: -0.01}, leader, SURE, shared=True) is None
    assert hopeless(dict.fromkeys(range(30), -0.01), dict.fromkeys(range(30), 0.0), SURE, shared=True) is not None


def test_the_reason_names_the_size() -> None:
    said = hopeless({0: math.log(0.5)}, None, SURE, shared=False)
    assert said is not None
    assert "-50.0% against the baseline after 1" in said


def test_slack_keeps_what_other_models_may_make_up_for() -> None:
    assert hopeless({0: -0.05}, None, SURE, shared=False) is not None
    assert hopeless({0: -0.05}, None, SURE, shared=False, slack=0.1) is None


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("steps", [((0,), (0, 1, 2)), ((0, 1), (0, 1)), ((0, 3), (1, 2))])
def test_one_as_good_is_stopped_as_seldom_as_is_said(
    shared: bool, steps: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    rng, sd, stopped, tries = np.random.default_rng(2), 0.01, 0, 4000
    for _ in range(tries):
        common = rng.normal(0, sd / math.sqrt(2), 4)
        arms = []
        for arm in steps:
            base = common if shared else rng.normal(0, sd / math.sqrt(2), 4)
            arms.append({step: rng.normal(0, sd / math.sqrt(2)) - base[step] for step in arm})
        stopped += hopeless(arms[0], arms[1], Noise(sd, 1e6), shared=shared) is not None
    assert stopped / tries == pytest.approx(0.1, abs=4 * math.sqrt(0.09 / tries))


def observed(effects: dict[tuple[str, str], float], n: int, sd: float, pair: float = 0.0) -> list[Observation]:
    rng = np.random.default_rng(3)
    found = []
    for _ in range(n):
        choices = {name: str(rng.choice(labels)) for name, labels in LABELS.items()}
        value = sum(effects.get(choice, 0.0) for choice in choices.items())
        value += pair if (choices["b"], choices["c"]) == ("x", "x") else 0.0
        found.append(Observation(choices, 0, value + float(rng.normal(0, sd)), sd))
    return found


def test_effects_of_levels_are_found_from_mixed_configurations() -> None:
    effects = {("a", "x"): 0.03, ("a", "y"): -0.7, ("b", "x"): 0.02}
    surrogate = Surrogate(LABELS, observed(effects, 40, 0.005), 0.0)
    asked = [{}, {"a": "x"}, {"a": "y"}, {"a": "x", "b": "x"}, {"c": "x"}]
    mean, sd = surrogate.predict(surrogate.encode(asked))
    assert mean == pytest.approx([0.0, 0.03, -0.7, 0.05, 0.0], abs=0.01)
    assert sd[0] == 0.0
    assert np.all(sd[1:] < 0.01)


def test_a_pair_that_gains_only_together_is_found() -> None:
    surrogate = Surrogate(LABELS, observed({}, 60, 0.004, pair=0.04), 0.0)
    mean, _ = surrogate.predict(surrogate.encode([{"b": "x"}, {"c": "x"}, {"b": "x", "c": "x"}]))
    assert mean[2] == pytest.approx(0.04, abs=0.01)
    assert np.all(np.abs(mean[:2]) < 0.012)


def test_the_luck_of_one_baseline_run_is_nobodys_gain() -> None:
    lucky = [Observation({"a": "x"}, 0, 0.03, 0.01), Observation({"b": "x"}, 0, 0.03, 0.01)] * 4
    shared = Surrogate(LABELS, lucky, 0.02)
    alone = Surrogate(LABELS, lucky, 0.0)
    asked = shared.encode([{"a": "x"}])
    assert shared.predict(asked)[0][0] < 0.7 * alone.predict(asked)[0][0]


def test_nothing_seen_is_nothing_known() -> None:
    surrogate = Surrogate(LABELS, [], 0.0)
    mean, sd = surrogate.predict(surrogate.encode([{"a": "x"}, {"a": "x", "b": "x"}]))
    assert list(mean) == [0.0, 0.0]
    assert 0 < sd[0] < sd[1]


def test_climbing_ends_where_no_single_change_is_better() -> None:
    surrogate = Surrogate(LABELS, observed({("a", "x"): 0.03, ("b", "x"): 0.02, ("c", "x"): -0.05}, 40, 0.003), 0.0)
    found = climbed(surrogate, [3, 2, 2], lambda mean, _: mean, np.array([[2, 0, 1], [0, 0, 0]]))
    assert found.tolist() == [[1, 1, 0], [1, 1, 0]]


@given(st.fixed_dictionaries({axis.name: st.sampled_from(axis.labels) for axis in small_ground().axes}))
def test_a_settled_choice_keeps_the_options_and_drops_what_cannot_act(choices: dict[str, str]) -> None:
    ground = small_ground()
    settled = ground.settled(choices)
    assert ground.settled(settled) == settled
    assert ground.key(settled) == ground.key(choices)
    assert ("shm_size" in settled) is (choices["ipc"] == "private")
    assert ground.options(settled).ipc == ("private" if choices["ipc"] == "private" else "host")


def test_equal_options_are_one_configuration() -> None:
    ground = small_ground()
    assert ground.key({"shm_size": "8g"}) == ground.key({})
    assert ground.key({"ipc": "private", "shm_size": "8g"}) != ground.key({"ipc": "private"})
    assert ground.security({"seccomp": "off", "init": "yes"}) == "weakens"
    assert ground.security({"init": "yes"}) == "none"


def test_settings_without_work_are_refused() -> None:
    with pytest.raises(ValueError, match="trials 0"):
        Settings("s", "memory:", 0, (Instance("m", 0),))
    with pytest.raises(ValueError, match="instances 0"):
        Settings("s", "memory:", 1, ())


def test_blocks_are_filled_one_after_another_and_models_in_turn() -> None:
    """Evaluations that share a baseline are close in time, and no configuration is judged by one model alone."""
    asked: list[tuple[str, Instance]] = []
    instances = tuple(Instance(model, block) for block in range(5) for model in ("small", "large"))

    def submit(trial: search_driver.Trial, instance: Instance) -> search_driver.Result:
        asked.append((trial.environment, instance))
        return search_driver.answer(trial, instance, 0.001)

    settings = Settings("s", "memory:", 8, instances, noise=0.002, per_block=3, finalists=1, depth=2, shared=True)
    found = search_driver.search(small_ground(), submit, settings=settings)
    for model in ("small", "large"):
        blocks = [instance.block for _, instance in asked if instance.model == model]
        assert blocks[:3] == [0, 0, 0]
        assert all(later >= earlier - 1 for earlier, later in itertools.pairwise(blocks))
        assert max(blocks.count(block) for block in set(blocks)) <= 4
    complete = [one for one in found.evaluated if one.state == "complete" and one.log_ratios]
    assert all({instance.model for instance in one.log_ratios} == {"small", "large"} for one in complete)
    assert all(len(one.log_ratios) <= 4 for one in found.evaluated)
