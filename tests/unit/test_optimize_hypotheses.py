"""Hypotheses are judged by what was measured: shared memory, pinning, the combination, an experiment's own."""

import json
from dataclasses import asdict, replace
from typing import Any

import pytest
from simulated_runner import row

from sparkray.analysis.optimized import Confirmation, Confirmed, Effect, Level
from sparkray.catalog import Catalog, data_root
from sparkray.config.boundary import parse
from sparkray.config.experiment import Experiment, Hypothesis
from sparkray.errors import ConfigError
from sparkray.optimize.hypotheses import Evidence, judge_hypotheses
from sparkray.optimize.rows import Rows


def level(factor: str, label: str, state: Any = "measured", reason: str | None = None, **effect: Any) -> Level:
    name = f"container:{factor}={label}"
    made = Effect(name, "container_baseline", "output_throughput_tok_s", 4, **effect) if effect else None
    return Level(factor, label, name, "", "none", "", state, reason, made, "")


def three_arms(environment: str, removed: float, overhead: float = 10.0, noise: float = 0.05) -> Rows:
    """Throughputs of native, baseline, and one that takes a share of the overhead away."""
    values = {"native": 100.0, "container_baseline": 100.0 - overhead, environment: 100.0 - overhead * (1 - removed)}
    wiggle = [0.4, -1.0, 0.9, -0.3]
    return Rows(
        [
            row(run_id=f"{name}{n}", environment=name, model="M", block=n, attempt=1)
            | {"output_throughput_tok_s": value + noise * wiggle[(n + place) % 4] + n}
            for place, (name, value) in enumerate(values.items())
            for n in range(4)
        ]
    )


def judged(levels: tuple[Level, ...], rows: Rows, name: str, **more: Any) -> Any:
    evidence = Evidence(levels, rows, more.get("confirmation"), more.get("confirmed"))
    experiment = more.get("experiment") or Catalog(data_root()).experiment("phase2b")
    return next(one for one in judge_hypotheses(experiment, evidence) if one.name == name)


SHM = level("shm_size", "32g")


@pytest.mark.parametrize(("removed", "verdict"), [(0.4, "supported"), (0.05, "contradicted"), (0.5, "undecided")])
def test_the_share_that_shm_removes_is_held_against_what_was_expected(removed: float, verdict: str) -> None:
    found = judged((SHM,), three_arms(SHM.environment, removed), "shm-32g")
    assert found.judged == verdict
    assert f"{100 * removed:.0f} % removed" in found.seen


def test_without_an_overhead_no_share_of_it_is_claimed() -> None:
    found = judged((SHM,), three_arms(SHM.environment, 0.4, overhead=0.0), "shm-32g")
    assert found.judged == "cannot be judged"
    assert found.reason == (
        "cannot be judged here, because no overhead of the baseline is shown that anything could be removed of"
    )


def test_a_level_that_was_not_measured_is_the_reason() -> None:
    excluded = level("shm_size", "32g", "search only", "--shm-size cannot act under --ipc=host")
    found = judged((excluded,), Rows([]), "shm-32g")
    assert found.reason == "cannot be judged here, because --shm-size cannot act under --ipc=host"


PINNED = {"ratio": 1.001, "gain_pct": 0.1, "gain_low_pct": -0.1, "gain_high_pct": 0.3}


@pytest.mark.parametrize(
    ("spread", "verdict", "said"),
    [
        ((0.4, 0.2, 0.8), "equivalent", "supported"),
        ((1.9, 1.2, 3.0), "equivalent", "contradicted"),
        ((0.4, 0.2, 0.8), "different", "contradicted"),
        ((0.9, 0.5, 1.6), "equivalent", "undecided"),
        ((0.4, 0.2, 0.8), "undecided", "undecided"),
    ],
)
def test_pinning_is_judged_by_spread_and_mean(spread: tuple[float, float, float], verdict: str, said: str) -> None:
    sd = dict(zip(("sd_ratio", "sd_low", "sd_high"), spread, strict=True))
    found = judged((level("cpuset", "performance", **PINNED, **sd, verdict=verdict),), Rows([]), "cpu-pinning")
    assert found.judged == said


def test_the_combination_is_judged_by_the_confirmation() -> None:
    name = "container:combined-x"
    made = Effect(name, "container_baseline", "output_throughput_tok_s", 4, gain_pct=7.0)
    one = Confirmed(name, "", {}, "none", "", 1.0, made, 0.001, made, made, wins=True, reason=None)
    made_again = Confirmation(4, made, (one,), name, "")
    found = judged((), Rows([]), "combination", confirmation=made_again, confirmed=three_arms(name, 0.7))
    assert found.judged == "supported"
    assert judged((), Rows([]), "combination").judged == "cannot be judged"
    assert (found.stage, found.source) == ("confirm", "the study before sparkray")


def own_experiment(**hypothesis: Any) -> Experiment:
    """Another experiment with a hypothesis of its own, as a user's file states it."""
    stated = {"name": "mine", "claim": "what I expect", "kind": "removes_overhead"} | hypothesis
    return Catalog(data_root()).experiment("local-optimize", {"hypotheses": [stated]})


def test_an_experiment_is_judged_by_its_own_hypothesis() -> None:
    init = level("init", "yes")
    rows = three_arms(init.environment, 0.4)
    for low, high, verdict in ((20, 60, "supported"), (70, 90, "contradicted"), (40, 90, "undecided")):
        mine = own_experiment(level="init=yes", low_pct=low, high_pct=high, source="my notes")
        found = judged((SHM, init), rows, "mine", experiment=mine)
        assert (found.claim, found.judged, found.source, found.stage) == (
            "what I expect",
            verdict,
            "my notes",
            "screen",
        )
        assert "40 % removed" in found.seen


def test_a_hypothesis_may_be_of_another_metric_than_the_optimised_one() -> None:
    init = level("init", "yes", **PINNED, sd_ratio=0.4, sd_low=0.2, sd_high=0.8, verdict="equivalent")
    spread = {"kind": "lowers_sd_not_mean", "level": "init=yes"}
    rows = Rows(
        [
            row(run_id=f"{name}{n}", environment=name, model="M", block=n, attempt=1)
            | {"latency_mean_ms": 100.0 + scale * wiggle}
            for name, scale in (("container_baseline", 0.1), (init.environment, 2.0))
            for n, wiggle in enumerate([0.4, -1.0, 0.9, -0.3, 0.7, -0.6, 0.2, -0.2])
        ]
    )
    assert judged((init,), rows, "mine", experiment=own_experiment(**spread)).judged == "supported"
    found = judged((init,), rows, "mine", experiment=own_experiment(**spread, metric="latency_mean_ms"))
    assert (found.judged, found.reason.split(",")[0]) == ("contradicted", "the deviation is higher")
    found = judged((init,), rows, "mine", experiment=own_experiment(**spread, metric="ttft_mean_ms"))
    assert found.reason == "cannot be judged here, because the experiment has no margin for ttft_mean_ms"


def test_an_experiment_without_hypotheses_has_none_judged() -> None:
    plain = Catalog(data_root()).experiment("local-optimize")
    assert judge_hypotheses(plain, Evidence((SHM,), three_arms(SHM.environment, 0.4))) == ()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (
            {"low_pct": 50, "high_pct": 30},
            "low_pct 50.0 and high_pct 30.0 of mine must both be given, the lower one first",
        ),
        ({"low_pct": 50}, "high_pct None of mine must both be given"),
        ({"kind": "lowers_sd_not_mean", "low_pct": 5}, "low_pct and high_pct of mine belong to removes_overhead"),
        ({"kind": "lowers_sd_not_mean", "level": "init"}, "level 'init' of mine must be FACTOR=LEVEL"),
        ({"kind": "raises"}, "kind = 'raises'"),
        ({"kind": "lowers_sd_not_mean", "levl": "init=yes"}, "did you mean 'level'"),
    ],
)
def test_a_hypothesis_that_contradicts_itself_is_refused(change: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError) as refused:
        own_experiment(**change)
    assert why in str(refused.value)


def test_two_hypotheses_of_one_name_are_refused() -> None:
    one = Hypothesis("mine", "what I expect", "lowers_sd_not_mean")
    with pytest.raises(ValueError, match=r"hypotheses: one name stands twice \(mine, mine\)"):
        replace(own_experiment(kind="lowers_sd_not_mean"), hypotheses=(one, one))


def test_an_experiment_stored_before_there_were_hypotheses_reads() -> None:
    stored = json.loads(json.dumps(asdict(Catalog(data_root()).experiment("phase2b"))))
    older = {key: value for key, value in stored.items() if key not in ("hypotheses", "expected_hours")}
    found = parse(Experiment, older, "experiment.json")
    assert (found.hypotheses, found.expected_hours) == ((), None)
    assert parse(Experiment, stored, "experiment.json").hypotheses[0].low_pct == 30
