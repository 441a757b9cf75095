"""How far one driver carries: runs of simulated machines through the real queue, threads, actors' handles and sink.

Each machine is an actor of a real Ray that measures nothing: it stores made-up rows in its own dataset and sends them. All
else is as in a sweep on a cluster (`workflows.machines`). Prints, for each size, the driver's own CPU time a run and its
memory, sample rows that are stored a second from a run's end to its acknowledgement, and the time of queries over the whole.

    python benchmarks/scale.py [--nodes 1,4,16,64] [--runs 200,1000] [--samples 600]
"""
# ruff: noqa: D102, ANN401 - the methods stand in for others, which have docstrings and types

import argparse
import random
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
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
from sparkray.store.parcel import Origin, Outbox, origin_of, receive
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
        return Sent(Outcome(row=outcome.row, checks=outcome.checks), self.outbox.parcel(every=False), ())

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
    """Counts, and says nothing. `began` is the CPU time and the time at which the first run did: machines are ready then."""

    began: tuple[float, float] | None = None

    def begin(self, planned: PlannedRun) -> None:
        self.began = self.began or (time.process_time(), time.perf_counter())
        super().begin(planned)

    def say(self, line: str) -> None:
        if "left out" in line or "lost" in line:
            raise SystemExit(line)


def resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / MIB


@contextmanager
def timed(numbers: dict[str, float], name: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    numbers[name] = time.perf_counter() - began


def carry(nodes: int, runs: int, samples: int, folder: Path) -> tuple[Dataset, dict[str, float]]:
    study = study_of(runs)
    plan = make_plan(study)
    dataset = open_dataset(folder, study.experiment.name, definition_sha256(study))
    progress = Silent(console(to_stderr=True), len(plan), 0)
    cluster: Any = SimulatedCluster(nodes, samples)
    session = Session(cluster, Options(), progress, threading.Event())
    before = resident_mib()
    on_machines(Sweep(study, dataset, session, Timing(study, dataset)), plan)
    cpu, wall = progress.began or (0.0, 0.0)
    took, used = time.perf_counter() - wall, time.process_time() - cpu
    if dataset.ok_run_ids() != {run.run_id for run in plan}:
        raise SystemExit("the dataset does not equal the plan")
    each = {"driver_ms": 1000 * used / len(plan), "wall_s": took, "more_mib": resident_mib() - before}
    return dataset, each


def queries(dataset: Dataset) -> dict[str, float]:
    numbers: dict[str, float] = {}
    asked: dict[str, Callable[[], object]] = {
        "first_s": lambda: open_frames(dataset.path).ok,
        "again_s": lambda: open_frames(dataset.path).ok,
        "samples_s": lambda: (
            pl.scan_parquet(dataset.path / "samples" / "*.parquet")
            .group_by("run_id")
            .agg(pl.col("mem_free_gib").min())
            .collect()
        ),
    }
    for name, ask in asked.items():
        with timed(numbers, name):
            ask()
    return numbers


def sink_rows_per_s(samples: int, folder: Path) -> float:
    """Sample rows that the sink stores a second, without machines."""
    study = study_of(40)
    dataset = open_dataset(folder, "sink", definition_sha256(study))
    box = Outbox(origin_of(dataset).opened(folder / "node", {}))
    for planned in make_plan(study):
        box.dataset.write(outcome_of("node", planned, 1, samples))
    parcels = []
    while parcel := box.parcel():
        parcels.append(parcel)
        box.acknowledge(list(parcel))
    began = time.perf_counter()
    for parcel in parcels:
        receive(dataset, parcel, "node", late=False, notify=print)
    return len(make_plan(study)) * samples / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default="1,4,16")
    parser.add_argument("--runs", default="200,1000")
    parser.add_argument("--samples", type=int, default=600, help="rows of samples a run")
    asked = parser.parse_args()
    sizes = SimpleNamespace(
        nodes=[int(n) for n in asked.nodes.split(",")], runs=[int(n) for n in asked.runs.split(",")]
    )
    root = Path(tempfile.mkdtemp(prefix="scale-"))
    try:
        print(
            f"sink: {sink_rows_per_s(20 * asked.samples, root / 'sink'):,.0f} sample rows/s ({20 * asked.samples} a run)"
        )
        print("nodes   runs  driver ms/run  runs/s  sample rows/s  more MiB  open s  again s  samples s")
        with connected(None, dashboard=False):
            for runs in sizes.runs:
                for nodes in sizes.nodes:
                    folder = root / f"{nodes}-{runs}"
                    dataset, each = carry(nodes, runs, asked.samples, folder)
                    found = queries(dataset)
                    per_s = runs / each["wall_s"]
                    made = f"{nodes:5d} {runs:6d} {each['driver_ms']:14.2f} {per_s:7.1f} {per_s * asked.samples:14,.0f}"
                    read = f"{found['first_s']:7.2f} {found['again_s']:8.2f} {found['samples_s']:10.2f}"
                    print(f"{made} {each['more_mib']:9.1f} {read}", flush=True)
                    shutil.rmtree(folder)
    finally:
        shutil.rmtree(root, ignore_errors=True)


if __name__ == "__main__":
    main()
