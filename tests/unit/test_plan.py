"""Plans: every environment once a block, the same anywhere, and longer plans that begin with the shorter ones."""

import json
from collections import Counter
from dataclasses import asdict, replace
from itertools import groupby
from typing import Any

import pytest
from builders import card, experiment, shape, site, study, treatments
from hypothesis import given
from hypothesis import strategies as st

from sparkray.config.arrival import Arrival
from sparkray.config.boundary import parse
from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Experiment, Hypothesis, Saturation, Serving, Workload
from sparkray.config.model import Weights
from sparkray.config.site import ENVIRONMENTS, Environment
from sparkray.errors import ConfigError
from sparkray.plan import (
    PlannedRun,
    Study,
    Treatment,
    canonical_sha256,
    definition_sha256,
    equivalences,
    estimated_s,
    experiment_sha256,
    make_plan,
    measured,
)

MODELS = ("Alpha", "Beta", "Gamma", "Delta")


def planned(
    *, models: int = 1, environments: tuple[str, ...] = ENVIRONMENTS[:3], runs: int = 4, **changes: Any
) -> Study:
    """Every environment measured, also where two containers have the same flags."""
    asked = experiment(models=MODELS[:models], environments=environments, runs=runs, **{"fold": False} | changes)
    return study(experiment=asked)


STUDIES = st.builds(
    planned,
    models=st.integers(1, 4),
    environments=st.lists(st.sampled_from(ENVIRONMENTS), min_size=1, unique=True).map(tuple),
    runs=st.integers(1, 8),
    seed=st.integers(0, 2**32),
    order=st.sampled_from(["random", "alternating"]),
)


def blocks(plan: list[PlannedRun], model: str = "Alpha") -> list[tuple[str, ...]]:
    """Environments in order, block by block, of one model."""
    numbers = sorted({run.block for run in plan if run.model == model})
    return [tuple(run.environment for run in plan if (run.model, run.block) == (model, n)) for n in numbers]


def ids(one: Study) -> dict[tuple[str, str, int], str]:
    """Run ids by what they stand for."""
    return {(run.model, run.environment, run.block): run.run_id for run in make_plan(one)}


@given(STUDIES)
def test_every_block_holds_every_environment_once(one: Study) -> None:
    plan = make_plan(one)
    seen = Counter((run.model, run.block, run.environment) for run in plan)
    assert set(seen.values()) == {1}
    assert set(seen) == {
        (model, block, environment)
        for model in one.experiment.models
        for block in range(one.experiment.runs)
        for environment in one.experiment.environments
    }


@given(STUDIES)
def test_positions_count_and_a_block_is_one_stretch(one: Study) -> None:
    plan = make_plan(one)
    assert [run.position for run in plan] == list(range(len(plan)))
    assert len(list(groupby(plan, _block))) == len({_block(run) for run in plan})
    assert [run.block for run in plan] == sorted(run.block for run in plan)
    assert all(run.replicate == run.block + 1 for run in plan)


@given(STUDIES)
def test_ids_are_unique_and_short_and_the_same_again(one: Study) -> None:
    plan = make_plan(one)
    found = [run.run_id for run in plan]
    assert len(set(found)) == len(found)
    assert all(len(run_id) == 16 and int(run_id, 16) >= 0 for run_id in found)
    assert make_plan(one) == plan


@given(STUDIES, st.integers(1, 6))
def test_a_longer_plan_begins_with_the_shorter_one(one: Study, more: int) -> None:
    longer = replace(one, experiment=replace(one.experiment, runs=one.experiment.runs + more))
    plan = make_plan(one)
    assert make_plan(longer)[: len(plan)] == plan


@given(STUDIES, st.data())
def test_a_model_is_planned_alike_beside_others_and_alone(one: Study, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(one.experiment.models))
    alone = replace(one, cards=(card(name),), experiment=replace(one.experiment, models=(name,)))
    among = [run for run in make_plan(one) if run.model == name]
    assert [(r.run_id, r.block, r.environment) for r in make_plan(alone)] == [
        (r.run_id, r.block, r.environment) for r in among
    ]


def test_the_seed_changes_the_order_and_the_order_is_balanced_over_seeds() -> None:
    orders = {seed: blocks(make_plan(planned(seed=seed, runs=10))) for seed in range(40)}
    assert len({tuple(order) for order in orders.values()}) > 35
    first = Counter(block[0] for order in orders.values() for block in order)
    assert all(400 / 3 * 0.7 < count < 400 / 3 * 1.3 for count in first.values())


def test_models_take_turns_in_another_order_each_round() -> None:
    plan = make_plan(planned(models=4, runs=6))
    rounds = [tuple(dict.fromkeys(run.model for run in plan if run.block == block)) for block in range(6)]
    assert all(sorted(order) == sorted(MODELS) for order in rounds)
    assert len(set(rounds)) > 1


def test_alternating_rotates_by_one_place_and_needs_no_seed() -> None:
    ab = blocks(make_plan(planned(environments=("native", "host"), order="alternating", runs=3)))
    assert ab == [("native", "host"), ("host", "native"), ("native", "host")]
    abc = blocks(make_plan(planned(environments=("native", "host", "container_baseline"), order="alternating", seed=1)))
    assert abc[1] == ("host", "container_baseline", "native")
    assert abc[3] == abc[0]


CONTAINERS = ("container_baseline", "container_optimized")


def contained(
    baseline: DockerOptions, optimized: DockerOptions, *, adapt: tuple[tuple[str, ...], ...] = ((), ()), **changes: Any
) -> Study:
    """Native beside two containers, folded unless asked otherwise."""
    one = planned(environments=("native", *CONTAINERS), **{"fold": True} | changes)
    options = zip(CONTAINERS, (baseline, optimized), adapt, strict=True)
    return replace(one, treatments=(Treatment("native"), *(Treatment(*given) for given in options)))


SHM = DockerOptions(ipc="host", shm_size="32g")


@pytest.mark.parametrize("order", ["random", "alternating"])
def test_a_folded_plan_is_that_of_the_study_without_it(order: str) -> None:
    equivalent = contained(DockerOptions(ipc="host"), SHM, order=order, runs=6)
    without = replace(equivalent, treatments=equivalent.treatments[:2])
    assert [t.environment for t in measured(equivalent)] == ["native", "container_baseline"]
    assert make_plan(equivalent) == make_plan(without)
    assert {run.environment for run in make_plan(equivalent)} == {"native", "container_baseline"}


def test_folding_keeps_the_ids_of_all_other_runs() -> None:
    equivalent = contained(DockerOptions(ipc="host"), SHM)
    apart = replace(equivalent, experiment=replace(equivalent.experiment, fold=False))
    before, after = ids(apart), ids(equivalent)
    assert {key[1] for key in before} - {key[1] for key in after} == {"container_optimized"}
    assert after == {key: before[key] for key in after}
    assert definition_sha256(apart) == definition_sha256(equivalent)
    assert equivalences(apart) == equivalences(equivalent) != ()


def test_the_baseline_stands_for_the_other_whatever_comes_first() -> None:
    one = contained(SHM, DockerOptions(ipc="host"))
    turned = replace(one, treatments=tuple(reversed(one.treatments)))
    assert [(found.treatment, found.like) for found in equivalences(turned)] == [CONTAINERS[::-1]]
    assert [t.environment for t in measured(turned)] == ["container_baseline", "native"]


def test_flags_that_differ_are_not_folded_and_environments_outside_docker_never() -> None:
    assert equivalences(contained(DockerOptions(ipc="host"), DockerOptions(shm_size="32g"))) == ()
    assert equivalences(planned(environments=("host", "native"), fold=True)) == ()


def test_containers_that_may_not_lose_the_same_flags_are_kept_apart() -> None:
    same = DockerOptions(ipc="host", ulimit_stack=67108864)
    assert equivalences(contained(same, same, adapt=(("ulimit_stack",), ()))) == ()
    assert len(equivalences(contained(same, same, adapt=(("ulimit_stack",), ("ulimit_stack", "shm_size"))))) == 1


def test_containers_of_different_images_or_commands_are_kept_apart_and_have_ids_of_their_own() -> None:
    same = contained(DockerOptions(ipc="host"), DockerOptions(ipc="host"))
    native, baseline, other = same.treatments
    for own in ({"image": "own:2"}, {"engine_options": {"threads": 4}}):
        apart = replace(same, treatments=(native, baseline, replace(other, **own)))
        assert equivalences(apart) == () != equivalences(same)
        assert ids(replace(same, treatments=apart.treatments[:2])).items() <= ids(apart).items()
        both = replace(same, experiment=replace(same.experiment, fold=False))
        assert not set(ids(apart).values()) & {run for key, run in ids(both).items() if key[1] == "container_optimized"}
    assert apart.options_of(next(run for run in make_plan(apart) if run.environment == "container_optimized")) == {
        "threads": 4
    }


def test_a_container_without_an_image_leaves_the_hash_of_its_experiment_what_it_was() -> None:
    def of(**own: Any) -> str:
        container = Environment(DockerOptions(ipc="host"), **own)
        return definition_sha256(study(experiment=experiment(containers={"container_x": container})))

    assert of() == "06935b0d3e2cd7ab221d562ab0d0791b10f3b1b898105488a325a88eac124828"
    assert len({of(), of(image="own:2"), of(engine={"port": 1})}) == 3


def _identical() -> Study:
    return planned(runs=2)


DOCKER = (*treatments("host", "native"), Treatment("container_baseline", DockerOptions(ipc="private")))
IDENTITY = {
    "requests": lambda s: replace(s, experiment=replace(s.experiment, workload=Workload(5, 8, 4))),
    "input tokens": lambda s: replace(s, experiment=replace(s.experiment, workload=Workload(4, 9, 4))),
    "seed": lambda s: replace(s, experiment=replace(s.experiment, seed=8)),
    "engine": lambda s: replace(s, engine="llamacpp"),
    "engine options": lambda s: replace(s, engine_options={"threads": 3}),
    "site": lambda s: replace(s, site=site(name="other")),
    "model": lambda s: replace(s, cards=(card("Beta"),), experiment=replace(s.experiment, models=("Beta",))),
    "weights": lambda s: replace(s, cards=(card(weights=Weights("file", "/models/Alpha.gguf", sha256="0")),)),
    "batch": lambda s: replace(s, cards=(card(max_batch_size=2),)),
    "card options": lambda s: replace(s, cards=(card(engine_options={"double": {"x": 1}}),)),
}
NO_IDENTITY = {
    "runs": lambda s: replace(s, experiment=replace(s.experiment, runs=3)),
    "question": lambda s: replace(s, experiment=replace(s.experiment, question="Again?")),
    "timeout": lambda s: replace(s, experiment=replace(s.experiment, timeout_s=5.0)),
    "another model": lambda s: replace(s, cards=(*s.cards, card("Beta"))),
    "options of an engine that is not used": lambda s: replace(
        s, cards=(card(engine_options={"trtllm": {"x": 1}}, notes=("n",)),)
    ),
    "an environment less": lambda s: replace(s, treatments=s.treatments[:2]),
    "what may be given up": lambda s: replace(
        s, treatments=tuple(replace(treatment, adapt=("shm_size",)) for treatment in s.treatments)
    ),
}


@pytest.mark.parametrize("what", IDENTITY)
def test_another_identity_is_another_run(what: str) -> None:
    before, after = ids(_identical()), ids(IDENTITY[what](_identical()))
    assert len(before) == len(after)
    assert not set(before.values()) & set(after.values())


@pytest.mark.parametrize("what", NO_IDENTITY)
def test_what_is_no_part_of_a_run_leaves_its_id(what: str) -> None:
    before, after = ids(_identical()), ids(NO_IDENTITY[what](_identical()))
    shared = set(before) & set(after)
    assert len(shared) >= 4
    assert all(before[key] == after[key] for key in shared)


def test_a_bound_that_ends_a_load_early_is_another_run_and_none_is_the_run_that_it_was_before_there_were_any() -> None:
    def served(serve: Serving) -> list[str]:
        load = Workload(kind="serve", requests=4, input_tokens=8, output_tokens=6, serve=serve)
        return sorted(ids(replace(_identical(), experiment=replace(_identical().experiment, workload=load))).values())

    before = served(Serving())
    assert before[:3] == ["01c347ddc7e2c540", "29284c9ffe62bbc4", "83f89c6d30351ce6"]
    assert not set(before) & set(served(Serving(saturation=Saturation(most_latency_s=20))))


def test_a_bound_of_other_arrivals_is_refused() -> None:
    with pytest.raises(ValueError, match=r"most_in_flight is of a rate or a trace"):
        Serving(saturation=Saturation(most_in_flight=4))
    with pytest.raises(ValueError, match=r"most_latency_s is of a closed loop; arrivals of kind poisson"):
        Serving(Arrival("poisson", rate_req_s=2.0), saturation=Saturation(most_latency_s=20))


def test_a_docker_option_changes_the_runs_of_its_own_environment_alone() -> None:
    before, after = ids(_identical()), ids(replace(_identical(), treatments=DOCKER))
    assert {key[1] for key in before if before[key] != after[key]} == {"container_baseline"}


POLICIES = {"tokens": "invalid", "steady": "warn"}
DEFINITION_STAYS = ("runs", "timeout", "another model", "an environment less", "what may be given up")


@pytest.mark.parametrize("what", {**IDENTITY, **NO_IDENTITY})
def test_what_may_share_a_dataset_has_one_definition(what: str) -> None:
    before, after = _identical(), {**IDENTITY, **NO_IDENTITY}[what](_identical())
    same = what in (*DEFINITION_STAYS, "model", "weights", "batch", "card options") or "not used" in what
    assert (definition_sha256(before) == definition_sha256(after)) is same


@pytest.mark.parametrize("what", ["runs", "another model", "an environment less", "seed", "engine options", "question"])
def test_the_experiment_as_it_is_run_has_a_hash_of_its_own(what: str) -> None:
    before, after = _identical(), {**IDENTITY, **NO_IDENTITY}[what](_identical())
    assert experiment_sha256(before, POLICIES) != experiment_sha256(after, POLICIES)
    assert experiment_sha256(before, POLICIES) == experiment_sha256(_identical(), POLICIES)


def test_another_policy_by_default_is_another_experiment_and_no_other_dataset() -> None:
    """`definition_sha256` is asked for no policies: what an earlier version began goes on."""
    one = _identical()
    assert experiment_sha256(one, POLICIES) != experiment_sha256(one, POLICIES | {"steady": "invalid"})
    named = replace(one, experiment=replace(one.experiment, checks={"steady": "off"}))
    assert definition_sha256(named) != definition_sha256(one)


@given(st.dictionaries(st.text(), st.integers() | st.text() | st.booleans() | st.none()))
def test_a_hash_of_values_does_not_see_their_order(mapping: dict[str, Any]) -> None:
    assert canonical_sha256(mapping) == canonical_sha256(dict(reversed(mapping.items())))
    assert canonical_sha256(mapping) != canonical_sha256({**mapping, "one more\0": 1})


def test_a_treatment_knows_whether_docker_runs_it() -> None:
    assert [t.in_container for t in treatments(*ENVIRONMENTS)] == [False, False, True, True]


def estimate(weights: int = 3_000_000_000, *, requests: int = 4, bandwidth: float = 100.0, **changes: Any) -> float:
    asked = experiment(workload=Workload(requests, 8, 4))
    one = study(
        experiment=asked,
        site=site(bandwidth_gb_s=bandwidth),
        cards=(card(shape=shape(params_total=weights), **changes),),
    )
    return estimated_s(one, make_plan(one)[0])


def test_an_estimate_follows_weights_requests_batch_and_bandwidth() -> None:
    assert estimate(weights=6_000_000_000) > estimate() > estimate(weights=1000) > 0
    assert (
        estimate(requests=40) > estimate() > estimate(bandwidth=1000.0) > estimate(bandwidth=1000.0, max_batch_size=8)
    )
    assert estimate() > 6  # 6 GB of weights are loaded at 1 GB/s


def test_without_a_data_sheet_a_gpu_is_not_taken_for_a_cpu() -> None:
    """A 7B model on an H100: a thousand requests are minutes' to hours' work, not a day's."""
    asked = experiment(workload=Workload(1000, 512, 128))
    sizes = {"cards": (card(shape=shape(params_total=7_000_000_000), max_batch_size=8),), "experiment": asked}
    with_gpu = {"container_baseline": Environment(DockerOptions(gpus="all"))}
    on_gpu, on_cpu = (
        estimated_s(one, make_plan(one)[0])
        for one in (study(site=site(environments=with_gpu), **sizes), study(site=site(), **sizes))
    )
    assert 60 < on_gpu < 2 * 3600 < 12 * 3600 < on_cpu


def test_a_model_without_a_shape_has_an_estimate_by_its_load() -> None:
    """SmolLM2 on two cores: 8 requests and 2 to warm up, 64 tokens each, took 38 s, the start of the server included."""

    def of(requests: int) -> float:
        load = Workload(requests, 128, 64, kind="serve", concurrency=4)
        one = study(experiment=experiment(workload=load))
        return estimated_s(one, make_plan(one)[0])

    assert 30 < of(8) < 46
    assert of(32) > 2.5 * of(8)
    assert estimated_s(study(), make_plan(study())[0]) > 0


def _block(run: PlannedRun) -> tuple[str, int]:
    return run.model, run.block


def test_keys_that_came_later_leave_the_hash_of_a_file_without_them_what_it_was() -> None:
    plain = study()
    assert definition_sha256(plain) == "1a08c0174aa24eff1ffc4af5e453473ab4f9676ab477e1e18985a64908f70944"
    told = experiment_sha256(plain, {"power": "flag"})
    assert told == "9f20c241ce6fa4c479849e0635a2a9112acf5a2eb82c9d6f6f98760556cb993f"
    for change in ({"families": {"speed": ("output_throughput_tok_s",)}}, {"planned_effect": 0.005}):
        other = study(experiment=experiment(**change))
        assert definition_sha256(other) != definition_sha256(plain)
        assert [run.run_id for run in make_plan(other)] == [run.run_id for run in make_plan(plain)]


def test_what_is_expected_of_an_experiment_is_no_part_of_a_hash() -> None:
    """`hypotheses` and `expected_hours` may be added to an experiment that has data."""
    plain = study()
    stated = study(experiment=experiment(hypotheses=(Hypothesis("a", "b", "lowers_sd_not_mean"),), expected_hours=20.0))
    assert definition_sha256(stated) == definition_sha256(plain)
    assert experiment_sha256(stated, POLICIES) == experiment_sha256(plain, POLICIES)
    assert [run.run_id for run in make_plan(stated)] == [run.run_id for run in make_plan(plain)]


def test_what_a_file_may_say_of_families_and_the_planned_effect() -> None:
    said = json.loads(json.dumps(asdict(experiment())))
    found = parse(Experiment, said | {"families": {"speed": ["a_ms", "b_ms"]}, "planned_effect": 0.01}, "a.yaml")
    assert (found.families, found.planned_effect) == ({"speed": ("a_ms", "b_ms")}, 0.01)
    for change, why in (
        ({"families": {"one": ["a_ms"], "two": ["b_ms", "a_ms"]}}, "a_ms stands in more than one place"),
        ({"families": {"one": []}}, "at least 1"),
        ({"planned_effect": 0}, "greater than 0"),
    ):
        with pytest.raises(ConfigError, match=why):
            parse(Experiment, said | change, "a.yaml")
