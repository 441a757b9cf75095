"""What does sparkray do to what it measures? The bare engine command against the very same run under sparkray.

Bare: no Ray on the machine, no samplers, no recorder; the engine's command line started by a subprocess, which takes the
declared start state and becomes the engine. Under sparkray: a Ray of its own, its runner actor, the samplers, the
recorder, all through the code of a sweep. Both are plain processes (`host`; or `native`, in a chroot, where the engine
needs an image's files) with the same command line, inputs, variables and start state, and both are timed by the engine's
own report, so nothing of either's start-up counts.

A pair is one of each, in random order; Ray is started for the second kind and gone before the first. The ratios are
those of `sparkray.stats.paired`, judged against 1 %, and `undecided` is an honest answer: the pairs that 1 % would need
at the noise found stand beside it. What sparkray costs is read from the rows that it stores.

    python benchmarks/observer_effect.py [--site cpu] [--experiment local] [--environment host] [--model NAME]
        [--requests N] [--pairs 20] [--minutes 30] [--no-dashboard] [--seed 1] [--keep FILE]

On a machine with vLLM: --site discrete-gpu-vllm --experiment h200-vllm-docker --environment native.

The exit status is 1 when a target on the cost is missed or a difference beyond 1 % is shown. Needs root, as a sweep does.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sparkray.catalog import Catalog, data_root
from sparkray.checks import check_names
from sparkray.cluster import connected
from sparkray.config.site import HOST, NATIVE
from sparkray.engines import load_engine
from sparkray.execute.launch import make_launch
from sparkray.execute.prepared_host import PreparedHost, prepare_host
from sparkray.machine.fingerprint import fingerprint
from sparkray.machine.lock import MachineLock
from sparkray.metrics import RunData, compute_all, counted
from sparkray.plan import PlannedRun, Study, Treatment, definition_sha256, make_plan
from sparkray.runtimes import Stop, await_end
from sparkray.stats import NotEstimable
from sparkray.stats.paired import decide, paired_ratio, pairs_needed
from sparkray.stats.reasons import worded
from sparkray.store import open_dataset

MARGIN = 0.01
SETTLE_S = 3.0
"""Before either kind: what Ray does as it starts is no part of a sweep's runs but the first, and a machine that has just
stopped it is not idle."""
SAMPLERS, WITH_DASHBOARD, WITHOUT_DASHBOARD = 0.01, 0.10, 0.06
"""Targets, shares of one core."""
LONGEST_MIN = 30.0
SAME_THING = {"identity", "tokens", "start_state", "environment", "readback"}
"""Checks that may refuse a run. The others only warn: a bare run has nobody to refuse it when the machine was disturbed, and
to leave such pairs out by one side alone would favour that side."""
METRICS = ("output_throughput_tok_s", "latency_mean_ms")
COST = ("sampler_cpu_s", "observer_cpu_s", "ray_cpu_s", "driver_cpu_s", "observer_memory_gib", "ray_memory_gib")
Values = Mapping[str, Any]


@dataclass
class Found:
    """Pairs so far: metrics of both kinds, and the rows of those under sparkray with the driver's own CPU seconds."""

    bare: list[Values] = field(default_factory=list)
    rows: list[Values] = field(default_factory=list)


def earlier(path: Path | None) -> Found:
    """The pairs of an earlier piece, where a machine is available for minutes only."""
    return Found(**json.loads(path.read_text("utf-8"))) if path is not None and path.exists() else Found()


def keep(found: Found, path: Path) -> None:
    """Write pairs for the next piece: the values that are compared, and what sparkray cost in those runs."""
    names = ("run_id", "duration_s", *METRICS, *COST)
    pairs = {
        "bare": [{name: values[name] for name in METRICS} for values in found.bare],
        "rows": [{name: row.get(name) for name in names} for row in found.rows],
    }
    path.write_text(json.dumps(pairs, indent=1) + "\n", "utf-8")


def study_of(asked: argparse.Namespace) -> Study:
    catalog = Catalog(data_root())
    site = catalog.site(asked.site)
    changes: dict[str, Any] = {
        "name": "observer-effect",
        "environments": [asked.environment],
        "containers": {},
        "runs": asked.pairs,
        "sequential": None,
        "checks": dict.fromkeys(set(check_names()) - SAME_THING, "warn"),
    }
    if asked.requests is not None:
        changes["workload.requests"] = asked.requests
    experiment = catalog.experiment(asked.experiment, changes)
    cards = tuple(catalog.select((asked.model or experiment.models[0],)))
    experiment = replace(experiment, models=tuple(card.name for card in cards))
    options = load_engine(site.engine).options(experiment.engine, f"experiment {experiment.name}")
    return Study(experiment, site, cards, (Treatment(asked.environment),), site.engine, options)


def bare(prepared: PreparedHost, planned: PlannedRun) -> tuple[Values, list[str]]:
    """Metrics of the engine's own report, and its command line. The folders are those that sparkray will take."""
    job, command, launch = make_launch(prepared, planned, prepared.arms[planned.environment], attempt=1)
    out = launch.log.parent
    for folder in (out, launch.scratch):
        folder.mkdir(parents=True)
    machine = MachineLock(prepared.machine.lock_keys)
    with machine.held("wait", on_wait=print, should_stop=lambda: False):
        time.sleep(SETTLE_S)
        with prepared.arms[planned.environment].runtime.start(launch) as running:
            how = await_end(running.pid, prepared.study.experiment.timeout_s, Stop())
            ended = running.finish()
    if how != "ended" or ended.code != 0:
        raise SystemExit(f"the bare engine: {how}, status {ended.code}; its log: {launch.log.read_text()[-2000:]}")
    measurement = prepared.engine.read(out, job)
    shutil.rmtree(out.parent)
    return compute_all(RunData(counted(measurement.requests), [], measurement.facts, {})), list(command.argv)


def under_sparkray(prepared: PreparedHost, planned: PlannedRun, *, dashboard: bool) -> Values:
    """The row of a run as a sweep makes it, with the CPU seconds of the driver beside it."""
    with connected("local", dashboard=dashboard) as cluster:
        runner = cluster.runner(None, "observer-effect", "wait", print, lambda: False)
        try:
            runner.prepare(prepared.study, prepared.dataset, "wait", lambda _: None)
            time.sleep(SETTLE_S)
            began = time.process_time()
            outcome = runner.run(planned, lambda _: None)
            return {**outcome.row, "driver_cpu_s": time.process_time() - began}
        finally:
            runner.release()


def measure(prepared: PreparedHost, found: Found, asked: argparse.Namespace) -> None:
    """Pair after pair into `found`, until they are all there or the next would end too late."""
    order, dashboard = random.Random(asked.seed), not asked.no_dashboard
    plan = make_plan(prepared.study)
    bare(prepared, plan[0])  # for what the first run of the day alone pays: imports, the page cache
    began, last_s = time.monotonic(), 0.0
    for number, planned in enumerate(plan):
        pair_began = time.monotonic()
        if pair_began - began + last_s > min(asked.minutes, LONGEST_MIN) * 60:
            print(f"time is up after {number} of {len(plan)} pairs")
            break
        bare_first = order.choice((True, False))
        values, argv = bare(prepared, planned) if bare_first else ({}, [])
        row = under_sparkray(prepared, planned, dashboard=dashboard)
        if not bare_first:
            values, argv = bare(prepared, planned)
        last_s = time.monotonic() - pair_began
        if row["status"] != "ok":
            print(f"pair {number + 1:2d}  left out: under sparkray {row['status']}: {row['reason']}")
            continue
        if json.loads(row["engine_command"]) != argv:
            raise SystemExit(f"the two did not run the same command: {row['engine_command']} and {argv}")
        found.bare.append(values)
        found.rows.append(row)
        if asked.keep is not None:
            keep(found, asked.keep)
        shown = (f"bare {values[METRICS[0]]:.2f}", f"sparkray {row[METRICS[0]]:.2f}")
        print(
            f"pair {number + 1:2d} after {time.monotonic() - began:4.0f} s  "
            + "  then  ".join(shown if bare_first else shown[::-1])
            + " tok/s",
            flush=True,
        )


def verdict_of(found: Found, metric: str) -> str | None:
    """Prints the line of a metric; its verdict, None without one."""
    result = paired_ratio([b[metric] for b in found.bare], [row[metric] for row in found.rows])
    if isinstance(result, NotEstimable):
        print(f"RATIO {metric} sparkray / bare: {worded(result.reason)}")
        return None
    decision = decide(result, MARGIN)
    needed = pairs_needed(result.sd_log, MARGIN)
    print(
        f"RATIO {metric} sparkray / bare = {result.ratio:.4f} (95 % CI {result.ci95[0]:.4g} to {result.ci95[1]:.4g}, "
        f"{result.n} pairs): {decision.verdict} at {MARGIN:.0%}. At this noise (sd of log ratio {result.sd_log:.4f}) "
        f"{MARGIN:.0%} needs {needed or 'more than 100,000'} pairs"
    )
    return decision.verdict


def share(rows: Sequence[Values], *columns: str) -> float | None:
    """CPU seconds of these columns a second of the run, mean over runs; None where a row lacks one."""
    shares = [
        sum(row[column] for column in columns) / row["duration_s"]
        for row in rows
        if all(row.get(column) is not None for column in columns)
    ]
    return statistics.mean(shares) if len(shares) == len(rows) and rows else None


def cost_is_kept(rows: Sequence[Values], *, dashboard: bool) -> bool:
    """Prints the table of what sparkray costs while an engine runs; whether the targets are kept."""
    most = WITH_DASHBOARD if dashboard else WITHOUT_DASHBOARD
    lines: tuple[tuple[str, tuple[str, ...], float | None], ...] = (
        ("samplers", ("sampler_cpu_s",), SAMPLERS),
        ("runner, samplers included", ("observer_cpu_s",), None),
        (f"Ray's own, {'with' if dashboard else 'without'} dashboard", ("ray_cpu_s",), None),
        ("Ray and runner", ("ray_cpu_s", "observer_cpu_s"), most),
        ("driver", ("driver_cpu_s",), None),
    )
    kept = True
    print(f"{'cost while an engine runs':<32}{'% of a core':>12}{'target':>10}")
    for name, columns, target in lines:
        cost = share(rows, *columns)
        missed = target is not None and (cost is None or cost >= target)
        kept = kept and not missed
        told = "–" if cost is None else f"{100 * cost:.2f}"
        aim = "" if target is None else f"< {100 * target:g}"
        print(f"{name:<32}{told:>12}{aim:>10}{'  MISSED' if missed else ''}")
    for name, column in (("runner", "observer_memory_gib"), ("Ray's own", "ray_memory_gib")):
        values = [row[column] for row in rows if row.get(column) is not None]
        print(f"memory of {name:<22}{f'{statistics.mean(values):.3f} GiB' if values else '–':>12}")
    return kept


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=LONGEST_MIN, help="at most, and never more than 30")
    parser.add_argument("--site", default="cpu")
    parser.add_argument("--experiment", default="local", help="has the load and the engine's options")
    parser.add_argument("--environment", choices=(HOST, NATIVE), default=HOST, help="what both kinds run in")
    parser.add_argument("--model", help="the experiment's first, unless named")
    parser.add_argument("--requests", type=int, help="the experiment's own number, unless given")
    parser.add_argument("--no-dashboard", action="store_true")
    parser.add_argument("--seed", type=int, default=1, help="of the order in the pairs; another one for each piece")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="pairs of earlier pieces, which this one adds to")
    asked = parser.parse_args()
    study, found = study_of(asked), earlier(asked.keep)
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset(Path(folder), study.experiment.name, definition_sha256(study))
        prepared = prepare_host(study, fingerprint(), dataset, print)
        measure(prepared, found, asked)
    verdicts = [verdict_of(found, metric) for metric in METRICS]
    kept = cost_is_kept(found.rows, dashboard=not asked.no_dashboard)
    return 0 if kept and "different" not in verdicts else 1


if __name__ == "__main__":
    sys.exit(main())
