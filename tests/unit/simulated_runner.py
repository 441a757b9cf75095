"""An optimisation without a machine: the stages as they are, their runs made up by a truth that a test states."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from sparkray.config.docker import DockerOptions
from sparkray.config.equivalence import signature
from sparkray.errors import PreflightError
from sparkray.metrics import BY_NAME
from sparkray.optimize.context import OptimizationContext, OptimizationRequest
from sparkray.optimize.search.machines import Companion
from sparkray.plan import PlannedRun, Study, Treatment
from sparkray.progress import Progress
from sparkray.records import Outcome
from sparkray.store import Dataset
from sparkray.sweep.progress import Terminal
from sparkray.workflows.optimization import optimization_context
from sparkray.workflows.options import Options
from sparkray.workflows.study_runner import SessionRunner

SPACE = """\
name: pretended
description: Real harm, real help, and nothing.
factors:
  - {name: cpus, levels: {half: {cpus: 0.5}}, why: harm}
  - {name: pid, levels: {host: {pid: host}}, why: help}
  - {name: init, levels: {"yes": {init: true}}, why: nothing}
  - {name: seccomp, levels: {unconfined: {security_opt: [seccomp=unconfined]}}, why: help}
  - {name: cgroupns, levels: {host: {cgroupns: host}}, why: nothing that a process could see}
  - {name: memory, levels: {tight: {memory: 8m, memory_swap: 8m}}, why: kills}
  - {name: nofile, levels: {many: {ulimit_nofile: 1048576}}, why: refused by the machine}
  - {name: privileged, levels: {"yes": {privileged: true}}, why: dangerous}
"""
NO_OPS = ("cgroupns",)


class KilledError(BaseException):
    """The driver died here."""


@dataclass(frozen=True)
class Truth:
    """Log gains of options, sd of a run's log, and what a machine refuses or kills."""

    gains: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.003
    native: float = 0.05
    memory: Mapping[str, float] = field(default_factory=dict)
    kills: tuple[str, ...] = ("memory",)
    refuses: tuple[str, ...] = ("ulimit_nofile",)
    doubtful: tuple[str, ...] = ()
    """Options whose runs a check refuses, every time."""
    fails_at: tuple[tuple[str, int], ...] = ()
    """Options that fall over in one block."""
    too_large: tuple[str, ...] = ()
    """Models that are refused before they start, in every arm."""

    def gain(self, treatment: Treatment, of: Mapping[str, float] | None = None) -> float:
        given = {name for name in self.gains | self.memory if getattr(treatment.options, name, None) is not None}
        told = self.gains if of is None else of
        base = 0.0 if treatment.in_container or of is not None else self.native
        return base + sum(told.get(name, 0.0) for name in given)


NOTHING = Truth(gains={})


@dataclass
class Pretending(SessionRunner):
    """In place of a session: `lives` runs are made before the driver dies (None: it lives).

    `others` measure beside it; `before` is called with every run that is due; a machine of `speed` 2 is twice as fast.
    """

    truth: Truth = NOTHING
    lives: int | None = None
    made: list[tuple[str, str, int]] = field(default_factory=list)
    turned: set[str] = field(default_factory=set)
    others: Sequence[Companion] = ()
    before: Callable[[PlannedRun], object] = str
    speed: float = 1.0

    @property
    def out(self) -> Console:
        return self.reporter.out  # type: ignore[attr-defined, no-any-return] # a Terminal

    def companions(self, context: OptimizationContext, home: Dataset) -> Sequence[Companion]:
        return self.others

    def let_go(self) -> None:
        raise AssertionError("nobody else is at work")

    def turn(self, study: Study, dataset: Dataset) -> Any:
        for treatment in study.treatments:
            for name in self.truth.refuses:
                wanted = getattr(treatment.options, name)
                if wanted is not None:
                    raise PreflightError(f"this host cannot honour the flags of {treatment.environment}: {name}")
        self.turned |= {treatment.environment for treatment in study.treatments}

    def measure(
        self,
        study: Study,
        dataset: Dataset,
        todo: Sequence[PlannedRun],
        progress: Progress,
        *,
        plan: Sequence[PlannedRun],
    ) -> None:
        if todo:
            self.turn(study, dataset)
        done = dataset.ok_run_ids()
        for run in [run for run in todo if run.run_id not in done]:
            if self.lives is not None:
                if self.lives == 0:
                    raise KilledError
                self.lives -= 1
            self.stop_if_asked()
            self.before(run)
            row = row_of(study, run, self.truth, dataset.attempts(run.run_id) + 1) | {"host": self.host or "box"}
            if "output_throughput_tok_s" in row:
                row["output_throughput_tok_s"] *= self.speed
            dataset.write(Outcome(row))
            self.made.append((run.run_id, run.environment, run.block))


def row_of(study: Study, run: PlannedRun, truth: Truth, attempt: int) -> dict[str, Any]:
    treatment = study.treatment(run.environment)
    rng = np.random.default_rng(int(run.run_id, 16))
    killed = any(getattr(treatment.options, name) is not None for name in truth.kills)
    log = truth.gain(treatment) + truth.noise * rng.normal()
    drift = 0.02 * np.random.default_rng(run.block).normal()
    row = {
        "run_id": run.run_id,
        "attempt": attempt,
        "experiment": study.experiment.name,
        "environment": run.environment,
        "model": run.model,
        "block": run.block,
        "position": run.position,
        "host": "box",
        "status": "oom" if killed else "ok",
        "reason": "the engine was killed for memory (exit -9)" if killed else None,
        "simulated": True,
        "started_at": datetime(2026, 1, 1, tzinfo=UTC),
        "duration_s": 2.0,
        "docker_command": "docker run" if treatment.in_container else None,
        "effective_state": state_of(treatment.options),
    }
    if run.model in truth.too_large:
        row |= {"status": "unready", "reason": "it does not fit"}
    elif any(getattr(treatment.options, name) is not None and run.block == block for name, block in truth.fails_at):
        row |= {"status": "failed", "reason": "it fell over"}
    elif any(getattr(treatment.options, name) is not None for name in truth.doubtful):
        row |= {"status": "invalid", "reason": "throttled"}
    elif not killed:
        value = float(100 * np.exp(log + drift))
        memory = truth.gain(treatment, of=truth.memory)
        row |= {"output_throughput_tok_s": value, "latency_mean_ms": 1e5 / value}
        row["host_available_drop_peak_gib"] = float(2.0 * np.exp(memory + 0.001 * rng.normal()))
    return row


def state_of(options: DockerOptions) -> str:
    """Another umask for other flags, but for those that change nothing."""
    told = {name: value for name, value in signature(options).items() if name not in NO_OPS}
    return f'{{"umask": {sum(map(ord, repr(sorted(told.items()))))}}}'


def context_in(folder: Path, *, runs: int = 4, trials: int = 6, **asked: Any) -> OptimizationContext:
    (folder / "space.yaml").write_text(SPACE)
    return optimization_context(
        options_in(folder, runs=runs), OptimizationRequest(trials=trials, **asked), measuring=False
    )


def context_of_two(folder: Path, *, runs: int = 2, trials: int = 4) -> OptimizationContext:
    """The same over two models."""
    (folder / "space.yaml").write_text(SPACE)
    options = options_in(folder, runs=runs, models="SmolLM2-135M,Qwen2-1.5B")
    return optimization_context(options, OptimizationRequest(trials=trials), measuring=False)


def options_in(folder: Path, **changes: Any) -> Options:
    return Options(
        site="cpu",
        experiment="local-optimize",
        settings=(f"site.space={folder / 'space.yaml'}", "engine.name=double"),
        results_dir=folder / "results",
        yes=True,
        **changes,
    )


def pretending(folder: Path, stack: ExitStack, truth: Truth, *, lives: int | None = None) -> Pretending:
    out = Console(file=StringIO(), width=110)
    return Pretending(options_in(folder), Terminal(out), stack, truth=truth, lives=lives)


def row(**changes: Any) -> dict[str, Any]:
    known = {"run_id": "r", "attempt": 1, "status": "ok", "reason": None, "host": "box"}
    return {
        **dict.fromkeys(BY_NAME),
        **known,
        "docker_command": "docker run",
        "effective_state": "{}",
        "output_throughput_tok_s": 100.0,
        **changes,
    }
