"""Tables that a report derives: rules on rows that were made by hand, so that each rule can be seen to act."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from builders import row as row_of

from sparkray.analysis import Analysis
from sparkray.analysis.frames import open_frames
from sparkray.analysis.schema import TABLES
from sparkray.records import Outcome
from sparkray.report.derived.costs import costs
from sparkray.report.derived.decisions import decisions
from sparkray.report.derived.fit import fit, memory_gib
from sparkray.report.derived.flags import flags, options_of_line
from sparkray.spec.docker import DockerOptions
from sparkray.store import open_dataset

THROUGHPUT, LATENCY, MEMORY = "output_throughput_tok_s", "latency_mean_ms", "host_available_drop_peak_gib"


def analysis(context: Mapping[str, Any] | None = None, **rows: list[dict[str, Any]]) -> Analysis:
    """An analysis with these rows, what they lack null."""
    tables = {
        name: pl.DataFrame([dict.fromkeys(table.schema) | row for row in rows.get(name, [])], schema=table.schema)
        for name, table in TABLES.items()
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


@pytest.mark.parametrize(
    ("rows", "advice"),
    [
        ([compared(THROUGHPUT, "equivalent"), compared(MEMORY, "equivalent")], "container"),
        ([compared(THROUGHPUT, "different", 0.95), compared(MEMORY, "equivalent")], "native, where speed counts"),
        ([compared(LATENCY, "different", 1.05)], "native, where speed counts"),
        ([compared(LATENCY, "different", 0.95)], "container"),
        ([compared(THROUGHPUT, "different", 1.05)], "container"),
        ([compared(THROUGHPUT, "undecided"), compared(MEMORY, "different", 1.2)], "open"),
        ([compared(THROUGHPUT, None), compared(MEMORY, "equivalent")], "open"),
        (
            [compared(THROUGHPUT, "equivalent"), compared(MEMORY, "different", 1.2)],
            "container, if there is memory to spare",
        ),
        ([compared(THROUGHPUT, "equivalent"), compared(MEMORY, "undecided")], "container, memory open"),
        ([compared(THROUGHPUT, "equivalent"), compared(MEMORY, "different", 0.8)], "container"),
        ([compared(MEMORY, "equivalent")], "open"),
    ],
)
def test_native_or_container(rows: list[dict[str, Any]], advice: str) -> None:
    assert decisions(analysis(comparisons=rows))["advice"].to_list() == [advice]


def test_the_extra_memory_is_the_difference_of_the_means() -> None:
    made = analysis(
        comparisons=[compared(THROUGHPUT, "equivalent"), compared(MEMORY, "different", 1.2)],
        descriptive=[described("native", MEMORY, 70.0), described("container_baseline", MEMORY, 84.5)],
    )
    assert decisions(made)["extra_gib"].to_list() == [pytest.approx(14.5)]


def test_metrics_that_are_not_primary_decide_nothing() -> None:
    assert decisions(analysis(comparisons=[compared(THROUGHPUT, "different", 0.5, primary=False)])).is_empty()


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
        values = {"model": "A", "level": "", "environment": environment, "power_valid": power_valid}
        dataset.write(Outcome(row_of(environment.ljust(16, "x"), **values)))
    made = analysis(comparisons=[compared(THROUGHPUT, "different", 0.99, low=0.98, high=1.0)])
    (found,) = costs(replace(made, frames=open_frames(dataset.path))).iter_rows(named=True)
    assert found["power_checked"] == said


def test_which_models_fit_a_spark() -> None:
    context = {"machines": [{"memory_gib": 119.6}], "models": ["Qwen2.5-72B"], "workload": {"input_tokens": 512}}
    rows = {row["model"]: row for row in fit(analysis(context)).iter_rows(named=True)}
    assert len(rows) == 10
    dense = rows["Qwen2.5-72B"]
    assert dense["measured"]
    assert not dense["fits"]  # 135 GiB of BF16 weights
    assert dense["weights_gib"] == pytest.approx(dense["params_b"] * 1e9 * 2 / 2**30)
    assert dense["advice"] == "necessary: 8-bit weights or fewer"
    assert dense["most_sequences"] == 0
    assert rows["Qwen2-1.5B"]["advice"] == "quantisation is not necessary"
    assert rows["GPT-OSS-120B"]["fits"]
    assert rows["GPT-OSS-120B"]["needed_8_gib"] > 119.6 > rows["GPT-OSS-120B"]["needed_4_gib"]
    params = [row["params_b"] for row in rows.values()]
    assert params == sorted(params)


def test_the_memory_is_the_machines_then_the_sites() -> None:
    assert memory_gib({"machines": [{"memory_gib": 121.7}, {"memory_gib": 119.6}], "site": "dgx-spark"}) == 119.6
    assert memory_gib({"machines": [], "site": "dgx-spark"}) == 119.6
    assert memory_gib({"site": "nowhere"}) is None
    assert fit(analysis({"site": "nowhere"})).is_empty()


LINE = (
    "docker run --rm --name=x --gpus=all --ipc=host --shm-size=32g --ulimit=memlock=-1 --ulimit=stack=67108864 "
    "--cpuset-cpus=5-9,15-19 --privileged --cap-add=CAP_SYS_NICE --env=A=1 --volume=/a:/b:ro --entrypoint= image:1.0 x --y=1"
)


def test_options_are_read_back_from_a_printed_line() -> None:
    assert options_of_line(LINE) == DockerOptions(
        gpus="all",
        ipc="host",
        shm_size="32g",
        ulimit_memlock=-1,
        ulimit_stack=67108864,
        cpuset_cpus="5-9,15-19",
        privileged=True,
        cap_add=("CAP_SYS_NICE",),
    )


def test_flags_tell_their_price_and_whether_they_act() -> None:
    rows = {
        row["option"]: row for row in flags(analysis({"docker_commands": {"container_optimized": LINE}})).to_dicts()
    }
    assert rows["privileged"]["security"] == "dangerous"
    assert rows["cpuset_cpus"]["security"] == "none"
    assert "cannot act under --ipc=host" in rows["shm_size"]["cannot_act"]
    assert rows["gpus"]["cannot_act"] is None
    assert rows["ulimit_memlock"]["flag"] == "--ulimit=memlock=-1"
