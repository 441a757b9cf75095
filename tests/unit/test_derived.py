"""Tables that a report derives: rules on rows that were made by hand, so that each rule can be seen to act."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from builders import row as row_of

from sparkray.analysis import Analysis
from sparkray.analysis.derived.costs import costs
from sparkray.analysis.derived.fit import fit, memory_gib
from sparkray.analysis.derived.flags import flags
from sparkray.analysis.derived.load import load, size_of
from sparkray.analysis.derived.memory_split import memory_split
from sparkray.analysis.frames import open_frames
from sparkray.analysis.schema import TABLES, polars_types
from sparkray.config.docker import DockerOptions
from sparkray.config.docker_columns import column_values
from sparkray.records import Outcome
from sparkray.store import open_dataset

THROUGHPUT, LATENCY, MEMORY = "output_throughput_tok_s", "latency_mean_ms", "host_available_drop_peak_gib"


def analysis(context: Mapping[str, Any] | None = None, **rows: list[dict[str, Any]]) -> Analysis:
    """An analysis with these rows, what they lack null."""
    tables = {
        name: pl.DataFrame([dict.fromkeys(types) | row for row in rows.get(name, [])], schema=types)
        for name, types in ((name, polars_types(table)) for name, table in TABLES.items())
    }
    return Analysis(Path("nowhere"), tables, context or {})


def compared(metric: str, verdict: str | None, ratio: float = 1.0, **more: Any) -> dict[str, Any]:
    return {
        "model": "A",
        "level": "",
        "environment": "container_baseline",
        "against": "native",
        "metric": metric,
        "primary": True,
        "verdict": verdict,
        "ratio": ratio,
        "trace": f"comparisons/A//container_baseline/{metric}",
        **more,
    }


def described(environment: str, metric: str, mean: float) -> dict[str, Any]:
    return {"model": "A", "level": "", "environment": environment, "metric": metric, "mean": mean}


def remembered(**parts: float) -> list[dict[str, Any]]:
    where = {"model": "A", "level": "", "environment": "native"}
    return [{**where, "part": part, "mean": mean, "n": 3} for part, mean in parts.items()]


MEASURED = {"host_available_drop_peak_gib": 20.0, "host_free_drop_peak_gib": 23.5, "process_pss_peak_gib": 3.0}


def test_memory_is_split_into_what_is_known_and_what_is_left() -> None:
    context = {"site": "dgx-spark"}
    frame = memory_split(analysis(context, memory=remembered(**MEASURED, gpu_process_peak_gib=15.5)))
    assert frame.select("part", "begin_gib", "value_gib").rows() == [
        ("gpu_process_peak_gib", 0.0, 15.5),
        ("process_pss_peak_gib", 15.5, 3.0),
        ("unexplained", 18.5, 1.5),
        ("host_available_drop_peak_gib", 0.0, 20.0),
        ("page_cache", 20.0, 3.5),
        ("host_free_drop_peak_gib", 0.0, 23.5),
    ]
    assert frame["trace"].n_unique() == 6


def test_memory_of_a_gpu_of_its_own_is_no_part_of_what_the_host_lacks() -> None:
    frame = memory_split(analysis({"site": "discrete-gpu"}, memory=remembered(**MEASURED, gpu_process_peak_gib=70.0)))
    assert frame["part"].to_list()[:2] == ["process_pss_peak_gib", "unexplained"]
    assert frame["value_gib"].to_list()[:2] == [3.0, 17.0]
    assert memory_split(analysis({}, memory=remembered(process_pss_peak_gib=3.0))).is_empty()


def test_tokens_a_day_and_energy() -> None:
    made = analysis(
        comparisons=[compared(THROUGHPUT, "different", 0.99, low=0.98, high=1.0)],
        descriptive=[
            described("native", THROUGHPUT, 100.0),
            described("container_baseline", THROUGHPUT, 99.0),
            described("native", "power_mean_w", 72.0),
        ],
    )
    (row,) = costs(made).iter_rows(named=True)
    assert (row["tokens_day"], row["tokens_day_low"], row["tokens_day_high"]) == pytest.approx((-86_400, -172_800, 0))
    assert row["reference_kwh_per_million"] == pytest.approx(72 / 100 * 1e6 / 3.6e6)
    assert row["kwh_per_million"] is None
    assert row["power_checked"] == "not checked"


@pytest.mark.parametrize(
    ("valid", "said"),
    [
        ((True, True), "agrees in 2 runs"),
        ((True, False), "disagrees with the counter in 1 of 2 runs"),
        ((True, None), "agrees in 1 runs"),
        ((None, None), "not checked"),
    ],
)
def test_energy_says_whether_its_power_can_be_believed(
    tmp_path: Path, valid: tuple[bool | None, ...], said: str
) -> None:
    dataset = open_dataset(tmp_path, "question", "0" * 64)
    for environment, power_valid in zip(("native", "container_baseline"), valid, strict=True):
        values = {
            "model": "A",
            "level": "",
            "environment": environment,
            "power_valid": power_valid,
            "power_mean_w": 50.0,
        }
        dataset.write(Outcome(row_of(environment.ljust(16, "x"), **values)))
    made = analysis(comparisons=[compared(THROUGHPUT, "different", 0.99, low=0.98, high=1.0)])
    (found,) = costs(replace(made, frames=open_frames(dataset.path))).iter_rows(named=True)
    assert found["power_checked"] == said


@pytest.mark.parametrize(
    ("verdict", "ratio", "advice"),
    [
        ("equivalent", 0.995, "no_difference"),
        ("different", 0.95, "loss"),
        ("different", 1.05, "gain"),
        ("undecided", 0.99, "undecided"),
        (None, 0.99, "undecided"),
    ],
)
def test_what_a_cost_comes_to(verdict: str | None, ratio: float, advice: str) -> None:
    made = analysis(comparisons=[compared(THROUGHPUT, verdict, ratio, low=ratio - 0.01, high=ratio + 0.01)])
    assert costs(made)["advice"].to_list() == [advice]


def loaded(**speeds: float) -> list[dict[str, Any]]:
    levels = {name.replace("_", "="): value for name, value in speeds.items()}
    return [{**described("native", THROUGHPUT, value), "level": level} for level, value in levels.items()]


@pytest.mark.parametrize(
    ("speeds", "level", "left"),
    [
        ({"concurrency_1": 10.0, "concurrency_8": 70.0, "concurrency_16": 70.5}, "concurrency=8", 0.714),
        ({"concurrency_16": 120.0, "concurrency_2": 20.0, "concurrency_8": 70.0}, "concurrency=16", 0.0),
        ({"concurrency_1": 10.0, "concurrency_8": 9.0}, "concurrency=1", 0.0),
        ({"concurrency_1": 10.0, "concurrency_8": 10.05, "concurrency_16": 30.0}, "concurrency=16", 0.0),
    ],
    ids=["flattens", "grows on", "falls", "flat, then grows"],
)
def test_the_smallest_load_beyond_which_throughput_grows_no_more(
    speeds: dict[str, float], level: str, left: float
) -> None:
    frame = load(analysis({"margins": {THROUGHPUT: 0.01}}, descriptive=loaded(**speeds)))
    [row] = frame.to_dicts()
    assert (row["level"], row["left_pct"]) == (level, pytest.approx(left, abs=1e-3))
    largest = max(speeds, key=lambda name: int(name.partition("_")[2]))
    assert row["at_largest"] == (level == largest.replace("_", "="))


def test_without_levels_or_a_margin_no_load_is_advised() -> None:
    assert load(
        analysis({"margins": {THROUGHPUT: 0.01}}, descriptive=[described("native", THROUGHPUT, 1.0)])
    ).is_empty()
    assert load(analysis({}, descriptive=loaded(concurrency_1=1.0, concurrency_2=2.0))).is_empty()
    assert size_of("concurrency=16 batch=8") < size_of("concurrency=16 batch=16") < size_of("concurrency=32")


def test_which_models_fit_a_spark() -> None:
    context = {"machines": [{"memory_gib": 119.6}], "models": ["Qwen2.5-72B"], "workload": {"input_tokens": 512}}
    rows = {row["model"]: row for row in fit(analysis(context)).iter_rows(named=True)}
    assert len(rows) == 10
    dense = rows["Qwen2.5-72B"]
    assert dense["measured"]
    assert not dense["fits"]  # 135 GiB of BF16 weights
    assert dense["weights_gib"] == pytest.approx(dense["params_b"] * 1e9 * 2 / 2**30)
    assert dense["bits"] == 8
    assert dense["most_sequences"] == 0
    assert rows["Qwen2-1.5B"]["bits"] == 16
    assert rows["GPT-OSS-120B"]["fits"]
    assert rows["GPT-OSS-120B"]["needed_8_gib"] > 119.6 > rows["GPT-OSS-120B"]["needed_4_gib"]
    params = [row["params_b"] for row in rows.values()]
    assert params == sorted(params)


def test_the_memory_is_the_machines_then_the_sites() -> None:
    assert memory_gib({"machines": [{"memory_gib": 121.7}, {"memory_gib": 119.6}], "site": "dgx-spark"}) == 119.6
    assert memory_gib({"machines": [], "site": "dgx-spark"}) == 119.6
    assert memory_gib({"site": "nowhere"}) is None
    assert fit(analysis({"site": "nowhere"})).is_empty()


def test_gpus_with_memory_of_their_own_bound_a_model_and_the_host_does_not() -> None:
    h100 = {"memory_gib": 2015.0, "gpus": ["NVIDIA H100 80GB HBM3"], "gpu_memory_gib": [79.65]}
    context = {"machines": [h100], "site": "discrete-gpu", "models": ["Qwen2.5-72B"]}
    assert memory_gib(context) == 79.65
    rows = {row["model"]: row for row in fit(analysis(context)).iter_rows(named=True)}
    assert not rows["Qwen2.5-72B"]["fits"]
    assert rows["Qwen2.5-72B"]["memory_of"] == "gpus"
    two = {**h100, "gpus": h100["gpus"] * 2, "gpu_memory_gib": [79.65, 79.65]}
    assert memory_gib({**context, "machines": [two]}) == pytest.approx(159.3)
    assert memory_gib({**context, "site": "nowhere"}) == 79.65
    assert memory_gib({**context, "site": "cpu"}) == 2015.0  # llama.cpp on that machine's CPU


def test_where_no_machine_told_its_gpus_memory_nothing_is_said_of_what_fits() -> None:
    older = {"memory_gib": 2015.0, "gpus": ["NVIDIA H100 80GB HBM3"]}
    context = {"machines": [older], "site": "discrete-gpu"}
    assert memory_gib(context) is None
    assert fit(analysis(context)).is_empty()


def test_a_double_has_the_memory_of_what_it_stands_for() -> None:
    assert memory_gib({"machines": [{"memory_gib": 8.0}], "site": "dgx-spark-double"}) == 119.6


OPTIONS = DockerOptions(
    gpus="all",
    ipc="host",
    shm_size="32g",
    ulimit_memlock=-1,
    cpuset_cpus="5-9,15-19",
    privileged=True,
    cap_add=("CAP_SYS_NICE",),
)


def test_flags_tell_their_price_and_whether_they_act() -> None:
    context = {"docker_options": {"container_optimized": column_values(OPTIONS)}}
    rows = {row["option"]: row for row in flags(analysis(context)).to_dicts()}
    assert rows["privileged"]["security"] == "dangerous"
    assert rows["cpuset_cpus"]["security"] == "none"
    assert "cannot act under --ipc=host" in rows["shm_size"]["cannot_act"]
    assert rows["gpus"]["cannot_act"] is None
    assert rows["ulimit_memlock"]["flag"] == "--ulimit=memlock=-1"
