"""What every check keeps, whatever it looks at."""

import math
import pkgutil
import re
from dataclasses import replace
from typing import Any

import pytest
from builders import measurement, study
from check_cases import ASKED, STATE, evidence, question, rows

from sparkray.checks import (
    Asked,
    Check,
    Evidence,
    apply_policy,
    check_names,
    judge_all,
    late_verdicts,
    load_check,
    policies_of,
    refused_before,
    remedy_of,
)
from sparkray.errors import UnknownNameError
from sparkray.metrics import BY_NAME
from sparkray.plan import make_plan
from sparkray.records import EngineFacts, Measurement, Verdict
from sparkray.store.tables import TABLES

NAMES = check_names()
WORDS = ("pass", "warn", "invalid")
COLUMNS = [column for column in TABLES["runs"] if column.name not in BY_NAME]
NULLS = {column.name: None for column in COLUMNS} | {"run_id": "a" * 16, "attempt": 1, "environment": "native"}
NANS = {c.name: math.nan for c in COLUMNS if c.kind in ("float", "int")} | {"run_id": "a" * 16, "attempt": 1}
BARE = Evidence(study(), make_plan(study())[0], Measurement((), EngineFacts()))
SOUND = evidence()
EVIDENCE = {
    "bare": BARE,
    "nulls": replace(BARE, row=NULLS, earlier=(NULLS, NULLS, NULLS), samples=({},), state={"rlimits": {}}),
    "not numbers": replace(SOUND, row=SOUND.row | NANS, earlier=[SOUND.row | NANS] * 9, samples=({"t_ns": math.nan},)),
    "sound": SOUND,
    "with a past": replace(SOUND, earlier=rows(question(), [{}] * 8), of_machine=rows(question(), [{}] * 8)),
    "another environment's state": replace(SOUND, state=STATE | {"cpus_allowed": "0"}, asked=replace(ASKED, start={})),
    "nothing asked": replace(SOUND, asked=Asked()),
    "no requests": replace(SOUND, measurement=measurement()),
}


@pytest.mark.parametrize("name", NAMES)
def test_name_policy_and_remedy(name: str) -> None:
    check = load_check(name)
    assert isinstance(check, Check)
    assert type(check).judge is not Check.judge or type(check).revalidate is not Check.revalidate
    assert (check.name, check.policy in ("invalid", "warn", "off"), bool(check.__doc__)) == (name, True, True)
    assert remedy_of(name) == check.remedy
    assert len(check.remedy) > 20
    assert not check.remedy.endswith(".")


def test_those_that_the_room_is_known_for_are_there() -> None:
    assert {
        *("identity", "start_state", "environment", "tokens", "roofline", "thermal", "memory_state"),
        *("exclusive", "power_state", "steady", "outliers"),
    } <= set(NAMES)


@pytest.mark.parametrize("name", ["rooflin", "_finding", ""])
def test_an_unknown_check_is_said(name: str) -> None:
    with pytest.raises(UnknownNameError, match="check"):
        load_check(name)


def whole(verdict: Verdict, name: str) -> None:
    assert verdict.check == name
    assert verdict.verdict in WORDS
    assert verdict.evidence.strip() == verdict.evidence != ""
    assert re.search(r"\b(nan|inf)\b", verdict.evidence) is None


@pytest.mark.parametrize("name", NAMES)
def test_whatever_is_known_of_a_run_there_is_a_whole_verdict_or_none(name: str) -> None:
    for known in EVIDENCE.values():
        if (verdict := load_check(name).judge(known)) is not None:
            whole(verdict, name)


@pytest.mark.parametrize("name", NAMES)
def test_judging_changes_nothing_and_gives_the_same_again(name: str) -> None:
    before = repr(SOUND)
    assert load_check(name).judge(SOUND) == load_check(name).judge(SOUND)
    assert repr(SOUND) == before


@pytest.mark.parametrize("name", NAMES)
def test_a_re_validation_of_nothing_or_of_even_runs_has_no_verdicts(name: str) -> None:
    for stored in ((), (NULLS,), (NULLS, NULLS), (NULLS | NANS,) * 8, rows(question(), [{}] * 8)):
        assert list(load_check(name).revalidate(question(), stored)) == []


def test_policies_hold_a_verdict_down_and_never_up() -> None:
    invalid, warn, fine = (Verdict("tokens", word, "seen") for word in ("invalid", "warn", "pass"))  # type: ignore[arg-type]
    assert [apply_policy(v, "warn").verdict for v in (invalid, warn, fine)] == ["warn", "warn", "pass"]
    assert [apply_policy(v, "invalid") for v in (invalid, warn, fine)] == [invalid, warn, fine]


@pytest.mark.parametrize(("policy", "words"), [("invalid", ["invalid"]), ("warn", ["warn"]), ("off", [])])
def test_the_experiment_has_the_last_word(policy: str, words: list[str]) -> None:
    asked = question(checks={"tokens": policy})
    found = judge_all(evidence(asked, row={"wall_clock_step_s": 9.0}))
    assert [verdict.verdict for verdict in found if verdict.check == "tokens"] == words


@pytest.mark.parametrize(("policy", "words"), [("invalid", {"invalid"}), ("warn", {"warn"}), ("off", set())])
def test_and_over_what_is_seen_late(policy: str, words: set[str]) -> None:
    asked = question(checks={"power_state": policy})
    stored = rows(asked, [{"probe_gpu_memory_before_ms": 30.0 + 30 * (place == 3)} for place in range(4)])
    assert {late.verdict.verdict for late in late_verdicts(asked, stored)} == words


def test_the_policies_of_a_study_are_those_of_every_check() -> None:
    assert set(policies_of(question())) == set(NAMES)
    assert policies_of(question(checks={"tokens": "warn"})) == policies_of(question()) | {"tokens": "warn"}


def test_all_together_there_is_one_verdict_a_check_on_a_sound_run() -> None:
    found = judge_all(SOUND)
    assert len({verdict.check for verdict in found}) == len(found)
    ours = [verdict for verdict in found if verdict.check != "readback"]
    assert [verdict for verdict in ours if verdict.verdict != "pass"] == []
    assert {"identity", "start_state", "environment", "tokens", "memory_state", "exclusive", "steady"} <= {
        verdict.check for verdict in ours
    }


def said(*words: tuple[int, str, str]) -> list[dict[str, Any]]:
    return [{"attempt": attempt, "check": check, "verdict": word} for attempt, check, word in words]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        ([], set()),
        ([(1, "thermal", "invalid"), (1, "tokens", "pass")], {"thermal"}),
        ([(2, "thermal", "pass"), (1, "thermal", "invalid")], set()),
        ([(1, "thermal", "invalid"), (2, "thermal", "warn"), (2, "tokens", "invalid")], {"thermal", "tokens"}),
        ([(1, "memory_state", "invalid"), (1, "memory_state", "pass")], {"memory_state"}),
    ],
    ids=["none", "refused", "passed since", "let pass with a warning", "found late"],
)
def test_who_refused_a_run_last(verdicts: list[tuple[int, str, str]], expected: set[str]) -> None:
    assert refused_before(said(*verdicts)) == expected


def test_a_review_that_fails_takes_no_other_with_it_and_is_said() -> None:
    """Rows of no environment: the outliers of a pair cannot be looked for, probes that disagree can."""
    stored = [
        {"run_id": f"{place:016}", "attempt": 1, "block": 0, "output_throughput_tok_s": 50.0, **slow}
        for place, slow in enumerate({"probe_gpu_memory_before_ms": time} for time in (30.0, 60.0))
    ]
    found = late_verdicts(question(), stored)
    (failed,) = [late for late in found if late.verdict.check == "outliers"]
    assert (failed.run_id, failed.verdict.verdict) == (stored[-1]["run_id"], "warn")
    assert failed.verdict.evidence == "could not re-validate: KeyError: 'environment'"
    assert {late.run_id for late in found if late.verdict.check == "power_state"} == {row["run_id"] for row in stored}


def test_a_run_lists_the_folder_of_checks_once_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    check_names()
    monkeypatch.setattr(pkgutil, "iter_modules", lambda _: pytest.fail("listed again"))
    assert policies_of(question()).keys() == set(NAMES)
