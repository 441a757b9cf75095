"""How far one driver carries: runs of simulated machines through the real queue, threads, actors' handles and sink.

Each machine is an actor of a real Ray that measures nothing: it stores made-up rows in its own dataset and sends them. All
else is as in a sweep on a cluster (`workflows.machines`). Prints, for each size: the driver's own CPU time a run, over all
and over the last tenth of the runs; its memory at the first run, in the middle and at the end; the time to open the dataset,
now and again; the time to merge all samples into one file, and of a query over that file.

    python benchmarks/scale.py [--nodes 1,4,16,64] [--runs 200,1000] [--samples 600] [--minutes 10]
"""
# ruff: noqa: D102, ANN401 - the methods stand in for others, which have docstrings and types

import argparse
import random
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from sparkray.analysis.frames import open_frames
from sparkray.catalog import Catalog, data_root
from sparkray.cluster import Node, Runner, connected
from sparkray.cluster.runner import Sent
from sparkray.engines import load_engine
from sparkray.machine.capabilities import About
from sparkray.machine.fingerprint import Machine
from sparkray.metrics import BY_NAME
from sparkray.plan import PlannedRun, Study, Treatment, definition_sha256, make_plan
from sparkray.records import Outcome, Verdict
from sparkray.store import Dataset, open_dataset
from sparkray.store.parcel import Origin, Outbox, origin_of, receive, vouched
from sparkray.sweep.progress import Display
from sparkray.sweep.show import console
from sparkray.timing import Timing
from sparkray.units import MIB
from sparkray.workflows.machines import on_machines
from sparkray.workflows.options import Options
from sparkray.workflows.session import Session
from sparkray.workflows.sweeping import Sweep

_ARMS = ("native", "container_baseline")
_FACTS = {"architecture": "simulated", "cpu": "simulated", "cpus": 20, "gpus": []}
_IDENTITY = {"rootfs_digest": {"": "r"}, "image_digest": {}, "weights": {}, "weights_digest": {}}


class SimulatedRunner:
    """In place of `cluster.runner.BenchmarkRunner`: rows that are made up, at once."""

    def __init__(self, host: str, samples: int) -> None:
        self.host, self.samples, self.folder = host, samples, Path(tempfile.mkdtemp(prefix="scale-"))
        self.earlier: dict[str, int] = {}
        self.over = threading.Event()

    def hold(self, _: Study, place: Origin, __: str) -> None:
        self.outbox = Outbox(place.opened(self.folder, self.earlier))

    def prepare(self, _: Study, seed: dict[str, bytes]) -> dict[str, Any]:
        self.outbox.seed(seed)
        return {**_IDENTITY, "host": self.host}

    def run(self, planned: PlannedRun, earlier: int, stored: list[str], refused: list[str]) -> Sent:
        self.outbox.acknowledge(stored, refused)
        self.earlier[planned.run_id] = earlier
        outcome = outcome_of(self.host, planned, earlier + 1, self.samples)
        self.outbox.dataset.write(outcome)
        parcel = self.outbox.parcel(every=False)
        return Sent(Outcome(row=outcome.row, checks=outcome.checks), parcel, (), sound=vouched(parcel))

    def parcel(self, stored: list[str], refused: list[str]) -> Any:
        self.outbox.acknowledge(stored, refused)
        return self.outbox.parcel()

    def news(self) -> list[str]:
        self.over.wait()
        self.over.clear()
        return []

    def messages(self) -> list[str]:
        self.over.set()
        return []

    def identity(self) -> tuple[int, str]:
        return 0, self.host

    def stop(self) -> None:
        self.over.set()

    def release(self) -> None:
        self.over.set()
        shutil.rmtree(self.folder, ignore_errors=True)


def outcome_of(host: str, planned: PlannedRun, attempt: int, samples: int) -> Outcome:
    rng = random.Random(f"{planned.run_id} {attempt}")
    place = {"run_id": planned.run_id, "attempt": attempt, "block": planned.block, "position": planned.position}
    kind = {"model": planned.model, "environment": planned.environment, "replicate": planned.replicate}
    metrics = {name: rng.lognormvariate(3.0, 0.05) for name in BY_NAME}
    row = {**metrics, **place, **kind, "host": host, "status": "ok", "simulated": True, "duration_s": 5.0}
    rows = tuple(
        {"sampler": "host", "t_ns": i * 100_000_000, "mem_free_gib": rng.uniform(90, 100), "device": None}
        for i in range(samples)
    )
    return Outcome(row, (), rows, (Verdict("tokens", "pass", "simulated"),))


class SimulatedCluster:
    """In place of `cluster.Cluster`: as many machines as are asked for."""

    own, address = False, "simulated"

    def __init__(self, count: int, samples: int) -> None:
        self.count, self.samples = count, samples
        import ray  # noqa: PLC0415 - `sparkray.cluster` sets what Ray reads when it is imported

        self.actor: Any = ray.remote(num_cpus=0, max_concurrency=4)(SimulatedRunner)

    def nodes(self) -> list[Node]:
        return [Node(str(i), f"node-{i}") for i in range(self.count)]

    def about(self, nodes: list[Node], _: object) -> list[About]:
        return [About(Machine(node.host, (), (node.host,), _FACTS), node.id, None) for node in nodes]

    def runner(self, node: Node, *_: object, store: Any, **__: object) -> Runner:
        actor = self.actor.remote(node.host, self.samples)
        return Runner(actor, 0, node.host, node, store=store)


def study_of(runs: int) -> Study:
    catalog = Catalog(data_root())
    site = catalog.site("cpu")
    experiment = catalog.experiment("local", {"environments": list(_ARMS), "runs": max(1, runs // len(_ARMS))})
    treatments = tuple(Treatment(name) for name in _ARMS)
    options = load_engine(site.engine).options({}, "benchmark")
    return Study(experiment, site, tuple(catalog.select(experiment.models)), treatments, site.engine, options)


class Silent(Display):
    """Counts, and says nothing. `at` is CPU time, time and memory of the driver by runs that had ended."""

    def __init__(self, total: int, minutes: float, asked: threading.Event) -> None:
        super().__init__(console(to_stderr=True), total, 0)
        self.asked, self.limit_s = asked, 60 * minutes
        self.at: dict[int, tuple[float, float, float]] = {}
        self.every = max(1, total // 1000)

    def begin(self, planned: PlannedRun) -> None:
        if not self.at:  # machines are ready now
            self.at[0] = now()
        super().begin(planned)

    def end(self, planned: PlannedRun, row: Mapping[str, Any]) -> None:
        super().end(planned, row)
        if self.done % self.every == 0 or self.done == self.total:
            self.at[self.done] = now()
            if self.at[self.done][1] - self.at[0][1] > self.limit_s:
                self.asked.set()

    def near(self, share: float) -> tuple[int, tuple[float, float, float]]:
        """What was noted nearest to a share of the runs that ended."""
        done = min(self.at, key=lambda one: abs(one - share * max(self.at)))
        return done, self.at[done]

    def say(self, line: str) -> None:
        if "left out" in line or "lost" in line:
            raise SystemExit(line)


def now() -> tuple[float, float, float]:
    return time.process_time(), time.perf_counter(), resident_mib()


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


@contextmanager
def timed(numbers: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    numbers[name] = time.perf_counter() - began


def carry(nodes: int, runs: int, samples: int, minutes: float, folder: Path) -> tuple[Dataset, dict[str, float]]:
    study = study_of(runs)
    plan = make_plan(study)
    dataset = open_dataset(folder, study.experiment.name, definition_sha256(study))
    cluster: Any = SimulatedCluster(nodes, samples)
    asked = threading.Event()
    progress = Silent(len(plan), minutes, asked)
    session = Session(cluster, Options(), progress, asked)
    on_machines(Sweep(study, dataset, session, Timing(study, dataset)), plan)
    each: dict[str, float] = {}
    with timed(each, "ids_s"):
        ok = dataset.ok_run_ids()
    if (
        not ok <= {run.run_id for run in plan}
        or len(ok) != progress.done
        or (not asked.is_set() and len(ok) < len(plan))
    ):
        raise SystemExit(
            f"the dataset does not equal the plan: {len(ok)} ok, {progress.done} made, {len(plan)} planned"
        )
    (_, first), (_, middle), (tenth, before), (last, end) = map(progress.near, (0.0, 0.5, 0.9, 1.0))
    return dataset, each | {
        "runs": last,
        "driver_ms": 1000 * (end[0] - first[0]) / last,
        "last_ms": 1000 * (end[0] - before[0]) / max(1, last - tenth),
        "per_s": last / (end[1] - first[1]),
        "first_mib": first[2],
        "middle_mib": middle[2],
        "end_mib": end[2],
    }


def queries(dataset: Dataset) -> dict[str, float]:
    numbers: dict[str, float] = {}
    whole = dataset.path / "cache" / "samples.parquet"
    asked: dict[str, Callable[[], object]] = {
        "first_s": lambda: open_frames(dataset.path).ok,
        "again_s": lambda: open_frames(dataset.path).ok,
        "merge_s": lambda: pl.scan_parquet(dataset.path / "samples" / "*.parquet").sink_parquet(whole),
        "whole_s": lambda: pl.scan_parquet(whole).group_by("run_id").agg(pl.col("mem_free_gib").min()).collect(),
    }
    for name, ask in asked.items():
        with timed(numbers, name):
            ask()
    return numbers


def sink_rows_per_s(samples: int, folder: Path) -> str:
    """Sample rows that the sink stores a second, and a second of CPU time, without machines."""
    study = study_of(40)
    dataset = open_dataset(folder, "sink", definition_sha256(study))
    box = Outbox(origin_of(dataset).opened(folder / "node", {}))
    for planned in make_plan(study):
        box.dataset.write(outcome_of("node", planned, 1, samples))
    parcels = []
    while parcel := box.parcel():
        parcels.append(parcel)
        box.acknowledge(list(parcel))
    began, cpu = time.perf_counter(), time.process_time()
    for parcel in parcels:
        receive(dataset, parcel, "node", late=False, notify=print)
    rows = len(make_plan(study)) * samples
    a_second, of_cpu = rows / (time.perf_counter() - began), rows / (time.process_time() - cpu)
    return f"{a_second:,.0f} sample rows/s, {of_cpu:,.0f} a second of CPU time"


_COLUMNS = {  # as printed: heading, and digits after the point
    "runs": ("runs", 0),
    "driver_ms": ("driver ms/run", 2),
    "last_ms": ("last tenth", 2),
    "per_s": ("runs/s", 1),
    "first_mib": ("MiB first", 0),
    "middle_mib": ("middle", 0),
    "end_mib": ("end", 0),
    "ids_s": ("ids s", 2),
    "first_s": ("open s", 2),
    "again_s": ("again s", 2),
    "merge_s": ("merge s", 2),
    "whole_s": ("whole s", 2),
}


def line_of(nodes: int, each: Mapping[str, float]) -> str:
    parts = (f"{each[name]:{max(7, len(head))}.{digits}f}" for name, (head, digits) in _COLUMNS.items())
    return f"{nodes:5d}  {'  '.join(parts)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default="1,4,16")
    parser.add_argument("--runs", default="200,1000")
    parser.add_argument("--samples", type=int, default=600, help="rows of samples a run")
    parser.add_argument("--minutes", type=float, default=10.0, help="most for one size; fewer runs are made then")
    asked = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        rows = 20 * asked.samples
        print(f"sink: {sink_rows_per_s(rows, root / 'sink')} ({rows} a run)")
        print("nodes", *(f"{head:>{max(7, len(head))}s}" for head, _ in _COLUMNS.values()), sep="  ")
        with connected(None, dashboard=False):
            for runs in map(int, asked.runs.split(",")):
                for nodes in map(int, asked.nodes.split(",")):
                    folder = root / f"{nodes}-{runs}"
                    dataset, each = carry(nodes, runs, asked.samples, asked.minutes, folder)
                    print(line_of(nodes, each | queries(dataset)), flush=True)
                    shutil.rmtree(folder)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
