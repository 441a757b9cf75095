"""Warm start: the compile cache of an engine that keeps one, and the uncounted starts that fill it.

A start that compiles is slower than one that finds its code in the cache, and leaves less memory for a KV cache. So each
environment starts once, uncounted, before the first counted run of a model and level on this machine. The cache lies on
this machine, outside the dataset: on another machine the warm-up is made again.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from sparkray.engines import Caching
from sparkray.execute.layout import CACHES, Bind, compile_cache
from sparkray.execute.prepared_host import PreparedHost
from sparkray.plan import PlannedRun, canonical_sha256, measured, refused
from sparkray.records import WARMUP
from sparkray.store.writing import storage_errors, write_atomically

_SHORT, _KEPT = 16, "compiled"


def policy_of(prepared: PreparedHost) -> str | None:
    """`arm` or `shared`; None for an engine without a cache, and where each run has an empty one."""
    policy = prepared.study.experiment.protocol.warm_start
    return policy if isinstance(prepared.engine, Caching) and policy != "none" else None


def cache_binds(prepared: PreparedHost, planned: PlannedRun, empty: Path) -> tuple[Bind, ...]:
    """The mount of a run's compile cache, its folders made; nothing for an engine without one.

    Args:
        prepared: The machine, ready.
        planned: The run.
        empty: The folder of a run that is to compile.

    Raises:
        StorageError: It could not be made.
    """
    engine = prepared.engine
    if not isinstance(engine, Caching):
        return ()
    is_kept = policy_of(prepared) is not None
    folder = _folder(prepared, planned.environment) if is_kept else empty
    with storage_errors(folder):
        if is_kept:  # every user may write into the folders below it, and root's engine runs what lies there
            kept = prepared.cache / _KEPT
            kept.mkdir(parents=True, exist_ok=True)
            kept.chmod(0o700)
        for name in ("", *engine.caches.values()):
            (folder / name).mkdir(parents=True, exist_ok=True)
            (folder / name).chmod(0o1777)  # the image's user may be another
    return ((str(folder), CACHES, False),)


def _folder(prepared: PreparedHost, environment: str) -> Path:
    """The cache of an environment: of one set of files and one engine, whatever the experiment."""
    files = canonical_sha256([prepared.study.engine, prepared.expected_digest(environment)])[:_SHORT]
    return prepared.cache / _KEPT / files / compile_cache(prepared.study, environment)


def missing(prepared: PreparedHost, planned: PlannedRun) -> Iterator[PlannedRun]:
    """The warm-up of every environment of the study whose cache does not hold what a planned run compiles."""
    unable = planned.model in prepared.unready or refused(prepared.study, planned) is not None
    if policy_of(prepared) is None or unable:
        return
    for treatment in measured(prepared.study):
        key = _key(prepared, planned, treatment.environment)
        if key not in prepared.warmed and not _mark(prepared, key, treatment.environment).is_file():
            yield replace(planned, run_id=key, environment=treatment.environment, replicate=0)


def keep(prepared: PreparedHost, warm_up: PlannedRun, row: Mapping[str, object]) -> None:
    """Note that a warm-up filled the cache, if it did. Raises StorageError."""
    if row["status"] == WARMUP:
        mark = _mark(prepared, warm_up.run_id, warm_up.environment)
        with storage_errors(mark):
            mark.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(mark, json.dumps({"model": warm_up.model, "level": warm_up.level}).encode())


def _mark(prepared: PreparedHost, key: str, environment: str) -> Path:
    return _folder(prepared, environment) / "warm" / f"{key}.json"


def _key(prepared: PreparedHost, planned: PlannedRun, environment: str) -> str:
    """What decides which code is compiled, and where: a run id for the warm-up."""
    study, weights = prepared.study, prepared.weights.get(planned.model)
    workload = study.workload_of(planned)
    return canonical_sha256(
        {
            "warm_up": environment,
            "machine": prepared.machine.host,
            "experiment": study.experiment.name,
            "engine": study.engine,
            "options": dict(study.options_of(replace(planned, environment=environment))),
            "model": planned.model,
            "weights": weights.checkpoint or weights.sha256 if weights else None,
            "load": [workload.kind, study.concurrency(planned), workload.most_input, workload.most_output],
        }
    )[:_SHORT]
