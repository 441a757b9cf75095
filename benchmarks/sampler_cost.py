"""What do the samplers cost? Prints the share of one core that all of them together use, writing to disk included.

They follow a real tree of processes with threads that work and sleep, as an engine's do, and read the control group that
it is in, as they would a container's. The claim is less than 1 % of one core at 10 Hz; the exit status is 1 when it does
not hold.

    python benchmarks/sampler_cost.py [--seconds 20] [--processes 4] [--threads 8]
"""

import argparse
import collections
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from sparkray.telemetry import Target, load_sampler, sampler_names
from sparkray.telemetry.recorder import Recorder, recover

LIMIT = 0.01

TREE = """
import multiprocessing, sys, threading, time

def work():
    ballast = bytearray(16 << 20)
    while True:
        sum(range(20_000))
        time.sleep(0.05)

def member(threads):
    for _ in range(threads - 1):
        threading.Thread(target=time.sleep, args=(3600,), daemon=True).start()
    work()

if __name__ == "__main__":
    fork = multiprocessing.get_context("fork")
    for _ in range(int(sys.argv[1]) - 1):
        fork.Process(target=member, args=(int(sys.argv[2]),), daemon=True).start()
    print("ready", flush=True)
    member(int(sys.argv[2]))
"""


def record(seconds: float, pid: int, path: Path) -> tuple[Recorder, float]:
    samplers = [load_sampler(name) for name in sampler_names()]
    start = time.monotonic()
    with Recorder(path, samplers) as recorder:
        recorder.attach(Target(pid, in_container=True))
        time.sleep(seconds)
    return recorder, time.monotonic() - start


def report(recorder: Recorder, took_s: float, counts: collections.Counter[str]) -> int:
    print(f"{'sampler':<14}{'rows':>7}{'ms CPU/s':>11}{'% of a core':>13}")
    rest = recorder.cpu_s - sum(recorder.cost_s.values())
    for name, cost_s in [*recorder.cost_s.items(), ("the recorder", rest)]:
        note = f"  {recorder.unavailable[name]}" if name in recorder.unavailable else ""
        print(f"{name:<14}{counts[name]:>7}{1e3 * cost_s / took_s:>11.3f}{100 * cost_s / took_s:>13.3f}{note}")
    for problem in recorder.problems:
        print(f"problem: {problem}")
    share = recorder.cpu_s / took_s
    kept = share < LIMIT and not recorder.problems
    verdict = "ok" if kept else "MISSED"
    print(f"RATIO sampler CPU / one core = {share:.4f} over {took_s:.1f} s (limit {LIMIT}): {verdict}")
    return 0 if kept else 1


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    command = [sys.executable, "-c", TREE, str(options.processes), str(options.threads)]
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(command, stdout=subprocess.PIPE, start_new_session=True) as tree,
    ):
        try:
            if tree.stdout is not None:
                tree.stdout.readline()
            path = Path(folder) / "samples.arrow"
            recorder, took_s = record(options.seconds, tree.pid, path)
            return report(recorder, took_s, collections.Counter(str(row["sampler"]) for row in recover(path)))
        finally:
            os.killpg(tree.pid, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main())
