"""The benchmark of the search, small: that the simulated machines are what they say, and that the search pays."""

import importlib.util
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

_PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "search_efficiency.py"


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("search_efficiency", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(_PATH.parent))
    spec.loader.exec_module(module)
    return module


def test_the_best_is_best_and_the_baseline_is_not(benchmark: ModuleType) -> None:
    feasible_space, rng = benchmark.make_feasible_space(), np.random.default_rng(1)
    for _ in range(5):
        machine = benchmark.draw(rng, 0.003)
        best = benchmark.best_truth(feasible_space, machine)
        tried = [feasible_space.choose(lambda _, labels: str(rng.choice(labels))) for _ in range(300)]
        truths = [value for choices in tried if (value := machine.truth(choices)) is not None]
        assert max(truths) <= best + 1e-12
        assert benchmark.loss(feasible_space, machine, {}, best) > 0.01
        forbidden = next(iter(machine.fails))
        assert benchmark.loss(feasible_space, machine, dict([forbidden]), best) == 1.0


@pytest.mark.slow
def test_every_run_is_counted_and_a_block_has_one_baseline(benchmark: ModuleType) -> None:
    feasible_space = benchmark.make_feasible_space()
    bench = benchmark.Bench(benchmark.null(0.01), np.random.default_rng(1))
    benchmark.ofat(feasible_space, bench)
    full, third = benchmark.budget_of(feasible_space, 1 / 3)
    assert bench.runs == full
    for strategy in ("ours", "random"):
        small = benchmark.Bench(benchmark.null(0.01), np.random.default_rng(1))
        benchmark.STRATEGIES[strategy](feasible_space, small, runs=third, seed=1)
        assert 0.8 * third < small.runs <= third


def test_the_runs_of_the_screen_are_reported_beside_those_of_the_search(
    benchmark: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    feasible_space = benchmark.make_feasible_space()
    alone = [choices for choices in benchmark.levels_alone(feasible_space).values() if len(choices) == 1]
    assert benchmark.screen_runs(feasible_space) == 10 * (len(alone) + 2)
    assert benchmark.show_losses([], benchmark.Asked()) == []
    assert f"before it searches: {10 * (len(alone) + 2)} more" in capsys.readouterr().out


def test_a_machine_that_drifts_moves_runs_apart_the_more_the_longer(benchmark: ModuleType) -> None:
    def spread(drift: float, size: int) -> float:
        rng = np.random.default_rng(1)
        bench = benchmark.Bench(benchmark.null(0.01), rng, drift=drift)
        logs = [bench.block([{}] * size) for _ in range(300)]
        return float(np.std([block[1] - block[0] for block in logs]))

    assert spread(0.0, 8) == pytest.approx(0.01 * math.sqrt(2), rel=0.1)
    assert spread(1.0, 8) > 1.3 * spread(0.0, 8)
    assert spread(1.0, 20) > 1.2 * spread(1.0, 2)


@pytest.mark.slow
def test_a_third_of_the_runs_is_enough_where_noise_is_small(benchmark: ModuleType) -> None:
    ours = benchmark.measured("ours", 0.003, benchmark.Asked(repetitions=8))
    tpe = benchmark.measured("tpe", 0.003, benchmark.Asked(repetitions=8))
    assert ours.within >= 0.75
    assert np.mean(ours.losses) < np.mean(tpe.losses)


@pytest.mark.slow
def test_noise_is_not_crowned(benchmark: ModuleType) -> None:
    assert benchmark.false_winners(0.1, benchmark.Asked(repetitions=6)) == [0.0, 0.0]


@pytest.mark.slow
def test_a_real_gain_is_confirmed(benchmark: ModuleType) -> None:
    """Else never crowning anything would pass the test above."""
    feasible_space = benchmark.make_feasible_space()
    machine = replace(benchmark.null(0.01), effects={("init", "yes"): 0.05})
    bench = benchmark.Bench(machine, np.random.default_rng(1))
    found = benchmark.found_by(feasible_space, bench, runs=60, seed=1)
    assert benchmark.crowned(bench, feasible_space, found, screened=True, blocks=12)
