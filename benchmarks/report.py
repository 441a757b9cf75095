"""How long `report` takes, part by part, on any dataset: analysis, figures, page, tables, manuscript.

    python benchmarks/report.py results/synthetic

The claim is: under 30 s on 2 cores for the full synthetic study (900 runs, 900,000 requests, 4,300,000 samples), which
`benchmarks/synthetic_study.py` makes. Exit status 1 when it is not kept. `--paper` builds the manuscript's PDF too, where
latexmk is installed.
"""

import argparse
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sparkray.analysis import analyse
from sparkray.report import Written, write_report
from sparkray.report.figures import figures

LIMIT_S = 30.0
MIB = 1024


def main() -> int:
    """Time one report and print the ratio to the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument("--paper", action="store_true", help="the manuscript and its PDF too; not part of the claim")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        analysis = analyse(asked.dataset)
        analysed = time.perf_counter()
        written = write_report(analysis, Path(folder), paper=asked.paper)
        ended = time.perf_counter()
        page_mib = written.page.stat().st_size / MIB**2
        if asked.paper:
            build(written)
    peak_gib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / MIB**2
    print(f"dataset            {asked.dataset}: {analysis.context['runs_used']} runs that count")
    print(f"analysis           {analysed - begun:6.1f} s")
    print(
        f"report             {ended - analysed:6.1f} s ({len(written.figures)} of {len(figures())} figures in 3 formats)"
    )
    print(f"page               {page_mib:6.1f} MiB")
    print(f"peak memory        {peak_gib:6.2f} GiB")
    total = ended - begun
    kept = total < LIMIT_S
    said = "kept" if kept else "NOT KEPT"
    print(f"whole              {total:6.1f} s, {total / LIMIT_S:.2f} of the {LIMIT_S:.0f} s allowed: {said}")
    return 0 if kept else 1


def build(written: Written) -> None:
    """The PDF of the manuscript, and how long it takes."""
    tool = shutil.which("latexmk")
    if tool is None or written.paper is None:
        print("paper              latexmk is not installed")
        return
    begun = time.perf_counter()
    command = [tool, "-pdf", "-cd", "-interaction=nonstopmode", "-halt-on-error", str(written.paper)]
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    pdf = written.paper.with_suffix(".pdf")
    state = f"{pdf.stat().st_size // MIB} KiB" if done.returncode == 0 else f"FAILED: {done.stdout[-500:]}"
    print(f"paper              {time.perf_counter() - begun:6.1f} s, PDF of {state}")


if __name__ == "__main__":
    sys.exit(main())
