"""The whole pipeline on a pretended machine of known truth: harm is found, noise is not crowned, kills lose nothing."""

import json
import random
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from simulated_runner import KilledError, Pretending, Truth, context_in, context_of_two, options_in, pretending

from sparkray.analysis.optimized import Optimized, document_of, file_of, read
from sparkray.catalog import Catalog, data_root
from sparkray.errors import DatasetError, HostError
from sparkray.optimize.context import OptimizationContext, OptimizationRequest
from sparkray.optimize.rows import all_rows
from sparkray.optimize.screen import screen
from sparkray.optimize.search import Batch, Trial, default_storage, open_storage
from sparkray.optimize.search.stage import BlockRunner, dataset_of, searched
from sparkray.store import Dataset
from sparkray.sweep.progress import Display
from sparkray.sweep.show import show
from sparkray.workflows.optimization import carry_out, optimization_context
from sparkray.workflows.optimized_file import read_environment

HARM_AND_HELP = Truth(gains={"cpus": -0.7, "pid": 0.03, "security_opt": 0.02}, noise=0.003)


def with_hypotheses(context: OptimizationContext) -> OptimizationContext:
    """The same optimisation with the hypotheses of phase 2B."""
    experiment = replace(context.study.experiment, hypotheses=Catalog(data_root()).experiment("phase2b").hypotheses)
    return replace(context, study=replace(context.study, experiment=experiment))


def optimised(folder: Path, truth: Truth, **asked: Any) -> tuple[Optimized, Pretending]:
    context = with_hypotheses(context_in(folder, **asked))
    with ExitStack() as stack:
        measuring = pretending(folder, stack, truth)
        return carry_out(context, measuring), measuring


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Optimized:
    return optimised(tmp_path_factory.mktemp("found"), HARM_AND_HELP, trials=8)[0]


def level(found: Optimized, name: str) -> Any:
    return next(one for one in found.levels if f"{one.factor}={one.level}" == name)


def test_harm_and_help_are_found_and_ranked(found: Optimized) -> None:
    half, pid = level(found, "cpus=half"), level(found, "pid=host")
    assert (half.effect.harms, half.advice) == (True, "avoid")
    assert half.effect.gain_pct == pytest.approx(-50, abs=2)
    assert (pid.effect.helps, pid.advice) == (True, "candidate")
    assert not level(found, "init=yes").effect.helps
    measured = [f"{one.factor}={one.level}" for one in found.ranking if one.state == "measured"]
    assert (measured[0], measured[-1]) == ("pid=host", "cpus=half")
    assert found.overhead is not None
    assert found.overhead.gain_pct == pytest.approx(-4.9, abs=0.5)


def test_a_level_whose_process_gets_the_baselines_state_is_called_so_and_measured_once(found: Optimized) -> None:
    same = level(found, "cgroupns=host")
    assert (same.state, same.advice) == ("no-op", "no_op")
    rows = all_rows(Dataset(Path(found.datasets["screen"]))).rows
    assert sum(row["environment"] == "container:cgroupns=host" for row in rows) == 1


def test_a_level_that_kills_is_given_up_after_two_blocks_with_the_reason(found: Optimized) -> None:
    assert level(found, "memory=tight").state == "failed"
    assert "killed for memory" in level(found, "memory=tight").reason
    rows = all_rows(Dataset(Path(found.datasets["screen"]))).rows
    assert sum(row["environment"] == "container:memory=tight" for row in rows) == 2


def test_a_level_that_the_host_refuses_is_excluded_with_its_words(found: Optimized) -> None:
    assert level(found, "nofile=many").state == "excluded"
    assert "this host cannot honour the flags of container:nofile=many" in level(found, "nofile=many").reason


def test_a_dangerous_level_is_offered_only_when_that_was_allowed(found: Optimized, tmp_path: Path) -> None:
    assert level(found, "privileged=yes").state == "excluded"
    allowed = {v.name: v for v in context_in(tmp_path, allow_insecure=True).verdicts}["privileged=yes"]
    assert allowed.feasible or "lacks" in allowed.reason


def test_the_search_keeps_away_from_harm_and_from_what_does_nothing(found: Optimized) -> None:
    assert found.search is not None
    named = {name for one in found.search.tried for name in one.choices}
    assert named == {"pid", "init", "seccomp"}
    best = found.search.tried[0]
    assert {best.choices["pid"], best.choices["seccomp"]} == {"host", "unconfined"}
    assert best.on_front
    assert len(found.search.tried) == 6, (
        "all that there are, the baseline among them: --init does nothing beside --pid=host"
    )


def test_the_baseline_is_compared_with_all_others_on_what_its_own_runs_took(found: Optimized) -> None:
    assert found.search is not None
    [base] = [one for one in found.search.tried if one.environment == "container_baseline"]
    assert (base.ratio, base.security, base.on_front) == (1.0, "none", True), "nothing is safer"
    rows = all_rows(Dataset(Path(found.datasets["search"]))).of("container_baseline")
    assert base.n == len(rows)
    assert base.metrics["host_available_drop_peak_gib"] == pytest.approx(
        float(np.mean([row["host_available_drop_peak_gib"] for row in rows.values()]))
    )
    plain = [one for one in found.search.tried if one.ratio is not None and one.ratio < 1 and one.security == "weakens"]
    assert not any(one.on_front for one in plain if one.metrics["host_available_drop_peak_gib"] > 2.01)


def test_shares_and_front_are_reported(found: Optimized) -> None:
    assert found.search is not None
    shares = found.search.importance
    assert found.search.importance_reason if shares is None else sum(shares.values()) == pytest.approx(1)


def test_the_confirmation_decides_on_fresh_runs_and_the_file_holds_the_flags_with_evidence(found: Optimized) -> None:
    confirmation = found.confirmation
    assert confirmation is not None
    winner = next(one for one in confirmation.candidates if one.environment == confirmation.winner)
    assert winner.effect.gain_pct == pytest.approx(5.1, abs=0.6)
    assert (winner.wins, winner.reason, winner.security) == (True, None, "weakens")
    assert "it weakens isolation" in confirmation.sentence
    environment, evidence = read_environment(Path(str(found.output)))
    assert (environment.options.pid, environment.options.security_opt) == ("host", ("seccomp=unconfined",))
    assert environment.options.ipc == "host"
    assert environment.adapt == ("ulimit_memlock", "ulimit_stack")
    rows = all_rows(Dataset(Path(found.datasets["confirm"])))
    assert evidence["run_ids"] == sorted(row["run_id"] for row in rows.of(winner.environment).values())
    assert evidence["runs"] == 12
    searched = {row["run_id"] for row in all_rows(Dataset(Path(found.datasets["search"]))).rows}
    assert not searched & set(evidence["run_ids"])


def test_the_trials_of_the_search_equal_their_rows(found: Optimized) -> None:
    assert found.search is not None
    rows = {row["run_id"]: row for row in all_rows(Dataset(Path(found.datasets["search"]))).rows}
    for one in [one for one in found.search.tried if one.environment != "container_baseline"]:
        pairs = list(zip(one.run_ids[::2], one.run_ids[1::2], strict=True))
        assert len(pairs) == one.n
        ratios = [rows[a]["output_throughput_tok_s"] / rows[b]["output_throughput_tok_s"] for a, b in pairs]
        assert all(rows[b]["environment"] == "container_baseline" for _, b in pairs)
        assert all(rows[a]["block"] == rows[b]["block"] for a, b in pairs)
        if pairs:
            assert one.ratio == pytest.approx(float(np.exp(np.log(ratios).mean())))


def test_the_layers_are_attributed_and_hypotheses_are_judged(found: Optimized) -> None:
    assert found.attribution is not None
    [told] = [one for one in found.attribution.results if one.metric == "latency_mean_ms"]
    assert told.estimates["total"]["value"] > 0
    judged = {one.name: one for one in found.hypotheses}
    assert judged["combination"].judged in ("supported", "contradicted", "undecided")
    assert judged["shm-32g"].reason == "cannot be judged here, because this space has no level shm_size=32g"


def test_the_document_is_stored_whole_and_is_what_is_shown(found: Optimized) -> None:
    path = file_of(Path(found.datasets["screen"]).parent, "local")
    stored = read(path)
    assert stored["complete"] is True
    assert stored == document_of(found)
    out = Console(record=True, width=200, file=StringIO())
    show(out, "optimize.txt.j2", found=found, calibration=None, document=None)
    text = out.export_text()
    for part in (
        "cpus=half",
        "avoid it",
        "no-op",
        "does not work",
        "not measured alone",
        "SIMULATED",
        "optuna-dashboard",
    ):
        assert part in text
    (path.parent / "other.json").write_text(json.dumps({"format": "else"}))
    with pytest.raises(DatasetError, match="is not of the format"):
        read(path.parent / "other.json")


def test_noise_is_not_crowned(tmp_path: Path) -> None:
    context = context_in(tmp_path, runs=3, trials=4, storage="memory:")
    with ExitStack() as stack:
        found = carry_out(context, pretending(tmp_path, stack, Truth(noise=0.1)))
    assert found.confirmation is not None
    assert found.confirmation.winner is None
    environment, evidence = read_environment(Path(str(found.output)))
    assert environment.options == context.baseline.options
    assert evidence["decision"] == "the baseline is as good as it gets"


@pytest.mark.slow
def test_memory_beyond_the_limit_is_infeasible_in_the_search(tmp_path: Path) -> None:
    truth = Truth(gains={"pid": 0.05}, memory={"pid": 0.5}, noise=0.002)
    found, _ = optimised(tmp_path, truth, runs=2, trials=4, storage="memory:")
    assert found.search is not None
    with_pid = [one for one in found.search.tried if one.choices.get("pid") == "host"]
    assert with_pid
    assert {one.state for one in with_pid} == {"infeasible"}
    assert found.confirmation is not None
    assert all(one.choices.get("pid") != "host" or not one.wins for one in found.confirmation.candidates)


def test_without_a_baseline_that_runs_nothing_is_compared(tmp_path: Path) -> None:
    truth = Truth(kills=("ipc",))
    with ExitStack() as stack, pytest.raises(HostError, match="no run of container_baseline is ok"):
        carry_out(context_in(tmp_path, runs=2), pretending(tmp_path, stack, truth))


@pytest.mark.slow
def test_killed_at_random_moments_nothing_is_lost_or_made_twice(tmp_path: Path) -> None:
    rng = random.Random(5)
    context = context_in(tmp_path, runs=2, trials=3)
    made: list[tuple[str, str, int]] = []
    kills = 0
    for _ in range(100):
        with ExitStack() as stack:
            measuring = pretending(tmp_path, stack, HARM_AND_HELP, lives=rng.randint(0, 20))
            try:
                found = carry_out(context, measuring)
            except KilledError:
                kills += 1
                continue
            finally:
                made += measuring.made
            break
    assert kills >= 5
    assert max(Counter(run_id for run_id, _, _ in made).values()) == 1
    dataset = Dataset(Path(found.datasets["search"]))
    assert found.search is not None
    assert {run for one in found.search.tried for run in one.run_ids} == {
        row["run_id"] for row in all_rows(dataset).rows
    }
    storage = open_storage(default_storage(dataset.path))
    [study] = storage.get_all_studies()
    states = Counter(trial.state.name for trial in storage.get_all_trials(study._study_id))
    assert states["RUNNING"] == states["WAITING"] == 0
    whole = optimised_anew(tmp_path / "whole")
    assert [one.environment for one in whole.levels] == [one.environment for one in found.levels]
    assert [one.effect for one in whole.levels] == [one.effect for one in found.levels]


def optimised_anew(folder: Path) -> Optimized:
    folder.mkdir()
    return optimised(folder, HARM_AND_HELP, runs=2, trials=3)[0]


@pytest.mark.slow
def test_a_screen_of_other_blocks_or_other_flags_is_not_taken_for_this_one(tmp_path: Path) -> None:
    """Rows are chosen by the ids of the plan: those of a longer screen, or of flags that were changed since, are not."""
    long, _ = optimised(tmp_path, HARM_AND_HELP, runs=4, trials=2)
    short, _ = optimised(tmp_path, HARM_AND_HELP, runs=2, trials=2)
    assert level(long, "pid=host").effect.n == 4
    assert level(short, "pid=host").effect.n == 2
    space = (tmp_path / "space.yaml").read_text()
    options = replace(
        options_in(tmp_path, runs=2), settings=(f"site.space={tmp_path / 'edited.yaml'}", "engine.name=double")
    )
    (tmp_path / "edited.yaml").write_text(space.replace("{cpus: 0.5}", "{cpus: 0.7}"))
    context = optimization_context(options, OptimizationRequest(trials=2), measuring=False)
    with ExitStack() as stack:
        measuring = pretending(tmp_path, stack, Truth(gains={"cpus": -0.2, "pid": 0.03, "security_opt": 0.02}))
        edited = carry_out(context, measuring)
    assert level(edited, "cpus=half").effect.gain_pct == pytest.approx(-18, abs=2)
    assert {name for _, name, _ in measuring.made} & {"container:cpus=half"}
    assert "container:pid=host" not in {name for _, name, _ in measuring.made[:6]}


def test_runs_that_a_check_refuses_say_nothing_against_a_level(tmp_path: Path) -> None:
    truth = Truth(gains={"seccomp": 0.0}, doubtful=("pid",))
    found, _ = optimised(tmp_path, truth, runs=3, trials=4, storage="memory:")
    one = level(found, "pid=host")
    assert one.state == "measured"
    assert (one.effect.n, one.effect.not_estimable) == (0, "few_pairs?n=0&least=2")
    assert found.search is not None
    doubtful = [one for one in found.search.tried if one.choices.get("pid") == "host"]
    assert doubtful
    assert {(one.state, one.n) for one in doubtful} == {("refused", 0)}


@pytest.mark.slow
def test_a_model_that_does_not_fit_is_left_out_of_every_comparison(tmp_path: Path) -> None:
    truth = replace(HARM_AND_HELP, too_large=("Qwen2-1.5B",))
    context = context_of_two(tmp_path)
    with ExitStack() as stack:
        found = carry_out(context, pretending(tmp_path, stack, truth))
    assert list(level(found, "pid=host").by_model) == ["SmolLM2-135M"]
    assert found.confirmation is not None
    assert found.confirmation.winner is not None


def test_a_model_that_is_supplied_later_is_screened_as_if_it_had_been_there(tmp_path: Path) -> None:
    context = context_of_two(tmp_path)
    missing = replace(HARM_AND_HELP, too_large=("Qwen2-1.5B",))
    for truth, models in ((missing, ["SmolLM2-135M"]), (HARM_AND_HELP, ["SmolLM2-135M", "Qwen2-1.5B"])):
        with ExitStack() as stack:
            found = screen(context, pretending(tmp_path, stack, truth))
        one = next(one for one in found.levels if one.environment == "container:pid=host")
        assert (one.state, one.reason, list(one.by_model)) == ("measured", None, models)
        assert one.effect is not None
        assert one.effect.n == 2 * len(models)


@pytest.mark.slow
def test_a_model_that_is_supplied_later_is_searched_in_blocks_of_its_own(tmp_path: Path) -> None:
    """And so are other models that are asked for: no trial is held against a baseline of an earlier search."""
    both, alone = context_of_two(tmp_path, trials=2), context_in(tmp_path, runs=2, trials=2)
    missing = replace(HARM_AND_HELP, too_large=("Qwen2-1.5B",))
    blocks: list[set[tuple[str, int]]] = []
    for context, truth in ((both, missing), (both, HARM_AND_HELP), (alone, HARM_AND_HELP)):
        with ExitStack() as stack:
            measuring = pretending(tmp_path, stack, truth)
            looked = searched(context, screen(context, measuring), measuring, dataset_of(context, measuring))
        assert looked.found is not None
        places = {place for one in looked.found.evaluated for place in one.log_ratios}
        blocks.append({(str(looked.dataset.path), block) for _, block in places})
        there = {card.name for card in context.study.cards} - set(truth.too_large)
        assert {model for model, _ in places} == there
    assert not blocks[0] & blocks[1]
    assert not blocks[2] & (blocks[0] | blocks[1])


def test_a_model_that_is_lost_and_found_again_in_a_search_is_measured_anew(tmp_path: Path) -> None:
    context = context_in(tmp_path, runs=2)
    trial = Trial(1, replace(context.baseline.options, pid="host"), "container:trial-pid", {"pid": "host"})
    batch = Batch("SmolLM2-135M", 64, (trial,))
    with ExitStack() as stack:
        lost = pretending(tmp_path, stack, replace(HARM_AND_HELP, too_large=("SmolLM2-135M",)))
        dataset = dataset_of(context, lost)
        with Display(lost.out, 0, 0) as display, pytest.raises(HostError, match="its block has nothing"):
            BlockRunner(context, lost, dataset, display).submit(batch)
    with ExitStack() as stack, Display(lost.out, 0, 0) as display:
        block_runner = BlockRunner(context, pretending(tmp_path, stack, HARM_AND_HELP), dataset, display)
        [over] = block_runner.submit(replace(batch, over=True))
        assert (over.answered, over.reason) == (False, "unready: it does not fit")
        [found] = block_runner.submit(batch)
        assert found.log_ratio == pytest.approx(0.03, abs=0.02)
        assert block_runner.recall([replace(found, log_ratio=None)]) == [found]


@pytest.mark.slow
def test_each_model_is_distinguished_and_searched_in_turn(tmp_path: Path) -> None:
    context = context_of_two(tmp_path)
    with ExitStack() as stack:
        found = carry_out(context, pretending(tmp_path, stack, HARM_AND_HELP))
    assert {one.n for one in level(found, "pid=host").by_model.values()} == {2}
    assert level(found, "pid=host").effect.n == 4
    assert found.search is not None
    rows = all_rows(Dataset(Path(found.datasets["search"]))).rows
    assert {row["model"] for row in rows} == {"SmolLM2-135M", "Qwen2-1.5B"}
    complete = [
        one for one in found.search.tried if one.state == "complete" and one.environment != "container_baseline"
    ]
    assert complete
    assert all(one.n % 2 == 0 for one in complete)
    out = Console(record=True, width=200, file=StringIO())
    show(out, "optimize.txt.j2", found=found, calibration=None, document=None)
    assert "Qwen2-1.5B +" in out.export_text()


@pytest.mark.slow
def test_a_level_that_fails_in_some_blocks_says_so_and_is_not_searched(tmp_path: Path) -> None:
    found, _ = optimised(tmp_path, replace(HARM_AND_HELP, fails_at=(("pid", 1),)), runs=4, trials=2)
    one = level(found, "pid=host")
    assert (one.state, one.effect.n) == ("measured", 3)
    assert one.reason.startswith("failed in 1 of 4 blocks; the last, SmolLM2-135M in block 1: failed, it fell over")
    assert one.advice == "unreliable"
    assert found.search is not None
    assert not any(tried.choices.get("pid") == "host" for tried in found.search.tried)


def test_the_same_command_again_measures_nothing(found: Optimized) -> None:
    folder = Path(found.datasets["screen"]).parent.parent
    again, measuring = optimised(folder, HARM_AND_HELP, trials=8)
    assert measuring.made == []
    assert measuring.turned == set()
    assert {**document_of(again), "made_at": ""} == {**document_of(found), "made_at": ""}


@pytest.mark.slow
def test_other_candidates_are_confirmed_in_a_dataset_of_their_own(tmp_path: Path) -> None:
    first, _ = optimised(tmp_path, HARM_AND_HELP, runs=2, trials=3)
    changed = Truth(gains={"cpus": -0.7, "pid": -0.2, "init": 0.04}, noise=0.003)
    folder = Path(first.datasets["screen"])
    searched = Path(first.datasets["search"])
    for path in (*(folder / "runs").glob("*"), *(searched / "runs").glob("*"), searched / "optuna.db"):
        path.unlink()
    second, _ = optimised(tmp_path, changed, runs=2, trials=3)
    assert first.confirmation is not None
    assert second.confirmation is not None
    names = [sorted(one.environment for one in found.candidates) for found in (first.confirmation, second.confirmation)]
    assert names[0] != names[1]
    assert second.datasets["confirm"] != first.datasets["confirm"]
