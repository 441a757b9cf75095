"""Each question of the audit, on a case that it must see and on its neighbour that it must not."""

import ast
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from audit_cases import judged, judged_dataset, judged_rows, kinds, of_kind, rows_of
from support.audit_study import sound_study

import sparkray.audit
from sparkray.audit.findings.blocked_order import stretches_p
from sparkray.audit.findings.split_halves import chance_of
from sparkray.audit.results import Claim

PAIRS = "ABBABAABABBAABBABAAB"


def noise(n: int, seed: int = 0, sd: float = 1.0) -> list[float]:
    chance = random.Random(seed)
    return [100 + chance.gauss(0, sd) for _ in range(n)]


def sound(**changes: Any) -> dict[str, Any]:
    """The sound study with changes to every run."""
    document = sound_study()
    for arms in document["models"].values():
        for runs in arms.values():
            for run in runs:
                run.update(changes)
    return document


def test_arms_in_blocks_and_interleaved() -> None:
    assert "blocked_order" in kinds(judged_rows(rows_of("AAAABBBB")))
    assert "blocked_order" in kinds(judged_rows(rows_of("AAAAABBBBBAAAAABBBBB")))
    assert "blocked_order" not in kinds(judged_rows(rows_of(PAIRS)))


def test_the_order_is_read_from_iterations_only_when_they_go_on() -> None:
    on = [row | {"started_s": None} for row in rows_of("AAABBB")]
    again = [row | {"iteration": row["iteration"] % 3} for row in on]
    assert "blocked_order" in kinds(judged_rows(on))
    report = judged_rows(again)
    assert "blocked_order" not in kinds(report)
    assert "blocked_order" in {left.kind for left in report.not_judged}


def test_probability_of_few_stretches() -> None:
    assert stretches_p(4, 4, 2) == pytest.approx(2 / 70)
    assert stretches_p(3, 5, 7) == pytest.approx(1)
    assert stretches_p(2, 2, 3) == pytest.approx(4 / 6)


def test_drift_in_one_stretch_is_grave_and_in_pairs_a_note() -> None:
    rising = [100 + index + wobble / 1000 for index, wobble in enumerate(noise(20))]
    for order, gravity in (("A" * 10 + "B" * 10, "grave"), (PAIRS, "note")):
        (drift,) = of_kind(judged_rows(rows_of(order, values=rising)), "drift")
        (dependence,) = of_kind(judged_rows(rows_of(order, values=rising)), "autocorrelation")
        assert (drift.gravity, dependence.gravity) == (gravity, gravity)
        assert "10 runs as good as 1.0" in dependence.evidence
    assert not kinds(judged_rows(rows_of(PAIRS, values=noise(20)))) & {"drift", "autocorrelation"}


def test_halves_of_an_arm_that_differ() -> None:
    step = [value + 50 * (index % 10 >= 5) for index, value in enumerate(noise(20))]
    (found,) = of_kind(judged_rows(rows_of("A" * 10 + "B" * 10, values=step)), "split_halves")
    assert "in 2 of 2 cells" in found.evidence
    assert "split_halves" not in kinds(judged_rows(rows_of("A" * 10 + "B" * 10, values=noise(20))))


def test_one_arm_alone_may_drift_for_it_is_compared_with_nothing() -> None:
    rising = [100 + index + wobble / 1000 for index, wobble in enumerate(noise(20))]
    report = judged_rows(rows_of("A" * 20, values=rising))
    assert {(finding.kind, finding.gravity) for finding in report.findings} == {
        (kind, "note") for kind in ("drift", "autocorrelation", "split_halves")
    }
    beside = [row | {"model": "other"} for row in rows_of("A" * 10 + "B" * 10, values=rising)]
    report = judged_rows([*rows_of("A" * 20, values=rising), *beside])
    assert {finding.gravity for finding in of_kind(report, "drift")} == {"grave"}


def test_statistics_of_one_quantity_are_one_finding() -> None:
    rising = [(100 + index, wobble) for index, wobble in enumerate(noise(40, sd=0.1))]
    rows = [
        row
        | {"latency_mean_ms": rise, "latency_p99_ms": rise + wobble, "ttft_p50_ms": rise + 2 * wobble, "itl_p50_ms": 3}
        for row, (rise, wobble) in zip(rows_of("A" * 20 + "B" * 20), rising, strict=True)
    ]
    report = judged_rows(rows)
    for kind in ("drift", "autocorrelation", "split_halves"):
        (found,) = of_kind(report, kind)
        assert re.search(
            r"latency_(mean_ms \(and latency_p99_ms\)|p99_ms \(and latency_mean_ms\)), ttft_p50_ms\b", found.message
        )
        assert re.search(r"^latency_.*; ttft_p50_ms: ", found.evidence), "both have evidence"


@pytest.mark.parametrize(("order", "gravity"), [("A" * 20 + "B" * 10, "grave"), (PAIRS, "note")])
def test_one_arm_is_enough_where_its_halves_are_far_apart(order: str, gravity: str) -> None:
    step = [value + 9 * (10 <= index < 20) for index, value in enumerate(noise(len(order)))]
    (found,) = of_kind(judged_rows(rows_of(order, values=step)), "split_halves")
    assert found.gravity == gravity
    near = [value + 1.2 * (10 <= index < 20) for index, value in enumerate(noise(len(order)))]
    assert "split_halves" not in kinds(judged_rows(rows_of(order, values=near)))


@pytest.mark.parametrize(
    ("ps", "chance"),
    [([0.04], 0.08), ([1e-10], 2e-10), ([0.04, 0.04], 0.005), ([0.2, 1e-6], 4e-6), ([0.9, 0.8], 1.0)],
)
def test_chance_by_hand(ps: list[float], chance: float) -> None:
    assert chance_of(ps) == pytest.approx(chance)


@pytest.mark.parametrize("cells", [1, 20])
def test_the_chance_is_kept(cells: int) -> None:
    drawn = np.random.default_rng(cells).random((3_000, cells))
    assert np.mean([chance_of(row.tolist()) < 0.01 for row in drawn]) <= 0.016


def test_two_metrics_that_are_one() -> None:
    speeds = noise(20)
    tied = [row | {"power_mean_w": 2 * row["output_throughput_tok_s"] + 3} for row in rows_of(PAIRS, values=speeds)]
    apart = [
        row | {"power_mean_w": value} for row, value in zip(rows_of(PAIRS, values=speeds), noise(20, 1), strict=True)
    ]
    (found,) = of_kind(judged_rows(tied), "redundant_metrics")
    assert "power_mean_w = 2 * output_throughput_tok_s + 3" in found.evidence
    assert "redundant_metrics" not in kinds(judged_rows(apart))


def test_tokens_and_requests_per_second_are_one_by_definition() -> None:
    tied = [row | {"request_throughput_req_s": row["output_throughput_tok_s"] / 128} for row in rows_of(PAIRS)]
    assert "redundant_metrics" not in kinds(judged_rows(tied))


@pytest.mark.parametrize(
    ("one", "other"), [("process_rss_peak_gib", "process_pss_peak_gib"), ("energy_j", "energy_integrated_j")]
)
def test_one_thing_measured_twice_is_one_effect_only_in_the_data_of_others(one: str, other: str) -> None:
    values = noise(20)
    rows = [row | {one: value, other: value - 4e-6} for row, value in zip(rows_of(PAIRS), values, strict=True)]
    assert len(of_kind(judged_rows(rows), "redundant_metrics")) == 1
    assert "redundant_metrics" not in kinds(judged_dataset(rows))
    three = [row | {"power_mean_w": 2 * row[one]} for row in rows]
    (found,) = of_kind(judged_dataset(three), "redundant_metrics")
    assert len(found.parts) == 2


def test_memory_with_the_page_cache_beside_it_is_not_ambiguous() -> None:
    rows = [
        row | {"engine_reported_peak_gib": 70.0 if row["environment"] == "native" else 90.0} for row in rows_of(PAIRS)
    ]
    assert "ambiguous_memory" in kinds(judged_rows(rows))
    assert "ambiguous_memory" not in kinds(judged_rows([row | {"page_cache_before_gib": 2.0} for row in rows]))


def test_sizes_in_names_do_where_no_card_answers() -> None:
    rows = [row | {"model": name} for name in ("tiny-1.5b", "Huge-8x7B-v2") for row in rows_of(PAIRS)]
    (first,) = of_kind(judged_rows(rows), "indistinguishable_models")
    assert first.gravity == "note"
    assert "(1.5B by its name)" in first.evidence
    assert "(56.0B by its name)" in first.evidence
    near = [row | {"model": name} for name in ("one-7b", "other-8b") for row in rows_of(PAIRS)]
    assert "indistinguishable_models" not in kinds(judged_rows(near))


def test_one_set_of_weights_under_two_names() -> None:
    report = judged(sound(model_path="/data/models/one"))
    (found,) = of_kind(report, "shared_weights")
    assert found.gravity == "fatal"
    assert len(found.rows) == 120


@pytest.mark.parametrize(
    ("column", "native", "container", "reported"),
    [
        ("model_sha256", "ab", "cd", True),
        ("model_id", "Qwen/Qwen2-7B", "Qwen/Qwen2.5-7B", True),
        ("model_sha256", "ab", "AB", False),
        ("model_sha256", "ab", None, False),
        ("model_path", "/host/m", "/models/m", False),
    ],
)
def test_several_sets_of_weights_under_one_name(
    column: str, native: str, container: str | None, *, reported: bool
) -> None:
    there = {"native": native, "container": container}
    found = of_kind(
        judged_rows([row | {column: there[row["environment"]]} for row in rows_of(PAIRS)]), "shared_weights"
    )
    assert [finding.gravity for finding in found] == ["fatal"] * reported
    if reported:
        assert found[0].evidence == f"{column} {native.lower()} in 10 native, {str(container).lower()} in 10 container"
        assert len(found[0].rows) == len(PAIRS)


@pytest.mark.parametrize(
    ("column", "declared", "code", "gravity"),
    [
        ("rootfs_digest", {}, "different_files", "grave"),
        ("rootfs_digest", {"container": "own:2"}, "different_files/declared", "note"),
        ("rootfs_digest", {"native": "own:2", "container": "own:2"}, "different_files", "grave"),
        ("image_digest", {}, "different_files", "grave"),
    ],
)
def test_arms_of_different_files(column: str, declared: dict[str, str], code: str, gravity: str) -> None:
    digests = {"native": "sha256:a", "container": "sha256:b"}
    rows = [row | {column: digests[row["environment"]], "image": row["environment"]} for row in rows_of(PAIRS)]
    (found,) = of_kind(judged_rows(rows, own_images=declared), "different_files")
    assert (found.code, found.gravity) == (code, gravity)
    assert found.evidence == f"{column} of native native: sha256:a; container container: sha256:b"


def test_arms_of_the_same_files_and_of_images_that_hold_them() -> None:
    same = [row | {"rootfs_digest": "sha256:a", "image_digest": "sha256:i"} for row in rows_of(PAIRS)]
    assert of_kind(judged_rows(same), "different_files") == []
    other = [row | {"image_digest": f"sha256:{row['environment']}"} for row in same]
    (found,) = of_kind(judged_rows(other), "different_files")
    assert (found.code, found.gravity) == ("different_files/image", "note")
    assert "different_files" in {left.kind for left in judged_rows(rows_of(PAIRS)).not_judged}


def test_machines_of_different_files_with_arms_of_the_same_ones_on_each() -> None:
    rows = [
        row | {"block": index // 2, "rootfs_digest": f"sha256:{index > 9}"} for index, row in enumerate(rows_of(PAIRS))
    ]
    assert of_kind(judged_rows(rows), "different_files") == []
    rows[0]["rootfs_digest"] = "sha256:other"
    assert [found.code for found in of_kind(judged_rows(rows), "different_files")] == ["different_files"]


def test_rows_filed_under_another_model() -> None:
    document = sound()
    document["models"]["gpt-oss-120b"]["native"][3]["model_name"] = "Qwen2-1.5B"
    (found,) = of_kind(judged(document), "misfiled_rows")
    assert found.rows == ("gpt-oss-120b/native[3]",)


def test_cells_that_are_missing_and_runs_that_failed() -> None:
    document = sound()
    del document["models"]["gpt-oss-120b"]["container"]
    document["models"]["Qwen2-1.5B"]["native"][0]["exit_code"] = 137
    report = judged(document)
    (missing,) = of_kind(report, "missing_cells")
    assert "no runs that count for gpt-oss-120b container" in missing.evidence
    (failed,) = of_kind(report, "failed_runs")
    assert failed.rows == ("Qwen2-1.5B/native[0]",)


def failing(order: str, model: str, *lost: str, status: str = "failed") -> list[Any]:
    """Runs of a model; those of the lost environments did not end well."""
    rows = rows_of(order, model=model)
    return [row | {"status": status if row["environment"] in lost else "ok"} for row in rows]


def test_an_arm_without_a_run_that_counts_is_missing_though_it_has_rows() -> None:
    (found,) = of_kind(judged_rows(failing(PAIRS, "m", "container")), "missing_cells")
    assert (found.gravity, found.evidence) == ("grave", "no runs that count for m container")


def test_a_model_without_a_run_that_counts_is_missing() -> None:
    rows = [*rows_of(PAIRS), *failing("ABBA", "other", "native", "container")]
    (found,) = of_kind(judged_rows(rows), "missing_cells")
    assert (found.gravity, found.evidence, len(found.rows)) == ("grave", "nothing of other (4 failed)", 4)


def test_a_model_that_was_refused_before_its_start_in_every_arm_is_no_finding() -> None:
    arms = ("native", "container")
    report = judged_rows([*rows_of(PAIRS), *failing("ABBA", "other", *arms, status="unready")])
    assert not report.findings
    assert any("other: refused before the start" in left.reason for left in report.not_judged)
    report = judged_rows([*rows_of(PAIRS), *failing("ABBA", "other", "container", status="unready")])
    assert kinds(report) >= {"missing_cells", "failed_runs"}


def test_what_was_planned_and_never_run_is_missing() -> None:
    planned = tuple((model, arm) for model in ("m", "other") for arm in ("native", "container", "host"))
    found = of_kind(judged_rows(rows_of(PAIRS), planned=planned), "missing_cells")
    assert [one.evidence for one in found] == ["no runs that count for m host", "nothing of other (no rows at all)"]
    assert "missing_cells" not in kinds(judged_rows(rows_of(PAIRS), planned=planned[:2]))


def test_values_that_are_missing_in_part() -> None:
    document = sound()
    document["models"]["Qwen2-1.5B"]["native"][0]["kv_cache"] = None
    (found,) = of_kind(judged(document), "missing_values")
    assert found.rows == ("Qwen2-1.5B/native[0]",)


def test_what_short_runs_of_a_dataset_end_before_is_no_finding() -> None:
    rows = rows_of(PAIRS, "process_pss_peak_gib", [1.0 + index for index in range(len(PAIRS))])
    for row in rows[::3]:
        row["process_pss_peak_gib"] = None
    assert "missing_values" in kinds(judged_rows(rows))
    report = judged_dataset(rows)
    assert "missing_values" not in kinds(report)
    assert next(one for one in report.questions if one.name == "cells").judged


def test_a_metric_that_one_arm_does_not_have_is_open() -> None:
    document = sound()
    for arms in document["models"].values():
        for run in arms["native"]:
            run["kv_cache"] = None
    report = judged(document)
    assert "missing_values" not in kinds(report)
    assert "kv_cache_gib: no values in native" in [left.reason for left in report.not_judged]


@pytest.mark.parametrize(
    ("key", "kind", "gravity"),
    [
        ("start_temp_celsius", "thermal_state", "grave"),
        ("end_temp_celsius", "thermal_state", "note"),
        ("page_cache_before_gib", "memory_state", "grave"),
    ],
)
def test_a_state_that_differs_by_arm(key: str, kind: str, gravity: str) -> None:
    document = sound()
    for arms in document["models"].values():
        for run in arms["container"]:
            run[key] += 3
    (found,) = of_kind(judged(document), kind)
    assert found.gravity == gravity


def test_a_dataset_that_is_simulated_throughout_says_so_and_is_no_finding() -> None:
    report = judged_dataset(rows_of(PAIRS, simulated=True))
    assert "simulated_rows" not in kinds(report)
    assert any("nothing here was measured" in left.reason for left in report.not_judged)


def test_simulated_rows_among_measured_ones_are_fatal() -> None:
    assert [f.gravity for f in of_kind(judged(sound(simulated=True)), "simulated_rows")] == ["grave"]
    document = sound()
    document["models"]["gpt-oss-120b"]["native"][0]["simulated"] = "true"
    (found,) = of_kind(judged(document), "simulated_rows")
    assert (found.gravity, found.rows) == ("fatal", ("gpt-oss-120b/native[0]",))


def test_several_rows_for_one_run_are_requests() -> None:
    requests = [row | {"started_s": None, "iteration": 1} for row in rows_of("AAAABBBB")]
    assert "pseudo_replication" in kinds(judged_rows(requests))
    assert "pseudo_replication" not in kinds(judged_rows(rows_of(PAIRS)))


CLAIMS = (Claim("difference", "KV cache falls", p=0.001), Claim("difference", "throughput", p=0.4))


def test_p_values_without_correction() -> None:
    (found,) = of_kind(judged_rows(rows_of(PAIRS), claims=CLAIMS), "uncorrected_p_values")
    assert "'KV cache falls' p = 0.001" in found.evidence
    holm = tuple(Claim(claim.kind, claim.text, p=claim.p, correction="Holm") for claim in CLAIMS)
    assert "uncorrected_p_values" not in kinds(judged_rows(rows_of(PAIRS), claims=holm))


def test_equality_without_an_equivalence_test() -> None:
    bare = Claim("equality", "no cost in throughput", p=0.4)
    shown = Claim("equality", "no cost in throughput", equivalence_test="TOST")
    (found,) = of_kind(judged_rows(rows_of(PAIRS), claims=(bare,)), "equality_without_test")
    assert "'no cost in throughput': p = 0.4" in found.evidence
    assert "equality_without_test" not in kinds(judged_rows(rows_of(PAIRS), claims=(shown,)))


def test_every_code_has_texts_and_every_text_a_code() -> None:
    root = Path(sparkray.audit.__file__).parent
    calls = [
        node
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in ("Finding", "NotJudged")
    ]
    codes = {
        part.value
        for call in calls
        for part in ast.walk(call.args[0])
        if isinstance(part, ast.Constant) and isinstance(part.value, str)
    }
    texts = yaml.safe_load((root / "texts.yaml").read_text())
    assert codes == set(texts)
    for code, parts in texts.items():
        assert set(parts) - {"item", "subject"} in ({"reason"}, {"message", "evidence"}), code


def test_requests_counted_as_a_sample() -> None:
    for n, expected in ((1000, True), (10, False)):
        report = judged_rows(rows_of(PAIRS), claims=(Claim("difference", "latency", n=n),))
        assert ("pseudo_replication" in kinds(report)) is expected
