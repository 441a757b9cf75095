"""Runs whose load generator was near its limit."""

from check_cases import evidence, verdict_of

from sparkray.checks.client import Check

CHECK = Check()


def test_within_a_factor_of_two_of_the_limit_is_a_warning() -> None:
    near, far = (verdict_of(CHECK, evidence(row={"client_rate_ratio": ratio})) for ratio in (0.51, 0.5))
    assert (near.verdict, far.verdict) == ("warn", "pass")
    assert "received 51 % of the chunks per second that its CPU time allows, limit 50 %" in near.evidence


def test_an_offline_run_or_an_unknown_limit_is_not_judged() -> None:
    assert CHECK.judge(evidence(row={"client_rate_ratio": None})) is None
