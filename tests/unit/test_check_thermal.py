"""A start as cool as the protocol asks and as warm as the others, no throttling, the usual clock."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from builders import S, site
from check_cases import evidence, question, rows

from sparkray.catalog import Catalog, data_root
from sparkray.checks.thermal import Check
from sparkray.config.experiment import Protocol
from sparkray.execute.gates import Gates
from sparkray.records import Verdict
from sparkray.runtimes import Stop

CHECK = Check()
COOLED = Protocol(cooldown="adaptive", start_below_c=45.0, start_within_c=3.0)


def judged(row: dict[str, Any], earlier: tuple[dict[str, Any], ...] = (), **changes: Any) -> Verdict | None:
    asked = question(protocol=changes.pop("protocol", COOLED))
    return CHECK.judge(evidence(asked, row=row, earlier=rows(asked, earlier), **{"samples": (), **changes}))


def word(verdict: Verdict | None) -> str | None:
    return None if verdict is None else verdict.verdict


def test_without_a_gpu_there_is_nothing_to_judge() -> None:
    assert judged({}) is None


@pytest.mark.parametrize(
    ("start", "first", "expected"),
    [
        (44.0, None, "pass"),
        (45.0, None, "invalid"),
        (43.0, 40.0, "pass"),
        (44.0, 40.0, "invalid"),
        (37.0, 40.0, "pass"),
        (36.0, 40.0, "invalid"),
    ],
)
def test_the_start_in_both_directions(start: float, first: float | None, expected: str) -> None:
    verdict = judged({"gpu_temp_gate_c": start, "gpu_temp_reference_c": first})
    assert word(verdict) == expected
    assert verdict is not None
    assert f"{start:g} degrees C" in verdict.evidence


def test_a_protocol_that_does_not_wait_asks_for_no_start() -> None:
    assert judged({"gpu_temp_gate_c": 80.0}, protocol=Protocol()) is None


@pytest.mark.parametrize(
    ("refused_by", "expected"), [({"thermal"}, "warn"), ({"tokens", "memory_state"}, "invalid"), ((), "invalid")]
)
def test_a_start_that_stays_off_is_how_the_room_is_now_for_this_check_alone(refused_by: Any, expected: str) -> None:
    row = {"gpu_temp_gate_c": 36.0, "gpu_temp_reference_c": 40.0, "attempt": 2}
    assert word(judged(row, refused_by=frozenset(refused_by))) == expected


@pytest.mark.parametrize("warmed_by", [0.0, 2.0, 6.0])
def test_what_the_gate_lets_go_the_check_lets_pass_however_much_the_probe_warms(warmed_by: float) -> None:
    now = [43.0]

    def probe() -> None:
        now[0] += warmed_by

    gates = Gates(COOLED, temperature=lambda: now[0])
    record = gates.before(Path("/nowhere"), Stop(), 40.0, once_cool=probe)
    row = {
        "gpu_temp_gate_c": record.temp_start_c,
        "gpu_temp_reference_c": record.reference_c,
        "gpu_temp_start_c": now[0],
    }
    assert word(judged(row)) == "pass"
    assert record.notes == ()


@pytest.mark.parametrize(("share", "expected"), [(0.0, "pass"), (5.0, "warn"), (5.1, "invalid")])
def test_throttling_by_the_row(share: float, expected: str) -> None:
    assert word(judged({"gpu_throttled_pct": share})) == expected


@pytest.mark.parametrize(
    ("mask", "count", "expected"),
    [
        (0x0, 100, "pass"),
        (0x1, 100, "pass"),
        (0x20, 5, "warn"),
        (0x20, 6, "invalid"),
        (0x08, 50, "invalid"),
        (0x40, 50, "invalid"),
        (0x80, 50, "invalid"),
        (0x04, 100, "warn"),
        (0x24, 100, "invalid"),
    ],
)
def test_throttling_by_the_samples_tells_heat_from_a_power_cap(mask: int, count: int, expected: str) -> None:
    samples = [{"t_ns": k * S, "gpu_throttle_reasons": mask if k < count else 0} for k in range(100)]
    assert word(judged({"gpu_throttled_pct": float(count)}, samples=samples)) == expected


@pytest.mark.parametrize(("clock", "expected"), [(2400.0, "pass"), (1801.0, "pass"), (1799.0, "invalid")])
def test_the_usual_clock(clock: float, expected: str) -> None:
    usual = ({"gpu_sm_clock_mean_mhz": 2400.0},) * 3
    verdict = judged({"gpu_sm_clock_mean_mhz": clock}, usual)
    assert word(verdict) == expected
    assert verdict is not None
    assert verdict.evidence == f"mean SM clock {clock:.0f} MHz, usually 2400"


def test_two_runs_do_not_make_it_usual() -> None:
    assert judged({"gpu_sm_clock_mean_mhz": 513.0}, ({"gpu_sm_clock_mean_mhz": 2400.0},) * 2) is None


@pytest.mark.parametrize(("slow", "util", "expected"), [(80, 99.0, "warn"), (20, 99.0, "pass"), (80, 5.0, None)])
def test_a_clock_that_fell_within_the_run(slow: int, util: float, expected: str | None) -> None:
    samples: list[dict[str, Any]] = [{"t_ns": 0, "device": "a", "gpu_util_pct": util}]
    samples += [
        {"t_ns": k * S, "device": "a", "gpu_sm_clock_mhz": 900.0 if k < slow else 2400.0} for k in range(1, 101)
    ]
    assert word(judged({}, samples=samples)) == expected


def clocks(mhz: float) -> list[dict[str, Any]]:
    busy = {"t_ns": 0, "device": "a", "gpu_util_pct": 99.0}
    return [busy, *({"t_ns": k * S, "device": "a", "gpu_sm_clock_mhz": mhz} for k in range(1, 21))]


@pytest.mark.parametrize(
    ("mhz", "floor", "expected"),
    [(513.0, 1400.0, "invalid"), (2400.0, 1400.0, "pass"), (513.0, None, "pass")],
)
def test_a_machine_that_is_slow_from_the_first_run_on(mhz: float, floor: float | None, expected: str) -> None:
    asked = replace(question(), site=site(least_sm_clock_mhz=floor))
    assert word(CHECK.judge(evidence(asked, samples=clocks(mhz)))) == expected
    by_the_row = CHECK.judge(evidence(asked, samples=(), row={"gpu_sm_clock_mean_mhz": mhz}))
    assert word(by_the_row) == ("invalid" if expected == "invalid" else None)


def test_a_gpu_that_the_engine_does_not_use_may_rest() -> None:
    asked = replace(question(), site=site(least_sm_clock_mhz=990.0))
    resting = [{**clocks(345.0)[0], "gpu_util_pct": 0.0}, *clocks(345.0)[1:]]
    assert CHECK.judge(evidence(asked, samples=resting, row={"gpu_sm_clock_mean_mhz": 345.0})) is None


@pytest.mark.parametrize(
    ("gpus", "mhz", "expected"),
    [
        (["NVIDIA H100 80GB HBM3"], 513.0, "invalid"),
        (["NVIDIA H100 80GB HBM3", "NVIDIA H200"], 513.0, "invalid"),
        (["NVIDIA H100 80GB HBM3"], 1400.0, "pass"),
        (["NVIDIA A100-SXM4-80GB"], 513.0, "pass"),
        ([], 513.0, "pass"),
    ],
)
def test_a_gpu_that_is_slow_from_the_first_run_on_is_known_by_its_data_sheet(
    gpus: list[str], mhz: float, expected: str
) -> None:
    asked = replace(question(), site=Catalog(data_root()).site("discrete-gpu"))
    row = {"machine": json.dumps({"gpus": gpus})}
    assert word(CHECK.judge(evidence(asked, samples=clocks(mhz), row=row))) == expected


def test_the_spark_that_ships_states_its_floor() -> None:
    assert Catalog(data_root()).site("dgx-spark").least_sm_clock_mhz == 1400
    assert Catalog(data_root()).site("discrete-gpu").least_sm_clock_mhz is None
