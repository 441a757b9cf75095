"""The same files, the same weights, the same engine, the same prompts in every arm."""

from dataclasses import replace
from typing import Any

import pytest
from check_cases import ASKED, DIGEST, WEIGHTS, evidence, measured, question, rows, verdict_of

from sparkray.checks.identity import Check
from sparkray.plan import Study, make_plan

CHECK = Check()


def past(**changes: Any) -> list[dict[str, Any]]:
    return rows(question(), [changes] * 4)


def test_a_run_as_planned_and_as_those_before_it_passes_with_what_was_seen() -> None:
    verdict = verdict_of(CHECK, evidence(earlier=past()))
    assert verdict.verdict == "pass"
    assert f"files {DIGEST}" in verdict.evidence
    assert f"model {WEIGHTS}" in verdict.evidence
    assert "engine version as in 4 earlier runs" in verdict.evidence


def test_one_altered_byte_is_reported_with_both_digests() -> None:
    verdict = verdict_of(CHECK, evidence(row={"rootfs_digest": "sha256:other"}))
    assert verdict.verdict == "invalid"
    assert verdict.evidence == f"the files of this arm are not the image's: sha256:other, expected {DIGEST}"


@pytest.mark.parametrize("found", ["2" * 64, None])
def test_other_weights_than_those_meant(found: str | None) -> None:
    verdict = verdict_of(CHECK, evidence(measurement=measured(model_sha256=found)))
    assert (verdict.verdict, str(found) in verdict.evidence, WEIGHTS in verdict.evidence) == ("invalid", True, True)


def test_what_the_engine_says_against_the_plan_is_evidence() -> None:
    asked = replace(ASKED, mismatches=("architecture: one", "layers: another"))
    verdict = verdict_of(CHECK, evidence(asked=asked))
    assert (verdict.verdict, verdict.evidence) == ("invalid", "architecture: one; layers: another")


@pytest.mark.parametrize(
    ("column", "changes"),
    [
        ("engine_version", {"version": "2.0"}),
        ("model_architecture", {"model_architecture": "qwen"}),
    ],
)
def test_what_the_plan_cannot_know_is_held_against_the_runs_before(column: str, changes: dict[str, str]) -> None:
    found = evidence(measurement=measured(**changes), earlier=past())
    verdict = verdict_of(CHECK, found)
    assert verdict.verdict == "invalid"
    assert f"{next(iter(changes.values()))}, in 4 of 4 earlier runs {past()[0][column]}" in verdict.evidence
    assert verdict_of(CHECK, evidence(measurement=measured(**changes))).verdict == "pass"


def test_what_an_image_brings_is_held_against_the_arms_of_that_image_alone() -> None:
    """vllm 0.26 beside 0.25 is what was asked for; other prompts never are."""
    asked = question()
    own = replace(asked, treatments=tuple(replace(t, image="own:2" * t.in_container) for t in asked.treatments))
    position = next(run.position for run in make_plan(own) if run.environment == "container_baseline")

    def word(study: Study, **changes: Any) -> str:
        before = rows(study, [{"environment": "native", "dataset_sha256": "a"}] * 4)
        newer = measured(version="2.0")
        return verdict_of(
            CHECK, evidence(study, position=position, measurement=newer, earlier=before, row=changes)
        ).verdict

    assert word(asked, dataset_sha256="a") == "invalid"
    assert word(own, dataset_sha256="a") == "pass"
    assert word(own, dataset_sha256="b") == "invalid"


@pytest.mark.parametrize("column", ["checkpoint_sha256", "dataset_sha256"])
def test_checkpoint_and_prompts_are_alike(column: str) -> None:
    def word(mine: str | None) -> str:
        return verdict_of(CHECK, evidence(row={column: mine}, earlier=past(**{column: "a"}))).verdict

    assert [word("a"), word("b"), word(None)] == ["pass", "invalid", "pass"]


def test_weights_whose_hash_is_not_planned_are_held_against_the_runs_before() -> None:
    found = evidence(asked=replace(ASKED, model_sha256=None), earlier=past(model_sha256="2" * 64))
    assert verdict_of(CHECK, found).verdict == "invalid"


def test_the_plan_stands_above_what_earlier_runs_loaded() -> None:
    assert verdict_of(CHECK, evidence(earlier=past(model_sha256="2" * 64))).verdict == "pass"


@pytest.mark.parametrize(("found", "word"), [("sha256:a", "pass"), ("sha256:b", "invalid"), (None, "invalid")])
def test_a_checkpoint_that_changed_during_the_sweep_is_seen(found: str | None, word: str) -> None:
    asked = replace(ASKED, weights_digest="sha256:a")
    verdict = verdict_of(CHECK, evidence(asked=asked, row={"weights_digest": found}))
    assert (verdict.verdict, "changed since the sweep began" in verdict.evidence) == (word, word == "invalid")
