"""How long a sweep will take: estimates first, measured runs as soon as there are some."""

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


def test_measured_runs_count_by_their_median_and_failures_do_not() -> None:
    asked = study()
    planned = make_plan(asked)[0]
    timing = Timing(asked, None)
    for duration in (10.0, 12.0, 50.0):
        timing.learn(planned, row(status="ok", duration_s=duration))
    timing.learn(planned, row(status="timeout", duration_s=600.0))
    assert timing.measured
    assert timing.run_s(planned) == 12.0


def test_cooldown_comes_on_top_and_is_shorter_when_adaptive() -> None:
    asked = study(experiment=experiment(protocol=Protocol(cooldown="adaptive", cooldown_s=300.0)))
    planned = make_plan(asked)[0]
    timing = Timing(asked, None)
    assert timing.total_s(planned, "fixed") == pytest.approx(timing.run_s(planned) + 300.0)
    assert timing.run_s(planned) < timing.total_s(planned) < timing.total_s(planned, "fixed")
