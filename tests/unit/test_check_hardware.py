"""GPU errors, kills for memory, throttling, power that does not add up: each by its own, and none where nothing was."""

from typing import Any

import pytest
from builders import S
from check_cases import ASKED, evidence, question, verdict_of

from sparkray.checks import Asked
from sparkray.checks.hardware import Check
from sparkray.config.docker import DockerOptions
from sparkray.plan import make_plan

CHECK = Check()


def judged(environment: str = "native", samples: list[dict[str, Any]] | None = None, **row: Any) -> tuple[str, str]:
    options: Asked = row.pop("asked", ASKED)
    asked = question()
    place = next(run.position for run in make_plan(asked) if run.environment == environment)
    verdict = verdict_of(CHECK, evidence(asked, position=place, samples=samples or (), row=row, asked=options))
    return verdict.verdict, verdict.evidence


def gpu(column: str, *values: float | None, **more: Any) -> list[dict[str, Any]]:
    return [{"t_ns": k * S, "device": "a", column: value, **more} for k, value in enumerate(values)]


def test_where_nothing_tells_nothing_is_said() -> None:
    assert CHECK.judge(evidence()) is None


@pytest.mark.parametrize(("events", "word"), [((0, 0), "pass"), ((0, 1), "invalid"), ((2, 2), "invalid")])
def test_an_xid_since_the_samplers_began(events: tuple[int, int], word: str) -> None:
    found, said = judged(samples=gpu("gpu_xid_events", *events, gpu_xid=79 if max(events) else None))
    assert (found, "last code 79" in said) == (word, word == "invalid")


@pytest.mark.parametrize(
    ("counts", "word"), [((0, 0), "pass"), ((7, 7, None, 7), "pass"), ((7, 8), "invalid"), ((0, 2, 2), "invalid")]
)
def test_an_uncorrected_ecc_error_counts_when_it_is_new(counts: tuple[float | None, ...], word: str) -> None:
    assert judged(samples=gpu("gpu_ecc_uncorrected", *counts))[0] == word


def test_corrected_errors_are_memory_at_work() -> None:
    samples = gpu("gpu_ecc_corrected", 1, 9) + gpu("gpu_ecc_uncorrected", 0, 0)
    assert judged(samples=samples)[0] == "pass"


def test_each_gpu_has_counts_of_its_own() -> None:
    other = [{**sample, "device": "b"} for sample in gpu("gpu_ecc_uncorrected", 9, 9)]
    assert judged(samples=gpu("gpu_ecc_uncorrected", 0, 0) + other)[0] == "pass"
    assert judged(samples=other + gpu("gpu_ecc_uncorrected", 0, 1))[1].startswith("GPU a: 1 uncorrected")


@pytest.mark.parametrize(
    ("environment", "kills", "cgroup", "docker", "word"),
    [
        ("native", 0, None, None, "pass"),
        ("native", 1, None, None, "invalid"),
        ("container_baseline", 0, 0, False, "pass"),
        ("container_baseline", 1, 1, False, "invalid"),
        ("container_baseline", 1, None, True, "invalid"),
        ("container_baseline", 1, 0, False, "warn"),
        ("container_baseline", None, 0, False, "pass"),
    ],
)
def test_a_kill_for_memory_though_the_engine_ended_well(
    environment: str, kills: int | None, cgroup: int | None, docker: bool | None, word: str
) -> None:
    samples = [{"t_ns": S, "cgroup_oom_kills": cgroup}]
    assert judged(environment, samples, oom_kills=kills, container_oom_killed=docker)[0] == word


@pytest.mark.parametrize(
    ("throttled_s", "cpus", "word"), [(0.0, None, "pass"), (0.4, None, "warn"), (0.4, 1.5, "pass")]
)
def test_a_quota_that_nobody_asked_for(throttled_s: float, cpus: float | None, word: str) -> None:
    samples = [{"t_ns": S, "cgroup_throttled_s": throttled_s}]
    assert judged("container_baseline", samples, asked=Asked(options=DockerOptions(cpus=cpus)))[0] == word


@pytest.mark.parametrize(("agree", "word"), [(True, "pass"), (False, "warn")])
def test_power_that_does_not_add_up(agree: bool, word: str) -> None:
    assert judged(power_valid=agree)[0] == word
