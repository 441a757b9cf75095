"""How long the command line takes to start: CPU seconds and memory of `--help`, `status`, `plan` and `doctor`.

Each command is a process of its own, beside two others that alternate with it: the bare interpreter, and the same command
after everything that any verb needs was imported, as a program does that imports at the top of its modules. Middle of the
rounds, by CPU seconds. `status` reads a dataset of 900 runs that is made here.
sparkray is compiled to bytecode first, as `pip` does.

    python benchmarks/start_up.py [--repeat 5]

Goals: `--help` in at most 0.3 s of CPU, `status` in 0.7, `plan` of 600 runs in 2. Exit status 1 when one is missed.
"""

import argparse
import compileall
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from synthetic_study import MODELS

from sparkray.analysis.cache import PACKAGE
from sparkray.simulate import Plant, plant

EAGER = "import docker, jinja2, matplotlib.figure, numpy, optuna, pandas, polars, pyarrow.parquet, ray, scipy.stats"
CALL = "import sys; from sparkray.sweep import main; sys.exit(main(sys.argv[1:]))"
GOALS_S = {"--help": 0.3, "status": 0.7, "plan": 2.0}


@dataclass(frozen=True)
class Cost:
    """CPU seconds and peak resident memory (MiB) of a process."""

    cpu_s: float
    peak_mib: float


def cost_of(code: str, words: list[str]) -> Cost:
    """The cost of Python code with these arguments. Ends the benchmark where it fails."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    complaint = process.stderr.read() if process.stderr else ""
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):  # 1: `doctor` found what would stop a sweep
        raise SystemExit(complaint)
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def middle(costs: list[Cost]) -> Cost:
    """The middle one by CPU seconds."""
    return sorted(costs, key=lambda cost: cost.cpu_s)[len(costs) // 2]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=5)
    repeat = parser.parse_args().repeat
    compileall.compile_dir(PACKAGE, quiet=1)  # as `pip` does
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        plant(results, Plant(models=MODELS, runs=30, requests=0, samples=0))
        commands = {
            "--help": ["--help"],
            "status": ["status", "--results-dir", folder],
            "plan": ["plan", "--site", "dgx-spark", "--results-dir", folder],
            "doctor": ["doctor", "--site", "cpu"],
        }
        missed = []
        print("command        CPU s  goal  peak MiB   bare interpreter   everything imported first")
        for name, words in commands.items():
            rounds = [[cost_of(code, words) for code in (CALL, "pass", f"{EAGER}; {CALL}")] for _ in range(repeat)]
            own, bare, eager = (middle(list(costs)) for costs in zip(*rounds, strict=True))
            goal = GOALS_S.get(name)
            missed += [name] if goal is not None and own.cpu_s > goal else []
            print(
                f"{name:<12} {own.cpu_s:7.2f} {goal or '':>5} {own.peak_mib:9.0f}"
                f"   {bare.cpu_s:.2f} s, RATIO {own.cpu_s / bare.cpu_s:.1f}"
                f"   {eager.cpu_s:.2f} s, RATIO {eager.cpu_s / own.cpu_s:.1f}"
            )
    print("".join(f"GOAL MISSED: {name}\n" for name in missed) or "every goal is reached\n", end="")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
