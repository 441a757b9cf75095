"""Every call of NVML with every error code, over a real shared library: nothing crashes, and nothing unread is 0 or none."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pynvml
import pytest

SUPPORT = Path(__file__).parents[1] / "support"
CODES = tuple(sorted({value for name, value in vars(pynvml).items() if name.startswith("NVML_ERROR_")}))
OPENING = ("InitWithFlags", "DeviceGetCount_v2", "DeviceGetHandleByIndex_v2", "DeviceGetUUID", "DeviceGetName")
ANSWERS: Mapping[str, tuple[str, ...]] = {
    "SystemGetDriverVersion": (),
    "DeviceGetUtilizationRates": ("gpu_util_pct", "gpu_mem_bandwidth_util_pct"),
    "DeviceGetMemoryInfo": ("gpu_used_gib",),
    "DeviceGetTemperature": ("gpu_temp_c",),
    "DeviceGetClockInfo": ("gpu_sm_clock_mhz", "gpu_mem_clock_mhz"),
    "DeviceGetPowerUsage": ("gpu_power_w",),
    "DeviceGetTotalEnergyConsumption": ("gpu_energy_j",),
    "DeviceGetCurrentClocksEventReasons": (),
    "DeviceGetCurrentClocksThrottleReasons": (),
    "DeviceGetComputeRunningProcesses_v3": ("gpu_foreign_processes", "gpu_foreign_gib"),
    "DeviceGetTotalEccErrors": ("gpu_ecc_corrected", "gpu_ecc_uncorrected"),
    "EventSetCreate": ("gpu_xid_events",),
    "DeviceRegisterEvents": ("gpu_xid_events",),
    "EventSetWait_v2": ("gpu_xid_events",),
}
SHOWN = {
    "SystemGetDriverVersion": "driver",
    "DeviceGetUtilizationRates": "sm clock",
    "DeviceGetTemperature": "gpu temperature",
    "DeviceGetClockInfo": "sm clock",
    "DeviceGetComputeRunningProcesses_v3": "gpu processes",
}
"""Where `doctor` shows an answer that was not given."""
BY_DOCTOR = (
    "DeviceGetUtilizationRates",
    "DeviceGetMemoryInfo",
    "DeviceGetTemperature",
    "DeviceGetClockInfo",
    "DeviceGetCurrentClocksEventReasons",
    "DeviceGetComputeRunningProcesses_v3",
)
"""Calls that `doctor` makes of a sound GPU."""
CLOSING = ("Shutdown", "EventSetFree", "ErrorString")
CALLS = (*OPENING, *ANSWERS, "Shutdown", "EventSetFree")
Played = Mapping[str, Mapping[str, Any]]


def compiled(folder: Path, *options: str) -> Path:
    """A library of that name in a folder."""
    folder.mkdir()
    library = folder / "libnvidia-ml.so.1"
    words = ("-shared", "-fPIC", "-O0", "-Wl,-soname,libnvidia-ml.so.1", "-o", str(library), str(SUPPORT / "nvml.c"))
    subprocess.run(["cc", *options, *words], check=True)
    return library


@pytest.fixture(scope="module")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """One library with every call ("all"), and one without each."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler (cc) to make a library of")
    root = tmp_path_factory.mktemp("nvml")
    without = {call: compiled(root / call, f"-DWITHOUT_{call}") for call in (*OPENING, *ANSWERS, *CLOSING)}
    return {"all": compiled(root / "all"), **without}


@pytest.fixture(scope="module")
def played(libraries: Mapping[str, Path]) -> Played:
    """What is shown and stored under each fault, by `CALL CODE` and `without CALL`."""
    without = [str(path) for name, path in libraries.items() if name != "all"]
    codes = ",".join(str(code) for code in CODES)
    words = [str(SUPPORT / "nvml_player.py"), str(libraries["all"]), ",".join(CALLS), codes, *without]
    done = subprocess.run([sys.executable, *words], check=True, capture_output=True, text=True, timeout=500)
    found: Played = json.loads(done.stdout)
    return found


def test_every_fault_is_played_and_none_crashes(played: Played) -> None:
    assert len(played) == 1 + len(CALLS) * len(CODES) + len(OPENING) + len(ANSWERS) + len(CLOSING)
    assert {name: case["crash"] for name, case in played.items() if "crash" in case} == {}


def test_without_a_fault_everything_is_read(played: Played) -> None:
    sound = played["sound"]
    assert sound["site"] == "dgx-spark"
    assert (sound["problems"], sound["refused"], sound["locks"]) == ({}, "", ["GPU-00000001"])
    assert "gpu_problem" not in sound["facts"]
    assert {name for columns in ANSWERS.values() for name in columns} <= {
        *sound["rows"],
        "gpu_foreign_processes",  # a list that names nobody says nothing: see the next test
        "gpu_foreign_gib",
    }
    assert sound["findings"]["gpu processes"]["value"] == "none"


def cases(played: Played, call: str) -> Mapping[str, Mapping[str, Any]]:
    return {name: case for name, case in played.items() if call in name.split()}


@pytest.mark.parametrize("call", OPENING)
def test_gpus_that_cannot_be_read_are_never_a_machine_without_any(played: Played, call: str) -> None:
    for name, case in cases(played, call).items():
        if name == f"InitWithFlags {pynvml.NVML_ERROR_LIBRARY_NOT_FOUND}":
            assert case["site"] == "cpu"  # as where there is no NVML at all
            continue
        assert case["site"] is None, name
        assert "cannot be read" in case["refused"], name
        assert "--site cpu" in case["refused"], name
        assert case["facts"]["gpus"] is None, name
        assert case["facts"]["gpu_problem"], name
        assert "machine" in case["locks"], name
        assert case["findings"]["site"]["state"] == case["findings"]["gpu"]["state"] == "stop", name
        assert case["findings"]["gpu"]["value"].startswith("unknown"), name
        if call == "DeviceGetName":  # samplers do not ask for it
            continue
        assert case["rows"] == {}, name
        assert set(case["problems"]) == {"gpu", "gpu_energy", "gpu_errors", "gpu_process", "gpu_slow", "gpu_util"}, name


def test_a_reboot_is_advised_where_nvml_reports_a_mismatch_alone(played: Played) -> None:
    advised = {name for name, case in played.items() if "reboot" in case["refused"]}
    mismatch = pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH
    assert advised == {f"{call} {mismatch}" for call in OPENING}


@pytest.mark.parametrize("call", ANSWERS)
def test_an_answer_that_fails_is_null_and_unknown(played: Played, call: str) -> None:
    sound = played["sound"]
    for name, case in cases(played, call).items():
        if name == f"EventSetWait_v2 {pynvml.NVML_ERROR_TIMEOUT}":
            continue  # no event has come: that is an answer
        assert case["site"] == "dgx-spark", name
        for column in ANSWERS[call]:
            assert column not in case["rows"], name
        assert {key: value for key, value in sound["rows"].items() if key in case["rows"]} == case["rows"], name
        if call in SHOWN:
            finding = case["findings"][SHOWN[call]]
            assert "unknown" in finding["value"], name
            assert finding["state"] in ("warn", "info"), name
            assert finding["remedy"], name


@pytest.mark.parametrize("call", BY_DOCTOR)
def test_a_lost_gpu_stops_whichever_call_reports_it(played: Played, call: str) -> None:
    finding = played[f"{call} {pynvml.NVML_ERROR_GPU_IS_LOST}"]["findings"]["gpu"]
    assert (finding["state"], "lost" in finding["value"]) == ("stop", True)


@pytest.mark.parametrize("call", CLOSING)
def test_what_fails_at_the_end_takes_nothing_with_it(played: Played, call: str) -> None:
    for name, case in cases(played, call).items():
        assert case["rows"] == played["sound"]["rows"], name
        assert case["findings"] == played["sound"]["findings"], name


def sparkray(library: Path, *commands: tuple[str, ...], **variables: str) -> list[tuple[int, str, str]]:
    """Exit status, stdout and stderr of each command, all in one process."""
    loop = (
        "import io, json, sys; from contextlib import redirect_stderr, redirect_stdout; from sparkray.sweep import main\n"
        "found = []\n"
        "for words in json.loads(sys.argv[1]):\n"
        "    with redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as said: status = main(words)\n"
        "    found.append((status, out.getvalue(), said.getvalue()))\n"
        "json.dump(found, sys.stdout)"
    )
    done = subprocess.run(
        [sys.executable, "-c", loop, json.dumps(commands)],
        env={**os.environ, "LD_LIBRARY_PATH": str(library.parent), **variables},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return [(status, out, said) for status, out, said in json.loads(done.stdout)]


MISMATCH = {"NVML_InitWithFlags": str(pynvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH)}
SWEEPS = ("plan", "quick", "baseline", "validate", "optimize", "calibrate")


def test_no_verb_takes_a_machine_whose_nvml_fails_for_one_without_a_gpu(
    libraries: Mapping[str, Path], tmp_path: Path
) -> None:
    commands = [(verb, "--results-dir", str(tmp_path)) for verb in SWEEPS]
    roofline = ("roofline", "--model", "Llama-3-8B", "--batch", "1", "--throughput", "9")
    for status, _, said in sparkray(libraries["all"], *commands, roofline, **MISMATCH):
        assert status == 3, said
        assert "version mismatch (error 18)" in said
        assert "reboot" in said
        assert "--site cpu" in said
        assert "Traceback" not in said
    assert not list(tmp_path.iterdir())


def test_doctor_stops_where_nvml_fails_unless_told_to_do_without_the_gpus(libraries: Mapping[str, Path]) -> None:
    commands = (("doctor",), ("doctor", "--site", "cpu"))
    (status, out, said), (_, without, _) = sparkray(libraries["all"], *commands, **MISMATCH)
    assert status == 1, said
    assert "NVIDIA GPUs unknown" in out
    assert "STOP  site: not recognised: the NVIDIA GPUs cannot be read (NVML: " in out
    assert "differ in version" in out
    assert "no NVIDIA GPU" not in out
    assert "ok    site" not in out
    assert "WARN  site: cpu, but the NVIDIA GPUs cannot be read" in without
