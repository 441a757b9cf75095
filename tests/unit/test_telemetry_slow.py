"""What the host tells seldom: CPUs one by one, pressure, paging, disks, and a Spark's own sensors; machines of files."""

import json
import mmap
import os
from pathlib import Path

import pytest

from sparkray.telemetry import cores, host_slow, spark_hwmon

GIB = 2**30
STAT = (
    "cpu  300 0 60 1640 0 0 0 0 0 0\n"
    "cpu0 100 0 20 880 0 0 0 0 7 0\n"
    "cpu2 200 0 40 750 10 0 0 0 0 0\n"
    "intr 12345 0 0 99\nctxt 84541479\nbtime 1\nprocesses 5\n"
)
LATER = (
    "cpu  430 0 60 1710 0 0 0 0 0 0\n"
    "cpu0 150 0 20 930 0 0 0 0 7 0\n"
    "cpu1 9 0 0 1 0 0 0 0 0 0\n"
    "cpu2 280 0 40 760 20 0 0 0 0 0\n"
    "ctxt 84541500\n"
)


def put(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def policy(number: int, cpus: str, khz: str) -> dict[str, str]:
    folder = f"devices/system/cpu/cpufreq/policy{number}"
    return {f"{folder}/related_cpus": cpus + "\n", f"{folder}/scaling_cur_freq": khz}


def test_each_cpu_has_its_share_and_a_missing_number_is_null(tmp_path: Path) -> None:
    proc = put(tmp_path, {"stat": STAT})
    with cores.Sampler(proc=proc, sys=tmp_path) as sampler:
        (first,) = sampler.sample()
        put(proc, {"stat": LATER})
        (second,) = sampler.sample()
    assert first == {"core_busy_pct": None, "core_freq_mhz": None, "context_switches": 84541479}
    assert second == {"core_busy_pct": [50, None, 80], "core_freq_mhz": None, "context_switches": 84541500}


def test_cpus_that_share_a_clock_have_its_frequency_and_a_broken_policy_takes_none_with_it(tmp_path: Path) -> None:
    files = {"stat": STAT, **policy(0, "0 1", "2808000\n"), **policy(3, "3", "3900499\n"), **policy(5, "5", "")}
    del files["devices/system/cpu/cpufreq/policy5/scaling_cur_freq"]
    with cores.Sampler(proc=put(tmp_path, files), sys=tmp_path) as sampler:
        (row,) = sampler.sample()
        put(tmp_path, policy(0, "0 1", ""))  # as when its CPUs go offline
        (without,) = sampler.sample()
    assert row["core_freq_mhz"] == [2808, 2808, None, 3900]
    assert without["core_freq_mhz"] == [None, None, None, 3900]


def test_looks_that_are_read_later_give_the_same_shares(tmp_path: Path) -> None:
    with cores.Sampler(proc=put(tmp_path, {"stat": STAT}), sys=tmp_path) as sampler:
        captures = [sampler.capture()]
        put(tmp_path, {"stat": LATER})
        captures.append(sampler.capture())
        rows = [row for captured in captures if captured is not None for row in sampler.rows(captured)]
    assert [row["core_busy_pct"] for row in rows] == [None, [50, None, 80]]


def test_this_machine_tells_of_every_cpu_that_is_online() -> None:
    with cores.Sampler() as sampler:
        sampler.sample()
        sum(range(2_000_000))
        (row,) = sampler.sample()
    shares = row["core_busy_pct"]
    assert isinstance(shares, list)
    told = [share for share in shares if share is not None]
    assert 0 < len(told) <= (os.cpu_count() or 0)
    assert all(0 <= share <= 100 for share in told)


VMSTAT = "nr_free_pages 9\npswpin 256\npswpout 512\npgfault 256235518\npgmajfault 40521\npgfault_other 3\n"
DISKSTATS = (
    "   7       0 loop0 11 0 2097152 0 0 0 2097152 0 0 0 0\n"
    " 259       0 nvme0n1 1326011 99223 4194304 1506474 1191102 904644 2097152 730037 0 218960 2306199 0 0 0 0 0 0\n"
    " 259       1 nvme0n1p1 99 0 2097152 0 9 0 2097152 0 0 0 0\n"
    "   8       0 sda 1 0 2097152 0 9 0 0 0 0 0 0\n"
    " 253       0 zram0 0 0 0 0 0 0 0 0 0 0 0\n"
)
PSI = "some avg10=2.67 avg60=6.60 avg300=3.41 total=2041959721\nfull avg10=1.95 avg60=1.40 avg300=0.63 total={full}\n"
HOST = {
    "vmstat": VMSTAT,
    "diskstats": DISKSTATS,
    "pressure/cpu": PSI.format(full=0),
    "pressure/memory": PSI.format(full=1_500_000),
    "pressure/io": PSI.format(full=69_000_001),
    "block/nvme0n1/device/model": "disk",
    "block/sda/device/model": "disk",
    "block/loop0/size": "1",
    "block/zram0/size": "1",
}
EXPECTED = {
    "page_faults": 256235518,
    "page_faults_major": 40521,
    "swap_in_gib": 256 * os.sysconf("SC_PAGE_SIZE") / GIB,
    "swap_out_gib": 512 * os.sysconf("SC_PAGE_SIZE") / GIB,
    "disk_read_gib": 3.0,
    "disk_written_gib": 1.0,
    "psi_cpu_some_s": 2041.959721,
    "psi_memory_some_s": 2041.959721,
    "psi_memory_full_s": 1.5,
    "psi_io_some_s": 2041.959721,
    "psi_io_full_s": 69.000001,
}


def rows_of(folder: Path) -> list[dict[str, object]]:
    with host_slow.Sampler(proc=folder, sys=folder) as sampler:
        return [dict(row) for row in sampler.sample()]


def test_counters_of_the_host_count_whole_disks_once(tmp_path: Path) -> None:
    assert rows_of(put(tmp_path, HOST)) == [EXPECTED]


@pytest.mark.parametrize(
    ("missing", "columns"),
    [
        ("vmstat", {"page_faults", "page_faults_major", "swap_in_gib", "swap_out_gib"}),
        ("diskstats", {"disk_read_gib", "disk_written_gib"}),
        ("pressure/cpu", {"psi_cpu_some_s"}),
        ("pressure/memory", {"psi_memory_some_s", "psi_memory_full_s"}),
        ("pressure/io", {"psi_io_some_s", "psi_io_full_s"}),
    ],
)
def test_each_file_is_optional_alone_and_what_it_told_is_null(tmp_path: Path, missing: str, columns: set[str]) -> None:
    (row,) = rows_of(put(tmp_path, {name: text for name, text in HOST.items() if name != missing}))
    assert {name for name, value in row.items() if value is None} == columns
    assert {name: row[name] for name in set(row) - columns} == {name: EXPECTED[name] for name in set(row) - columns}


def test_a_machine_without_disks_has_null_traffic(tmp_path: Path) -> None:
    (row,) = rows_of(put(tmp_path, {name: text for name, text in HOST.items() if not name.startswith("block")}))
    assert row["disk_read_gib"] is None
    assert row["disk_written_gib"] is None


def test_a_host_that_tells_nothing_has_no_row(tmp_path: Path) -> None:
    assert rows_of(tmp_path) == []


def test_pressure_without_a_full_line_is_null_there(tmp_path: Path) -> None:
    old = {**HOST, "pressure/io": PSI.partition("\n")[0] + "\n"}
    (row,) = rows_of(put(tmp_path, old))
    assert row["psi_io_some_s"] == 2041.959721
    assert row["psi_io_full_s"] is None


def test_the_counters_of_this_machine_run_forwards() -> None:
    with host_slow.Sampler() as sampler:
        (before,) = sampler.sample()
        with mmap.mmap(-1, 8 << 20) as fresh:  # a bytearray may come from memory that was used before, untouched
            fresh.write(bytes(len(fresh)))
        (after,) = sampler.sample()
    assert int(str(after["page_faults"])) > int(str(before["page_faults"])) > 0
    for name, value in before.items():
        assert (value is None) == (after[name] is None)
        assert value is None or float(str(after[name])) >= float(str(value))


SENSORS = {
    "hwmon0/name": "acpitz\n",
    "hwmon0/temp1_input": "99000\n",
    "hwmon3/name": "spbm\n",
    "hwmon3/power1_input": "25125000\n",
    "hwmon3/power1_label": "sys_total\n",
    "hwmon3/power1_cap": "250000000\n",
    "hwmon3/power11_input": "18000000\n",
    "hwmon3/power11_label": "pl1\n",
    "hwmon3/energy1_input": "1234567\n",
    "hwmon3/energy1_label": "pkg\n",
    "hwmon3/temp2_input": "31250\n",
    "hwmon3/temp9_input": "no number\n",
    "hwmon3/prochot": "1\n",
    "hwmon3/pl_level": "2\n",
    "hwmon3/tj_max_c": "40\n",
}


def test_every_channel_of_a_spark_is_kept_under_its_label_in_its_unit(tmp_path: Path) -> None:
    put(tmp_path, {f"class/hwmon/{name}": text for name, text in SENSORS.items()})
    with spark_hwmon.Sampler(sys=tmp_path) as sampler:
        assert sampler.unavailable is None
        (row,) = sampler.sample()
    assert json.loads(str(row["spark_hwmon"])) == {
        "power_w": {"sys_total": 25.125, "pl1": 18.0},
        "energy_j": {"pkg": 1.234567},
        "temp_c": {"temp2": 31.25},
        "status": {"prochot": 1, "pl_level": 2},
    }


def test_a_machine_without_the_driver_says_so(tmp_path: Path) -> None:
    put(tmp_path, {f"class/hwmon/{name}": text for name, text in SENSORS.items() if name.startswith("hwmon0")})
    with spark_hwmon.Sampler(sys=tmp_path) as sampler:
        assert "spark_hwmon" in str(sampler.unavailable)
        assert sampler.sample() == []
