"""Progress of a sweep on the console: a bar on a terminal, plain lines elsewhere."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Column
from rich.text import Text

from sparkray.plan import PlannedRun
from sparkray.records import SATURATED
from sparkray.sweep.show import print_line
from sparkray.units import format_duration

_ONE_LINE = Column(no_wrap=True, overflow="ellipsis", ratio=1)


class Eta(ProgressColumn):
    """The time that is left: counts down between estimates, and stands at 0 when a run takes longer than expected."""

    max_refresh = 0.5

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.clock = clock

    def render(self, task: Task) -> Text:
        """Empty before the first estimate."""
        ends: float | None = task.fields["ends"]
        return Text("" if ends is None else f"ETA {format_duration(max(0.0, ends - self.clock()))}")


class Display:
    """Progress of a sweep: a bar on a terminal, plain lines elsewhere."""

    def __init__(self, out: Console, total: int, done: int) -> None:
        self.out = out
        self.total = total
        self.done = done
        self.left_s = self.later_s = 0.0
        self.last = ""
        self.running = False
        self.bar = (
            Progress(
                TextColumn("run"),
                MofNCompleteColumn(),
                BarColumn(bar_width=12),
                TextColumn("{task.description}", markup=False, table_column=_ONE_LINE),
                TimeElapsedColumn(),
                Eta(),
                console=out,
                transient=True,
                expand=True,
            )
            if out.is_terminal
            else None
        )
        self.task = self.bar.add_task("", total=total, completed=done, ends=None) if self.bar else None

    def __enter__(self) -> Self:
        if self.bar:
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar:
            self.bar.stop()

    def say(self, line: str) -> None:
        """A line of its own; between runs the bar shows it too, with the time since the start, until a run begins."""
        print_line(self.out, line)
        if self.bar and self.task is not None and not self.running:
            self.bar.update(self.task, description=line.strip())

    def begin(self, planned: PlannedRun) -> None:
        """A run is about to start."""
        self.running = True
        if self.bar and self.task is not None:
            what = f"{planned.environment} · {planned.model}" + (f" · last {self.last}" if self.last else "")
            ends = time.monotonic() + self.left_s
            self.bar.update(self.task, completed=self.done, description=what, ends=ends)

    def expect(self, left_s: float) -> None:
        """Sets the estimated time that is left, s; `later_s` is added."""
        self.left_s = left_s + self.later_s

    def again(self, planned: PlannedRun, why: str) -> None:
        """An attempt does not stand: its run is to be measured again."""
        self.done -= 1
        self.say(f"    {planned.environment} of block {planned.block} is measured again: {why}")

    def count(self, number: int) -> None:
        """So many more runs have ended, or no longer count."""
        self.done += number

    def leave_out(self, count: int, lines: Sequence[str]) -> None:
        """Runs that are needed no more, and why."""
        self.done += count
        for line in lines:
            self.say(line)

    def end(self, planned: PlannedRun, row: Mapping[str, Any]) -> None:
        """An attempt at a run has ended, however."""
        self.done += 1
        self.running = False
        throughput = row.get("output_throughput_tok_s")
        self.last = f"{throughput:.1f} tok/s" if throughput is not None else str(row["status"])
        temperature = row.get("gpu_temp_max_c")
        parts = [
            f"run {self.done}/{self.total}",
            planned.environment,
            planned.model,
            *dict.fromkeys((str(row["status"]), self.last)),
            f"{row.get('duration_s') or 0.0:.1f} s",
        ]
        parts += [f"{temperature:.0f} °C"] if temperature is not None else []
        parts += [f"ETA {format_duration(self.left_s)}"]
        self.last += f" · {temperature:.0f} °C" if temperature is not None else ""
        self.say("  ".join(parts))
        if self.bar and self.task is not None:
            self.bar.update(self.task, completed=self.done)
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
        print_line(self.out, line)

    def progress(self, total: int, done: int) -> Display:
        """Progress of `total` runs, of which `done` have ended."""
        return Display(self.out, total, done)

    def machine(self, host: str) -> Display:
        """Progress of a further machine."""
        return MachineDisplay(self.out, host)


def counts_of(planned: Sequence[PlannedRun], rows: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many planned runs are ok, invalid, or otherwise failed; a run counts by an attempt that is ok, else by its last.

    `unready` counts under failed. `saturated` is there where any run ended early because it over-saturated its server, and
    `interrupted` where any was ended by a stop: nothing failed there.
    """
    best: dict[str, str] = {}
    for row in sorted(rows, key=lambda row: row["attempt"]):
        if best.get(row["run_id"]) != "ok":
            best[row["run_id"]] = row["status"]
    statuses = [best.get(run.run_id) for run in planned]
    shown: dict[str, int] = {name: statuses.count(name) for name in (SATURATED, "interrupted")}
    return {
        "planned": len(planned),
        "ok": statuses.count("ok"),
        **{name: count for name, count in shown.items() if count},
        "failed": sum(1 for status in statuses if status not in ("ok", SATURATED, "interrupted", "invalid", None)),
        "invalid": statuses.count("invalid"),
    }
