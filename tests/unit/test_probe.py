"""The control probe: on this machine, on GPUs made of values, and with a worker that goes wrong."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.fake_cuda import FakeCuda, FakeGpu

from sparkray.machine import _probe_gpu, probe
from sparkray.machine._nvml import Gpu, Gpus
from sparkray.machine._probe_gpu import BLOCKS_PER_SM, COPIES, LEAST_REPEATS, MOST_REPEATS, slowest
from sparkray.machine.probe import clocks_under_load, take_probe
from sparkray.store.tables import TABLES

SAYS = '{"gpu_memory_ms": 12.5, "gpu_compute_ms": 8, "notes": ["GPU 1: gone"]}'


def worker(code: str) -> list[str]:
    return [sys.executable, "-S", "-c", code]


QUIET = worker('print(\'{"gpu_memory_ms": null, "gpu_compute_ms": null, "notes": []}\')')


def test_its_names_are_columns_of_the_runs() -> None:
    names = {
        f"probe_{name.removesuffix('_ms')}_{when}_ms" for name in probe.Probe().times() for when in ("before", "after")
    }
    assert names == {column.name for column in TABLES["runs"] if column.name.startswith("probe_")}


def test_a_probe_of_this_machine_is_quick_repeatable_and_leaves_the_thread_where_it_was() -> None:
    before = os.sched_getaffinity(0)
    began = time.process_time()
    probes = [take_probe(worker=QUIET) for _ in range(3)]
    assert (time.process_time() - began) / 3 < 2.0
    assert os.sched_getaffinity(0) == before
    for name in ("cpu_ms", "memory_ms"):
        times = [found.times()[name] or 0.0 for found in probes]
        assert 0 < max(times) < 2 * min(times)
    assert all(not found.notes for found in probes)


def test_a_neighbour_that_takes_the_core_is_no_slow_machine() -> None:
    """A time on the wall would double at the least."""
    core = max(os.sched_getaffinity(0))
    alone = take_probe(cpu=core, worker=QUIET)
    hog = f"import os; os.sched_setaffinity(0, {{{core}}})\nprint('on', flush=True)\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-S", "-c", hog], stdout=subprocess.PIPE) as neighbour:
        try:
            assert neighbour.stdout is not None
            neighbour.stdout.readline()
            beside = take_probe(cpu=core, worker=QUIET)
        finally:
            neighbour.kill()
    assert alone.cpu_ms is not None
    assert beside.cpu_ms is not None
    assert beside.cpu_ms < 1.7 * alone.cpu_ms


def test_it_works_off_the_main_thread() -> None:
    found: list[probe.Probe] = []
    thread = threading.Thread(target=lambda: found.append(take_probe(worker=QUIET)))
    thread.start()
    thread.join()
    assert found[0].cpu_ms is not None


def test_a_core_that_is_not_there_is_a_note_and_the_times_are_of_another() -> None:
    found = take_probe(cpu=4095, worker=QUIET)
    assert found.cpu_ms is not None
    assert ["CPU 4095" in note for note in found.notes] == [True]


def test_the_fastest_kind_of_core_is_taken(tmp_path: Path) -> None:
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        pytest.skip("this machine has one CPU")
    (tmp_path / "proc").mkdir()
    blocks = [
        f"processor : {cpu}\nCPU implementer : 0x41\nCPU part : 0xd{85 if cpu == allowed[0] else 87}\n\n"
        for cpu in allowed
    ]
    (tmp_path / "proc" / "cpuinfo").write_text("".join(blocks))
    assert probe._last_fast_core(tmp_path) == allowed[0]
    (tmp_path / "proc" / "cpuinfo").unlink()
    assert probe._last_fast_core(tmp_path) == allowed[-1]


def test_what_the_worker_says_is_taken_with_its_notes() -> None:
    found = take_probe(worker=worker(f"print({SAYS!r})"))
    assert found.cpu_ms is not None
    assert (found.gpu_memory_ms, found.gpu_compute_ms) == (12.5, 8.0)
    assert found.notes == ("probe of the GPUs: GPU 1: gone",)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("import sys; sys.exit('no such thing')", "status 1: no such thing"),
        ("import os; os.kill(os.getpid(), 9)", "status -9"),
        ("print('hello')", "hello"),
        ('print(\'{"gpu_memory_ms": "much", "gpu_compute_ms": 1, "notes": []}\')', "much"),
        ("print('{}')", "{}"),
        ("import time; time.sleep(60)", "no end after 1 s"),
    ],
)
def test_a_worker_that_goes_wrong_costs_its_times_and_nothing_else(code: str, says: str) -> None:
    times, notes = probe._gpu_times(worker(code), 1.0)
    assert times == {}
    assert len(notes) == 1
    assert says in notes[0]


def test_a_worker_that_cannot_be_started_is_a_note() -> None:
    found = take_probe(worker=["/no/such/python"])
    assert found.cpu_ms is not None
    assert (found.gpu_memory_ms, found.gpu_compute_ms) == (None, None)
    assert "No such file" in found.notes[0]


@pytest.mark.parametrize(
    ("given", "seen"),
    [({}, None), ({"CUDA_VISIBLE_DEVICES": ""}, None), ({"CUDA_VISIBLE_DEVICES": "1"}, "1")],
)
def test_gpus_that_ray_hides_are_seen_and_those_that_the_user_hides_are_not(given: dict[str, str], seen: str) -> None:
    environment = probe._environment({"PATH": "/bin", **given})
    assert environment.get("CUDA_VISIBLE_DEVICES") == seen
    assert environment["PATH"] == "/bin"


def test_the_slowest_gpu_counts_for_each_kind_of_work() -> None:
    gpus = [FakeGpu(copy_ms=[2.0], compute_ms=[5.0]), FakeGpu(copy_ms=[3.0], compute_ms=[4.0], multiprocessors=48)]
    cuda = FakeCuda(gpus)
    assert slowest(cuda) == {"gpu_memory_ms": 3.0 * COPIES, "gpu_compute_ms": 5.0, "notes": []}
    assert cuda.retained == [], "contexts are given back"
    assert gpus[1].grids == {48 * BLOCKS_PER_SM}, "work grows with the GPU, so that its time is that of the clock"


def test_a_gpu_that_wakes_up_is_judged_by_its_best() -> None:
    gpu = FakeGpu(compute_ms=[80.0, 60.0, 30.0, 9.0, 8.5, 8.75])
    assert slowest(FakeCuda([gpu]))["gpu_compute_ms"] == 8.5


@pytest.mark.parametrize(("ms", "launches"), [(1000.0, LEAST_REPEATS), (0.001, MOST_REPEATS), (25.0, 10)])
def test_work_is_repeated_for_a_while_and_not_for_ever(ms: float, launches: int) -> None:
    gpu = FakeGpu(compute_ms=[ms])
    slowest(FakeCuda([gpu]))
    assert gpu.launches == launches


@pytest.mark.parametrize("gpus", [[], [FakeGpu()]])
def test_no_gpu_is_no_fault(gpus: list[FakeGpu]) -> None:
    cuda = FakeCuda(gpus, errors={"cuInit": 100} if gpus else {})
    assert slowest(cuda) == {"gpu_memory_ms": None, "gpu_compute_ms": None, "notes": []}


def test_a_driver_that_fails_is_said() -> None:
    assert slowest(FakeCuda([FakeGpu()], errors={"cuInit": 999}))["notes"] == ["cuInit: CUDA error 999"]


@pytest.mark.parametrize("function", ["cuMemAlloc_v2", "cuModuleLoadData", "cuLaunchKernel", "cuEventSynchronize"])
def test_a_gpu_that_fails_is_said_and_the_others_are_timed(function: str) -> None:
    cuda = FakeCuda([FakeGpu(errors={function: 2}), FakeGpu(copy_ms=[1.5])])
    told = slowest(cuda)
    assert told["gpu_memory_ms"] == 1.5 * COPIES
    assert told["notes"] == [f"GPU 0: {function}: CUDA error 2"]
    assert cuda.retained == []


def test_a_driver_without_a_function_is_said() -> None:
    with pytest.raises(_probe_gpu.CudaError, match="cuNoSuchThing"):
        _probe_gpu.Cuda(FakeCuda()).call("cuNoSuchThing")


def test_the_worker_runs_with_the_standard_library_alone_and_says_json() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", _probe_gpu.__file__], capture_output=True, text=True, check=True, timeout=60
    )
    told = json.loads(done.stdout)
    assert set(told) == {"gpu_memory_ms", "gpu_compute_ms", "notes"}
    assert (told["gpu_memory_ms"] is None) == (told["gpu_compute_ms"] is None)


def test_the_kernel_is_what_the_times_claim() -> None:
    body = _probe_gpu.PTX.read_text().partition("LOOP:")[2].partition("bra LOOP")[0]
    assert body.count("fma.rn.f32") == 32
    assert _probe_gpu.PTX.read_text().isascii()


WORKS = worker('import time; time.sleep(0.3); print(\'{"gpu_memory_ms": 1, "gpu_compute_ms": 8, "notes": []}\')')


def rising(*clocks_mhz: float | None) -> Callable[[], Gpus]:
    """Readings of one GPU, one after another; the last stays."""
    left = list(clocks_mhz)

    def read() -> Gpus:
        mhz = left.pop(0) if len(left) > 1 else left[0]
        return Gpus((Gpu("GPU-1", "NVIDIA GB10", 40, mhz, 0, 0, 120.0),))

    return read


def test_the_highest_clock_under_the_probes_work_counts() -> None:
    assert clocks_under_load(rising(208, 2418, 1900), worker=WORKS) == {"GPU-1": 2418}


def test_a_clock_that_is_not_read_is_not_reported() -> None:
    assert clocks_under_load(rising(None), worker=WORKS) == {}


@pytest.mark.parametrize(
    "command",
    [
        QUIET,  # no GPU that CUDA can use
        worker("import time; time.sleep(0.2); raise SystemExit(3)"),
        worker("import time; time.sleep(0.2); print('{}')"),
        worker(f"import time; time.sleep(0.2); print({SAYS!r})"),  # one of two GPUs did not work
        ["/no/such/program"],
    ],
)
def test_clocks_of_work_that_failed_do_not_count(command: list[str]) -> None:
    assert clocks_under_load(rising(208), worker=command) == {}


def test_work_that_hangs_is_ended() -> None:
    began = time.monotonic()
    assert clocks_under_load(rising(208), worker=worker("import time; time.sleep(60)"), patience_s=0.3) == {}
    assert time.monotonic() - began < 20
