"""How long a sweep will take: estimates first, measured runs as soon as there are some."""

from dataclasses import replace

import pytest
from builders import experiment, row, study

from sparkray.config.experiment import Protocol
from sparkray.plan import estimated_s, make_plan
from sparkray.timing import Timing


def test_before_anything_was_measured_the_estimate_stands() -> None:
    asked = study()
    planned = make_plan(asked)[0]
    timing = Timing(asked, None)
    assert not timing.measured
    assert timing.run_s(planned) == estimated_s(asked, planned)


def test_whole_runs_count_by_their_median_whether_they_are_ok_or_not() -> None:
    """Where most attempts time out, so will the next: an estimate from the ok ones alone would be hours too short."""
    asked = study()
    planned = make_plan(asked)[0]
    timing = Timing(asked, None)
    for status, duration in (("ok", 10.0), ("ok", 12.0), ("ok", 50.0), ("timeout", 600.0), ("failed", 1.0)):
        timing.learn(planned, row(status=status, duration_s=duration))
    timing.learn(planned, row(status="unready"))
    assert timing.measured
    assert timing.run_s(planned) == 31.0  # of 10, 12, 50 and 600: one that failed early says nothing of a whole run
    for _ in range(4):
        timing.learn(planned, row(status="timeout", duration_s=600.0))
    assert timing.run_s(planned) == 600.0


def test_uncounted_starts_count_until_one_run_of_the_model_was_measured() -> None:
    asked = replace(study(), engine="vllm")
    planned = make_plan(asked)[0]
    timing = Timing(asked, None)
    assert timing.warm_ups_s(planned) > len(asked.treatments) * timing.run_s(planned) > 0
    timing.learn(planned, row(status="warmup", replicate=0, duration_s=90.0))
    assert not timing.measured
    timing.learn(planned, row(status="ok", duration_s=50.0))
    assert timing.warm_ups_s(planned) == 0.0
    assert Timing(study(), None).warm_ups_s(planned) == 0.0


def test_a_shared_cache_is_compiled_into_once() -> None:
    shared = experiment(protocol=Protocol(warm_start="shared"))
    own, together = (replace(study(experiment=asked), engine="vllm") for asked in (experiment(), shared))
    planned = make_plan(own)[0]
    saved_s = Timing(own, None).warm_ups_s(planned) - Timing(together, None).warm_ups_s(planned)
    assert saved_s == pytest.approx(54.0 * (len(own.treatments) - 1))


def test_a_run_ends_within_the_longest_one_so_far_and_never_far_beyond_the_median() -> None:
    asked = study()
    planned = make_plan(asked)[0]
    timing = Timing(asked, None)

    def beyond() -> float:
        return timing.at_most_s(planned) - timing.total_s(planned)

    assert beyond() == pytest.approx(0.15 * timing.run_s(planned))  # nothing was measured
    for duration in (50.0, 48.0, 52.0):
        timing.learn(planned, row(status="ok", duration_s=duration))
    assert beyond() == pytest.approx(2.0)
    timing.learn(planned, row(status="timeout", duration_s=600.0))
    assert beyond() == pytest.approx(0.15 * 51.0)


def test_cooldown_comes_on_top_and_is_shorter_when_adaptive() -> None:
    asked = study(experiment=experiment(protocol=Protocol(cooldown="adaptive", cooldown_s=300.0)))
    planned = make_plan(asked)[0]
    timing = Timing(asked, None)
    assert timing.total_s(planned, "fixed") - timing.total_s(planned) == pytest.approx(240.0)
    assert timing.run_s(planned) < timing.total_s(planned) < timing.total_s(planned, "fixed")
