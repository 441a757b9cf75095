"""A driver of a simulated search, for tests that kill it: `python search_driver.py STORAGE TRIALS LOG SECONDS`.

Each run takes so many seconds and appends one line to LOG as it ends; its value is fixed by its choices and its block.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from sparkray.config.docker import DockerOptions
from sparkray.config.feasible_levels import judge
from sparkray.config.space import Factor, HostFacts, Space
from sparkray.optimize.search import Batch, FeasibleSpace, Result, Settings, Trial, feasible_space, search

SPACE = Space(
    "small",
    "small",
    (
        Factor("ipc", {"private": {"ipc": "private"}}, "w"),
        Factor("shm_size", {"8g": {"shm_size": "8g"}, "32g": {"shm_size": "32g"}}, "w", needs={"ipc": ("private",)}),
        Factor("cpuset", {"fast": {"cpuset_cpus": "5-9"}, "one": {"cpuset_cpus": "0"}}, "w"),
        Factor("seccomp", {"off": {"security_opt": ["seccomp=unconfined"]}}, "w"),
        Factor("init", {"yes": {"init": True}}, "w"),
        Factor("pid", {"host": {"pid": "host"}}, "w"),
    ),
)
BASELINE = DockerOptions(ipc="host", ulimit_memlock=-1)
EFFECTS = {("cpuset", "fast"): 0.04, ("cpuset", "one"): -0.7, ("seccomp", "off"): 0.02, ("shm_size", "32g"): 0.01}


def small_feasible_space(barred: Sequence[str] = (), baseline: DockerOptions = BASELINE) -> FeasibleSpace:
    verdicts = judge(SPACE, baseline, workload="offline", host=HostFacts(cpus="0-19"))
    return feasible_space(SPACE, baseline, verdicts, barred=barred)


def truth(trial: Trial) -> float:
    return sum(EFFECTS.get(choice, 0.0) for choice in trial.choices.items())


def answer(trial: Trial, model: str, block: int, sd: float = 0.005) -> Result:
    noise = Random(f"{trial.environment} {model} {block}").gauss(0.0, sd)
    base = Random(f"baseline {model} {block}").gauss(0.0, sd)
    return Result(
        truth(trial) + noise - base,
        run_id=f"{trial.environment} {model} {block}",
        attempt=1,
        baseline_id=f"baseline {model} {block}",
        baseline_attempt=1,
        docker_command=f"docker run {trial.environment}",
        effective_state="{}",
        metrics={"output_throughput_tok_s": 100.0},
    )


def answers(batch: Batch) -> list[Result]:
    if batch.over:
        return [Result(None, answered=False) for _ in batch.trials]
    return [answer(trial, batch.model, batch.block) for trial in batch.trials]


def settings_for(storage: str, trials: int, **changes: object) -> Settings:
    return Settings("small", storage, trials, ("model",), seed=1, **changes)  # type: ignore[arg-type]


class Machine:
    """Runs that take time and are remembered in a file, so that a driver that comes after a kill finds them."""

    def __init__(self, log: Path, seconds: float) -> None:
        self.log, self.seconds = log, seconds

    def made(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []

    def submit(self, batch: Batch) -> list[Result]:
        named = [f"{trial.environment} {batch.model} {batch.block}" for trial in batch.trials]
        for run in [f"baseline {batch.model} {batch.block}", *named]:
            if run not in self.made() and not batch.over:
                time.sleep(self.seconds)
                with self.log.open("a") as file:
                    file.write(f"{run}\n")
        made = self.made()
        there = f"baseline {batch.model} {batch.block}" in made
        return [
            answer(trial, batch.model, batch.block) if there and run in made else Result(None, answered=False)
            for trial, run in zip(batch.trials, named, strict=True)
        ]


def main(storage: str, trials: str, log: str, seconds: str) -> None:
    settings = settings_for(storage, int(trials), noise={"model": 0.007}, finalists=2, per_block=3)
    search(small_feasible_space(), Machine(Path(log), float(seconds)).submit, settings=settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
