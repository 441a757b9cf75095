"""A command that works for long says at what."""

import threading

from sparkray.sweep.slow import SlowSteps


def test_a_step_that_takes_long_is_reported_and_a_short_one_is_not() -> None:
    lines: list[str] = []
    twice = threading.Event()

    def say(line: str) -> None:
        lines.append(line)
        if len(lines) > 1:
            twice.set()

    with SlowSteps(say, after_s=0.01, again_s=0.01) as steps:
        steps.at("reading a.csv")
        assert twice.wait(10)
    assert lines[-1] == "still reading a.csv"
    lines.clear()
    with SlowSteps(say) as steps:
        steps.at("reading b.csv")
    assert lines == []
