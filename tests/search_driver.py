"""A driver of a simulated search, for tests that kill it: `python search_driver.py STORAGE TRIALS LOG SECONDS [WORKERS]`.

Each evaluation waits, appends one line to LOG when it begins, and gives a log ratio that its choices and instance fix.
"""

import sys
import time
from pathlib import Path
from random import Random

from sparkray.search import Ground, Instance, Result, Settings, Submit, Trial, ground, search
from sparkray.spec.docker import DockerOptions
from sparkray.spec.offer import judge
from sparkray.spec.space import Factor, HostFacts, Space

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
INSTANCES = tuple(Instance("model", block) for block in range(6))


def small_ground() -> Ground:
    verdicts = judge(SPACE, BASELINE, workload="offline", host=HostFacts(cpus="0-19"))
    return ground(SPACE, BASELINE, verdicts)


def truth(trial: Trial) -> float:
    return sum(EFFECTS.get(choice, 0.0) for choice in trial.choices.items())


def answer(trial: Trial, instance: Instance, sd: float = 0.005) -> Result:
    noise = Random(f"{trial.environment} {instance}").gauss(0.0, sd)
    return Result(
        truth(trial) + noise,
        run_ids=(f"{trial.environment}-{instance.block}",),
        docker_command=f"docker run {trial.environment}",
        effective_state="{}",
        metrics={"output_throughput_tok_s": 100.0},
    )


def settings_for(storage: str, trials: int, **changes: object) -> Settings:
    return Settings("small", storage, trials, INSTANCES, seed=1, **changes)  # type: ignore[arg-type]


def submit_with(log: Path, seconds: float) -> Submit:
    def submit(trial: Trial, instance: Instance) -> Result:
        with log.open("a") as file:
            file.write(f"{trial.environment} {instance.block}\n")
        time.sleep(seconds)
        return answer(trial, instance)

    return submit


def main(storage: str, trials: str, log: str, seconds: str, workers: str = "1") -> None:
    settings = settings_for(storage, int(trials), workers=int(workers), noise=0.007, finalists=2)
    search(small_ground(), submit_with(Path(log), float(seconds)), settings=settings)


if __name__ == "__main__":
    main(*sys.argv[1:])
