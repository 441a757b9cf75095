"""Samplers that failed, fell silent, or left nothing."""

import json
from dataclasses import replace
from typing import Any

import pytest
from builders import S
from check_cases import evidence, measured, verdict_of

from sparkray.checks import Evidence
from sparkray.checks.sampled import Check

CHECK = Check()


def seen(name: str, until_s: float, period_s: float = 0.1, **columns: Any) -> list[dict[str, Any]]:
    return [{"sampler": name, "t_ns": int(k * period_s * S), **columns} for k in range(int(until_s / period_s) + 1)]


# thirteen requests of 0.64 s, from the first second on: the last ends at 9.3 s


def judged(*samples: list[dict[str, Any]], **changes: Any) -> tuple[str, str]:
    rows = sorted((row for one in samples for row in one), key=lambda row: row["t_ns"])
    verdict = verdict_of(CHECK, evidence(samples=rows, **changes))
    return verdict.verdict, verdict.evidence


def test_samplers_to_the_end() -> None:
    assert judged(seen("host", 10), seen("pss", 6, 3.0)) == ("pass", "2 samplers to the end")


def test_one_that_failed_is_reported_in_its_own_words() -> None:
    told = json.dumps(["no --gpus flag", "samples lost: sampler gpu: NVMLError: GPU is lost"])
    word, said = judged(seen("host", 10), row={"deviations": told})
    assert (word, said) == ("warn", "samples lost: sampler gpu: NVMLError: GPU is lost")


@pytest.mark.parametrize(
    ("until_s", "period_s", "word"),
    [(3.0, 0.1, "warn"), (7.0, 0.1, "pass"), (3.0, 1.0, "pass"), (1.0, 0.5, "warn"), (0.0, 0.1, "pass")],
)
def test_one_that_fell_silent(until_s: float, period_s: float, word: str) -> None:
    found, said = judged(seen("host", 10), seen("gpu", until_s, period_s))
    assert (found, "sampler gpu was silent" in said) == (word, word == "warn")


@pytest.mark.parametrize(("still_s", "word"), [(20.0, "invalid"), (6.0, "invalid"), (4.0, "pass")])
def test_a_run_in_which_everything_stood_still(still_s: float, word: str) -> None:
    """All processes were stopped at 3 s and went on later; the double's times are made up, its process tree is not."""
    made_up = replace(measured([4000.0] * 12), simulated=True)
    first = [*seen("process", 3, process_rss_gib=1.0), *seen("host", 3)]
    later = [{**one, "t_ns": one["t_ns"] + int((3 + still_s) * S)} for one in first]
    assert judged(first, later, measurement=made_up)[0] == word


def test_what_follows_the_engine_ends_with_it() -> None:
    """The requests of a double are made up: it is the process tree that tells when there was nothing more to see."""
    made_up = replace(measured([4000.0] * 12), simulated=True)
    tree = seen("process", 6, process_rss_gib=1.0)
    assert judged(seen("host", 12), tree, seen("cgroup", 6, 0.5), measurement=made_up)[0] == "pass"
    assert judged(seen("host", 12), tree, seen("cgroup", 0.5, 0.5), measurement=made_up)[0] == "warn"


@pytest.mark.parametrize(("duration_s", "word"), [(60.0, "invalid"), (1.0, None)])
def test_nothing_left_of_seconds(duration_s: float, word: str | None) -> None:
    found: Evidence = evidence(samples=(), row={"duration_s": duration_s})
    verdict = CHECK.judge(found)
    assert (None if verdict is None else verdict.verdict) == word
