"""The recorder: when samplers are asked, what reaches the disk, and what a fault costs."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Self

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.scripted_sampler import Scripted

from sparkray.errors import StorageError
from sparkray.store.tables import TABLES
from sparkray.telemetry import Row, Target, _stream
from sparkray.telemetry.recorder import Recorder, check_row, first_due, next_due, recover, sample_schema


def steady(period_s: float = 0.02, name: str = "steady") -> Scripted:
    return Scripted(name, period_s, lambda _: [{"cpu_busy_pct": 12.5}])


def test_the_schema_is_the_declared_columns_without_the_run() -> None:
    declared = [column.name for column in TABLES["samples"] if column.name not in ("run_id", "attempt")]
    assert sample_schema().names == declared
    assert sample_schema().field("t_ns").type == pa.int64()
    assert sample_schema().field("process_threads").type == pa.int64()
    assert sample_schema().field("cpu_busy_pct").type == pa.float64()
    assert sample_schema().field("device").type == pa.string()


@given(due=st.integers(0, 10**15), period=st.integers(1, 10**11), late=st.integers(-(10**9), 10**12))
def test_due_times_stay_on_their_grid_and_lie_ahead(due: int, period: int, late: int) -> None:
    now = due + late
    result = next_due(due, period, now)
    assert result > now
    assert result > due
    assert (result - due) % period == 0
    assert result - max(now, due) <= period


@given(periods=st.lists(st.integers(1, 100), min_size=1, max_size=5), beat=st.integers(1, 10**8), now=st.integers(0))
def test_a_grid_begins_half_a_period_ahead_and_on_the_common_beat(periods: list[int], beat: int, now: int) -> None:
    dues = [first_due(count * beat, beat, now) for count in periods]
    assert len({due % beat for due in dues}) == 1
    for count, due in zip(periods, dues, strict=True):
        assert now <= due < now + count * beat
        assert abs(due - now - count * beat / 2) <= beat / 2 + 1


def test_rows_come_back_with_every_column(tmp_path: Path) -> None:
    path = tmp_path / "samples.arrow"
    before = time.monotonic_ns()
    with Recorder(path, [Scripted("gpu", 60, lambda _: [{"device": "GPU-1", "gpu_util_pct": 7}, {"device": "GPU-2"}])]):
        pass
    rows = recover(path)
    assert [row["device"] for row in rows] == ["GPU-1", "GPU-2"] * 2
    assert all(set(row) == set(sample_schema().names) for row in rows)
    assert rows[0]["gpu_util_pct"] == 7.0
    assert rows[1]["gpu_util_pct"] is None
    assert rows[0]["sampler"] == "gpu"
    times = [int(row["t_ns"] or 0) for row in rows]
    assert before <= times[0] == times[1] < times[2] <= time.monotonic_ns()


def test_a_list_comes_back_with_its_gaps(tmp_path: Path) -> None:
    rows = [{"core_busy_pct": [5, None, 100]}, {"cpu_busy_pct": 1.0}]
    with Recorder(tmp_path / "s", [Scripted("cores", 60, lambda _: rows)]):
        pass
    assert [row["core_busy_pct"] for row in recover(tmp_path / "s")] == [[5, None, 100], None] * 2


class Deferred(Scripted):
    """Makes its rows late, and tells when."""

    def __init__(self, period_s: float, fault: Exception | None = None) -> None:
        super().__init__("deferred", period_s, lambda _: [{"cpu_busy_pct": 1.0}])
        self.read, self.fault = 0, fault

    def rows(self, captured: Sequence[Row]) -> Sequence[Row]:
        if self.fault is not None:
            raise self.fault
        self.read += 1
        return captured


def test_a_tick_captures_and_a_flush_makes_the_rows(tmp_path: Path) -> None:
    sampler = Deferred(0.02)
    with Recorder(tmp_path / "s", [sampler]):
        assert until(lambda: sampler.samples > 5)
        assert sampler.read == 0, "less than a flush has passed"
        assert until(lambda: sampler.read > 5)
        assert sampler.samples >= sampler.read
    assert sampler.read == sampler.samples == len(recover(tmp_path / "s"))


def test_a_look_that_cannot_be_read_is_one_problem_and_ends_that_sampler(tmp_path: Path) -> None:
    bad, sound = Deferred(0.02, ValueError("no such line")), steady(0.02)
    with Recorder(tmp_path / "s", [bad, sound]) as running:
        assert until(lambda: len(running.problems) > 0)
        captures = bad.samples
        time.sleep(0.1)
        assert bad.samples == captures
    assert running.problems == ["sampler deferred: ValueError: no such line"]
    assert {row["sampler"] for row in recover(tmp_path / "s")} == {"steady"}


def test_no_handle_stays_open(tmp_path: Path) -> None:
    def handles() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    def record() -> None:
        with Recorder(tmp_path / "s", [steady(60)]):
            pass

    record()
    before = handles()
    record()
    assert handles() == before


def test_each_sampler_is_asked_at_its_own_period_first_and_last(tmp_path: Path) -> None:
    fast, slow = steady(0.02), steady(60, "slow")
    start = time.monotonic()
    with Recorder(tmp_path / "s", [fast, slow]) as running:
        assert fast.samples >= 1
        assert slow.samples == 1
        time.sleep(0.4)
    took = time.monotonic() - start
    assert slow.samples == 2
    assert 5 <= fast.samples <= took / 0.02 + 2
    assert len(recover(tmp_path / "s")) == fast.samples + slow.samples
    assert running.problems == []
    assert (fast.entered, slow.entered) == (0, 0)


def test_ticks_missed_during_a_long_sample_are_not_made_up_for(tmp_path: Path) -> None:
    sampler = Scripted("late", 0.01, lambda _: time.sleep(0.1) or [{"cpu_busy_pct": 1.0}])
    with Recorder(tmp_path / "s", [sampler]):
        time.sleep(0.35)
    assert sampler.samples <= 6


def test_waiting_costs_no_cpu(tmp_path: Path) -> None:
    with Recorder(tmp_path / "s", [steady(60)]) as running:
        time.sleep(1.0)
    assert 0 < running.cpu_s < 0.1


def test_the_injected_clock_stamps_the_rows(tmp_path: Path) -> None:
    with Recorder(tmp_path / "s", [steady(60)], clock=lambda: 123):
        pass
    assert [row["t_ns"] for row in recover(tmp_path / "s")] == [123, 123]


def until(condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + 10
    while not condition() and time.monotonic() < end:
        time.sleep(0.005)
    return condition()


def test_a_target_that_comes_later_reaches_every_sampler_on_the_recording_thread(tmp_path: Path) -> None:
    captured: list[tuple[Target | None, str]] = []

    def answer(target: Target | None) -> Sequence[Row]:
        captured.append((target, threading.current_thread().name))
        return [] if target is None else [{"process_threads": target.pid}]

    often, seldom = Scripted("often", 0.02, answer), Scripted("seldom", 0.4, answer)
    with Recorder(tmp_path / "s", [often, seldom]) as running:
        assert (often.target, seldom.target) == (None, None)
        running.attach(Target(7))
        assert until(lambda: seldom.samples == 2), "half a period after the target, not a whole one"
    assert {name for _, name in captured} == {"sparkray-recorder"}
    assert captured[0][0] is None
    assert {row["process_threads"] for row in recover(tmp_path / "s")} == {7}
    assert {row["sampler"] for row in recover(tmp_path / "s")} == {"often", "seldom"}


def test_a_target_given_just_before_the_end_is_in_the_last_sample(tmp_path: Path) -> None:
    with Recorder(tmp_path / "s", [Scripted("p", 60, lambda t: [{"process_threads": t.pid}] if t else [])]) as running:
        running.attach(Target(9))
    assert [row["process_threads"] for row in recover(tmp_path / "s")] == [9]


def test_a_sampler_that_raises_is_a_problem_and_left_out_and_the_others_go_on(tmp_path: Path) -> None:
    def fail(target: Target | None) -> Sequence[Row]:
        raise RuntimeError("the GPU fell off the bus")

    broken, sound = Scripted("broken", 0.02, fail), steady()
    with Recorder(tmp_path / "s", [broken, sound]) as running:
        assert until(lambda: sound.samples > 5)
    assert broken.samples == 1
    assert broken.entered == 0
    assert running.problems == ["sampler broken: RuntimeError: the GPU fell off the bus"]
    assert len(recover(tmp_path / "s")) == sound.samples


@pytest.mark.parametrize(
    "row",
    [{"cpu_busy": 1.0}, {"core_busy_pct": 5},
     {"cpu_busy_pct": "1"}, {"process_threads": 1.5}, {"process_threads": True}, {"device": 3},
     {"t_ns": 3}, {"sampler": "x"}],
)  # fmt: skip
def test_a_row_that_has_no_place_in_the_stream_spoils_no_other(tmp_path: Path, row: Row) -> None:
    with pytest.raises(TypeError, match=next(iter(row))):
        check_row(row)
    sound = steady(60)
    with Recorder(tmp_path / "s", [Scripted("bad", 60, lambda _: [row]), sound]) as running:
        pass
    assert len(running.problems) == 1
    assert [found["sampler"] for found in recover(tmp_path / "s")] == ["steady", "steady"]


class Refusing(Scripted):
    """Fails where the others open and close."""

    def __enter__(self) -> Self:
        raise OSError("no such device")


class Parting(Scripted):
    def __exit__(self, *exc: object) -> None:
        raise OSError("already gone")


class Absent(Scripted):
    unavailable = "NVML: not here"


def test_samplers_that_fail_to_open_or_close_end_nothing(tmp_path: Path) -> None:
    samplers = [Refusing("refusing", 0.02, lambda _: []), Parting("parting", 60, lambda _: []), steady(60)]
    with Recorder(tmp_path / "s", samplers) as running:
        pass
    assert running.problems == ["sampler refusing: OSError: no such device", "sampler parting: OSError: already gone"]
    assert samplers[0].samples == 0
    assert len(recover(tmp_path / "s")) == 2


def test_what_the_machine_lacks_is_said_and_no_problem(tmp_path: Path) -> None:
    absent = Absent("absent", 0.01, lambda _: [{"cpu_busy_pct": 1.0}])
    with Recorder(tmp_path / "s", [absent, steady(60)]) as running:
        time.sleep(0.1)
    assert running.unavailable == {"absent": "NVML: not here"}
    assert running.problems == []
    assert absent.samples == 0


def test_the_cost_is_that_of_the_samplers_and_the_thread(tmp_path: Path) -> None:
    def work(target: Target | None) -> Sequence[Row]:
        end = time.thread_time() + 0.05
        while time.thread_time() < end:
            pass
        return []

    with Recorder(tmp_path / "s", [Scripted("busy", 60, work), steady(60)]) as running:
        sum(range(3_000_000))
    assert 0.1 <= running.cost_s["busy"] < 0.2
    assert running.cost_s["steady"] < 0.02
    assert sum(running.cost_s.values()) < running.cpu_s < running.cost_s["busy"] + 0.1


def test_a_folder_that_is_not_there_is_an_error_at_once(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="No such file"), Recorder(tmp_path / "no" / "s", [steady()]):
        pytest.fail("a recorder without a file must not start")


def test_a_full_disk_ends_the_recording_but_not_the_run() -> None:
    sampler = steady()
    with Recorder(Path("/dev/full"), [sampler]) as running:
        assert until(lambda: running.write_error is not None)
        after = sampler.samples
        time.sleep(0.1)
        assert sampler.samples == after
    assert "No space left" in str(running.write_error)
    assert running.problems == [str(running.write_error)]
    assert sampler.entered == 0


def test_the_body_of_the_with_statement_may_raise(tmp_path: Path) -> None:
    with pytest.raises(KeyError), Recorder(tmp_path / "s", [steady(60)]):
        raise KeyError
    assert len(recover(tmp_path / "s")) == 2


def stream_of_batches(path: Path, sizes: Sequence[int]) -> list[int]:
    """Writes batches of so many rows; where in the file each batch ends."""
    stream = _stream.Stream(path)
    ends = []
    count = 0
    for size in sizes:
        for _ in range(size):
            stream.add({"sampler": "host", "t_ns": count, "device": "GPU-1", "mem_free_gib": count / 7})
            count += 1
        stream.flush()
        ends.append(path.stat().st_size)
    stream.close()
    return ends


SIZES = (3, 1, 12, 5)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes, list[int]]:
    path = tmp_path_factory.mktemp("stream") / "whole"
    ends = stream_of_batches(path, SIZES)
    return path.with_name("cut"), path.read_bytes(), ends


@given(data=st.data())
def test_a_stream_cut_at_any_byte_keeps_every_batch_before(written, data: st.DataObject) -> None:
    cut_path, whole, ends = written
    cut = data.draw(
        st.integers(0, len(whole)) | st.sampled_from(ends).flatmap(lambda end: st.integers(end - 2, end + 2))
    )
    cut_path.write_bytes(whole[:cut])
    rows = recover(cut_path)
    complete = sum(size for size, end in zip(SIZES, ends, strict=True) if end <= cut)
    assert [row["t_ns"] for row in rows] == list(range(complete))
    assert all(row["mem_free_gib"] == index / 7 for index, row in enumerate(rows))


@given(cut=st.integers(0, 60_000), tail=st.binary(min_size=1, max_size=200) | st.just(bytes(4096)))
def test_garbage_after_a_cut_never_raises_and_costs_no_batch(written, cut: int, tail: bytes) -> None:
    cut_path, whole, ends = written
    kept = max((end for end in ends if end <= cut), default=0)
    cut_path.write_bytes(whole[:kept] + tail)
    rows = recover(cut_path)
    complete = sum(size for size, end in zip(SIZES, ends, strict=True) if end <= kept)
    assert [row["t_ns"] for row in rows][:complete] == list(range(complete))


def test_no_file_holds_no_rows(tmp_path: Path) -> None:
    assert recover(tmp_path / "none") == []


VICTIM = """
import sys, time
from pathlib import Path
from sparkray.telemetry import load_sampler
from sparkray.telemetry.recorder import Recorder
with Recorder(Path(sys.argv[1]), [load_sampler("host")]):
    print("started", flush=True)
    time.sleep(60)
"""


def test_a_killed_process_loses_at_most_its_last_second(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with subprocess.Popen([sys.executable, "-c", VICTIM, str(path)], stdout=subprocess.PIPE) as victim:
        assert victim.stdout is not None
        victim.stdout.readline()
        time.sleep(2.3)
        killed_ns = time.monotonic_ns()
        victim.kill()
    rows = recover(path)
    assert len(rows) >= 10
    assert killed_ns - int(rows[-1]["t_ns"] or 0) < 1.2e9
