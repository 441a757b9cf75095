"""What a user sees: progress, tables, sentences. Work and display are apart: this module is told, and never asks."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from sparkray.analysis import Cell
from sparkray.errors import SparkrayError
from sparkray.plan import PlannedRun
from sparkray.stats.descriptive import Description
from sparkray.units import format_duration

WIDTH_WITHOUT_TERMINAL = 110


def error_text(error: SparkrayError) -> str:
    """An error for the user: what is wrong, then what to do."""
    text = f"sparkray: {error.message}"
    return f"{text}\n  {error.remedy}" if error.remedy else text


def console(*, to_stderr: bool) -> Console:
    """Where things are shown: stderr when stdout is for a JSON document."""
    stream = sys.stderr if to_stderr else sys.stdout
    return Console(file=stream, width=None if stream.isatty() else WIDTH_WITHOUT_TERMINAL, highlight=False, emoji=False)


class Display:
    """Progress of a sweep: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, out: Console, total: int, done: int) -> None:
        self.out = out
        self.total = total
        self.done = done
        self.left_s = self.later_s = 0.0
        self.last = ""
        self.bar = (
            Progress(
                TextColumn("run"),
                MofNCompleteColumn(),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("{task.fields[eta]}"),
                console=out,
                transient=True,
            )
            if out.is_terminal
            else None
        )
        self.task = self.bar.add_task("", total=total, completed=done, eta="") if self.bar else None

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, line: str) -> None:
        """A line of its own."""
        self.out.print(line, markup=False, emoji=False, highlight=False, soft_wrap=True)

    def begin(self, planned: PlannedRun) -> None:
        """A run is about to start."""
        if self.bar and self.task is not None:
            eta = format_duration(self.left_s)
            what = f"{planned.environment} · {planned.model}" + (f" · last {self.last}" if self.last else "")
            self.bar.update(self.task, completed=self.done, description=what, eta=f"ETA {eta}")

    def expect(self, left_s: float) -> None:
        """Sets the estimated time that is left, s; `later_s` is added."""
        self.left_s = left_s + self.later_s

    def again(self, planned: PlannedRun, why: str) -> None:
        """An attempt does not stand: its run is to be measured again."""
        self.done -= 1
        self.say(f"    {planned.environment} of block {planned.block} is measured again: {why}")

    def leave_out(self, count: int, lines: Sequence[str]) -> None:
        """Runs that are needed no more, and why."""
        self.done += count
        for line in lines:
            self.say(line)

    def end(self, planned: PlannedRun, row: Mapping[str, Any]) -> None:
        """An attempt at a run has ended, however."""
        self.done += 1
        throughput = row.get("output_throughput_tok_s")
        self.last = f"{throughput:.1f} tok/s" if throughput is not None else str(row["status"])
        temperature = row.get("gpu_temp_max_c")
        parts = [
            f"run {self.done}/{self.total}",
            planned.environment,
            planned.model,
            str(row["status"]),
            self.last,
            f"{row.get('duration_s') or 0.0:.1f} s",
        ]
        parts += [f"{temperature:.0f} °C"] if temperature is not None else []
        parts += [f"ETA {format_duration(self.left_s)}"]
        self.last += f" · {temperature:.0f} °C" if temperature is not None else ""
        if self.bar is None or row["status"] != "ok":
            self.say("  ".join(parts))
        if row["status"] != "ok":
            self.say(f"    {row['reason']}")


class MachineDisplay(Display):
    """Progress of a further machine: messages carry its name; the bar belongs to the first machine."""

    def __init__(self, out: Console, host: str) -> None:
        super().__init__(out, 0, 0)
        self.bar, self.host = None, host

    def say(self, line: str) -> None:
        """A line of its own."""
        super().say(f"{self.host}: {line}")


class Terminal:
    """Reports to a console."""

    def __init__(self, out: Console) -> None:
        self.out = out

    def say(self, line: str) -> None:
        """Shows a message."""
        self.out.print(line, markup=False, soft_wrap=True)

    def progress(self, total: int, done: int) -> Display:
        """Progress of `total` runs, of which `done` have ended."""
        return Display(self.out, total, done)

    def machine(self, host: str) -> Display:
        """Progress of a further machine."""
        return MachineDisplay(self.out, host)


def _number(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}g}"


def _spread(values: Description) -> list[str]:
    cv = "–" if values.cv_pct is None else f"{values.cv_pct:.2f} %"
    return [str(values.n), _number(values.mean), _number(values.sd, 3), cv]


def environment_table(cells: Sequence[Cell]) -> Table:
    """One row per model, environment and metric."""
    table = Table(title="Runs that are ok", title_justify="left", header_style="bold")
    for name, justify in (
        ("model", "left"),
        ("environment", "left"),
        ("metric", "left"),
        ("n", "right"),
        ("mean", "right"),
        ("sd", "right"),
        ("CV", "right"),
    ):
        table.add_column(name, justify="right" if justify == "right" else "left")
    before: tuple[str, str] | None = None
    for cell in cells:
        head = (cell.model, cell.environment)
        shown = head if head != before else ("", "")
        table.add_row(escape(shown[0]), shown[1], cell.metric, *_spread(cell.values), end_section=False)
        before = head
    return table


def comparison_lines(compared: Sequence[Mapping[str, Any]]) -> list[str]:
    """One sentence a comparison."""
    return [row["sentence"] for row in compared]


def counts_of(planned: Sequence[PlannedRun], rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many planned runs are ok, invalid, or otherwise failed; a run counts by an attempt that is ok, else by its last.

    `unready` counts under failed.
    """
    best: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row["attempt"]):
        if best.get(row["run_id"]) != "ok":
            best[row["run_id"]] = row["status"]
    statuses = [best.get(run.run_id) for run in planned]
    return {
        "planned": len(planned),
        "ok": statuses.count("ok"),
        "failed": sum(1 for status in statuses if status not in ("ok", "invalid", None)),
        "invalid": statuses.count("invalid"),
    }
