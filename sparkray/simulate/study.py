"""Studies made from nothing, with a truth that is known: what an analysis says of them can be checked.

A planted study lies on disk exactly as a sweep leaves it (`store`'s folders, schemas and file names), so that everything
that reads datasets can be tried on it. Nothing of it was measured: every row says `simulated`.

The model: log latency of a run = base + block effect + environment's effect + drift x position + noise of the run. Block
effects are shared by all environments of a block, so pairs cancel them. Requests follow one pattern a model, scaled so
that their mean is the run's latency exactly; throughput follows from when they were sent and ended.
"""

import json
import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from sparkray import __version__
from sparkray.catalog import Catalog, data_root
from sparkray.config.boundary import read_yaml
from sparkray.config.docker import DockerOptions, flag_words
from sparkray.config.docker_columns import column_values
from sparkray.config.model import ModelCard
from sparkray.metrics import BY_NAME
from sparkray.plan import canonical_sha256
from sparkray.simulate.samples import AVAILABLE_GIB, Course, Own, samples_of
from sparkray.store import open_dataset
from sparkray.store.parquet import schema_of
from sparkray.store.run_index import add_to_index
from sparkray.units import GIB, NS_PER_MS, NS_PER_S

Numbers = NDArray[np.float64]
_START = datetime(2026, 1, 5, 8, 0, tzinfo=UTC)
_WARMUP = 2
_OUTPUT_TOKENS, _INPUT_TOKENS = 128, 512
_BANDWIDTH = 0.7 * 273e9
_REQUEST_CV, _PATTERN_CV = 0.002, 0.05
_TTFT_SHARE = 0.12
_REFERENCE_PARAMS = 7e9
_LOAD_BYTES_S = 2e9
_BAD = 0.8
_CONSTANT = read_yaml(Path(__file__).with_suffix(".yaml"))
_MARGINS = {"output_throughput_tok_s": 0.01, "latency_mean_ms": 0.01, "host_available_drop_peak_gib": 0.02}


@dataclass(frozen=True)
class Plant:
    """What is true in a synthetic study.

    `speed_ratio` and `memory_ratio` are true ratios against native by environment (1 where missing), `cv_ratio` the ratio
    of the spread inside blocks. `cv` is the spread of a run inside its block and `block_cv` that between blocks, both of
    the logarithm. `size_slope` is added to the log speed ratio of containers for every e-fold of parameters over 7e9.
    `drift_per_run` is added to the log latency at every position. In block `bad_block` (of every model) containers run at
    80 % of their speed. Containers of models in `failing` never come up, nor any run of a model that the machine cannot
    hold; every `flaky`-th run fails once before it is ok.
    `samples` and `requests` are counts a run; 0 leaves the table out. Without `gpu` its columns are null. `cooldown_s` lies
    between runs. `difference_margins` are in the unit of their metric, for verdicts on differences.
    """

    name: str = "synthetic"
    models: tuple[str, ...] = ("all",)
    environments: tuple[str, ...] = ("native", "container_baseline", "container_optimized")
    runs: int = 30
    requests: int = 1000
    samples: int = 4778
    levels: tuple[str, ...] = ("",)
    seed: int = 0
    cv: float = 0.003
    block_cv: float = 0.004
    speed_ratio: Mapping[str, float] = field(default_factory=dict)
    memory_ratio: Mapping[str, float] = field(default_factory=dict)
    cv_ratio: Mapping[str, float] = field(default_factory=dict)
    size_slope: float = 0.0
    drift_per_run: float = 0.0
    bad_block: int | None = None
    failing: tuple[str, ...] = ()
    flaky: int = 0
    gpu: bool = True
    cooldown_s: float = 300.0
    difference_margins: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class _Run:
    """One planned run of a plant."""

    card: ModelCard
    level: str
    environment: str
    block: int
    position: int

    @property
    def run_id(self) -> str:
        return canonical_sha256([self.card.name, self.level, self.environment, self.block])[:16]


class _Tables:
    """The tables of a study that is being written: every column of its schema, null where nothing is given."""

    def __init__(self, folder: Path, *, merged: bool) -> None:
        self._folder, self._merged = folder, merged
        self._kept: dict[str, list[pa.Table]] = {}

    def write(self, table: str, run: _Run, attempt: int, columns: Mapping[str, Any]) -> None:
        """One run's rows: a file as `store` writes it, or kept until the end."""
        schema = schema_of(table)
        length = len(next(iter(columns.values())))
        given = {**columns, "run_id": [run.run_id] * length, "attempt": [attempt] * length}
        arrays = [
            pa.array(given[f.name], type=f.type, from_pandas=True) if f.name in given else pa.nulls(length, f.type)
            for f in schema
        ]
        rows = pa.Table.from_arrays(arrays, schema=schema)
        if self._merged:
            self._kept.setdefault(table, []).append(rows)
        else:
            path = self._folder / table / f"{run.run_id}-{attempt}.parquet"
            pq.write_table(rows, path, compression="zstd")
            if table == "runs":
                add_to_index(path, [{name: values[0] for name, values in given.items()}])

    def close(self) -> None:
        """Write what was kept."""
        for table, parts in self._kept.items():
            pq.write_table(pa.concat_tables(parts), self._folder / table / "all.parquet", compression="zstd")


def plant(results_dir: Path, planted: Plant, *, merged: bool = False) -> Path:
    """Write a study. Returns its folder.

    Args:
        results_dir: Where datasets lie; the study gets a folder of its name in it.
        planted: What is to be true.
        merged: One file a table instead of one a run: as any reader takes it, and written many times faster.

    Raises:
        StorageError: It cannot be written.
        UnknownNameError: There is no card of that name.
    """
    cards = tuple(Catalog(data_root()).select(planted.models))
    document = _document(planted, cards)
    dataset = open_dataset(results_dir, planted.name, canonical_sha256([document, asdict(planted)]))
    (dataset.path / "experiment.json").write_text(json.dumps(document, indent=1))
    tables = _Tables(dataset.path, merged=merged)
    chance = np.random.default_rng(planted.seed)
    clock = _START
    blocks = {key: chance.normal(0, planted.block_cv) for key in _block_keys(planted, cards)}
    for run in _plan(planted, cards, chance):
        clock += timedelta(seconds=planted.cooldown_s)
        too_large = _weights_gib(run.card) > AVAILABLE_GIB
        failing = too_large or (run.card.name in planted.failing and run.environment != "native")
        failed = failing or (planted.flaky > 0 and run.position % planted.flaky == planted.flaky - 1)
        if failed:
            row = _row(planted, run, 1, clock)
            row |= {"status": "failed", "reason": "the engine ended with status 1", "exit_code": 1, "duration_s": 4.0}
            if too_large:
                row |= {"reason": f"{run.card.name} does not fit: its weights are {_weights_gib(run.card):.1f} GiB"}
                row |= {"status": "unready", "exit_code": None}  # as a sweep refuses it, before its start
            tables.write("runs", run, 1, {key: [value] for key, value in row.items()})
            clock += timedelta(seconds=30)
        if not failing:
            row = _row(planted, run, 2 if failed else 1, clock)
            latency_log = blocks[run.card.name, run.level, run.block] + _effect(planted, run, chance)
            clock += timedelta(seconds=_measure(tables, planted, run, row, (latency_log, chance)))
    tables.close()
    return dataset.path


def _weights_gib(card: ModelCard) -> float:
    return card.shape.weight_bytes / GIB if card.shape else 2.0


def _block_keys(planted: Plant, cards: tuple[ModelCard, ...]) -> Iterator[tuple[str, str, int]]:
    for card in cards:
        for number, level in enumerate(planted.levels):
            for round_ in range(planted.runs):
                yield card.name, level, round_ * len(planted.levels) + number


def _plan(planted: Plant, cards: tuple[ModelCard, ...], chance: np.random.Generator) -> Iterator[_Run]:
    """Every run in order: rounds, in each every model, in each block every environment in random order."""
    position = 0
    for round_ in range(planted.runs):
        for card in cards:
            for number, level in enumerate(planted.levels):
                for index in chance.permutation(len(planted.environments)):
                    block = round_ * len(planted.levels) + number
                    yield _Run(card, level, planted.environments[index], block, position)
                    position += 1


def true_speed_ratio(planted: Plant, card: ModelCard, environment: str) -> float:
    """The throughput ratio of an environment against native that is planted, bad block and drift apart."""
    ratio = planted.speed_ratio.get(environment, 1.0)
    if environment.startswith("container") and card.shape is not None:
        ratio *= math.exp(planted.size_slope * math.log(card.shape.params_total / _REFERENCE_PARAMS))
    return ratio


def _effect(planted: Plant, run: _Run, chance: np.random.Generator) -> float:
    """What stands on a run's log latency beside its block."""
    spread = planted.cv * planted.cv_ratio.get(run.environment, 1.0)
    bad = run.block == planted.bad_block and run.environment.startswith("container")
    return float(
        chance.normal(0, spread)
        - math.log(true_speed_ratio(planted, run.card, run.environment))
        + planted.drift_per_run * run.position
        - (math.log(_BAD) if bad else 0.0)
    )


def _measure(
    tables: _Tables, planted: Plant, run: _Run, row: dict[str, Any], drawn: tuple[float, np.random.Generator]
) -> float:
    """Requests, samples, checks and row of one ok run, written. Returns its duration, s."""
    latency_log, chance = drawn
    shape, weights_gib = run.card.shape, _weights_gib(run.card)
    step_s = (
        shape.step_bytes(run.card.max_batch_size, _INPUT_TOKENS + _OUTPUT_TOKENS / 2) / _BANDWIDTH if shape else 0.01
    )
    mean_ns = step_s * _OUTPUT_TOKENS * math.exp(latency_log) * NS_PER_S
    requests = _requests(planted, run, mean_ns, chance)
    span_s = (int(requests["end_ns"].max()) - int(requests["submit_ns"][_WARMUP])) / NS_PER_S
    # drawn aside, so that these runs have the latencies that others of the seed have
    own = Own(*np.random.default_rng([planted.seed, int(run.run_id[:8], 16)]).normal(0, 1, len(fields(Own))).tolist())
    memory = (weights_gib * 1.15 + 2.0) * planted.memory_ratio.get(run.environment, 1.0) * (1 + chance.normal(0, 0.002))
    course = Course(
        memory_gib=float(memory),
        span_s=span_s,
        start_c=float(chance.normal(41, 0.6)),
        gpu=planted.gpu,
        container=run.environment.startswith("container"),
        own=own,
    )
    samples, metrics = samples_of(course, max(planted.samples, 40), chance)
    row |= metrics | _request_metrics(requests) | {"kv_cache_gib": None}
    if planted.gpu:
        row["kv_cache_gib"] = float(0.9 * max(110 - memory, 5.0) + chance.normal(0, 0.02) + 0.4 * own.kv_cache)
    row["engine_reported_peak_gib"] = float(memory + chance.normal(0.3, 0.05))
    load_s = weights_gib * GIB / _LOAD_BYTES_S
    lifetime = span_s + load_s
    row |= {"engine_lifetime_s": lifetime, "dead_time_s": 0.8, "duration_s": lifetime + 0.8, "engine_load_s": load_s}
    row |= {"ended_at": row["started_at"] + timedelta(seconds=lifetime + 0.8), "requests_done": planted.requests}
    if planted.requests:
        tables.write("requests", run, row["attempt"], requests)
    if planted.samples:
        tables.write("samples", run, row["attempt"], samples)
    hottest = row["gpu_temp_max_c"]
    verdicts = [("tokens", "pass", f"{planted.requests} of {planted.requests} requests have {_OUTPUT_TOKENS} tokens")]
    if hottest is not None:
        verdicts.append(("thermal", "warn" if hottest > _WARM_C else "pass", f"at most {hottest:.0f} degrees C"))
    columns = dict(zip(("check", "verdict", "evidence"), map(list, zip(*verdicts, strict=True)), strict=True))
    tables.write("checks", run, row["attempt"], columns)
    tables.write("runs", run, row["attempt"], {key: [value] for key, value in row.items()})
    return float(row["duration_s"])


_WARM_C = 66.0


def _requests(planted: Plant, run: _Run, mean_ns: float, chance: np.random.Generator) -> dict[str, NDArray[Any]]:
    """Columns of `requests`: a slot a sequence in flight, each sending its next request when the last has ended."""
    count, slots = max(planted.requests, 4), min(run.card.max_batch_size, max(planted.requests, 4))
    pattern = np.random.default_rng(int(canonical_sha256(run.card.name)[:8], 16))
    relative = np.exp(pattern.normal(0, _PATTERN_CV, count) + chance.normal(0, _REQUEST_CV, count))
    latency = np.rint(relative / relative.mean() * mean_ns).astype(np.int64)
    rounds = -(-count // slots)
    grid = np.zeros(rounds * slots, dtype=np.int64)
    grid[:count] = latency
    ends = np.cumsum(grid.reshape(rounds, slots), axis=0).reshape(-1)[:count]
    warm = np.arange(_WARMUP, dtype=np.int64) * int(mean_ns)
    submit = np.concatenate([warm, ends - latency + int(mean_ns) * _WARMUP]) + 10 * NS_PER_S
    whole = np.concatenate([np.full(_WARMUP, int(mean_ns)), latency])
    first = submit + np.rint(whole * _TTFT_SHARE * np.exp(chance.normal(0, 0.01, len(whole)))).astype(np.int64)
    return {
        "request": np.arange(len(whole)),
        "warmup": np.arange(len(whole)) < _WARMUP,
        "input_tokens": np.full(len(whole), _INPUT_TOKENS),
        "output_tokens": np.full(len(whole), _OUTPUT_TOKENS),
        "submit_ns": submit,
        "first_token_ns": first,
        "end_ns": submit + whole,
    }


def _request_metrics(requests: Mapping[str, NDArray[Any]]) -> dict[str, float]:
    """The metrics of `sparkray.metrics` that come from requests, over whole columns."""
    counted = ~requests["warmup"]
    submit, first, end = (requests[name][counted] for name in ("submit_ns", "first_token_ns", "end_ns"))
    span_s = (end.max() - submit.min()) / NS_PER_S
    values = {
        "latency": (end - submit) / NS_PER_MS,
        "ttft": (first - submit) / NS_PER_MS,
        "itl": (end - first) / NS_PER_MS / (_OUTPUT_TOKENS - 1),
    }
    found = {
        "output_throughput_tok_s": len(end) * _OUTPUT_TOKENS / span_s,
        "request_throughput_req_s": len(end) / span_s,
    }
    for name, series in values.items():
        found[f"{name}_mean_ms"] = float(series.mean())
        for q, value in zip((50, 95, 99), np.percentile(series, (50, 95, 99)), strict=True):
            found[f"{name}_p{q}_ms"] = float(value)
    return {name: float(value) for name, value in found.items()}


def _row(planted: Plant, run: _Run, attempt: int, clock: datetime) -> dict[str, Any]:
    """The columns of `runs` that are known of every run."""
    in_docker = run.environment.startswith("container")
    tuned = run.environment == "container_optimized"
    options = DockerOptions(
        gpus="all", ipc="host", shm_size="32g" if tuned else None, cpuset_cpus="5-9,15-19" if tuned else None
    )
    argv = ["trtllm-bench", "--model", run.card.hf_id or run.card.name, "throughput", "--backend", "pytorch"]
    digest = canonical_sha256("image")
    docker = shlex.join(["docker", "run", "--rm", *flag_words(options), "synthetic/engine:1.0", *argv])
    return {
        **dict.fromkeys(BY_NAME),
        **_CONSTANT["row"],
        "run_id": run.run_id,
        "attempt": attempt,
        "experiment": planted.name,
        "experiment_sha256": canonical_sha256(planted.name),
        "block": run.block,
        "position": run.position,
        "model": run.card.name,
        "environment": run.environment,
        "replicate": run.block // len(planted.levels) + 1,
        "level": run.level,
        "started_at": clock,
        "engine_command": json.dumps(argv),
        "model_sha256": canonical_sha256(run.card.name),
        "image": "synthetic/engine:1.0" if in_docker else None,
        "image_digest": f"sha256:{digest}" if in_docker else None,
        "rootfs_digest": digest,
        "docker_command": docker if in_docker else None,
        **(column_values(options) if in_docker else {}),
        "deviations": json.dumps(["made from nothing: no machine was measured"]),
        "machine": json.dumps(_CONSTANT["machine"]),
        "sparkray_version": __version__,
        "seed": planted.seed,
        "requests_planned": planted.requests,
    }


def _document(planted: Plant, cards: tuple[ModelCard, ...]) -> dict[str, Any]:
    """`experiment.json` as a sweep leaves it: the experiment, its cards and its site."""
    base = Catalog(data_root()).experiment("phase2d")
    experiment = asdict(base) | {
        "name": planted.name,
        "question": "What does a container cost in a study whose truth is planted?",
        "models": [card.name for card in cards],
        "environments": list(planted.environments),
        "runs": planted.runs,
        "seed": planted.seed,
        "order": "random",
        "margins": _MARGINS,
        "difference_margins": dict(planted.difference_margins),
        "primary_metrics": list(_MARGINS),
    }
    site = asdict(Catalog(data_root()).site("dgx-spark"))
    return dict(
        json.loads(json.dumps({"experiment": experiment, "cards": [asdict(card) for card in cards], "site": site}))
    )
