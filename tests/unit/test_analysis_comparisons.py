"""What a comparison says beside its ratio: looks, families, power, outliers, time, clusters; and why a number is missing."""

import json
import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from builders import experiment, study
from statsmodels.stats.power import TTestIndPower
from support.studies import small_study

from sparkray.analysis import Analysis, analyse
from sparkray.analysis.interim import standings
from sparkray.config.experiment import Sequential
from sparkray.plan import PlannedRun, make_plan
from sparkray.records import Outcome
from sparkray.report import report_data
from sparkray.report.page import page
from sparkray.simulate.study import Plant, plant
from sparkray.stats.multiplicity import holm
from sparkray.stats.paired import Ratio, paired_ratio, pairs_needed
from sparkray.stats.reasons import worded
from sparkray.store import Dataset, open_dataset

SPEED, LATENCY = "output_throughput_tok_s", "latency_mean_ms"
START = datetime(2026, 1, 1, tzinfo=UTC)
LOOKS = Sequential((3, 5, 8))


def looked_at(folder: Path, ratios: Sequence[float | None], *, order: Sequence[int] | None = None) -> Path:
    """A dataset of one model under looks, its pairs having these ratios; None is a run that failed.

    `order` says when each pair was completed.
    """
    one = study(experiment=experiment(runs=len(ratios), sequential=LOOKS, order="alternating"))
    dataset = open_dataset(folder, "looks", "0" * 64)
    said = {"runs": len(ratios), "margins": {SPEED: 0.01}, "primary_metrics": [SPEED]}
    document = {"experiment": {**said, "sequential": {"looks": list(LOOKS.looks), "spending": "linear"}}}
    (dataset.path / "experiment.json").write_text(json.dumps(document))
    for run in make_plan(one):
        ratio, at = ratios[run.block], (order or range(len(ratios)))[run.block]
        dataset.write(Outcome(row=row_of(run, ratio, START + timedelta(minutes=at))))
    return dataset.path


def row_of(run: PlannedRun, ratio: float | None, ended: datetime) -> dict[str, Any]:
    failed = ratio is None and run.environment != "native"
    value = None if failed else 100.0 * (1 + run.block / 50) * (ratio or 1.0 if run.environment != "native" else 1.0)
    if ratio == 0 and run.environment != "native":
        value = 0.0
    where = {"model": run.model, "level": run.level, "environment": run.environment, "block": run.block}
    status = "failed" if failed else "ok"
    return {"run_id": run.run_id, "attempt": 1, **where, "status": status, "ended_at": ended, SPEED: value}


def only(found: Analysis, **where: object) -> dict[str, Any]:
    [row] = found.tables["comparisons"].filter(pl.col("primary"), **where).to_dicts()  # type: ignore[arg-type]
    return row


def standing_of(path: Path, runs: int) -> Any:
    one = study(experiment=experiment(runs=runs, sequential=LOOKS, order="alternating"))
    [standing] = standings(one.experiment, make_plan(one), Dataset(path).read("runs"))
    return standing.interim


QUIET = (1.001, 0.999, 1.0005, 1.0, 0.9995, 1.0, 1.001, 1.0)
WIDE = (1.02, 0.98, 1.03, 0.97, 1.01, 0.985, 1.015, 0.99)
CASES: Mapping[str, tuple[tuple[float | None, ...], Sequence[int] | None]] = {
    "decided at once": (QUIET, None),
    "never decided": (WIDE, None),
    "decided late": ((*WIDE[:2], *QUIET[:6]), None),
    "a run failed": ((*WIDE[:7], None), None),
    "all tried, few ok": ((None, None, None, None, 1.001, 0.999, 1.0005, 1.0), None),
    "a value without logarithm": ((*WIDE[:3], 0.0, *QUIET[:4]), None),
    "a value without logarithm after the decision": ((*QUIET[:3], 0.0, *QUIET[:4]), None),
    "all alike": ((1.0,) * 8, None),
    "completed in another order": ((1.05, *QUIET[:7]), (99, *range(7))),
    "too few": ((1.0, 1.001), None),
}


@pytest.mark.parametrize(("ratios", "order"), CASES.values(), ids=CASES.keys())
def test_an_analysis_says_what_the_sweep_said(
    tmp_path: Path, ratios: tuple[float | None, ...], order: Sequence[int] | None
) -> None:
    path = looked_at(tmp_path, ratios, order=order)
    seen, row = standing_of(path, len(ratios)), only(analyse(path))
    assert (row["verdict"], row["pairs_needed"]) == (seen.verdict, seen.pairs_needed)
    assert row["ratio"] == (None if seen.ratio is None else pytest.approx(seen.ratio))
    if seen.ci95 is not None:
        assert (row["n"], row["low"], row["high"]) == (seen.n, *map(pytest.approx, seen.ci95))
        assert row["sd_log"] == pytest.approx(seen.sd_log)
    assert (row["ratio"] is None) == (row["not_estimable"] is not None)


def test_under_interim_analyses_whatever_is_paired_is_of_the_interim_analysis_and_no_p_is_given(tmp_path: Path) -> None:
    path = looked_at(tmp_path, (1.002, 0.998, 1.0, 1.0004, 0.9996, 1.2, 1.3, 1.1))
    found = analyse(path)
    row = only(found)
    assert (row["n"], row["verdict"], row["outliers"]) == (5, "equivalent", 0)
    why = json.loads(row["why_null"])
    for p in ("p", "p_paired", "permutation_p", "power_post_hoc"):
        assert row[p] is None
        assert why[p] == "interim_p"
    for made in ("p_holm", "p_paired_bh", "significant", "significant_paired"):
        assert row[made] is None
        assert why[made] == "interim_p"
    assert why["pairs_needed"] == "decided"
    assert row["levene_p"] is not None
    assert row["verdict_without_outliers"] is None
    assert why["verdict_without_outliers"] == "interim_verdict"
    assert why["cluster_verdict"] == "one_cluster"
    taken = found.tables["verdict_by_n"]
    assert taken.select("n", "verdict").rows() == [(3, "undecided"), (5, "equivalent")]


def test_question_five_counts_no_test_that_was_not_made(tmp_path: Path) -> None:
    [numbers] = analyse(looked_at(tmp_path, QUIET)).tables["questions"].filter(question=5)["numbers"]
    assert (json.loads(numbers)["significant"], json.loads(numbers)["significant_paired"]) == (None, None)


def test_intervals_are_said_to_be_of_interim_analyses_or_not(tmp_path: Path, small: Path) -> None:
    for path, expected in ((looked_at(tmp_path, QUIET), True), (small, False)):
        assert (
            "Intervals hold over all interim analyses" in page(report_data(analyse(path, metrics=[SPEED])), [])
        ) == expected


def test_verdicts_by_n_are_those_of_the_interim_analyses(tmp_path: Path) -> None:
    rows = analyse(looked_at(tmp_path, WIDE)).tables["verdict_by_n"].to_dicts()
    assert [(row["n"], row["verdict"]) for row in rows] == [(n, "undecided") for n in LOOKS.looks]
    fixed = paired_ratio([1.0] * 8, WIDE)
    assert isinstance(fixed, Ratio)
    assert rows[-1]["high"] - rows[-1]["low"] > fixed.ci95[1] - fixed.ci95[0]


def test_an_undecided_interim_analysis_needs_more_pairs_than_a_fixed_number_would(tmp_path: Path) -> None:
    row = only(analyse(looked_at(tmp_path, WIDE)))
    fixed = pairs_needed(row["sd_log"], 0.01)
    assert fixed is not None
    assert fixed < row["pairs_needed"] < 2 * fixed


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small_study(tmp_path_factory.mktemp("small"), models=2, merged=True)


def declared(folder: Path, source: Path, **changes: Any) -> Path:
    """A copy of a dataset whose experiment says something else."""
    path = folder / "copy"
    path.mkdir()
    for part in source.iterdir():
        (path / part.name).symlink_to(part) if part.name != "experiment.json" else None
    document = json.loads((source / "experiment.json").read_text())
    document["experiment"] |= changes
    (path / "experiment.json").write_text(json.dumps(document))
    return path


def test_without_a_declaration_the_primary_metrics_are_one_family(small: Path) -> None:
    rows = analyse(small, metrics=["latency_p99_ms"]).tables["comparisons"]
    family, others = rows.filter("primary"), rows.filter(~pl.col("primary"))
    assert set(family["family"]) == {"primary"}
    assert others["family"].null_count() == others["p_paired_holm"].null_count() == others.height
    assert {json.loads(why)["p_paired_holm"] for why in others["why_null"]} == {"not_in_family"}
    assert family["p_paired_holm"].to_list() == pytest.approx(holm(family["p_paired"].to_list()))
    assert family["p_holm"].to_list() == pytest.approx(holm(family["p"].to_list()))


def test_p_values_are_adjusted_within_the_families_that_were_declared(small: Path, tmp_path: Path) -> None:
    families = {"speed": [SPEED, LATENCY], "tail": ["latency_p99_ms"]}
    found = analyse(declared(tmp_path, small, families=families), metrics=["latency_p99_ms"])
    rows = found.tables["comparisons"]
    assert set(rows["family"].drop_nulls()) == {"speed", "tail"}
    assert rows.filter(metric="host_available_drop_peak_gib")["p_holm"].null_count() == 4
    for name, metrics in families.items():
        family = rows.filter(family=name)
        assert set(family["metric"]) == set(metrics)
        for p in ("p", "p_paired"):
            bonferroni = [min(1.0, value * family.height) for value in family[p]]
            assert family[f"{p}_bonferroni"].to_list() == pytest.approx(bonferroni)
            assert (family[f"{p}_bh"] <= family[f"{p}_holm"] + 1e-15).all()


def test_power_is_a_priori_where_the_noise_was_known_before(small: Path, tmp_path: Path) -> None:
    row = only(analyse(small, metrics=[SPEED]), metric=SPEED, model="Qwen2-1.5B", environment="container_optimized")
    assert (row["planned_effect"], row["a_priori_basis"]) == (0.01, "these data")
    assert row["a_priori_cv_pct"] == pytest.approx(row["sd_log"] / math.sqrt(2) * 100)
    path = declared(tmp_path, small, planned_effect=0.02)
    noise = {"metrics": {SPEED: {"noise": {"sd_log": 0.01, "cv_pct": 3.0}}, LATENCY: {"noise": None}}}
    (path / "calibration.json").write_text(json.dumps(noise))
    found = analyse(path, metrics=[SPEED])
    row = only(found, metric=SPEED, model="Qwen2-1.5B", environment="container_optimized")
    assert (row["planned_effect"], row["a_priori_basis"]) == (0.02, "calibration")
    assert row["a_priori_cv_pct"] == pytest.approx(0.01 / math.sqrt(2) * 100)
    assert 0.9 < row["power_a_priori"] < 1
    assert row["pairs_a_priori"] < row["pairs_planned"] == 6
    unpaired = TTestIndPower().solve_power(effect_size=math.log(1.02) / 0.03, power=0.8, alpha=0.05)
    assert row["runs_a_priori"] == math.ceil(unpaired)  # runs vary by 3 %, blocks included
    other = only(found, metric=LATENCY, model="Qwen2-1.5B", environment="container_optimized")
    assert other["a_priori_basis"] == "these data"
    name = json.loads((path / "experiment.json").read_text())["experiment"]["name"]
    (path / "calibration.json").write_text(json.dumps({**noise, "source": "dataset", "experiment": name}))
    found = analyse(path, metrics=[SPEED])
    row = only(found, metric=SPEED, model="Qwen2-1.5B", environment="container_optimized")
    assert row["a_priori_basis"] == "these data"  # its own runs, judged by `calibrate --quick`


def test_pairs_need_fewer_runs_than_arms_that_bear_the_noise_between_blocks(tmp_path: Path) -> None:
    planted = Plant(
        models=("Mistral-7B-v0.3", "Phi-3-mini"),
        environments=("native", "container_baseline"),
        runs=30,
        requests=8,
        samples=0,
        cv=0.003 / math.sqrt(2),
        block_cv=0.03,
        failing=("Phi-3-mini",),
    )
    folder = plant(tmp_path, planted, merged=True)
    document = json.loads((folder / "experiment.json").read_text())
    document["cards"].append(document["cards"][0] | {"name": "Never-run"})  # planned, and the sweep never came to it
    (folder / "experiment.json").write_text(json.dumps(document))
    found = analyse(folder, metrics=[LATENCY])
    row = only(found, metric=LATENCY, model="Mistral-7B-v0.3")
    assert 3 <= row["pairs_a_priori"] <= 4  # 3 if the spread of the pairs were exactly 0.3 %
    assert 90 < row["runs_a_priori"] < 220  # 144 if the spread of the blocks were exactly 3 %
    first = only(found, metric=SPEED, model="Mistral-7B-v0.3")
    [answer] = found.tables["questions"].filter(question=4).to_dicts()
    facts = json.loads(answer["numbers"])
    assert (answer["verdict"], facts["comparisons"], facts["equivalent"]) == ("partly", 9, 3)
    assert (facts["not_estimable"], facts["lost"]) == (6, ["Phi-3-mini", "Never-run"])
    assert (facts["pairs_a_priori"], facts["runs_a_priori"]) == (first["pairs_a_priori"], first["runs_a_priori"])
    shown = page(report_data(found), [])
    assert (
        "of 9 comparisons, 3 equivalent, 0 different, 0 undecided, 6 not estimable (Phi-3-mini and Never-run)" in shown
    )
    assert f"takes {facts['pairs_a_priori']} pairs, or {facts['runs_a_priori']} runs an arm without pairing" in shown


def test_what_has_no_number_says_why(tmp_path: Path) -> None:
    rows = (
        analyse(small_study(tmp_path, models=1, runs=4, flaky=0, merged=True))
        .tables["comparisons"]
        .filter("primary")
        .to_dicts()
    )
    for row in rows:
        why = json.loads(row["why_null"])
        assert why["outliers"] == "too_few?n=4&what=value&least=5&where=first_arm"
        assert why["cluster_low"] == "one_cluster"
        assert {name for name in why if row[name] is not None} == set()
        told = {"not_estimable", "power_checked", "verdict_reason"}  # by their columns
        assert {name for name, value in row.items() if value is None} <= set(why) | told


def test_a_verdict_that_hangs_on_an_outlier_is_reported(tmp_path: Path) -> None:
    planted = Plant(
        models=("Mistral-7B-v0.3",), runs=20, requests=8, samples=0, bad_block=7, environments=("native", "host")
    )
    row = only(analyse(plant(tmp_path, planted, merged=True), metrics=[LATENCY]), metric=LATENCY)
    assert row["verdict"] == row["verdict_without_outliers"]  # the bad block is one of containers alone
    planted = Plant(models=("Mistral-7B-v0.3",), runs=20, requests=8, samples=0, bad_block=7)
    found = analyse(plant(tmp_path / "bad", planted, merged=True), metrics=[LATENCY])
    row = only(found, metric=LATENCY, environment="container_baseline")
    assert (row["verdict"], row["verdict_without_outliers"]) == ("undecided", "equivalent")


def test_a_drift_of_the_ratios_is_seen_where_the_arms_do_not_drift_alike(tmp_path: Path) -> None:
    ratios = [1 + block / 500 + (block % 3) / 5000 for block in range(12)]
    dataset = open_dataset(tmp_path, "drift", "0" * 64)
    for block, ratio in enumerate(ratios):
        for environment, value in (("native", 100.0), ("container_baseline", 100 * ratio)):
            row = {"run_id": f"{environment}{block}", "attempt": 1, "model": "A", "environment": environment}
            dataset.write(Outcome(row={**row, "block": block, "status": "ok", SPEED: value}))
    row = only(analyse(dataset.path), metric=SPEED)
    assert row["ratio_drift_pct_per_pair"] == pytest.approx(0.2, abs=0.02)
    assert row["ratio_drift_p"] < 1e-4
    assert row["ratio_lag1"] > 0.3
    assert row["ratio_effective_n"] < 12


@pytest.mark.slow
def test_blocks_of_many_days_have_every_interval_over_days(tmp_path: Path) -> None:
    base = {"models": ("Llama-3-70B",), "environments": ("native", "container_baseline"), "requests": 8, "samples": 0}
    row = only(analyse(plant(tmp_path, Plant(runs=24, cooldown_s=4 * 3600, **base), merged=True)), metric=SPEED)
    assert row["clusters"] >= 5
    for name in ("cluster", "cluster_bootstrap", "intercept"):
        assert row[f"{name}_low"] < row["ratio"] < row[f"{name}_high"]
    assert row["cluster_verdict"] == row["verdict"] == "equivalent"
    few = only(analyse(plant(tmp_path / "few", Plant(runs=6, cooldown_s=4 * 3600, **base), merged=True)), metric=SPEED)
    assert few["clusters"] in (2, 3)
    assert few["cluster_low"] is not None
    why = json.loads(few["why_null"])
    assert worded(why["intercept_low"]) == f"{few['clusters']} clusters: at least 5 are needed"
    assert worded(why["cluster_bootstrap_low"]).endswith("at least 5 are needed")


def test_energy_and_power_say_whether_the_counter_bears_them_out(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "power", "0" * 64)
    for block in range(4):
        for environment, agrees in (("native", True), ("container_baseline", block != 1)):
            row = {"run_id": f"{environment}{block}", "attempt": 1, "model": "A", "environment": environment}
            power = {"power_mean_w": 50.0 + block, "energy_j": 900.0 - block, "power_valid": agrees}
            dataset.write(Outcome(row={**row, **power, "block": block, "status": "ok", SPEED: 100.0 + block}))
    found = analyse(dataset.path)
    for metric in ("power_mean_w", "energy_j"):
        where = {"metric": metric, "environment": "container_baseline"}
        assert found.tables["descriptive"].filter(**where)["power_checked"].to_list() == [
            "disagrees with the counter in 1 of 4 runs"
        ]
        assert found.tables["comparisons"].filter(**where)["power_checked"].to_list() == [
            "disagrees with the counter in 1 of 8 runs"
        ]
    assert found.tables["descriptive"].filter(metric="energy_j", environment="native")["power_checked"].to_list() == [
        "agrees in 4 runs"
    ]
    assert found.tables["comparisons"].filter(metric=SPEED)["power_checked"].to_list() == [None]


@pytest.mark.slow
def test_percentiles_have_intervals_as_far_as_the_sample_goes(tmp_path: Path) -> None:
    base = {"models": ("Qwen2-1.5B",), "environments": ("native",), "requests": 8, "samples": 0}
    found = analyse(plant(tmp_path, Plant(runs=80, **base), merged=True))
    [row] = found.tables["descriptive"].filter(metric=LATENCY).to_dicts()
    assert row["p5_low"] <= row["p5"] <= row["p5_high"]
    assert row["p95_low"] <= row["p95"] <= row["p95_high"]
    assert row["p99_low"] <= row["p99"]
    assert row["p99_high"] is None
    why = json.loads(row["why_null"])
    assert why == {"p99_high": "few_for_high?what=99th+percentile&least=368&n=80"}


def test_a_description_says_why_a_number_is_missing(tmp_path: Path) -> None:
    base = {"models": ("Qwen2-1.5B",), "environments": ("native",), "requests": 8, "samples": 0}
    for runs in (1, 5, 6):
        found = analyse(plant(tmp_path / str(runs), Plant(runs=runs, **base), merged=True), metrics=[LATENCY])
        for row in found.tables["descriptive"].to_dicts():
            missing = {name for name, value in row.items() if value is None} - {
                "not_estimable",
                "why_null",
                "power_checked",
            }
            assert set(json.loads(row["why_null"] or "{}")) == missing
            assert ("median_low" in missing) == (runs < 6)


def test_a_diagnosis_without_a_trend_is_no_missing_diagnosis(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "zeros", "0" * 64)
    for block, value in enumerate((0.0, 0.0, 1.0, 0.0, 0.0, 3.0)):
        row = {"run_id": f"{block}", "attempt": 1, "model": "A", "environment": "native", "block": block}
        dataset.write(Outcome(row={**row, "status": "ok", SPEED: value}))
    [row] = analyse(dataset.path).tables["diagnostics"].filter(metric=SPEED).to_dicts()
    assert row["drift_p"] is None
    assert json.loads(row["why_null"])["drift_p"] == "median_0"
    assert row["lag1"] is not None
    assert row["not_estimable"] is None


def test_one_model_that_is_all_alike_leaves_the_others_their_group(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "groups", "0" * 64)
    chance = np.random.default_rng(1)
    for model in ("Mistral-7B-v0.3", "Llama-3-70B", "Qwen2.5-72B"):
        for block in range(6):
            for environment in ("native", "container_baseline"):
                value = 100.0 if model == "Mistral-7B-v0.3" else 100.0 * (1 + chance.normal(0, 0.002))
                row = {"run_id": f"{model}{environment}{block}", "attempt": 1, "model": model, "block": block}
                dataset.write(Outcome(row={**row, "environment": environment, "status": "ok", SPEED: value}))
    found = analyse(dataset.path)
    assert only(found, metric=SPEED, model="Mistral-7B-v0.3")["not_estimable"] == "no_spread"
    [group] = found.tables["size"].filter(metric=SPEED, group_by="architecture", group="decoder").to_dicts()
    assert (group["n_models"], group["not_estimable"]) == (2, None)
    assert group["low"] < 1 < group["high"]
