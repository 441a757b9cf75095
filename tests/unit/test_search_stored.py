"""What lies in the storage of a search, as optuna-dashboard reads it, is what was told: values, steps, attributes."""

import math
from pathlib import Path
from statistics import fmean

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState

from sparkray.search import Found, Instance, Result, Settings, Trial, ground, search
from sparkray.spec.docker import DockerOptions
from sparkray.spec.offer import judge
from sparkray.spec.space import Factor, HostFacts, Space

SPACE = Space(
    "two",
    "two factors",
    (
        Factor("init", {"yes": {"init": True}}, "nothing"),
        Factor("cpus", {"1": {"cpus": 1.0}, "0.5": {"cpus": 0.5}}, "harm"),
    ),
)
GAINS = {("init", "yes"): 0.011, ("cpus", "1"): -0.21, ("cpus", "0.5"): -0.43}
INSTANCES = tuple(Instance("Alpha", block) for block in range(4))


class Bench:
    """Answers as a machine would, and remembers what it said."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], Result] = {}

    def submit(self, trial: Trial, instance: Instance) -> Result:
        """Gains of the levels, and a little that differs by block."""
        gain = sum(GAINS.get(choice, 0.0) for choice in trial.choices.items()) + 0.001 * instance.block
        made = Result(
            gain,
            constraints={"memory_over_limit_gib": -0.5},
            run_ids=(f"{trial.environment}-{instance.block}", f"base-{instance.block}"),
            docker_command=f"docker run {trial.environment}",
            effective_state='{"cpus": 1}',
            metrics={"output_throughput_tok_s": 100 * math.exp(gain)},
        )
        self.told[trial.environment, instance.block] = made
        return made


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Found, list[FrozenTrial]]:
    path = tmp_path_factory.mktemp("study") / "optuna.db"
    verdicts = judge(SPACE, DockerOptions(), workload="offline", host=HostFacts(), allow_insecure=False)
    settings = Settings("stored", f"sqlite:///{path}", trials=5, instances=INSTANCES, noise=0.005)
    bench = Bench()
    found = search(ground(SPACE, DockerOptions(), verdicts), bench.submit, settings=settings)
    return bench, found, _read(path)


def _read(path: Path) -> list[FrozenTrial]:
    """By Optuna alone, as any other reader of the file does."""
    return optuna.load_study(study_name="stored", storage=f"sqlite:///{path}").get_trials()


def test_every_answer_lies_in_the_storage_as_it_was_told(
    searched: tuple[Bench, Found, list[FrozenTrial]],
) -> None:
    bench, _, trials = searched
    stored = {}
    for trial in trials:
        for step, facts in trial.user_attrs.get("evaluations", {}).items():
            place = trial.user_attrs["environment"], INSTANCES[int(step)].block
            stored[place] = facts
            assert trial.intermediate_values[int(step)] == facts["log_ratio"]
            assert set(facts["run_ids"]) <= set(trial.user_attrs["runs"])
    assert len(stored) == len(bench.told) >= 5
    for place, result in bench.told.items():
        facts = stored[place]
        assert facts["log_ratio"] == result.log_ratio
        assert facts["metrics"] == result.metrics
        assert tuple(facts["run_ids"]) == result.run_ids
        assert (facts["docker_command"], facts["effective_state"]) == (result.docker_command, result.effective_state)


def test_the_value_of_a_trial_is_the_mean_of_its_log_ratios(
    searched: tuple[Bench, Found, list[FrozenTrial]],
) -> None:
    _, found, trials = searched
    measured = [trial for trial in trials if trial.state == TrialState.COMPLETE and trial.intermediate_values]
    assert measured
    for trial in measured:
        assert trial.value == pytest.approx(fmean(trial.intermediate_values.values()), abs=1e-12)
    for one in found.evaluated:
        mine = [trial for trial in trials if trial.number in one.trials and trial.user_attrs.get("evaluations")]
        if mine and one.mean is not None:
            values = {step: value for trial in mine for step, value in trial.intermediate_values.items()}
            assert one.mean == pytest.approx(fmean(values.values()), abs=1e-12)
            assert mine[-1].user_attrs["docker_command"] == one.docker_command


def test_the_baseline_is_the_first_trial_at_0(searched: tuple[Bench, Found, list[FrozenTrial]]) -> None:
    first = searched[2][0]
    assert (first.value, set(first.params.values())) == (0.0, {"baseline"})
