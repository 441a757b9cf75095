"""Nothing of what starts the engine leaks into it: nice, OOM score, limits, signals, mask, CPUs, variables."""

import json
from dataclasses import replace
from typing import Any

import pytest
from check_cases import ASKED, START, STATE, evidence, question, rows, verdict_of

from sparkray.checks.environment import Check as Environment
from sparkray.checks.start_state import Check
from sparkray.config.docker import DockerOptions
from sparkray.runtimes import MARKER

CHECK, VARIABLES = Check(), Environment()


def judged(**changes: Any) -> tuple[str, str]:
    verdict = verdict_of(CHECK, evidence(state=STATE | changes))
    return verdict.verdict, verdict.evidence


def test_a_state_as_declared_passes_with_its_values() -> None:
    assert judged() == ("pass", "CPUs 0-1; nice 0, oom_score_adj 0, 1 limits")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"nice": 15}, "nice is 15, declared 0"),
        ({"oom_score_adj": 1000}, "oom_score_adj is 1000, declared 0"),
        ({"rlimits": {"nofile": (1024, 1024)}}, "rlimit nofile is (1024, 1024), declared (1024, 4096)"),
        ({"rlimits": {}}, "rlimit nofile is None, declared (1024, 4096)"),
        ({"signals_blocked": "0000000000004000"}, "signals blocked are 0000000000004000, declared none"),
        ({"signals_ignored": "0000000180000000"}, "signals ignored are 0000000180000000, declared none"),
        ({"umask": "0077"}, "umask is 0077, declared 0022"),
        ({"nice": None}, "nice is None, declared 0"),
    ],
)
def test_what_leaked_is_reported_with_its_value(change: dict[str, Any], said: str) -> None:
    assert judged(**change) == ("invalid", said)


def test_what_a_row_holds_as_json_is_read_as_well() -> None:
    assert judged(rlimits={"nofile": [1024, 4096]})[0] == "pass"


def test_a_process_that_was_gone_cannot_be_believed() -> None:
    gone = verdict_of(CHECK, evidence(state={}))
    assert gone.verdict == "invalid"
    assert gone.evidence == "the engine ended before its state could be read"


@pytest.mark.parametrize(
    ("options", "affinity", "found", "word"),
    [
        (DockerOptions(cpuset_cpus="0"), None, "0", "pass"),
        (DockerOptions(cpuset_cpus="0-1"), None, "0,1", "pass"),
        (DockerOptions(cpuset_cpus="0"), None, "0-1", "invalid"),
        (DockerOptions(), (1,), "1", "pass"),
        (DockerOptions(), (1,), "0-1", "invalid"),
        (DockerOptions(), None, "0-1", "pass"),
        (DockerOptions(), None, "1", "warn"),
    ],
)
def test_cpus_are_those_declared(
    options: DockerOptions, affinity: tuple[int, ...] | None, found: str, word: str
) -> None:
    asked = replace(ASKED, options=options, start=START | {"affinity": affinity})
    verdict = verdict_of(CHECK, evidence(asked=asked, state=STATE | {"cpus_allowed": found}))
    assert verdict.verdict == word
    assert f"CPUs {found}" in verdict.evidence


def test_fewer_cpus_than_another_run_had_are_a_leak() -> None:
    more = {"effective_state": json.dumps(STATE | {"cpus_allowed": "0-15"})}
    found = evidence(earlier=rows(question(), [more]), row={"machine": json.dumps({"cpus": 16})})
    verdict = verdict_of(CHECK, found)
    assert (verdict.verdict, verdict.evidence) == ("invalid", "CPUs 0-1, declared all: an earlier run had 16")


def test_cpus_that_are_off_are_not_missed() -> None:
    def word(online: str) -> str:
        return judged(cpus_allowed="0,2", cpus_online=online)[0]

    assert [word("0,2"), word("0-3")] == ["pass", "warn"]


def test_variables_are_those_declared_apart_from_dockers_own() -> None:
    own = {MARKER: "sparkray-1", "HOSTNAME": "f00", "PATH": "/bin", "HOME": "/root"}
    found = verdict_of(VARIABLES, evidence(state=STATE | {"environment": {"LANG": "C.UTF-8", **own}}))
    assert (found.verdict, found.evidence) == ("pass", "5 variables as declared")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"LANG": "C.UTF-8", "OMP_NUM_THREADS": "1"}, "OMP_NUM_THREADS is '1', declared None"),
        ({}, "LANG is None, declared 'C.UTF-8'"),
        ({"LANG": "C"}, "LANG is 'C', declared 'C.UTF-8'"),
    ],
)
def test_a_variable_more_or_less_or_other(variables: dict[str, str], said: str) -> None:
    found = verdict_of(VARIABLES, evidence(state=STATE | {"environment": variables}))
    assert (found.verdict, found.evidence) == ("invalid", said)


def test_variables_that_cannot_be_read_are_a_warning() -> None:
    assert verdict_of(VARIABLES, evidence(state={})).verdict == "warn"
