"""Metrics against values worked out by hand; no data is None."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import MS, S, request, run_data
from hypothesis import given
from hypothesis import strategies as st

from sparkray.config.docker_columns import DOCKER_COLUMNS
from sparkray.errors import ConfigError
from sparkray.metrics import BY_NAME, COMPUTE, RECORDED, Metrics, RunData, compute_all, counted
from sparkray.schema import FOLDER, Table
from sparkray.store.tables import TABLES
from sparkray.units import GIB

UNITS = ("_tok_s", "_req_s", "_ms", "_gib", "_pct", "_w", "_j", "_c", "_mhz", "_s")
TWO = run_data(
    request(0, output_tokens=5),
    request(1, output_tokens=9, submit_ns=500 * MS, first_token_ns=560 * MS, end_ns=2000 * MS),
)
# first submission 0, last end 2 s; 14 tokens; latencies 100 and 1500 ms; first tokens after 20 and 60 ms;
# gaps (100-20)/4 = 20 and (2000-560)/8 = 180 ms.
BY_HAND = {
    "output_throughput_tok_s": 7.0,
    "request_throughput_req_s": 1.0,
    "latency_mean_ms": 800.0,
    "latency_p50_ms": 800.0,
    "latency_p95_ms": 100 + 0.95 * 1400,
    "latency_p99_ms": 100 + 0.99 * 1400,
    "ttft_mean_ms": 40.0,
    "ttft_p50_ms": 40.0,
    "ttft_p95_ms": 58.0,
    "ttft_p99_ms": 59.6,
    "itl_mean_ms": 100.0,
    "itl_p50_ms": 100.0,
    "itl_p95_ms": 172.0,
    "itl_p99_ms": 178.4,
    "tpot_mean_ms": 100.0,
    "tpot_p50_ms": 100.0,
    "tpot_p95_ms": 172.0,
    "tpot_p99_ms": 178.4,
}
SAMPLES: tuple[dict[str, Any], ...] = (
    {"gpu_util_pct": 10.0, "gpu_power_w": 20.0, "gpu_temp_c": 50.0, "mem_available_gib": 9.0, "mem_free_gib": 4.0},
    {"gpu_util_pct": None, "process_rss_gib": 1.0, "process_pss_gib": 0.5, "cpu_busy_pct": 30.0},
    {"gpu_util_pct": 90.0, "gpu_power_w": 40.0, "gpu_temp_c": 70.0, "mem_available_gib": 7.5, "mem_free_gib": 5.0},
    {"gpu_temp_c": 60.0, "process_rss_gib": 3.0, "gpu_process_gib": 2.0, "cpu_busy_pct": 50.0, "mem_free_gib": None},
    {"cgroup_anon_gib": 0.25, "cgroup_file_gib": 0.75, "mem_available_gib": 8.0},
)
FROM_SAMPLES = {
    "gpu_util_mean_pct": 50.0,
    "power_mean_w": 30.0,
    "gpu_temp_start_c": 50.0,
    "gpu_temp_max_c": 70.0,
    "host_available_drop_peak_gib": 2.5,
    "host_free_drop_peak_gib": 2.0,
    "process_rss_peak_gib": 3.0,
    "process_pss_peak_gib": 0.5,
    "gpu_process_peak_gib": 2.0,
    "cgroup_anon_peak_gib": 0.25,
    "cgroup_file_peak_gib": 0.75,
    "cpu_busy_mean_pct": 40.0,
}


@pytest.mark.parametrize("name", BY_HAND)
def test_what_requests_say(name: str) -> None:
    assert BY_NAME[name].compute(TWO) == pytest.approx(BY_HAND[name], rel=1e-12)


@pytest.mark.parametrize("name", FROM_SAMPLES)
def test_what_samples_say(name: str) -> None:
    data = run_data(samples=SAMPLES, before={"mem_available_before_gib": 10.0, "mem_free_before_gib": 6.0})
    assert BY_NAME[name].compute(data) == pytest.approx(FROM_SAMPLES[name], rel=1e-12)


def test_what_the_engine_says() -> None:
    said = compute_all(run_data(kv_cache_bytes=3 * GIB, reported_peak_bytes=GIB // 2))
    assert (said["kv_cache_gib"], said["engine_reported_peak_gib"]) == (3.0, 0.5)


@pytest.mark.parametrize(
    ("slo", "good"),
    [
        (None, None),
        ({"ttft_ms": None}, None),
        ({"ttft_ms": 60}, 1.0),
        ({"ttft_ms": 59}, 0.5),
        ({"ttft_ms": 60, "tpot_ms": 20, "latency_ms": 2000}, 0.5),
        ({"latency_ms": 99}, 0.0),
    ],
)
def test_goodput_counts_requests_that_kept_to_every_limit(slo: dict[str, float] | None, good: float | None) -> None:
    row = {"slo": None if slo is None else json.dumps(slo)}
    assert compute_all(replace(TWO, row=row))["goodput_req_s"] == good


def test_what_a_serving_run_recorded_is_taken_from_its_row() -> None:
    row = dict.fromkeys(RECORDED, 2.5)
    found = compute_all(replace(TWO, row=row))
    assert {name: found[name] for name in RECORDED} == row
    assert compute_all(TWO)["error_rate_pct"] is None


def test_every_metric_is_worked_out_by_hand_somewhere_here() -> None:
    assert {
        *BY_HAND,
        *FROM_SAMPLES,
        "kv_cache_gib",
        "engine_reported_peak_gib",
        "energy_j",
        "energy_integrated_j",  # with `power_valid` in test_power
        "gpu_throttled_pct",
        "goodput_req_s",
        *RECORDED,
        *WHILE_SERVING,
    } == set(BY_NAME)


WHILE_SERVING = ("cpu_busy_serving_pct", "engine_cpu_serving_pct", "gpu_sm_clock_mean_mhz")
SERVED = (
    {"t_ns": -100 * MS, "cpu_busy_pct": 90.0, "process_cpu_s": 1.0},
    {"t_ns": 0, "cpu_busy_pct": 80.0, "process_cpu_s": 2.0},
    {"t_ns": 500 * MS, "cpu_busy_pct": 50.0, "process_cpu_s": 2.5},
    {"t_ns": 1000 * MS, "cpu_busy_pct": 70.0, "process_cpu_s": 3.0},
    {"t_ns": 2000 * MS, "cpu_busy_pct": 20.0, "process_cpu_s": 5.0},
    {"t_ns": 2100 * MS, "cpu_busy_pct": 99.0, "process_cpu_s": 6.0},
)
# 0.5 s at 50, 0.5 s at 70, 1 s at 20 %; 3 CPU seconds in 2 s.


def test_what_is_taken_while_the_requests_ran_leaves_the_start_and_the_end_out() -> None:
    said = compute_all(replace(TWO, samples=SERVED))
    assert [said[name] for name in WHILE_SERVING] == [pytest.approx(40.0), pytest.approx(150.0), None]


def test_samples_that_end_long_before_the_requests_say_nothing_of_them() -> None:
    said = compute_all(replace(TWO, samples=SERVED[:4]))
    assert [said[name] for name in WHILE_SERVING] == [None, None, None]


def test_a_machine_too_busy_to_be_sampled_often_is_read_from_around_the_requests() -> None:
    said = compute_all(replace(TWO, samples=(SERVED[0], SERVED[2], SERVED[5])))
    assert said["cpu_busy_serving_pct"] == pytest.approx((50 * 0.6 + 99 * 1.6) / 2.2)
    assert said["engine_cpu_serving_pct"] == pytest.approx(5 / 2.2 * 100)


@pytest.mark.parametrize(("idle_pct", "mean"), [(0.0, 1500.0), (20.0, 1000.0)])
def test_the_clock_is_that_of_gpus_that_worked(idle_pct: float, mean: float) -> None:
    samples = tuple(
        {"t_ns": t, "device": device, "gpu_util_pct": util, "gpu_sm_clock_mhz": clock}
        for t in (0, 2000 * MS)
        for device, util, clock in (("a", 90.0, 1500.0), ("b", idle_pct, 500.0))
    )
    assert compute_all(replace(TWO, samples=samples))["gpu_sm_clock_mean_mhz"] == mean


def test_throttling_is_the_share_of_samples_that_heat_or_power_held_down() -> None:
    idle, thermal, power, clocks_setting = 0x1, 0x20, 0x4, 0x2
    samples = [{"gpu_throttle_reasons": mask} for mask in (idle, thermal, power | idle, clocks_setting, None)]
    assert compute_all(run_data(samples=samples))["gpu_throttled_pct"] == 50.0


def test_no_data_is_none_and_never_0() -> None:
    assert compute_all(run_data()) == dict.fromkeys(BY_NAME)
    nothing = ({"sampler": "host", "gpu_util_pct": None, "gpu_energy_j": None, "mem_available_gib": None},)
    assert compute_all(run_data(samples=nothing, before={"mem_available_before_gib": None})) == dict.fromkeys(BY_NAME)


def test_a_true_zero_is_kept() -> None:
    samples = ({"gpu_util_pct": 0.0, "mem_available_gib": 11.0},)
    found = compute_all(run_data(samples=samples, before={"mem_available_before_gib": 10.0}, kv_cache_bytes=0))
    assert (found["gpu_util_mean_pct"], found["kv_cache_gib"]) == (0.0, 0.0)
    assert found["host_available_drop_peak_gib"] == 0.0  # memory was freed meanwhile: no drop below 0


def test_a_drop_needs_both_ends() -> None:
    assert BY_NAME["host_available_drop_peak_gib"].compute(run_data(samples=SAMPLES)) is None
    assert BY_NAME["host_available_drop_peak_gib"].compute(run_data(before={"mem_available_before_gib": 1.0})) is None


def test_an_engine_that_does_not_stream_has_latency_but_no_first_token() -> None:
    found = compute_all(run_data(request(first_token_ns=None)))
    assert found["latency_mean_ms"] == 100.0
    assert {found[f"{kind}_{which}_ms"] for kind in ("ttft", "itl") for which in ("mean", "p50", "p95", "p99")} == {
        None
    }


def test_one_token_has_no_gap_and_no_time_has_no_throughput() -> None:
    assert BY_NAME["itl_mean_ms"].compute(run_data(request(output_tokens=1))) is None
    assert BY_NAME["output_throughput_tok_s"].compute(run_data(request(submit_ns=5, end_ns=5))) is None


def test_the_gaps_between_tokens_are_taken_where_every_token_has_its_time() -> None:
    data = run_data(
        request(0, token_ns=(20 * MS, 30 * MS, 100 * MS)), request(1, token_ns=(S + 20 * MS, S + 70 * MS, S + 100 * MS))
    )
    assert BY_NAME["itl_mean_ms"].compute(data) == pytest.approx((10 + 70 + 50 + 30) / 4)
    assert BY_NAME["itl_p50_ms"].compute(data) == pytest.approx(40.0)


def test_energy_is_the_difference_of_each_gpu_apart() -> None:
    energy = BY_NAME["energy_j"]
    one = [{"device": "a", "gpu_energy_j": 1000.0}, {"gpu_util_pct": 1.0}, {"device": "a", "gpu_energy_j": 1300.0}]
    assert energy.compute(run_data(samples=tuple(one))) == 300.0
    other = [{"device": "b", "gpu_energy_j": 5.0}, {"device": "b", "gpu_energy_j": 30.0}]
    assert energy.compute(run_data(samples=(one[0], other[0], one[2], other[1]))) == 325.0
    assert energy.compute(run_data(samples=(one[0], other[0]))) is None


def test_warm_up_and_failed_requests_do_not_count() -> None:
    requests = (request(0, warmup=True), request(1), request(2, error="lost"), request(3, warmup=True, error="both"))
    assert [r.index for r in counted(requests)] == [1]
    data = RunData(counted(requests), (), run_data().facts, {})
    assert BY_NAME["output_throughput_tok_s"].compute(data) == pytest.approx(50.0)
    assert BY_NAME["request_throughput_req_s"].compute(data) == pytest.approx(10.0)


DURATIONS = st.lists(st.integers(1, 10**12), min_size=1, max_size=60)


@given(DURATIONS)
def test_percentiles_are_those_of_numpy(durations_ns: list[int]) -> None:
    data = run_data(*(request(i, submit_ns=0, end_ns=ns, first_token_ns=ns) for i, ns in enumerate(durations_ns)))
    values = np.array(durations_ns) / MS
    for family in ("latency", "ttft"):
        for q in (50, 95, 99):
            expected = np.quantile(values, q / 100, method="linear")
            assert BY_NAME[f"{family}_p{q}_ms"].compute(data) == pytest.approx(expected, rel=1e-12)


@given(DURATIONS)
def test_percentiles_are_ordered_and_inside_the_data(durations_ns: list[int]) -> None:
    data = run_data(*(request(i, submit_ns=0, end_ns=ns) for i, ns in enumerate(durations_ns)))
    p50, p95, p99, mean = (BY_NAME[f"latency_{which}_ms"].compute(data) for which in ("p50", "p95", "p99", "mean"))
    assert p50 is not None
    assert p95 is not None
    assert p99 is not None
    assert mean is not None
    low, high = min(durations_ns) / MS, max(durations_ns) / MS
    assert low <= p50 <= p95 <= p99 <= high
    assert low * (1 - 1e-12) <= mean <= high * (1 + 1e-12)


@given(DURATIONS, st.integers(0, 10**15))
def test_another_start_of_the_clock_changes_nothing(durations_ns: list[int], start: int) -> None:
    def at(zero: int) -> dict[str, float | None]:
        return compute_all(
            run_data(
                *(
                    request(i, submit_ns=zero, first_token_ns=zero, end_ns=zero + ns)
                    for i, ns in enumerate(durations_ns)
                )
            )
        )

    assert at(start) == at(0)


def test_every_metric_ends_in_its_unit_and_says_what_it_is() -> None:
    for metric in BY_NAME.values():
        assert metric.name.endswith(UNITS), metric.name
        assert len(metric.column.meaning) > 8
    assert len({metric.column.meaning for metric in BY_NAME.values()}) == len(BY_NAME)


def test_rows_and_functions_of_the_metrics_match_in_order() -> None:
    rows = (FOLDER / "metrics.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert [row.partition(",")[0] for row in rows] == [*COMPUTE] == [metric.name for metric in BY_NAME.values()]


@pytest.mark.parametrize(
    ("compute", "row", "message"),
    [
        ({}, "a_s,lower,,a time", r"metrics\.csv, line 2: a_s has no function\. Add one to COMPUTE"),
        ({"a_s": COMPUTE["energy_j"]}, "", r"metrics\.csv has no row for a_s"),
        (
            {"a_s": COMPUTE["energy_j"]},
            "a_s,less,,a time",
            r"line 2: better is 'less', not one of higher, lower, neither",
        ),
        ({"a_s": COMPUTE["energy_j"]}, "a_s,lower", "line 2: .*the meaning is empty"),
    ],
)
def test_a_row_and_a_function_that_do_not_match_are_refused(
    tmp_path: Path, compute: Any, row: str, message: str
) -> None:
    file = tmp_path / "metrics.csv"
    file.write_text(f"name,better,label,meaning\n{row}\n" if row else "name,better,label,meaning\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=message):
        Metrics(file, compute)["a_s"]


def test_a_throughput_should_be_high_and_a_time_low() -> None:
    for metric in BY_NAME.values():
        expected = (
            "higher" if "throughput" in metric.name else "lower" if metric.name.endswith("_ms") else metric.better
        )
        assert metric.better == expected


QUANTITIES = (*UNITS, "_s", "_ns", "_bytes", "_ratio")


@pytest.mark.parametrize("columns", TABLES.values(), ids=TABLES)
def test_every_column_that_holds_a_quantity_ends_in_its_unit(columns: Table) -> None:
    names = [column.name for column in columns]
    assert len(set(names)) == len(names)
    for column in columns:
        assert re.fullmatch(r"[a-z][a-z0-9_]*", column.name)
        assert len(column.meaning) > 4
        if column.kind == "float" and column not in DOCKER_COLUMNS:  # these have the flag's own name
            assert column.name.endswith(QUANTITIES), column.name


def test_no_metric_is_ever_nan() -> None:
    for data in (TWO, run_data(samples=SAMPLES), run_data(request(output_tokens=0))):
        assert not [name for name, value in compute_all(data).items() if value is not None and math.isnan(value)]
