"""How long `report` takes: CPU seconds and memory of the command, and of its figures beside Matplotlib's constrained layout.

    python benchmarks/report.py results/synthetic [--paper]

`benchmarks/synthetic_study.py` makes the full study (900 runs, 900,000 requests, 4,300,000 samples). The command runs
twice as a process of its own: first after nothing, then after `analyze`, whose tables it takes over. Then each
figure is drawn again in this process, once as the report does it (SVG, measured layout), once with constrained layout in
SVG, PDF and PNG as it did before. Goal: at most 12 s of CPU for the full study after `analyze`; exit status 1 when it is
missed. `--paper` builds the manuscript's PDF too, where latexmk is installed.
"""

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from sparkray.analysis import analyse
from sparkray.analysis.cache import FOLDER as CACHE
from sparkray.analysis.cache import PACKAGE
from sparkray.report import report_data
from sparkray.report.data import ReportData
from sparkray.report.figures import FORMATS, draw, figures, rendered

GOAL_S = 12.0
KIB = 1024


@dataclass(frozen=True)
class Cost:
    """CPU seconds and peak resident memory (GiB) of a process."""

    cpu_s: float
    peak_gib: float

    def __str__(self) -> str:
        return f"{self.cpu_s:6.1f} s of CPU, {self.peak_gib:.2f} GiB"


def cost_of(*words: str) -> Cost:
    """The cost of a sparkray command. Ends the benchmark where it fails."""
    command = [sys.executable, "-m", "sparkray.sweep", *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    complaint = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) != 0:
        raise SystemExit(complaint)
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / KIB**2)


def cpu_of(data: ReportData, render: Callable[[str, Figure], object]) -> float:
    """CPU seconds of every figure."""
    begun = time.process_time()
    for name in figures():
        drawn = draw(name, data)
        if drawn is not None:
            render(name, drawn)
    return time.process_time() - begun


def constrained(name: str, figure: Figure) -> object:
    """A figure with constrained layout, in every format."""
    figure.set_layout_engine("constrained")
    return rendered(name, figure, FORMATS)


def main() -> int:
    """The report's cost, its ratio to the goal, and that of its figures to constrained layout in three formats."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--paper", action="store_true", help="the manuscript and its PDF too; not part of the goal")
    asked = parser.parse_args()
    dataset = asked.dataset.absolute()
    compileall.compile_dir(PACKAGE, quiet=1)  # as `pip` does
    with tempfile.TemporaryDirectory() as folder:
        words = ["report", str(dataset), "--output", f"{folder}/report"]
        shutil.rmtree(dataset / CACHE, ignore_errors=True)
        print(f"report, the first time   {cost_of(*words)}")
        print(f"analyze                  {cost_of('analyze', str(dataset), '--output', f'{folder}/tables')}")
        found = cost_of(*words)
        print(f"report, after analyze    {found}; RATIO to the goal of {GOAL_S:.0f} s {found.cpu_s / GOAL_S:.2f}")
        print(f"page                     {Path(folder, 'report/index.html').stat().st_size / KIB**2:6.1f} MiB")
        if asked.paper:
            print(f"report --paper           {cost_of(*words, '--paper')}")
            build(Path(folder, "report/paper/main.tex"))
    data = report_data(analyse(dataset))
    cpu_of(data, lambda name, figure: rendered(name, figure, ("svg",)))  # fonts and templates are read once
    own = cpu_of(data, lambda name, figure: rendered(name, figure, ("svg",)))
    before = cpu_of(data, constrained)
    print(f"figures, SVG             {own:6.1f} s of CPU; constrained, SVG, PDF and PNG {before:.1f} s")
    print(f"                         RATIO {before / own:.1f}")
    kept = found.cpu_s <= GOAL_S
    print("the goal is reached" if kept else f"GOAL MISSED: {found.cpu_s:.1f} s of CPU")
    return 0 if kept else 1


def build(paper: Path) -> None:
    """The PDF of the manuscript, and how long it takes."""
    tool = shutil.which("latexmk")
    if tool is None:
        print("paper                    latexmk is not installed")
        return
    begun = time.perf_counter()
    command = [tool, "-pdf", "-cd", "-interaction=nonstopmode", "-halt-on-error", str(paper)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    pdf = paper.with_suffix(".pdf")
    state = f"{pdf.stat().st_size // KIB} KiB" if done.returncode == 0 else f"FAILED: {done.stdout[-500:]}"
    print(f"paper                    {time.perf_counter() - begun:6.1f} s, PDF of {state}")


if __name__ == "__main__":
    sys.exit(main())
