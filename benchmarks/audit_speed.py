"""CPU seconds of `sparkray audit` for a table of 30,000 rows and 13 metrics.

The command is a process of its own, beside one that only imports what every audit needs. Middle of the rounds.

    python benchmarks/audit_speed.py [--rows 30000] [--repeat 3]

Goal: at most 5 s of CPU on an otherwise idle machine. Exit status 1 when it is missed.
"""

import argparse
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL_S = 5.0
MODELS, METRICS = 30, 10
IMPORTS = "import numpy, polars, scipy.special, jinja2, yaml, sparkray.sweep.audit, sparkray.audit"


def cpu_s(words: list[str]) -> float:
    """CPU seconds of a Python process. Ends the benchmark where it fails."""
    process = subprocess.Popen([sys.executable, *words], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # 1: findings
        raise SystemExit(f"{words} failed")
    return usage.ru_utime + usage.ru_stime


def write_table(path: Path, rows: int) -> None:
    """A sound study: 30 models, two arms in random order, independent values."""
    source = random.Random(1)
    names = ["output_throughput_tok_s", "latency_mean_ms", "ttft_mean_ms", *(f"metric_{n}" for n in range(METRICS))]
    with path.open("w") as file:
        print("model", "environment", "iteration", "started_s", *names, sep=",", file=file)
        for run in range(rows // 2):
            for place, arm in enumerate(source.sample(["native", "docker"], 2)):
                values = [f"{source.gauss(50, 1):.3f}" for _ in names]
                started = 1.7e9 + 40 * run + 20 * place
                print(f"model{run % MODELS}-7B", arm, run // MODELS, started, *values, sep=",", file=file)


def main() -> int:
    """Measure, print, compare with the goal."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=30_000)
    parser.add_argument("--repeat", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "runs.csv"
        write_table(table, asked.rows)
        rounds = [
            (cpu_s(["-c", IMPORTS]), cpu_s(["-m", "sparkray.sweep", "audit", str(table)])) for _ in range(asked.repeat)
        ]
    imports, whole = (sorted(costs)[len(costs) // 2] for costs in zip(*rounds, strict=True))
    print(f"audit of {asked.rows} rows: {whole:.2f} s of CPU, {imports:.2f} s of them for imports; goal {GOAL_S:g} s")
    return 0 if whole <= GOAL_S else 1


if __name__ == "__main__":
    sys.exit(main())
