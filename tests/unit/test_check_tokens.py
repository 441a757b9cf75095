"""The work that was asked for, and times that are times."""

from dataclasses import replace
from typing import Any

import pytest
from builders import MS, S
from check_cases import evidence, measured, question, verdict_of
from hypothesis import given
from hypothesis import strategies as st

from sparkray.checks.tokens import Check
from sparkray.records import Measurement, Request

CHECK = Check()
SOUND = measured()


def with_request(index: int, **changes: Any) -> Measurement:
    requests = list(SOUND.requests)
    requests[index] = replace(requests[index], **changes)
    return replace(SOUND, requests=tuple(requests))


def judged(measurement: Measurement, **row: Any) -> tuple[str, str]:
    found = evidence()
    verdict = verdict_of(CHECK, replace(found, measurement=measurement, row={**found.row, **row}))
    return verdict.verdict, verdict.evidence


def test_a_sound_run_is_reported_in_numbers() -> None:
    word, said = judged(SOUND)
    assert word == "pass"
    assert said.startswith("12 requests, 96 tokens in and 384 out, as asked for; times within the run, ")


@pytest.mark.parametrize("changes", [{"output_tokens": 31}, {"input_tokens": 9}])
def test_a_token_more_or_less(changes: dict[str, int]) -> None:
    word, said = judged(with_request(3, **changes))
    assert word == "invalid"
    assert said.endswith("asked for were 12 of 96 and 384")


def test_a_request_less_and_the_warm_up_apart() -> None:
    assert judged(replace(SOUND, requests=SOUND.requests[:-1]))[0] == "invalid"
    assert judged(replace(SOUND, requests=SOUND.requests[1:]))[0] == "pass"
    assert judged(with_request(0, input_tokens=99))[0] == "pass"


def test_a_load_that_ended_early_may_lack_requests_but_not_have_others() -> None:
    cut = replace(SOUND.requests[-1], output_tokens=None, error="the load was stopped", error_kind="interrupted")
    early = replace(SOUND, requests=(*SOUND.requests[:6], cut), saturated="over-saturated")
    word, said = judged(early)
    assert word == "pass"
    assert said.startswith("5 requests before the load ended early, of the lengths asked for")
    assert judged(replace(early, saturated=""))[0] == "invalid"
    odd = replace(early, requests=(*early.requests, replace(SOUND.requests[6], output_tokens=31)))
    assert judged(odd)[0] == "invalid"
    broken = replace(early, requests=(*early.requests, replace(cut, error_kind="status")))
    assert judged(broken)[0] == "invalid"


def test_two_requests_that_make_up_for_each_other_do_not() -> None:
    both = with_request(3, output_tokens=31).requests
    evened = (*both[:4], replace(both[4], output_tokens=33), *both[5:])
    assert judged(replace(SOUND, requests=evened))[0] == "invalid"


def test_lengths_that_are_drawn_are_those_of_the_seed() -> None:
    asked = question()
    spread = replace(asked.experiment, workload=replace(asked.experiment.workload, output_spread=16))
    lengths = spread.workload.lengths(spread.seed)
    requests = [replace(r, output_tokens=lengths[k][1]) for k, r in enumerate(SOUND.requests[1:])]
    found = evidence(replace(asked, experiment=spread))
    given_back = replace(found, measurement=replace(SOUND, requests=tuple(reversed(requests))))
    assert verdict_of(CHECK, given_back).verdict == "pass"
    assert verdict_of(CHECK, found).verdict == "invalid"


def test_an_error_is_reported_with_its_request() -> None:
    word, said = judged(with_request(0, error="lost"))
    assert (word, said) == ("invalid", "1 requests failed, the first, 0: lost")


@pytest.mark.parametrize("which", ["first_token_ns", "end_ns", "token_ns"])
def test_a_clock_that_runs_backwards(which: str) -> None:
    request = SOUND.requests[2]
    tokens = list(request.token_ns)
    tokens[5] = tokens[4] - 3 * MS
    wrong: dict[str, Any] = {
        "first_token_ns": request.submit_ns - 3 * MS,
        "end_ns": request.token_ns[-1] - 3 * MS,
        "token_ns": tuple(tokens),
    }
    word, said = judged(with_request(2, **{which: wrong[which]}))
    assert (word, said) == ("invalid", "request 2: its clock runs backwards by 3 ms, 1 requests in all")


def test_requests_that_span_more_than_the_run_took() -> None:
    word, said = judged(SOUND, duration_s=5.0)
    assert (word, said) == ("invalid", "the requests span 8.33 s, the run took 5.00 s")
    assert judged(replace(SOUND, simulated=True), duration_s=5.0)[0] == "pass"


def test_requests_on_another_clock() -> None:
    far = [
        replace(r, submit_ns=r.submit_ns + 10**6 * S, first_token_ns=None, end_ns=r.end_ns + 10**6 * S, token_ns=())
        for r in SOUND.requests
    ]
    word, said = judged(replace(SOUND, requests=tuple(far)))
    assert (word, "another clock" in said) == ("invalid", True)


@pytest.mark.parametrize(("step_s", "word"), [(None, "pass"), (0.4, "pass"), (0.6, "invalid"), (-0.6, "invalid")])
def test_the_wall_clock_was_not_set(step_s: float | None, word: str) -> None:
    found, said = judged(SOUND, wall_clock_step_s=step_s)
    assert (found, "clock jump" in said) == (word, word == "invalid")


@given(st.lists(st.integers(0, 10**12), min_size=2, max_size=40))
def test_times_in_order_never_run_backwards_and_others_always_do(times: list[int]) -> None:
    ordered = sorted(times)

    def of(tokens: list[int]) -> Request:
        return replace(
            SOUND.requests[1], submit_ns=min(times), first_token_ns=None, end_ns=max(times), token_ns=tuple(tokens)
        )

    def backwards(tokens: list[int]) -> bool:
        requests = (SOUND.requests[0], of(tokens), *SOUND.requests[2:])
        return "backwards" in judged(replace(SOUND, requests=requests, simulated=True))[1]

    assert not backwards(ordered)
    assert backwards(times) == (times != ordered)
