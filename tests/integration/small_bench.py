"""A prepared host on this machine: the double as engine, a few bytes as model, results in a temporary folder."""

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import builders

from sparkray.config.docker import DockerOptions
from sparkray.config.experiment import Workload
from sparkray.config.model import ModelCard, Weights
from sparkray.config.site import Environment
from sparkray.engines import load_engine
from sparkray.execute.prepared_host import PreparedHost, prepare_host
from sparkray.execute.run import run_once
from sparkray.machine.fingerprint import fingerprint
from sparkray.plan import PlannedRun, Study, Treatment, definition_sha256, make_plan
from sparkray.records import Outcome
from sparkray.runtimes import Stop
from sparkray.store import Dataset, open_dataset

ARMS = ("host", "native", "container_baseline")
FAST = {"tokens_per_s": 2000.0, "load_s": 0.01}
BASELINE = Environment(
    DockerOptions(ipc="host", ulimit_memlock=-1, ulimit_stack=67108864), ("ulimit_memlock", "ulimit_stack")
)
WORKLOAD = Workload(requests=4, input_tokens=8, output_tokens=6, warmup_requests=1)

NEIGHBOURLY = dict.fromkeys(("exclusive", "memory_state", "power_state"), "warn")
"""Policies of the checks that a neighbour of this machine can set off at any time: they must not fail a run."""


def model_of(folder: Path, name: str = "Tiny", size: int = 4096) -> ModelCard:
    """A card of random bytes that begin as weights do."""
    path = folder / f"{name}.gguf"
    path.write_bytes(b"GGUF" + os.urandom(size))
    return builders.card(name, weights=Weights(kind="file", path=str(path)))


def study_of(*cards: ModelCard, environments: tuple[str, ...] = ARMS, **changes: Any) -> Study:
    experiment = builders.experiment(
        models=tuple(card.name for card in cards), environments=environments, runs=1, workload=WORKLOAD, timeout_s=180
    )
    values: dict[str, Any] = {
        "experiment": experiment,
        "cards": cards,
        "engine": "double",
        "site": builders.site(validation="question", environments={"container_baseline": BASELINE}),
        "treatments": tuple(
            Treatment(name, BASELINE.options, BASELINE.adapt) if name.startswith("container") else Treatment(name)
            for name in environments
        ),
        "engine_options": load_engine("double").options(FAST, "test"),
    }
    return Study(**values | changes)


def dataset_of(study: Study, results: Path) -> Dataset:
    return open_dataset(results, study.experiment.name, definition_sha256(study))


def bench_of(study: Study, results: Path, cache: Path) -> PreparedHost:
    return prepare_host(study, fingerprint(), dataset_of(study, results), lambda _: None, cache=cache)


def changed(
    prepared: PreparedHost, *, timeout_s: float | None = None, probed: bool = False, **options: Any
) -> PreparedHost:
    """The same host with other options of its engine; the runs are others too. A control probe takes as long as a run."""
    study = prepared.study
    checks = {**study.experiment.checks, **({} if probed else {"power_state": "off"})}
    experiment = replace(study.experiment, timeout_s=timeout_s or study.experiment.timeout_s, checks=checks)
    engine_options: Mapping[str, Any] = {**study.engine_options, **options}
    return replace(prepared, study=replace(study, experiment=experiment, engine_options=engine_options))


def planned(prepared: PreparedHost, environment: str, model: str | None = None) -> PlannedRun:
    """The first run of an environment."""
    return next(
        run for run in make_plan(prepared.study) if run.environment == environment and model in (None, run.model)
    )


def run(prepared: PreparedHost, environment: str, model: str | None = None, stop: Stop | None = None) -> Outcome:
    return run_once(prepared, planned(prepared, environment, model), stop or Stop(), lambda _: None)
