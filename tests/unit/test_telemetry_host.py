"""The host sampler: its parsers, and a machine made of files."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sparkray.telemetry import host

MEMINFO = """MemTotal:       127606860 kB
MemFree:         4194304 kB
MemAvailable:  121634816 kB
Buffers:          100000 kB
Cached:          8388608 kB
SwapCached:         1024 kB
SwapTotal:      16777212 kB
SwapFree:       15728636 kB
HugePages_Total:       0
Hugepagesize:       2048 kB
"""
STAT = "cpu  100 10 40 800 50 0 0 0 30 0\ncpu0 50 5 20 400 25 0 0 0 15 0\nintr 12345\n"


def test_memory_is_read_in_gib() -> None:
    row = host.memory_row(host.parse_meminfo(MEMINFO))
    assert row == {
        "mem_free_gib": 4.0,
        "mem_available_gib": 116.0,
        "page_cache_gib": 8.0,
        "swap_used_gib": 1048576 / 2**20,
    }


def test_a_field_that_the_kernel_lacks_is_none() -> None:
    row = host.memory_row(host.parse_meminfo("MemFree:  1048576 kB\nSwapTotal: 0 kB\n"))
    assert row == {"mem_free_gib": 1.0, "mem_available_gib": None, "page_cache_gib": None, "swap_used_gib": None}


def test_no_swap_in_use_is_a_true_zero() -> None:
    assert host.memory_row({"SwapTotal": 5, "SwapFree": 5})["swap_used_gib"] == 0.0


def test_cpu_time_leaves_out_guest_and_counts_iowait_as_idle() -> None:
    assert host.parse_cpu(STAT) == host.CpuTime(total=1000, idle=850)


def test_a_stat_file_without_the_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="cpu0"):
        host.parse_cpu("cpu0 1 2 3 4 5 6 7 8\n")


def test_busy_share_is_over_all_cpus() -> None:
    before, after = host.CpuTime(1000, 850), host.CpuTime(1200, 900)
    assert host.busy_pct(before, after) == pytest.approx(75.0)


def test_no_tick_between_two_samples_is_none_not_zero() -> None:
    assert host.busy_pct(host.CpuTime(1000, 850), host.CpuTime(1000, 850)) is None


@given(st.integers(1, 10**6), st.integers(-(10**6), 10**7))
def test_busy_share_stays_a_share_even_when_idle_runs_backwards(total: int, idle: int) -> None:
    busy = host.busy_pct(host.CpuTime(0, 0), host.CpuTime(total, idle))
    assert busy is not None
    assert 0.0 <= busy <= 100.0


def test_the_first_sample_has_no_busy_share_and_the_second_does(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    stat = tmp_path / "stat"
    stat.write_text(STAT)
    with host.Sampler(proc=tmp_path, cpu_period_s=0) as sampler:
        first = sampler.sample()[0]
        stat.write_text("cpu  150 10 40 850 50 0 0 0 30 0\n")
        second = sampler.sample()[0]
    assert first["cpu_busy_pct"] is None
    assert first["mem_free_gib"] == 4.0
    assert second["cpu_busy_pct"] == pytest.approx(50.0)


def test_cpu_time_is_read_at_every_second_tick(tmp_path: Path) -> None:
    (tmp_path / "meminfo").write_text(MEMINFO)
    (tmp_path / "stat").write_text(STAT)
    ticks = iter([0.0, 0.1, 0.2, 0.3])
    with host.Sampler(proc=tmp_path, clock=lambda: next(ticks)) as sampler:
        captures = [sampler.capture() for _ in range(4)]
    assert [stat is not None for _, stat in filter(None, captures)] == [True, False, True, False]
    assert all(meminfo for meminfo, _ in filter(None, captures))


def test_the_swap_column_agrees_with_its_fields_on_this_machine() -> None:
    text = Path("/proc/meminfo").read_text()
    row = host.memory_row(host.parse_meminfo(text))
    free, available = row["mem_free_gib"], row["mem_available_gib"]
    assert free is not None
    assert available is not None
    total = next(int(line.split()[1]) for line in text.splitlines() if line.startswith("MemTotal")) / 2**20
    assert 0 < free < total
    assert 0 < available < total
