"""Dead time of a container run: what stands around the engine's own lifetime, sparkray against bare `docker run`.

Both run the same image, the same command, the same inputs, alternating, so that the machine's moods fall on both. Dead
time is wall time less the lifetime that the engine tells of itself; gates, digests and probes lie outside of a run's
wall time by definition and are not counted. Prints the ratio of medians and the difference; the goal is a ratio of at
most 1.3 and at most 1.0 s more.

    python benchmarks/dead_time.py [--pairs 10]
"""

import argparse
import json
import shlex
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from sparkray.catalog import Catalog, data_root
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import prepare_host
from sparkray.execute.run import run_once
from sparkray.machine.fingerprint import fingerprint
from sparkray.plan import Study, Treatment, definition_sha256, make_plan
from sparkray.runtimes import Stop
from sparkray.store import open_dataset


def study_of(pairs: int) -> Study:
    catalog = Catalog(data_root())
    site = catalog.site("cpu")
    overrides = {"environments": ["container_baseline"], "runs": pairs, "workload.requests": 2}
    experiment = catalog.experiment("local", overrides)
    environment = site.environments["container_baseline"]
    treatment = Treatment("container_baseline", environment.options, environment.adapt)
    options = load_engine(site.engine).options({}, "benchmark")
    return Study(experiment, site, tuple(catalog.select(experiment.models)), (treatment,), site.engine, options)


def bare(line: str) -> float:
    """Dead time of the printed line, run by the Docker command line itself."""
    out = Path(
        next(w for w in shlex.split(line) if w.endswith(":/sparkray/out")).removeprefix("--volume=").split(":")[0]
    )
    out.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    done = subprocess.run(shlex.split(line), capture_output=True, check=False)
    wall = time.monotonic() - began
    if done.returncode != 0:
        raise SystemExit(done.stderr.decode())
    return wall - json.loads((out / "result.json").read_text())["engine"]["lifetime_s"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    pairs = parser.parse_args().pairs
    study = study_of(pairs)
    ours: list[float] = []
    theirs: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(Path(folder), "dead-time", definition_sha256(study))
        prepared = prepare_host(study, fingerprint(), dataset, print)
        for planned in make_plan(study):
            outcome = run_once(prepared, planned, Stop(), lambda _: None)
            if outcome.status != "ok":
                raise SystemExit(outcome.row["reason"])
            ours.append(outcome.row["dead_time_s"])
            theirs.append(bare(outcome.row["docker_command"]))
            print(f"pair {len(ours):2d}  sparkray {ours[-1]:.3f} s   docker run {theirs[-1]:.3f} s")
    mine, bare_median = statistics.median(ours), statistics.median(theirs)
    print(f"dead time, median of {pairs}: sparkray {mine:.3f} s, docker run {bare_median:.3f} s")
    print(f"RATIO {mine / bare_median:.2f} (goal <= 1.3)   EXTRA {mine - bare_median:+.3f} s (goal <= 1.0)")


if __name__ == "__main__":
    main()
