"""The GPU samplers over a double of NVML: a GB10, an H100, faults, and no NVML at all."""

import os
from pathlib import Path
from typing import Any

import pynvml
import pytest
from support import fake_nvml as fake
from support.fake_nvml import FakeNvml, gb10, h100

from sparkray.store.tables import TABLES
from sparkray.telemetry import Target, Value, gpu, gpu_energy, gpu_errors, gpu_process, gpu_slow, gpu_util

GIB = 2**30
PROCESSES = ("gpu_process_gib", "gpu_foreign_gib", "gpu_foreign_processes")
SAMPLERS = tuple(module.Sampler for module in (gpu, gpu_util, gpu_slow, gpu_energy, gpu_process, gpu_errors))


def state(device: fake.FakeDevice) -> dict[str, Value]:
    """The rows of the samplers of a GPU's state, together; a column that none has is None."""
    nvml = FakeNvml([device])
    names = [column.name for column in TABLES["samples"] if column.name.startswith("gpu_")]
    found: dict[str, Value] = dict.fromkeys(set(names) - {"gpu_energy_j", *PROCESSES})
    for module in (gpu, gpu_util, gpu_slow, gpu_errors):
        with module.Sampler(nvml=nvml) as sampler:
            assert sampler.unavailable is None
            for row in sampler.sample():
                found.update(row)
    return found


def test_an_h100_tells_everything() -> None:
    device = h100(gpu_pct=97, memory_pct=61, temp_c=55, power_mw=412_500, used_bytes=20 * GIB, reasons=4)
    device.ecc_corrected, device.xids = 7, [31, 43]
    assert state(device) == {
        "device": device.uuid,
        "gpu_util_pct": 97,
        "gpu_mem_bandwidth_util_pct": 61,
        "gpu_temp_c": 55,
        "gpu_power_w": pytest.approx(412.5),
        "gpu_sm_clock_mhz": 1980,
        "gpu_mem_clock_mhz": 2619,
        "gpu_throttle_reasons": 4,
        "gpu_used_gib": 20.0,
        "gpu_ecc_corrected": 7,
        "gpu_ecc_uncorrected": 0,
        "gpu_xid_events": 2,
        "gpu_xid": 43,
    }


def test_a_gb10_has_nulls_where_it_tells_nothing_and_numbers_where_it_does() -> None:
    row = state(gb10(gpu_pct=90, power_mw=60_000))
    assert {name for name, value in row.items() if value is None} == {
        "gpu_mem_clock_mhz",
        "gpu_used_gib",
        "gpu_mem_bandwidth_util_pct",
        "gpu_ecc_corrected",
        "gpu_ecc_uncorrected",
        "gpu_xid",
    }
    assert row["gpu_xid_events"] == 0
    assert row["gpu_util_pct"] == 90
    assert row["gpu_power_w"] == pytest.approx(60.0)
    assert row["gpu_throttle_reasons"] == 0


def test_a_discrete_gpu_at_rest_has_a_true_zero_of_memory_utilisation() -> None:
    device = h100(memory_pct=0)
    with gpu_util.Sampler(nvml=FakeNvml([device, gb10(gpu_pct=50)])) as sampler:
        for _ in range(2):
            discrete, unified = sampler.sample()
            assert discrete["gpu_mem_bandwidth_util_pct"] == 0
            assert unified["gpu_mem_bandwidth_util_pct"] is None
            device.gpu_pct += 1


@pytest.mark.parametrize(
    ("question", "column"),
    [
        (fake.UTILIZATION, "gpu_util_pct"),
        (fake.TEMPERATURE, "gpu_temp_c"),
        (fake.POWER, "gpu_power_w"),
        (fake.SM_CLOCK, "gpu_sm_clock_mhz"),
        (fake.MEMORY_CLOCK, "gpu_mem_clock_mhz"),
        (fake.MEMORY_INFO, "gpu_used_gib"),
    ],
)
@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_FUNCTION_NOT_FOUND])
def test_each_field_is_optional_alone(question: str, column: str, code: int) -> None:
    whole = state(h100(gpu_pct=5))
    row = state(h100(gpu_pct=5, errors={question: code}))
    assert whole[column] is not None
    assert row[column] is None
    others = set(whole) - {column, "gpu_mem_bandwidth_util_pct"}
    assert {name: row[name] for name in others} == {name: whole[name] for name in others}


def test_an_old_driver_tells_its_reasons_by_the_old_name() -> None:
    old = h100(reasons=8, errors={fake.EVENT_REASONS: pynvml.NVML_ERROR_FUNCTION_NOT_FOUND})
    with gpu_util.Sampler(nvml=FakeNvml([old])) as sampler:
        assert sampler.sample()[0]["gpu_throttle_reasons"] == 8


def test_energy_is_in_joules_and_absent_without_the_counter() -> None:
    with gpu_energy.Sampler(nvml=FakeNvml([gb10(energy_mj=1_234_567)])) as sampler:
        assert sampler.sample() == [{"device": gb10().uuid, "gpu_energy_j": pytest.approx(1234.567)}]
    silent = gb10(errors={fake.ENERGY: pynvml.NVML_ERROR_NOT_SUPPORTED})
    with gpu_energy.Sampler(nvml=FakeNvml([silent])) as sampler:
        assert sampler.sample() == []


def test_an_xid_event_is_counted_once_and_its_code_stays() -> None:
    quiet, noisy = h100(), gb10()
    nvml = FakeNvml([quiet, noisy])
    with gpu_errors.Sampler(nvml=nvml) as sampler:
        counts = []
        for arriving in ([], [79], [], [13, 31]):
            noisy.xids += arriving
            counts.append([(row["gpu_xid_events"], row["gpu_xid"]) for row in sampler.sample()])
        assert nvml.watched
    assert counts == [[(0, None), (0, None)], [(0, None), (1, 79)], [(0, None), (1, 79)], [(0, None), (3, 31)]]
    assert nvml.watched == []


@pytest.mark.parametrize("code", [pynvml.NVML_ERROR_NOT_SUPPORTED, pynvml.NVML_ERROR_NO_PERMISSION])
def test_events_that_a_gpu_does_not_send_are_null_and_ecc_is_still_told(code: int) -> None:
    device = h100(errors={fake.EVENTS: code}, ecc_uncorrected=2)
    with gpu_errors.Sampler(nvml=FakeNvml([device])) as sampler:
        (row,) = sampler.sample()
    assert row == {"device": device.uuid, "gpu_ecc_corrected": 0, "gpu_ecc_uncorrected": 2}
    silent = gb10(errors={fake.EVENTS: code, fake.ECC: code})
    with gpu_errors.Sampler(nvml=FakeNvml([silent])) as sampler:
        assert sampler.sample() == []


def test_a_fault_when_asking_for_events_is_said_and_nvml_is_closed() -> None:
    nvml = FakeNvml([h100(errors={fake.EVENTS: pynvml.NVML_ERROR_UNKNOWN})])
    with gpu_errors.Sampler(nvml=nvml) as sampler:
        assert "Unknown" in str(sampler.unavailable)
        assert nvml.opened == 1
    assert (nvml.opened, nvml.watched) == (0, [])


def test_a_flood_of_events_does_not_hold_the_sampler() -> None:
    device = h100(xids=[13] * 1000)
    with gpu_errors.Sampler(nvml=FakeNvml([device])) as sampler:
        assert sampler.sample()[0]["gpu_xid_events"] == gpu_errors.MOST_EVENTS
        assert sampler.sample()[0]["gpu_xid_events"] == 2 * gpu_errors.MOST_EVENTS


def stat(proc: Path, pid: int, ppid: int) -> None:
    (proc / str(pid)).mkdir()
    (proc / str(pid) / "stat").write_text(f"{pid} (x) S {ppid} {pid} 0 0 -1 0 0 0 0 0 1 1 0 0 20 0 1 0 5 9 3 0\n")


def test_gpu_memory_is_that_of_the_tree_alone(tmp_path: Path) -> None:
    stat(tmp_path, 100, 1)
    stat(tmp_path, 101, 100)
    stat(tmp_path, 200, 1)
    used = gb10(processes={100: GIB, 101: 2 * GIB, 200: 64 * GIB})
    idle = h100(processes={200: 64 * GIB})
    with gpu_process.Sampler(nvml=FakeNvml([used, idle]), proc=tmp_path) as sampler:
        assert sampler.sample() == []
        sampler.attach(Target(100))
        assert sampler.sample() == [row_of(used, 3.0, 64.0, 1), row_of(idle, None, 64.0, 1)]
        used.processes = {100: GIB}
        idle.processes = {}
        assert sampler.sample() == [row_of(used, 1.0, 0.0, 0)]


def row_of(device: fake.FakeDevice, own: float | None, foreign: float | None, count: int | None) -> dict[str, Any]:
    return {
        "device": device.uuid,
        **dict(zip(PROCESSES, (own, foreign, count), strict=True)),
    }


def test_a_list_of_processes_that_cannot_be_seen_says_nothing_of_others(tmp_path: Path) -> None:
    """Numbers of another PID namespace: the engine itself may be among them."""
    stat(tmp_path, 100, 1)
    stat(tmp_path, 200, 1)
    device = gb10(processes={100: GIB, 4711: 8 * GIB})
    with gpu_process.Sampler(nvml=FakeNvml([device]), proc=tmp_path) as sampler:
        sampler.attach(Target(100))
        assert sampler.sample() == [row_of(device, 1.0, None, None)]
        device.processes = {4711: 8 * GIB}
        assert sampler.sample() == []
        device.processes = {100: GIB, 200: None}
        assert sampler.sample() == [row_of(device, 1.0, None, 1)]
        device.errors = {**device.errors, fake.PROCESSES: pynvml.NVML_ERROR_NO_PERMISSION}
        assert sampler.sample() == []


def test_a_process_whose_memory_is_not_told_is_null_not_zero(tmp_path: Path) -> None:
    stat(tmp_path, 100, 1)
    device = h100(processes={100: None})
    with gpu_process.Sampler(nvml=FakeNvml([device]), proc=tmp_path) as sampler:
        sampler.attach(Target(100))
        assert sampler.sample() == [row_of(device, None, 0.0, 0)]


def test_nothing_is_sampled_of_a_target_without_a_process() -> None:
    with gpu_process.Sampler(nvml=FakeNvml([h100(processes={os.getpid(): GIB})])) as sampler:
        sampler.attach(Target(os.getpid()))
        assert len(sampler.sample()) == 1
        sampler.attach(Target(None))
        assert sampler.sample() == []


@pytest.mark.parametrize("make", SAMPLERS)
@pytest.mark.parametrize(
    ("code", "says"),
    [(pynvml.NVML_ERROR_LIBRARY_NOT_FOUND, "Library Not Found"), (pynvml.NVML_ERROR_DRIVER_NOT_LOADED, "Driver Not")],
)
def test_without_nvml_a_sampler_says_why_and_yields_nothing(make, code: int, says: str) -> None:
    with make(nvml=FakeNvml([h100()], init_error=code)) as sampler:
        sampler.attach(Target(os.getpid()))
        assert says in str(sampler.unavailable)
        assert sampler.sample() == []


@pytest.mark.parametrize("make", SAMPLERS)
def test_a_machine_whose_nvml_sees_no_gpu_says_so(make) -> None:
    nvml = FakeNvml([])
    with make(nvml=nvml) as sampler:
        assert "no GPU" in str(sampler.unavailable)
        assert nvml.opened == 1
    assert nvml.opened == 0


def test_a_lost_gpu_is_a_fault_not_a_null() -> None:
    device = h100()
    nvml = FakeNvml([device])
    with gpu.Sampler(nvml=nvml) as sampler:
        assert len(sampler.sample()) == 1
        device.lost = True
        with pytest.raises(pynvml.NVMLError, match=r"(?i)lost"):
            sampler.sample()
    assert nvml.opened == 0


def test_samplers_share_nvml_without_closing_it_for_one_another() -> None:
    nvml = FakeNvml([h100()])
    with gpu.Sampler(nvml=nvml) as first:
        with gpu_energy.Sampler(nvml=nvml) as second:
            assert len(second.sample()) == 1
        assert len(first.sample()) == 1
    with pytest.raises(pynvml.NVMLError):
        nvml.nvmlDeviceGetName(nvml.devices[0])


def test_power_is_instantaneous_where_the_driver_has_it() -> None:
    """The older call gives a mean, in which what ran before still shows; a series has one kind of values."""
    device = h100(power_mw=604_000, instant_power_mw=521_000)
    with gpu.Sampler(nvml=FakeNvml([device, gb10(power_mw=40_000)])) as sampler:
        rows = sampler.sample()
        device.instant_power_mw = None
        later = sampler.sample()
    assert [row["gpu_power_w"] for row in rows] == [pytest.approx(521.0), pytest.approx(40.0)]
    assert [row["gpu_power_w"] for row in later] == [pytest.approx(40.0)], "unknown, and not the other kind"
