"""A/A pairs of successive runs: disjoint, on one machine, pooled over datasets of one load; and their false positives."""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import Ended
from calibration_runs import dataset, row, steady

from sparkray.analysis.successive import successive_runs
from sparkray.errors import DatasetError
from sparkray.records import Outcome
from sparkray.stats.between import LogSample, log_sample, pooled
from sparkray.stats.calibration import HEADLINE_PAIRS, Trial, trials

SPEED = "output_throughput_tok_s"
PUBLISHED = Path(__file__).parents[2] / "results" / "h200-vllm-docker"
LOAD = {"requests": 8, "input_tokens": 128}
Call = Callable[..., Ended]


def occasion(results: Path, values: list[float], name: str, *, load: dict[str, int] = LOAD, seed: int = 0) -> Path:
    made = dataset(results, values, name, weights_digest="sha256:1")
    experiment = {"name": name, "runs": 3, "primary_metrics": [SPEED], "margins": {SPEED: 0.01}, "workload": load}
    (made.path / "experiment.json").write_text(json.dumps({"experiment": {**experiment, "seed": seed}}))
    return made.path


def of_speed(*paths: Path, **asked: Any) -> dict[str, Any]:
    metrics: dict[str, Any] = successive_runs(paths, **asked)["metrics"]
    return dict(metrics[SPEED])


def logs(values: list[float]) -> list[float]:
    return [math.log(b / a) for a, b in zip(values[::2], values[1::2], strict=False)]


def test_successive_runs_make_pairs_that_share_no_run(tmp_path: Path) -> None:
    found = of_speed(occasion(tmp_path, [100, 102, 101, 99, 104, 104.5, 90], "a"))
    [only] = found["datasets"]
    assert (only["runs"], only["n"], found["pooled"]) == (7, 3, None)
    assert only["ratios"] == pytest.approx([1.02, 99 / 101, 104.5 / 104])
    assert math.log(only["ratio"]) == pytest.approx(np.mean(logs([100, 102, 101, 99, 104, 104.5])))
    assert only["low"] < 1 < only["high"]
    assert not only["excludes_one"]


def test_datasets_of_one_load_are_pooled_as_overheads_are(tmp_path: Path) -> None:
    values = [steady(count, seed=seed) for count, seed in ((6, 1), (8, 2), (5, 3))]
    paths = [occasion(tmp_path, some, f"o{place}") for place, some in enumerate(values)]
    found = of_speed(*paths)
    samples = [log_sample([math.exp(one) for one in logs(some[: len(some) // 2 * 2])]) for some in values]
    expected = pooled(*(one for one in samples if isinstance(one, LogSample)))
    assert isinstance(expected, tuple)
    assert found["pooled"]["n"] == 3 + 4 + 2
    assert (found["pooled"]["ratio"], found["pooled"]["low"]) == pytest.approx((expected[0].ratio, expected[0].ci95[0]))


def test_false_positives_are_those_of_the_calibration_over_all_datasets(tmp_path: Path) -> None:
    values = [steady(12, seed=1), steady(7, seed=2), steady(5, seed=3)]
    paths = [occasion(tmp_path, some, f"o{place}", seed=place) for place, some in enumerate(values)]
    rate = of_speed(*paths)["false_positives"]
    made = [trials(some, seed=place, sizes=(HEADLINE_PAIRS,)) for place, some in enumerate(values[:2])]
    expected = [one[0].paired for one in made if isinstance(one, tuple) and isinstance(one[0], Trial)]
    assert [one["experiments"] for one in of_speed(*paths)["datasets"]] == [2, 1, 0]
    assert (rate["experiments"], rate["rejections"]) == (3, sum(one.rejections for one in expected))
    assert rate["low"] <= 0.05
    assert rate["high"] > 0.5, "three experiments exclude little"


def test_a_dataset_of_one_pair_stays_out_of_the_pooled(call: Call, tmp_path: Path) -> None:
    """As the last occasion of the published study: the others are pooled as if it were not there."""
    several = [occasion(tmp_path, steady(count, seed=count), name) for count, name in ((6, "a"), (8, "b"))]
    single = occasion(tmp_path, [100.0, 104.0], "single")
    found, without = of_speed(*several, single)["pooled"], of_speed(*several)["pooled"]
    assert found == without | {"without": ["single"]}
    assert without["without"] == []
    assert "Pooled without single: too few pairs for a variance." in call(*map(str, several), str(single)).out


def test_another_load_is_not_pooled(call: Call, tmp_path: Path) -> None:
    paths = [
        occasion(tmp_path, steady(6, seed=1), "a"),
        occasion(tmp_path, steady(6, seed=2), "b", load={**LOAD, "requests": 9}),
    ]
    assert not successive_runs(paths)["one_load"]
    ended = call(*map(str, paths))
    assert "Not pooled: the datasets are not known to be of one load" in ended.out
    assert "pooled   " not in ended.out


def test_runs_of_two_machines_make_no_pair(tmp_path: Path) -> None:
    path = occasion(tmp_path, [], "a")
    made = dataset(tmp_path, [], "a")
    for index, (host, value) in enumerate([("x", 100), ("y", 50), ("x", 101), ("y", 51), ("y", 49)]):
        made.write(Outcome(row(index, float(value), host=host)))
    assert of_speed(path)["datasets"][0]["ratios"] == pytest.approx([1.01, 1.02])


def test_the_arm_is_the_reference_or_the_named_one(tmp_path: Path) -> None:
    path = occasion(tmp_path, [100.0, 101.0, 100.5, 100.2], "a")
    made = dataset(tmp_path, [], "a")
    for index in range(10, 16):
        made.write(Outcome(row(index, 90.0 + index, environment="container_baseline")))
    found = successive_runs([path])
    assert (found["environment"], found["metrics"][SPEED]["datasets"][0]["runs"]) == ("native", 4)
    assert found["metrics"][SPEED]["datasets"][0]["every"] == pytest.approx(2.5)
    assert of_speed(path, environment="container_baseline")["datasets"][0]["n"] == 3
    with pytest.raises(DatasetError, match="no ok run of any model in host"):
        successive_runs([path], environment="host")


def test_what_has_no_pairs_says_so(call: Call, tmp_path: Path) -> None:
    paths = [occasion(tmp_path, steady(6), "a"), occasion(tmp_path, [100.0, 101.0, 102.0], "b")]
    found = of_speed(*paths)
    assert found["datasets"][1]["not_estimable"].startswith("few_pairs")
    assert found["pooled"]["not_estimable"].endswith("where=b")
    assert re.search(r"^pooled +6 +- +", call(*map(str, paths)).out, re.MULTILINE)
    ended = call(str(paths[1]))
    assert (ended.status, "False positives: not known." in ended.out) == (1, True)


@pytest.fixture
def call(command_line: Call, tmp_path: Path) -> Call:
    def calibrate(*words: str) -> Ended:
        return command_line("calibrate", *words, XDG_CACHE_HOME=str(tmp_path / "cache"))

    return calibrate


def test_a_drift_fails_as_in_a_calibration(call: Call, tmp_path: Path) -> None:
    steep = [100 * 1.002**k * (1 + 1e-9 * (k % 3)) for k in range(150)]
    path = occasion(tmp_path, steep, "a")
    ended = call(str(path))
    assert ended.status == 1
    assert "FAILED: False positives of the paired design: " in ended.out
    assert sorted(one.name for one in path.glob("*.json")) == ["dataset.json", "experiment.json"], "nothing is stored"


def test_a_dataset_counts_once(call: Call, tmp_path: Path) -> None:
    path = occasion(tmp_path, steady(6), "a")
    ended = call(str(path), str(path))
    assert (ended.status, "is named twice" in ended.err) == (2, True)


def test_the_published_occasions_have_twelve_pairs(call: Call) -> None:
    paths = [str(PUBLISHED / f"occasion-{number}") for number in (1, 2, 3, 4, 5)]
    ended = call(*paths)
    lines = [" ".join(line.split()) for line in ended.out.splitlines()]
    assert ended.status == 0, ended.err
    assert "occasion-1 6 3 +0.25 % (-0.61 to +1.12 %) +0.64 %, -0.04 %, +0.16 %" in lines
    assert "pooled 23 11 +0.28 % (-0.55 to +1.12 %)" in lines
    [rate] = [line for line in lines if line.startswith("False positives")]
    assert "1 of 3 experiments (95 % CI 0.8 to 90.6 %) of 3 pairs" in rate
    assert rate.endswith("No rate from 0.8 to 90.6 % is excluded. Too few runs for one: occasion-2 and occasion-5.")
    assert lines[-1].startswith("Runs of other environments lie between (2 or 3 runs for each of these)")
    assert json.loads(call("--json", *paths).out)["metrics"]["latency_mean_ms"]["pooled"]["n"] == 11
