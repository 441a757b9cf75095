"""Who wins a confirmation: what is shown to be better by more than the margin on fresh runs, and nobody else."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from simulated_runner import context_in

from sparkray.analysis.optimized import Confirmation
from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Sequential
from sparkray.metrics import BY_NAME
from sparkray.optimize.confirm import decide_among
from sparkray.optimize.context import OptimizationContext
from sparkray.optimize.interim import interim_analyses
from sparkray.optimize.rows import Rows
from sparkray.optimize.search import Candidate
from sparkray.stats.reasons import worded

NAMES = ("container:combined-a", "container:combined-b", "container:combined-c")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> OptimizationContext:
    return context_in(tmp_path_factory.mktemp("context"))


def candidate(name: str, security: Any = "none") -> Candidate:
    return Candidate(name, DockerOptions(init=True), {"init": "yes"}, security, 0.01, "a test")


MODEL = "SmolLM2-135M"


def rows(logs: Mapping[str, np.ndarray], memory: Mapping[str, float] | None = None, model: str = MODEL) -> Rows:
    """Runs of a throughput, blocks that move all arms alike, memory with hardly any noise; a run of NaN has failed."""
    rng = np.random.default_rng(1)
    blocks = 0.05 * rng.normal(size=40)
    found = []
    for name, values in logs.items():
        for block, value in enumerate(values):
            row: dict[str, Any] = dict.fromkeys(BY_NAME)
            row |= {
                "run_id": f"{model}{name}{block}",
                "attempt": 1,
                "status": "ok",
                "reason": None,
                "environment": name,
            }
            row |= {"model": model, "block": block, "effective_state": None, "simulated": True, "host": "box"}
            row["ended_at"] = f"{block:04}"
            if math.isnan(value):
                found.append(row | {"status": "oom", "reason": "killed"})
                continue
            row["output_throughput_tok_s"] = math.exp(4 + value + blocks[block])
            row["host_available_drop_peak_gib"] = (memory or {}).get(name, 1.0) + 1e-4 * rng.normal()
            found.append(row)
    return Rows(found)


def decide(
    context: OptimizationContext, names: Sequence[str], made: Rows, *, models: Sequence[str] = (MODEL,)
) -> Confirmation:
    return decide_among(context, [candidate(name) for name in names], made, models=models)


def arms(rng: np.random.Generator, noise: float, n: int = 12, **gains: float) -> dict[str, np.ndarray]:
    names = ("native", "container_baseline", *(f"container:combined-{key}" for key in gains))
    true = (0.05, 0.0, *gains.values())
    return {name: gain + noise * rng.normal(size=n) for name, gain in zip(names, true, strict=True)}


def test_the_best_that_is_beyond_the_margin_wins(context: OptimizationContext) -> None:
    made = rows(arms(np.random.default_rng(2), 0.002, a=0.03, b=0.05, c=0.004))
    found = decide(context, NAMES, made)
    assert found.winner == NAMES[1]
    assert [one.wins for one in found.candidates] == [True, True, False]
    assert found.candidates[2].reason == "equivalent to the baseline within 1.0%"
    assert found.candidates[1].effect.gain_pct == pytest.approx(5.1, abs=0.5)
    assert found.candidates[1].to_native.gain_pct == pytest.approx(0, abs=0.4)
    assert found.baseline.gain_pct == pytest.approx(-4.9, abs=0.5)
    assert "no isolation is given up" in found.sentence


def test_a_gain_that_is_real_and_below_the_margin_does_not_win(context: OptimizationContext) -> None:
    found = decide(context, NAMES[:1], rows(arms(np.random.default_rng(2), 0.002, n=20, a=0.0098)))
    [one] = found.candidates
    assert one.effect.helps
    assert (found.winner, one.wins) == (None, False)
    assert one.reason == "a gain is shown, but no gain above the margin of 1.0% is shown"
    assert found.sentence.startswith(
        "The baseline is as good as it gets: on 12 fresh blocks a model none of 1 candidate is"
    )


def test_a_candidate_that_is_worse_is_called_so(context: OptimizationContext) -> None:
    [one] = decide(context, NAMES[:1], rows(arms(np.random.default_rng(2), 0.002, a=-0.2))).candidates
    assert (one.wins, one.reason) == (False, "worse than the baseline")


def test_speed_is_not_bought_with_memory(context: OptimizationContext) -> None:
    made = rows(arms(np.random.default_rng(2), 0.002, a=0.05), {NAMES[0]: 1.5})
    [one] = decide(context, NAMES[:1], made).candidates
    assert one.wins is False
    assert (one.reason or "").startswith("it takes more memory: +0.5 GiB (+0.5 to +0.5)")
    assert decide(context, NAMES[:1], rows(arms(np.random.default_rng(2), 0.002, a=0.05), {NAMES[0]: 1.05})).winner
    # 0.05 GiB are 5 % of little: less than the margin of 0.1 GiB; and a zero is a value like any other
    for margins in ({}, context.study.experiment.difference_margins):
        study = replace(context.study, experiment=replace(context.study.experiment, difference_margins=margins))
        made = rows(arms(np.random.default_rng(2), 0.002, a=0.05), {NAMES[0]: 9.0})
        freed = [
            {**row, "host_available_drop_peak_gib": 0.0} if row["run_id"].endswith("baseline0") else row
            for row in made.rows
        ]
        [one] = decide(replace(context, study=study), NAMES[:1], Rows(freed)).candidates
        assert (one.reason or "").startswith("it takes more memory: +8.08 GiB"), margins


def test_one_that_was_given_up_or_has_no_pairs_does_not_win(context: OptimizationContext) -> None:
    made = rows(arms(np.random.default_rng(2), 0.002, a=0.05))
    out = {NAMES[0]: "none of its 2 runs was ok"}
    given_up, unmeasured = decide_among(
        context, [candidate(NAMES[0]), candidate(NAMES[1])], made, models=(MODEL,), out=out
    ).candidates
    assert (given_up.wins, given_up.reason) == (False, out[NAMES[0]])
    assert unmeasured.wins is False
    assert unmeasured.reason == "0 complete pairs: an interval needs at least 2"


def test_among_equals_the_safer_wins(context: OptimizationContext) -> None:
    logs = arms(np.random.default_rng(2), 0.002, a=0.05, b=0.05)
    logs[NAMES[1]] = logs[NAMES[0]]
    made = rows(logs, {NAMES[0]: 1.0, NAMES[1]: 1.0})
    mine = [candidate(NAMES[0], "weakens"), candidate(NAMES[1], "none")]
    assert decide_among(context, mine, made, models=(MODEL,)).winner == NAMES[1]


def test_of_winners_that_are_not_distinguished_the_safer_is_taken(context: OptimizationContext) -> None:
    """One that is a hair better by its mean alone does not buy that with isolation."""
    mine = [candidate(NAMES[0], "dangerous"), candidate(NAMES[1], "none")]
    close = rows(arms(np.random.default_rng(2), 0.004, a=0.0505, b=0.05))
    found = decide_among(context, mine, close, models=(MODEL,))
    assert found.candidates[0].wins
    assert found.winner == NAMES[1]
    apart = rows(arms(np.random.default_rng(2), 0.004, a=0.09, b=0.05))
    assert decide_among(context, mine, apart, models=(MODEL,)).winner == NAMES[0]


def test_of_one_grade_the_one_that_weakens_less_is_taken(context: OptimizationContext) -> None:
    both = Candidate(NAMES[0], DockerOptions(pid="host", ipc="host"), {}, "weakens", 0.01, "a test")
    less = Candidate(NAMES[1], DockerOptions(pid="host"), {}, "weakens", 0.01, "a test")
    made = rows(arms(np.random.default_rng(2), 0.004, a=0.0505, b=0.05))
    assert decide_among(context, [both, less], made, models=(MODEL,)).winner == NAMES[1]


def test_one_that_fails_in_too_many_blocks_does_not_win_by_its_survivors(context: OptimizationContext) -> None:
    logs = arms(np.random.default_rng(2), 0.002, a=0.05, b=0.04)
    logs[NAMES[0]][:2] = np.nan
    logs[NAMES[1]][0] = np.nan
    found = decide(context, NAMES[:2], rows(logs))
    assert found.candidates[0].reason == f"it works in 10 of 12 blocks of {MODEL}: 90% are needed"
    assert (found.candidates[1].wins, found.winner) == (True, NAMES[1]), "11 of 12 blocks are enough"


def test_one_that_never_works_on_a_model_does_not_win(context: OptimizationContext) -> None:
    small = rows(arms(np.random.default_rng(2), 0.002, a=0.05))
    logs = arms(np.random.default_rng(3), 0.002, a=0.05)
    logs[NAMES[0]][:] = np.nan
    both = Rows([*small.rows, *rows(logs, model="large").rows])
    [one] = decide(context, NAMES[:1], both, models=(MODEL, "large")).candidates
    assert one.reason == "it works in 0 of 12 blocks of large: 90% are needed"
    assert one.by_model["large"].not_estimable == "few_pairs?n=0&least=2"


def test_a_loss_on_one_model_is_not_made_up_for_by_another(context: OptimizationContext) -> None:
    gains = rows(arms(np.random.default_rng(2), 0.002, a=0.2))
    loses = rows(arms(np.random.default_rng(3), 0.002, a=-0.04), model="large")
    [one] = decide(context, NAMES[:1], Rows([*gains.rows, *loses.rows]), models=(MODEL, "large")).candidates
    assert one.effect.gain_pct is not None
    assert one.effect.gain_pct > 5
    assert one.reason is not None
    assert one.reason.startswith("it harms large by more than the margin: -3.")
    assert {model: round(found.gain_pct or 0.0) for model, found in one.by_model.items()} == {MODEL: 22, "large": -4}
    slight = rows(arms(np.random.default_rng(3), 0.002, a=-0.004), model="large")
    found = decide(context, NAMES[:1], Rows([*gains.rows, *slight.rows]), models=(MODEL, "large"))
    assert found.candidates[0].reason != one.reason


def test_flags_that_do_nothing_are_crowned_in_at_most_five_per_cent(context: OptimizationContext) -> None:
    """At the margin itself, which is the worst there is: 2.5 % over all candidates, so up to 6 of 60 by chance."""
    noise = 0.01
    false, at_margin = 0, 0
    for seed in range(60):
        rng = np.random.default_rng([seed, 7])
        null = decide(context, NAMES, rows(arms(rng, noise, a=0.0, b=0.0, c=0.0)))
        false += null.winner is not None
        edge = math.log(1.01)
        worst = decide(context, NAMES, rows(arms(rng, noise, a=edge, b=edge, c=edge)))
        at_margin += worst.winner is not None
    assert false <= 2
    assert at_margin <= 6


def test_for_latency_less_is_better(context: OptimizationContext) -> None:
    experiment = replace(context.study.experiment, primary_metrics=("latency_mean_ms",))
    other = replace(context, study=replace(context.study, experiment=experiment))
    made = rows(arms(np.random.default_rng(2), 0.002, a=0.05))
    turned = Rows([{**row, "latency_mean_ms": 1e4 / row["output_throughput_tok_s"]} for row in made.rows])
    [one] = decide(other, NAMES[:1], turned).candidates
    assert one.wins
    assert one.effect.ratio == pytest.approx(math.exp(-0.05), abs=0.005)
    assert one.effect.gain_pct == pytest.approx(5.1, abs=0.5)
    assert one.effect.gain_low_pct is not None
    assert one.effect.gain_high_pct is not None
    assert one.effect.gain_low_pct < one.effect.gain_pct < one.effect.gain_high_pct


@pytest.fixture(scope="module")
def looking(context: OptimizationContext) -> OptimizationContext:
    """The same with a sequential design."""
    experiment = replace(context.study.experiment, sequential=Sequential((4, 8, 16)))
    return replace(context, study=replace(context.study, experiment=experiment))


def test_a_sequential_confirmation_decides_at_an_interim_analysis(looking: OptimizationContext) -> None:
    assert looking.confirm_runs == 16
    made = rows(arms(np.random.default_rng(2), 0.0005, n=4, a=0.05, b=0.0))
    found = decide(looking, NAMES[:2], made)
    assert (found.winner, found.blocks) == (NAMES[0], 4)
    assert found.candidates[0].beyond_p_holm is None
    assert found.candidates[1].reason is not None
    assert found.candidates[1].reason.startswith("equivalent within 1.0% at interim analysis 1 of 3")
    looks = interim_analyses(looking, NAMES[:2], made, models=(MODEL,), closed=False)
    assert [looks[name].stop for name in NAMES[:2]] == [True, True]
    early = interim_analyses(
        looking, NAMES[:1], rows(arms(np.random.default_rng(2), 0.001, n=3, a=0.05)), models=(MODEL,), closed=False
    )
    assert not early[NAMES[0]].stop


def test_a_number_of_blocks_that_was_asked_for_goes_before_the_interim_analyses(looking: OptimizationContext) -> None:
    asked = replace(looking, request=replace(looking.request, confirm_runs=30))
    assert (asked.confirm_runs, asked.interim) == (30, None)


def test_interim_analyses_crown_noise_no_more_often(looking: OptimizationContext) -> None:
    """At the margin itself, the worst there is, over three candidates: 2.5 % and what chance adds."""
    crowned = 0
    for seed in range(150):
        edge = math.log(1.01)
        made = rows(arms(np.random.default_rng([seed, 9]), 0.01, n=16, a=edge, b=edge, c=edge))
        looks = interim_analyses(looking, NAMES, made, models=(MODEL,), closed=True)
        crowned += any(one.verdict == "different" and (one.ratio or 0) > 1 for one in looks.values())
    assert crowned <= 10


def test_a_block_counts_when_it_is_complete_on_every_model(looking: OptimizationContext) -> None:
    small = rows(arms(np.random.default_rng(2), 0.001, n=4, a=0.05))
    logs = arms(np.random.default_rng(3), 0.001, n=4, a=0.05)
    logs[NAMES[0]][3] = np.nan
    both = Rows([*small.rows, *rows(logs, model="large").rows])
    [look] = interim_analyses(looking, NAMES[:1], both, models=(MODEL, "large"), closed=False).values()
    assert worded(look.reason) == "3 of the 4 pairs of the first interim analysis are complete"
