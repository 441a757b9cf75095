"""Runs that `calibrate` judges, written rather than measured, and the command over a sweep of them."""

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from click.testing import CliRunner
from rich.console import Console

from sparkray.plan import definition_sha256, make_plan
from sparkray.records import Outcome
from sparkray.store import Dataset, open_dataset
from sparkray.sweep.calibrate import Conclude, calibrate_command
from sparkray.workflows.options import Options, build_study

START = datetime(2026, 1, 1, tzinfo=UTC)


def row(index: int, throughput: float, **changes: Any) -> dict[str, Any]:
    values = {
        "run_id": f"r{index:04d}",
        "attempt": 1,
        "experiment": "aa",
        "model": "SmolLM2-135M",
        "environment": "native",
        "site": "cpu",
        "host": "box",
        "level": "",
        "status": "ok",
        "simulated": False,
        "block": index,
        "position": index,
        "started_at": START + timedelta(minutes=index),
        "output_throughput_tok_s": throughput,
        "latency_mean_ms": 30_000 / throughput,
        "host_available_drop_peak_gib": 0.3,
    }
    return values | changes


def steady(count: int, seed: int = 3) -> list[float]:
    return (100 * np.exp(0.02 * np.random.default_rng(seed).normal(size=count))).tolist()


def dataset(results: Path, values: list[float], name: str = "aa", **changes: Any) -> Dataset:
    made = open_dataset(results, name, "0" * 64)
    for index, value in enumerate(values):
        made.write(Outcome(row(index, value, experiment=name, **changes)))
    return made


def cache_of(folder: Path) -> Path:
    return folder / "cache" / "sparkray"


def sweep_of(folder: Path, values: list[float], status: int = 0) -> Callable[[Options, Conclude], int]:
    """A sweep that stores these runs, the first of its plan, and ends with the given status."""

    def sweep(options: Options, conclude: Conclude) -> int:
        study = build_study(options)
        made = open_dataset(folder, study.experiment.name, definition_sha256(study))
        plan = make_plan(study)
        for index, (planned, value) in enumerate(zip(plan, values, strict=False)):
            made.write(Outcome(row(index, value, run_id=planned.run_id)))
        out = Console(quiet=True) if options.json else Console(width=110)
        counts = conclude(study, made, plan, options, out)
        assert counts["planned"] == len(plan)
        return status or int(counts["ok"] != counts["planned"])

    return sweep


def measured(folder: Path, values: list[float], *words: str, status: int = 0) -> tuple[int, Mapping[str, Any]]:
    command = calibrate_command(sweep_of(folder, values, status), lambda study: study.cards[0].name)
    arguments = ["--site", "cpu", "--json", "--results-dir", str(folder), *words]
    clean = {"RUNS_PER_MODEL": None, "MODELS_TO_TEST": None, "XDG_CACHE_HOME": str(folder / "cache")}
    done = CliRunner().invoke(command, arguments, env=clean, catch_exceptions=False, standalone_mode=False)
    return done.return_value, json.loads(done.stdout)
