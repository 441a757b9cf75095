"""The NVML shim under a stand-in for pynvml, in each way that `trtllm-bench` asks it: no NVML error ends a run.

The stand-in has the class structure of nvidia-ml-py: a number picks the class of an error. `TOOL` asks as the tool does:
its report is prepared for a RuntimeError alone, its energy monitor (1.3) for pynvml's own errors alone.
"""

import json
import subprocess
import sys

import pytest

from sparkray.engines._trtllm.shipping import nvml_shim

PYNVML = """
import json, os
NVML_CLOCK_MEM = 2
CODES = {"Uninitialized": 1, "InvalidArgument": 2, "NotSupported": 3, "NoPermission": 4, "NotFound": 6,
         "DriverNotLoaded": 9, "Timeout": 10, "LibraryNotFound": 12, "FunctionNotFound": 13, "GpuIsLost": 15,
         "LibRmVersionMismatch": 18, "Unknown": 999}
FAILING, STARTED = json.loads(os.environ["FAILING"]), [0]

class NVMLError(Exception):
    kinds = {}
    def __new__(cls, value):
        made = Exception.__new__(cls.kinds.get(value, cls) if cls is NVMLError else cls)
        made.value = value
        return made
    def __str__(self):
        return f"code {self.value}"

def kind(name, value):
    made = type(f"NVMLError_{name}", (NVMLError,), {"__new__": lambda cls, *_: NVMLError.__new__(cls, value)})
    NVMLError.kinds[value] = globals()[made.__name__] = made

for name, value in CODES.items():
    kind(name, value)

def fail(call):
    if call in FAILING:
        raise NVMLError(CODES[FAILING[call]])

def nvmlInit():
    fail("nvmlInit")
    STARTED[0] += 1

def nvmlShutdown():
    fail("nvmlShutdown")
    STARTED[0] -= 1

def call(name, answer):
    def ask(*_):
        if STARTED[0] < 1:
            raise NVMLError(1)
        fail(name)
        return answer
    ask.__name__ = name
    globals()[name] = ask

class Memory:
    total = 128 * 2**30

for name, answer in {"nvmlDeviceGetCount": 1, "nvmlDeviceGetHandleByIndex": 0, "nvmlDeviceGetHandleByUUID": 0,
                     "nvmlDeviceGetName": "NVIDIA GB10", "nvmlDeviceGetMemoryInfo": Memory,
                     "nvmlDeviceGetMaxClockInfo": 8000, "nvmlDeviceGetTotalEnergyConsumption": 5000,
                     "nvmlDeviceGetCpuAffinity": [1], "nvmlSystemGetDriverVersion": "580.95.05"}.items():
    call(name, answer)
"""

TOOL = """
import json, sys
import pynvml
from pynvml import NVMLError, nvmlDeviceGetCount, nvmlDeviceGetHandleByIndex, nvmlDeviceGetHandleByUUID
from pynvml import nvmlDeviceGetTotalEnergyConsumption, nvmlInit, nvmlShutdown

def energy():
    try:
        nvmlInit()
        handles = [nvmlDeviceGetHandleByIndex(index) for index in range(nvmlDeviceGetCount())]
        handles += [nvmlDeviceGetHandleByUUID("GPU-0")]
        before = [nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles]
    except NVMLError:
        return None
    try:
        return sum(nvmlDeviceGetTotalEnergyConsumption(handle) for handle in handles) - sum(before)
    except NVMLError:
        return None
    finally:
        try:
            nvmlShutdown()
        except NVMLError:
            pass

def machine(ask_more):
    try:
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        found = {"clock": pynvml.nvmlDeviceGetMaxClockInfo(handle, pynvml.NVML_CLOCK_MEM)}
        for name in ask_more:
            getattr(pynvml, name)(handle)
        return found
    except (RuntimeError, AssertionError):
        return None

def affinity():
    try:
        pynvml.nvmlInit()
        return pynvml.nvmlDeviceGetCpuAffinity(pynvml.nvmlDeviceGetHandleByIndex(0), 1)
    except pynvml.NVMLError_NotSupported:
        return "not supported"
    except pynvml.NVMLError:
        return None

version, more = sys.argv[1], sys.argv[2:]
print(json.dumps({"energy": energy() if version == "1.3" else None, "machine": machine(more), "affinity": affinity()}))
"""
MORE = ("nvmlDeviceGetName", "nvmlDeviceGetMemoryInfo", "nvmlSystemGetDriverVersion")
CALLS = (
    "nvmlInit",
    "nvmlShutdown",
    "nvmlDeviceGetCount",
    "nvmlDeviceGetHandleByIndex",
    "nvmlDeviceGetHandleByUUID",
    "nvmlDeviceGetMaxClockInfo",
    "nvmlDeviceGetTotalEnergyConsumption",
    *MORE,
)
KINDS = (
    "Uninitialized",
    "InvalidArgument",
    "NotSupported",
    "NoPermission",
    "NotFound",
    "DriverNotLoaded",
    "Timeout",
    "LibraryNotFound",
    "FunctionNotFound",
    "GpuIsLost",
    "LibRmVersionMismatch",
    "Unknown",
)


@pytest.fixture
def run(tmp_path):
    """Runs the tool; `failing` names the calls that raise, and with which error."""

    def start(version, failing, *, shim=True, package=False):
        where = tmp_path / "site" / ("pynvml/__init__.py" if package else "pynvml.py")
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_text(PYNVML)
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / "sitecustomize.py").write_bytes(nvml_shim())
        folders = [tmp_path / "in"] * shim + [tmp_path / "site"]
        return subprocess.run(
            [sys.executable, "-c", TOOL, version, *MORE],
            env={"PYTHONPATH": ":".join(map(str, folders)), "FAILING": json.dumps(failing)},
            capture_output=True,
            text=True,
            check=False,
        )

    return start


def told(done):
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_nvml_that_nobody_initialised_or_somebody_shut_down(run, version):
    without = run(version, {}, shim=False)
    assert without.returncode == 1
    assert "NVMLError_Uninitialized" in without.stderr
    assert told(run(version, {}))["machine"] == {"clock": 8000}


@pytest.mark.parametrize("version", ["1.2", "1.3"])
@pytest.mark.parametrize("call", CALLS)
def test_no_call_that_fails_ends_a_run(run, call, version):
    """Every kind of error of every call, the kinds spread over the calls and versions so that each pair is not a process."""
    first = CALLS.index(call) + 2 * (version == "1.3")
    for kind in {KINDS[(first + step) % len(KINDS)] for step in (0, 6)} | {"NotSupported"}:
        report = told(run(version, {call: kind}))
        assert set(report) == {"energy", "machine", "affinity"}
        if call in ("nvmlDeviceGetMaxClockInfo", "nvmlDeviceGetHandleByIndex", *MORE):
            assert report["machine"] is None


def test_every_kind_of_error_of_the_memory_clock(run):
    for kind in KINDS:
        assert told(run("1.3", {"nvmlDeviceGetMaxClockInfo": kind}))["machine"] is None


def test_errors_keep_their_own_class(run):
    assert told(run("1.3", {"nvmlDeviceGetCpuAffinity": "NotSupported"}))["affinity"] == "not supported"
    assert told(run("1.3", {"nvmlDeviceGetCpuAffinity": "Unknown"}))["affinity"] is None
    assert told(run("1.3", {"nvmlDeviceGetTotalEnergyConsumption": "NotSupported"}))["energy"] is None


def test_what_nvml_answers_is_passed_on(run):
    assert told(run("1.3", {})) == {"energy": 0, "machine": {"clock": 8000}, "affinity": [1]}
    assert told(run("1.3", {}, package=True))["machine"] == {"clock": 8000}


def test_the_library_that_is_installed_takes_the_shim(tmp_path):
    """nvidia-ml-py itself, on whatever this machine has: nvmlInit fails as a RuntimeError, or works."""
    (tmp_path / "sitecustomize.py").write_bytes(nvml_shim())
    code = (
        "import pynvml\n"
        "for value in (1, 3, 9, 12, 999):\n"
        "    error = pynvml.NVMLError(value)\n"
        "    assert isinstance(error, RuntimeError) and error.value == value, error\n"
        "assert isinstance(pynvml.NVMLError(3), pynvml.NVMLError_NotSupported)\n"
        "try:\n"
        "    print(pynvml.nvmlDeviceGetCount() >= 0)\n"
        "except RuntimeError as error:\n"
        "    print(isinstance(error, pynvml.NVMLError))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("True", "")
