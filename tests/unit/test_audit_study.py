"""The previous study, made again from its table: every flaw that data can show is named; a sound study is clean."""

import statistics

import pytest
from audit_cases import judged, kinds, of_kind
from support.audit_study import PUBLISHED, previous_study, sound_study

from sparkray.audit.finding import GRAVITIES

SHOWN_BY_THE_TABLE = {
    "ambiguous_memory",
    "beyond_memory",
    "beyond_roofline",
    "blocked_order",
    "indistinguishable_models",
    "pseudo_replication",
    "redundant_metrics",
    "thermal_state",
    "unequal_cells",
}


def test_the_table_is_met() -> None:
    models = previous_study()["models"]
    for cell in PUBLISHED:
        runs = models[cell.model][cell.environment]
        for column, (mean, sd) in (("output_throughput", cell.throughput), ("peak_memory", cell.peak)):
            values = [run[column] for run in runs]
            assert statistics.mean(values) == pytest.approx(mean, abs=0.005)
            assert statistics.stdev(values) == pytest.approx(sd, abs=0.01)
    assert sorted(cell.runs for cell in PUBLISHED) == [10, 10, 10, 10, 10, 13]


def test_every_flaw_of_the_previous_study_is_named() -> None:
    assert kinds(judged(previous_study())) >= SHOWN_BY_THE_TABLE | {"autocorrelation"}


def test_runs_without_dependence_are_not_called_dependent() -> None:
    assert kinds(judged(previous_study(1, dependence=0))) == SHOWN_BY_THE_TABLE


def test_gravest_first() -> None:
    gravities = [finding.gravity for finding in judged(previous_study()).findings]
    assert gravities == sorted(gravities, key=GRAVITIES.index)
    assert set(gravities) == set(GRAVITIES)


def test_one_model_under_three_names() -> None:
    (both,) = of_kind(judged(previous_study()), "indistinguishable_models")
    assert both.message.startswith("native, container: ")
    for finding, runs in zip(both.parts, (30, 33), strict=True):
        assert finding.gravity == "fatal"
        assert len(finding.rows) == runs
        assert all(size in finding.evidence for size in ("(7.6B by card)", "(72.7B by card)", "(116.8B by card)"))


def test_the_72b_does_not_fit_and_cannot_be_read_that_fast() -> None:
    report = judged(previous_study(), batch=8)
    (memory,) = of_kind(report, "beyond_memory")
    (speed,) = of_kind(report, "beyond_roofline")
    for finding in (memory, speed):
        assert finding.gravity == "fatal"
        assert len(finding.rows) == 23
        assert all(row.startswith("Qwen2.5-72B-Instruct/") for row in finding.rows)
    assert "weights 135.4 GiB, memory 119.6 GiB" in memory.evidence
    assert "at most 15.3 at batch 8 and 273 GB/s" in speed.evidence


def test_without_a_batch_the_roofline_is_less_sure() -> None:
    (speed,) = of_kind(judged(previous_study()), "beyond_roofline")
    assert speed.gravity == "grave"
    assert "assumed" in speed.evidence


def test_kv_cache_is_memory_again() -> None:
    (found,) = of_kind(judged(previous_study()), "redundant_metrics")
    assert "kv_cache_gib = 0.9 * (119.70 - engine_reported_peak_gib)" in found.evidence
    assert len(found.rows) == 63


def test_memory_is_total_less_free_and_may_be_page_cache() -> None:
    (found,) = of_kind(judged(previous_study()), "ambiguous_memory")
    assert "container +30.83 GiB against native" in found.evidence
    assert "119.70 GiB, the machine's memory" in found.evidence


def test_native_came_first() -> None:
    (found,) = of_kind(judged(previous_study()), "blocked_order")
    assert found.evidence.count("in 2 stretches, native first, by timestamps") == 3


def test_the_hotter_arm_is_named_with_both_temperatures() -> None:
    (found,) = of_kind(judged(previous_study()), "thermal_state")
    assert found.gravity == "note"
    assert "gpu_temp_end_c: 60." in found.evidence


def test_one_cell_of_thirteen() -> None:
    (found,) = of_kind(judged(previous_study()), "unequal_cells")
    assert "10 runs are usual; Qwen2.5-72B-Instruct container has 13" in found.evidence


def test_what_the_input_lacks_is_said() -> None:
    open_questions = {left.kind for left in judged(previous_study()).not_judged}
    assert open_questions >= {"uncorrected_p_values", "equality_without_test", "simulated_rows", "arm_state"}


def test_a_sound_study_is_clean() -> None:
    assert judged(sound_study()).findings == ()


def test_false_alarms_on_sound_studies_are_seldom_and_never_fatal() -> None:
    reports = [judged(sound_study(seed, runs=10)) for seed in range(5)]
    assert sum(bool(report.findings) for report in reports) <= 1
    assert not any(finding.gravity == "fatal" for report in reports for finding in report.findings)
