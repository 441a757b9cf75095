"""What a user sees, into a console of the test's own."""

import io
from typing import Any

import pytest
from builders import row
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from sparkray.errors import HostError, SparkrayError
from sparkray.plan import PlannedRun
from sparkray.sweep.progress import Display, Eta, counts_of
from sparkray.sweep.show import console, error_text, print_line
from sparkray.sweep.summary import Findings, summary_lines


def plain() -> Console:
    return Console(file=io.StringIO(), width=110, highlight=False)


def shown(out: Console) -> str:
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def run(run_id: str = "r1", environment: str = "native") -> PlannedRun:
    return PlannedRun(run_id, 0, 0, "Alpha", environment, 1)


def ended(**changes: Any) -> dict[str, Any]:
    return row(**{"output_throughput_tok_s": 123.456, "duration_s": 8.04, "gpu_temp_max_c": None} | changes)


def test_errors_are_two_lines_when_there_is_something_to_do() -> None:
    assert error_text(SparkrayError("it broke")) == "sparkray: it broke"
    assert error_text(HostError("it broke", "Mend it")) == "sparkray: it broke\n  Mend it"


def test_off_a_terminal_every_run_is_a_line() -> None:
    out = plain()
    with Display(out, total=3, done=1) as display:
        display.begin(run())
        display.expect(10.0)
        display.end(run(), ended())
        display.expect(0.0)
        display.end(run("r2", "container_baseline"), ended(gpu_temp_max_c=61.4))
    assert shown(out).splitlines() == [
        "run 2/3  native  Alpha  ok  123.5 tok/s  8.0 s  ETA 10s",
        "run 3/3  container_baseline  Alpha  ok  123.5 tok/s  8.0 s  61 °C  ETA 0s",
    ]


def test_a_run_that_is_not_ok_says_why() -> None:
    out = plain()
    with Display(out, 2, 0) as display:
        failed = ended(status="failed", reason="the engine ended with status 3", output_throughput_tok_s=None)
        display.expect(4.0)
        display.end(run(), failed | {"duration_s": None})
    assert shown(out).splitlines() == [
        "run 1/2  native  Alpha  failed  0.0 s  ETA 4s",
        "    the engine ended with status 3",
    ]


def test_an_attempt_that_does_not_stand_is_not_counted() -> None:
    out = plain()
    with Display(out, 2, 0) as display:
        display.end(run(), ended(status="invalid", reason="a wrong model"))
        display.again(run(), "identity: a wrong model")
        display.end(run(), ended())
    lines = shown(out).splitlines()
    assert [line.split()[1] for line in lines if line.startswith("run")] == ["1/2", "1/2"]
    assert lines[2].strip() == "native of block 0 is measured again: identity: a wrong model"


def terminal(width: int = 110) -> Console:
    environment = {"TERM": "xterm"}
    return Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None, _environ=environment)


def test_on_a_terminal_there_is_a_bar_and_every_run_leaves_a_line() -> None:
    out = terminal()
    with Display(out, total=2, done=0) as display:
        display.begin(run())
        display.end(run(), ended())
        display.expect(10.0)
        display.begin(run("r2"))
        assert display.bar is not None
        display.bar.refresh()
        display.end(run("r2"), ended(status="timeout", reason="no end after 600 s", output_throughput_tok_s=None))
    text = shown(out)
    assert "native · Alpha · last 123.5 tok/s" in text
    assert "ETA 10s" in text or "ETA 9s" in text
    assert "run 1/2  native  Alpha  ok  123.5 tok/s  8.0 s" in text
    assert "run 2/2  native  Alpha  timeout  8.0 s" in text
    assert "no end after 600 s" in text


def test_a_long_step_before_the_first_run_is_shown_with_its_time() -> None:
    out = terminal()
    with Display(out, total=2, done=0) as display:
        display.say("native: exporting the image's file system, once")
        assert display.bar is not None
        assert display.bar.tasks[0].description == "native: exporting the image's file system, once"
        display.begin(run())
        display.say("a message while a run goes on")
        assert display.bar.tasks[0].description == "native · Alpha"


def test_the_eta_counts_down_between_runs() -> None:
    column = Eta(clock=lambda: 100.0)
    with Display(terminal(), total=2, done=0) as display:
        assert display.bar is not None
        task = display.bar.tasks[0]
        assert str(column.render(task)) == ""
        for ends, expected in ((160.0, "ETA 1m00s"), (103.0, "ETA 3s"), (40.0, "ETA 0s")):
            task.fields["ends"] = ends
            assert str(column.render(task)) == expected


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300), st.integers(20, 120))
def test_a_terminal_breaks_lines_between_words_alone(line: str, width: int) -> None:
    out = terminal(width)
    print_line(out, line)
    assert shown(out).split() == line.split()
    for part in shown(out).splitlines():
        assert len(part) <= width or len(part.split()) == 1  # a word that is wider stays whole


def test_a_long_message_is_broken_before_the_terminal_does_it() -> None:
    out = terminal(40)
    print_line(out, "    exclusive: others used 1.26 cores while the requests ran")
    assert shown(out).splitlines() == ["    exclusive: others used 1.26 cores", "      while the requests ran"]


@pytest.mark.parametrize("line", ["[bold]x[/bold]", "a [/x] b", ":ok: :100:", "--volume=/a:ok:ro", "end\\", "[link=x]"])
def test_a_line_is_shown_as_it_is(line: str) -> None:
    out = plain()
    Display(out, 1, 0).say(line)
    assert shown(out) == f"{line}\n"


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=300))
def test_any_line_is_shown_as_it_is_however_long(line: str) -> None:
    out = plain()
    Display(out, 1, 0).say(line)
    assert shown(out).rstrip() == line.rstrip()


def test_the_console_of_the_program_takes_nothing_for_an_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    console(to_stderr=False).print("image:ok:ro", markup=False)
    console(to_stderr=True).print("to stderr", markup=False)
    assert capsys.readouterr() == ("image:ok:ro\n", "to stderr\n")


PLAN = [run(name) for name in ("r1", "r2", "r3", "r4")]


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        ([], (0, 0, 0)),
        ([("r1", "ok"), ("r2", "ok"), ("stranger", "ok")], (2, 0, 0)),
        ([("r1", "failed"), ("r1", "ok")], (1, 0, 0)),
        ([("r1", "ok"), ("r1", "failed")], (1, 0, 0)),
        ([("r1", "invalid"), ("r2", "unready"), ("r3", "timeout"), ("r4", "oom")], (0, 3, 1)),
        ([("r1", "interrupted"), ("r2", "ok")], (1, 0, 0)),
        ([("r1", "saturated"), ("r2", "ok")], (1, 0, 0)),
    ],
)
def test_a_run_counts_by_its_best_attempt(statuses: list[tuple[str, str]], expected: tuple[int, int, int]) -> None:
    counts = counts_of(PLAN, [row(run_id, status=status) for run_id, status in statuses])
    assert (counts["planned"], counts["ok"], counts["failed"], counts["invalid"]) == (4, *expected)


def test_a_run_that_a_stop_ended_did_not_fail() -> None:
    counts = counts_of(PLAN, [row("r1", status="ok"), row("r2", status="interrupted")])
    assert counts == {"planned": 4, "ok": 1, "interrupted": 1, "failed": 0, "invalid": 0}
    lines = summary_lines(Findings([], {}), counts=counts, dataset="/d")
    assert "1 of 4 runs ok, 1 interrupted, 0 failed, 0 invalid. Data: /d" in lines


@given(st.lists(st.tuples(st.sampled_from(["r1", "r2", "r3", "r4"]), st.sampled_from(["ok", "failed", "invalid"]))))
def test_no_run_counts_twice(statuses: list[tuple[str, str]]) -> None:
    counts = counts_of(PLAN, [row(run_id, status=status) for run_id, status in statuses])
    assert counts["ok"] == len({run_id for run_id, status in statuses if status == "ok"})
    assert counts["ok"] + counts["failed"] + counts["invalid"] == len({run_id for run_id, _ in statuses})
