"""`calibrate` as a user meets it: from a dataset, from a sweep, and what later sweeps say of it."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Ended
from calibration_runs import START, cache_of, dataset, measured, row, steady
from optimised_document import optimised
from rich.console import Console

from sparkray.catalog import Catalog, data_root
from sparkray.errors import InputError
from sparkray.plan import definition_sha256, make_plan
from sparkray.records import Outcome
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.optimize import show_result
from sparkray.sweep.templates import rendered
from sparkray.workflows.calibration import Asked, against_itself, calibration_of, noisiest, series_of, store_calibration
from sparkray.workflows.calibration_file import (
    FILE,
    calibration_beside,
    calibration_for,
    load_calibration,
    machine_file,
)
from sparkray.workflows.options import Options, build_study

Call = Callable[..., Ended]


def steep(count: int) -> list[float]:
    """Drift beside which the noise is nothing: three blocks in a row agree whenever their three coins do."""
    return [100 * 1.002**k * (1 + 1e-9 * (k % 3)) for k in range(count)]


@pytest.fixture
def quick(command_line: Call, tmp_path: Path) -> Call:
    """`calibrate --quick` on what lies in the temporary folder, with a cache of its own."""

    def call(*words: str) -> Ended:
        return command_line(
            "calibrate", "--quick", "--results-dir", str(tmp_path), *words, XDG_CACHE_HOME=str(tmp_path / "cache")
        )

    return call


def calibration_line(host: str, cache: Path) -> str | None:
    """What stands beside the verdicts of a machine."""
    document = load_calibration(host, "cpu", cache=cache)
    return None if document is None else "\n".join(rendered("calibration_line.txt.j2", c=document))


def test_text_has_rates_noise_reach_and_the_verdict(quick: Call, tmp_path: Path) -> None:
    dataset(tmp_path, steady(120))
    ended = quick()
    assert ended.status == 0, ended.err
    for part in (
        "A/A: 120 runs of SmolLM2-135M in native against themselves, on box (site cpu), experiment aa",
        "  3*  ",
        " of 20 (",
        "output_throughput_tok_s: 10 pairs show an effect of ",
        "to call equal arms equivalent within 1.0% takes ",
        "output_throughput_tok_s, 3 pairs: the blocked design is wrong in ",
        "Passed: the interval of the paired design holds 5 % in every metric.",
    ):
        assert part in ended.out
    assert all(len(line) <= 110 for line in ended.out.splitlines() if " of 20 (" in line and "design" not in line)


def test_json_is_one_document_and_is_what_is_stored_in_both_places(quick: Call, tmp_path: Path) -> None:
    made = dataset(tmp_path, steady(60))
    ended = quick("--json")
    document = json.loads(ended.out)
    assert (document["runs"], document["sound"], document["headline_pairs"], document["source"]) == (
        60,
        True,
        3,
        "dataset",
    )
    first = document["metrics"]["output_throughput_tok_s"]["trials"][0]
    assert (first["pairs"], first["paired"]["experiments"]) == (3, 10)
    assert json.loads((made.path / FILE).read_text()) == document
    assert load_calibration("box", "cpu", cache=cache_of(tmp_path)) == document
    assert load_calibration("box", "dgx-spark", cache=cache_of(tmp_path)) is None


def test_a_machine_that_drifts_fails_with_the_cause(quick: Call, tmp_path: Path) -> None:
    dataset(tmp_path, steep(150))
    ended = quick()
    assert ended.status == 1
    assert "FAILED: output_throughput_tok_s: the paired design reports a difference in " in ended.out
    assert "Likely cause: drift: +0.2 % per run" in ended.out
    assert "Passed" not in ended.out
    line = calibration_line("box", cache_of(tmp_path))
    assert line is not None
    assert line.startswith("FAILED calibration of box (150 runs of SmolLM2-135M in native")
    assert "likely cause: drift" in line


def test_too_few_runs_pass_nothing(quick: Call, tmp_path: Path) -> None:
    made = dataset(tmp_path, steady(5))
    ended = quick()
    assert ended.status == 1
    assert "not estimable, 5 runs: one experiment of 3 pairs needs 6" in ended.out
    assert "Nothing could be judged" in ended.out
    assert json.loads((made.path / FILE).read_text())["sound"] is None
    assert not machine_file("box", "cpu", cache_of(tmp_path)).exists()


def test_a_metric_without_a_ratio_is_reported_and_the_others_are_judged(quick: Call, tmp_path: Path) -> None:
    made = dataset(tmp_path, steady(12))
    made.write(Outcome(row(12, 100.0, host_available_drop_peak_gib=-0.01)))
    made.write(Outcome(row(13, 100.0, latency_mean_ms=None)))
    document = json.loads(quick("--json").out)
    reasons = {name: metric["not_estimable"] for name, metric in document["metrics"].items()}
    assert reasons == {
        "output_throughput_tok_s": None,
        "latency_mean_ms": "no_value_somewhere",
        "host_available_drop_peak_gib": "not_positive_of?n=1&of=14",
    }
    assert document["sound"] is True
    lost = "latency_mean_ms, host_available_drop_peak_gib"
    assert f"Passed: the interval of the paired design holds 5 % in 1 of 3 metrics; not judged: {lost}." in quick().out
    line = calibration_line("box", cache_of(tmp_path))
    assert str(line).endswith(f"Sound is 5 %. Not judged: {lost}.")


def test_a_dataset_of_two_arms_is_judged_by_one_of_them(quick: Call, tmp_path: Path) -> None:
    made = open_dataset(tmp_path, "local", "0" * 64)
    for index, value in enumerate(steady(48)):
        arm = "native" if index % 2 else "container_baseline"
        made.write(Outcome(row(index, value, experiment="local", environment=arm)))
    document = {
        "experiment": {"name": "local", "runs": 24, "seed": 1, "margins": {}, "primary_metrics": ["latency_mean_ms"]}
    }
    made.describe_study(document)
    ended = quick()
    assert "A/A: 24 runs of SmolLM2-135M in native" in ended.out
    assert "2 runs for each of these" in ended.out
    assert "latency_mean_ms: 24 pairs show an effect" in ended.out
    assert "output_throughput" not in ended.out
    other = json.loads(quick("--json", "--environments", "container_baseline", "--pairs", "7").out)
    assert (other["environment"], other["planned_pairs"], other["every"]) == ("container_baseline", 7, 2.0)


def test_runs_of_a_dataset_do_not_replace_a_calibration_that_was_measured(quick: Call, tmp_path: Path) -> None:
    dataset(tmp_path, steady(12))
    path = machine_file("box", "cpu", cache_of(tmp_path))
    quick()
    assert json.loads(path.read_text())["runs"] == 12
    measured = {**json.loads(path.read_text()), "source": "sweep", "runs": 120}
    path.write_text(json.dumps(measured))
    quick()
    assert json.loads(path.read_text()) == measured


@pytest.mark.parametrize(
    ("words", "said"),
    [((), "no dataset in "), (("--experiment", "phase2a"), "no dataset of 'phase2a' in ")],
)
def test_without_a_dataset_it_says_where_it_looked(quick: Call, words: tuple[str, ...], said: str) -> None:
    ended = quick(*words)
    assert ended.status == 2
    assert said in ended.err


def test_a_dataset_without_such_runs_is_refused(quick: Call, tmp_path: Path) -> None:
    dataset(tmp_path, steady(6))
    ended = quick("--models", "Gemma-2B")
    assert ended.status == 2
    assert "holds no ok runs of what was asked for" in ended.err


def test_runs_are_taken_in_the_order_of_measurement_and_one_a_run() -> None:
    again = row(1, 7.0, attempt=2, started_at=START + timedelta(hours=9))
    rows = [row(3, 4.0), row(1, 2.0, status="invalid"), again, row(2, 3.0), row(0, 1.0), row(9, 9.0, model="Gemma-2B")]
    found = series_of(rows)
    assert found is not None
    assert [r["output_throughput_tok_s"] for r in found.rows] == [1.0, 3.0, 4.0, 7.0]
    assert found.every == pytest.approx(5 / 4)
    assert series_of([row(0, 1.0, status="failed")]) is None


def test_the_sweep_is_one_environment_in_a_dataset_of_its_own() -> None:
    asked = against_itself(Options(site="cpu"), lambda study: study.cards[0].name)
    assert (asked.experiment, asked.environments, asked.runs) == ("aa", "native", 120)
    study = build_study(asked)
    assert study.experiment == Catalog(data_root()).experiment("aa")
    assert {run.environment for run in make_plan(study)} == {"native"}
    local = build_study(against_itself(Options(site="cpu", experiment="local", runs=30), lambda _: "SmolLM2-135M"))
    assert (local.experiment.name, local.experiment.runs) == ("aa-local", 30)


def test_a_site_with_an_image_is_calibrated_under_its_own_load() -> None:
    asked = against_itself(Options(site="dgx-spark"), lambda _: "Qwen2-1.5B")
    study = build_study(asked)
    assert (study.experiment.name, study.experiment.runs) == ("aa-phase2a", 120)
    assert study.experiment.workload == Catalog(data_root()).experiment("phase2a").workload
    assert [card.name for card in study.cards] == ["Qwen2-1.5B"]


def test_the_load_that_ships_is_that_of_the_sites_own_experiment() -> None:
    catalog = Catalog(data_root())
    ours, local = catalog.experiment("aa"), catalog.experiment("local")
    same = ("name", "question", "environments", "runs")
    assert replace(ours, **{key: getattr(local, key) for key in same}) == local


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (Options(site="cpu", environments="native,container_baseline"), "2 environments"),
        (Options(site="dgx-spark", models="Gemma-2B,Qwen2-1.5B"), "2 models"),
        (Options(site="dgx-spark", experiment="batch-concurrency"), "7 levels of the load"),
    ],
)
def test_more_than_one_arm_is_refused(asked: Options, said: str) -> None:
    with pytest.raises(InputError, match=said):
        against_itself(asked, lambda study: study.cards[0].name)


def test_a_whole_sweep_is_judged_and_kept_for_the_machine(tmp_path: Path) -> None:
    status, document = measured(tmp_path, steady(120))
    assert status == 0
    assert (document["runs"], document["source"], document["planned_pairs"]) == (120, "sweep", 10)
    assert load_calibration("box", "cpu", cache=cache_of(tmp_path)) == document
    assert json.loads((tmp_path / "aa" / FILE).read_text()) == document


def test_of_several_machines_the_noisiest_calibration_lies_beside_the_runs(tmp_path: Path) -> None:
    calm, noisy = (np.exp(np.random.default_rng(1).normal(0, sd, 8)) for sd in (0.001, 0.1))
    rows = {host: [row(i, float(v), host=host) for i, v in enumerate(v)] for host, v in (("a", noisy), ("b", calm))}
    found = [series_of(mine) for mine in rows.values()]
    documents = [
        calibration_of(one, Asked({"output_throughput_tok_s": 0.01}, 3, 1), source="sweep") for one in found if one
    ]
    assert [one["host"] for one in documents] == ["a", "b"]
    assert noisiest(documents) is noisiest(documents[::-1]) is documents[0]
    dataset = open_dataset(tmp_path, "aa", "d" * 64)
    for document in documents:
        store_calibration(document, dataset if document is noisiest(documents) else None, for_machine=False)
    assert json.loads((dataset.path / FILE).read_text())["host"] == "a"


def test_a_sweep_that_was_cut_short_is_shown_and_not_kept_for_the_machine(tmp_path: Path) -> None:
    status, document = measured(tmp_path, steady(30), status=130)
    assert (status, document["runs"]) == (130, 30)
    assert (tmp_path / "aa" / FILE).exists()
    assert load_calibration("box", "cpu", cache=cache_of(tmp_path)) is None


@pytest.mark.slow
def test_a_sweep_of_a_machine_that_drifts_ends_with_1(tmp_path: Path) -> None:
    status, document = measured(tmp_path, steep(150), "--runs", "150")
    assert (status, document["sound"]) == (1, False)
    causes = [metric.get("cause") for metric in document["metrics"].values()]
    assert causes[0].startswith("drift: +0.2 %")
    assert causes[2] is None


def test_a_later_dataset_keeps_the_calibration_beside_its_runs(tmp_path: Path) -> None:
    _, document = measured(tmp_path, steady(12), "--runs", "12")
    later = dataset(tmp_path, [], name="local")
    cache = cache_of(tmp_path)
    assert calibration_beside(later, "box", "cpu", cache=cache) == document
    assert json.loads((later.path / FILE).read_text()) == document
    assert calibration_beside(later, "elsewhere", "cpu", cache=cache) is None


def test_the_line_says_whose_runs_and_what_both_designs_do(tmp_path: Path) -> None:
    measured(tmp_path, steady(12), "--runs", "12")
    line = calibration_line("box", cache_of(tmp_path))
    assert line is not None
    assert line.startswith("Calibration of box (12 runs of SmolLM2-135M in native against themselves, 20")
    assert " of 2 experiments (95 % CI " in line
    assert ", blocked " in line
    assert "10 pairs see " in line
    assert calibration_line("nobody", cache_of(tmp_path)) is None


def test_a_calibration_that_cannot_be_read_is_none(tmp_path: Path) -> None:
    path = machine_file("a/../b", "cpu", tmp_path)
    assert path.parent == tmp_path / "calibration"
    path.parent.mkdir()
    for content in ("{", "[]", '{"format": "other"}'):
        path.write_text(content)
        assert load_calibration("a/../b", "cpu", cache=tmp_path) is None


def test_a_calibration_that_is_cut_short_is_none(tmp_path: Path) -> None:
    _, document = measured(tmp_path, steady(12), "--runs", "12")
    path = machine_file("box", "cpu", cache_of(tmp_path))
    short: dict[str, Any] = dict(document)
    for name in ("source", "made_at", "metrics"):
        path.write_text(json.dumps({key: value for key, value in short.items() if key != name}))
        assert load_calibration("box", "cpu", cache=cache_of(tmp_path)) is None
    first = next(iter(document["metrics"]))
    path.write_text(json.dumps({**document, "metrics": {first: {"not_estimable": None, "trials": []}}}))
    assert calibration_line("box", cache_of(tmp_path)) is None


def test_a_dataset_has_its_own_calibration_or_the_machines_as_it_is_now(tmp_path: Path) -> None:
    local = dataset(tmp_path, [], name="local")
    local.write(Outcome(row(0, 100.0, experiment="local")))
    cache = cache_of(tmp_path)
    assert calibration_for(local, cache=cache) is None
    _, document = measured(tmp_path, steady(12), "--runs", "12")
    assert calibration_for(local, cache=cache) == document
    assert json.loads((local.path / FILE).read_text()) == document, "for whoever reads the dataset elsewhere"
    own = Dataset(tmp_path / "aa")
    newer = {**document, "experiment": "aa-phase2a"}
    machine_file("box", "cpu", cache).write_text(json.dumps(newer))
    assert calibration_for(own, cache=cache) == document
    assert calibration_for(local, cache=cache) == newer


def test_a_calibration_made_after_a_sweep_stands_beside_its_verdicts_too(command_line: Call, tmp_path: Path) -> None:
    local = dataset(tmp_path, [], name="local")
    local.write(Outcome(row(0, 100.0, experiment="local")))
    measured(tmp_path, steady(12), "--runs", "12")
    words = ("analyze", "--experiment", "local", "--results-dir", str(tmp_path))
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    told = " ".join(command_line(*words, **cache).out.split())
    assert "Calibration of box (12 runs of SmolLM2-135M in native" in told
    assert json.loads(command_line(*words, "--json", **cache).out)["calibration"]["runs"] == 12


def test_a_sweep_prints_it_beside_its_verdicts(command_line: Call, tmp_path: Path) -> None:
    """A sweep whose runs are all there measures nothing: it concludes."""
    options = Options(site="cpu", runs=3, environments="container_baseline", results_dir=tmp_path)
    study = build_study(options)
    made = open_dataset(tmp_path, study.experiment.name, definition_sha256(study))
    for index, planned in enumerate(make_plan(study)):
        made.write(Outcome(row(index, 100.0 + index, run_id=planned.run_id, environment=planned.environment)))
    what = ("--site", "cpu", "--runs", "3", "--environments", "container_baseline")
    words = ("baseline", *what, "--results-dir", str(tmp_path))
    cache = {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    assert "alibration of" not in command_line(*words, **cache).out
    measured(tmp_path, steady(12), "--runs", "12")
    told = " ".join(command_line(*words, **cache).out.split())
    assert "Calibration of box (12 runs of SmolLM2-135M in native" in told
    assert json.loads(command_line(*words, "--json", **cache).out)["calibration"]["runs"] == 12


def test_an_optimisation_has_it_in_its_document_its_text_and_its_datasets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, calibration = measured(tmp_path, steady(12), "--runs", "12")
    made = {stage: dataset(tmp_path, [], name=f"small-{stage}").path for stage in ("screen", "confirm")}
    found = optimised(datasets={stage: str(path) for stage, path in made.items()})
    out, cache = Console(record=True, width=400, file=StringIO()), cache_of(tmp_path)
    show_result(found, Options(json=True), out, cache=cache)
    document = json.loads(capsys.readouterr().out)
    assert (document["calibration"], document["experiment"]) == (calibration, "small")
    assert [json.loads((path / FILE).read_text()) for path in made.values()] == [calibration] * 2
    show_result(found, Options(), out, cache=cache)
    assert "Calibration of box (12 runs of SmolLM2-135M in native" in out.export_text()
    show_result(found, Options(json=True), out, cache=tmp_path / "none")
    assert json.loads(capsys.readouterr().out)["calibration"] is None


def test_a_sweep_without_any_run_is_one_document_all_the_same(tmp_path: Path) -> None:
    status, document = measured(tmp_path, [], status=3)
    assert (status, document["runs"], document["sound"]) == (3, 0, None)
    assert not (tmp_path / "aa" / FILE).exists()


def test_a_dataset_that_has_no_runs_yet_is_not_the_newest(quick: Call, tmp_path: Path) -> None:
    dataset(tmp_path, steady(12))
    open_dataset(tmp_path, "aa", "1" * 64)
    assert json.loads(quick("--json").out)["runs"] == 12


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[]", "the whole is [], not keys and values"),
        ('{"experiment": []}', "experiment is [], not keys and values"),
        ('{"experiment": {"name": "a"}}', "key 'experiment.runs' is missing"),
        ('{"experiment": {"name": "a", "runs": 3, "seed": "x"}}', "experiment.seed is 'x', not a whole number"),
    ],
)
def test_an_experiment_of_another_shape_is_refused_by_key(quick: Call, tmp_path: Path, content: str, said: str) -> None:
    (dataset(tmp_path, steady(12)).path / "experiment.json").write_text(content)
    ended = quick()
    assert ended.status == 2
    assert said in ended.err
