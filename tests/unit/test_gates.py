"""What a run waits for, on a clock that the tests turn: no test takes longer than its arithmetic."""

import math
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pynvml
import pytest
from support import fake_nvml as fake
from support.fake_nvml import FakeNvml, gb10, h100

from sparkray.config.experiment import Protocol
from sparkray.errors import RunInterruptedError
from sparkray.execute.gates import (
    POLL_S,
    GateRecord,
    Gates,
    drop_page_cache,
    pause,
    read_once,
    reference_of,
    thermometer,
)
from sparkray.runtimes import Stop

ADAPTIVE = Protocol(cooldown="adaptive")
FIXED = Protocol(cooldown="fixed")
NOWHERE = Path("/nowhere")


@dataclass
class Room:
    """A GPU in a room: `temp` by seconds since the start; time passes only in `wait`."""

    temp: Callable[[float], float | None]
    now: float = 1000.0
    waits: list[float] = field(default_factory=list)
    stop_at: float = math.inf

    def temperature(self) -> float | None:
        return self.temp(self.now - 1000.0)

    def wait(self, seconds: float, _: Stop) -> bool:
        assert seconds > 0, "that would spin"
        self.waits.append(seconds)
        self.now += seconds
        return self.now - 1000.0 >= self.stop_at

    def pass_gates(self, protocol: Protocol, reference_c: float | None = None) -> GateRecord:
        gates = Gates(
            protocol, temperature=self.temperature, clock=lambda: self.now, wait=self.wait, drop=lambda: "must not"
        )
        return gates.before(NOWHERE, Stop(), reference_c)


def cooling(start: float, to: float, tau: float = 300.0) -> Callable[[float], float]:
    """Newton's law of cooling, in whole degrees as NVML tells them."""
    return lambda seconds: float(round(to + (start - to) * math.exp(-seconds / tau)))


def test_a_protocol_that_asks_for_nothing_does_nothing() -> None:
    room = Room(lambda _: 80.0)
    assert room.pass_gates(Protocol(), 40.0) == GateRecord(0.0, 80.0, 40.0, None, ())
    assert room.waits == []


def test_adaptive_goes_on_as_soon_as_it_is_cool() -> None:
    room = Room(cooling(61, to=35))
    record = room.pass_gates(ADAPTIVE, 38.0)
    assert record.temp_start_c == 41.0
    assert record.notes == ()
    assert room.temp(record.waited_s) <= 41.0 < room.temp(record.waited_s - 3 * POLL_S)
    assert set(room.waits) == {POLL_S}


def test_the_first_run_needs_the_threshold_alone() -> None:
    assert Room(lambda _: 44.0).pass_gates(ADAPTIVE).notes == ()
    room = Room(cooling(61, to=35))
    assert room.pass_gates(ADAPTIVE).temp_start_c == 44.0


def test_near_the_reference_but_not_below_the_threshold_is_not_cool() -> None:
    room = Room(cooling(50, to=43))
    record = room.pass_gates(ADAPTIVE, 44.9)
    assert record.temp_start_c == 44.0
    assert record.waited_s > 100


def test_fixed_waits_out_its_time_even_when_it_is_cool() -> None:
    room = Room(lambda _: 30.0)
    assert room.pass_gates(FIXED, 30.0) == GateRecord(300.0, 30.0, 30.0, None, ())
    assert room.waits == [300.0]


def test_fixed_then_waits_until_it_is_cool() -> None:
    room = Room(cooling(90, to=30))
    record = room.pass_gates(FIXED, 40.0)
    assert record.waited_s > 300
    assert record.temp_start_c == 43.0


def test_after_the_limit_it_starts_as_it_is_and_says_so() -> None:
    room = Room(lambda seconds: 70.0 - seconds / 1000)
    record = room.pass_gates(Protocol(cooldown="adaptive", cooldown_limit_s=101.0))
    assert record.waited_s == pytest.approx(101.0)
    (note,) = record.notes
    assert "not below 45" in note
    assert "101 s of cooling" in note


def test_colder_than_the_reference_it_does_not_wait_in_vain() -> None:
    record = Room(lambda _: 30.0).pass_gates(ADAPTIVE, 40.0)
    assert record.waited_s == 0
    (note,) = record.notes
    assert note.startswith("GPU at 30 degrees C, not within 3 of the 40 where this experiment's runs start: colder")


def test_what_no_longer_cools_is_waited_for_no_longer_than_the_cooldown() -> None:
    room = Room(cooling(60, to=38, tau=60))
    record = room.pass_gates(ADAPTIVE, 30.0)
    assert record.temp_start_c == 38.0
    assert 300 < record.waited_s < 900 < ADAPTIVE.cooldown_limit_s
    (note,) = record.notes
    assert "had not cooled further for 30" in note


def test_above_the_threshold_it_waits_to_the_limit_though_it_no_longer_cools() -> None:
    record = Room(lambda _: 50.0).pass_gates(ADAPTIVE)
    assert record.waited_s == ADAPTIVE.cooldown_limit_s


@pytest.mark.parametrize(("protocol", "waited_s"), [(ADAPTIVE, 0.0), (FIXED, 300.0)])
def test_without_a_temperature_only_the_fixed_time_is_waited(protocol: Protocol, waited_s: float) -> None:
    record = Room(lambda _: None).pass_gates(protocol, 40.0)
    assert (record.waited_s, record.temp_start_c) == (waited_s, None)
    assert record.notes == (f"cooldown {protocol.cooldown}: no GPU tells its temperature",)


@pytest.mark.parametrize("protocol", [ADAPTIVE, FIXED])
def test_a_stop_ends_the_wait(protocol: Protocol) -> None:
    room = Room(lambda _: 70.0, stop_at=0.0)
    with pytest.raises(RunInterruptedError):
        room.pass_gates(protocol)
    assert len(room.waits) == 1


def test_a_pause_wakes_for_a_stop() -> None:
    stop = Stop()
    assert not pause(0.001, stop)
    stop.set()
    before = time.monotonic()
    assert pause(60.0, stop)
    assert time.monotonic() - before < 5


@pytest.mark.parametrize(("why_not", "dropped"), [(None, True), ("read-only", False)])
def test_a_page_cache_that_was_not_dropped_marks_the_run(why_not: str | None, *, dropped: bool) -> None:
    gates = Gates(Protocol(page_cache="drop"), temperature=lambda: None, drop=lambda: why_not)
    record = gates.before(NOWHERE, Stop())
    assert record.page_cache_dropped is dropped
    assert record.notes == (() if dropped else ("page cache not dropped: read-only",))


def test_it_is_dropped_after_the_wait() -> None:
    room = Room(cooling(61, to=35))
    dropped_at: list[float] = []
    gates = Gates(
        Protocol(cooldown="adaptive", page_cache="drop"),
        temperature=room.temperature,
        clock=lambda: room.now,
        wait=room.wait,
        drop=lambda: dropped_at.append(room.now),
    )
    assert gates.before(NOWHERE, Stop()).page_cache_dropped
    assert dropped_at == [room.now]
    assert room.now > 1000


def test_root_writes_what_the_kernel_asks_for(tmp_path: Path) -> None:
    path = tmp_path / "drop_caches"
    assert drop_page_cache(path, root=True) is None
    assert path.read_bytes() == b"3\n"


def test_a_root_that_may_not_says_why(tmp_path: Path) -> None:
    said = drop_page_cache(tmp_path / "missing" / "drop_caches", root=True)
    assert said is not None
    assert "No such file" in said


def as_sudo(folder: Path, text: str) -> tuple[str]:
    path = folder / "sudo"
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return (str(path),)


def test_others_go_through_sudo(tmp_path: Path) -> None:
    path = tmp_path / "drop_caches"
    assert drop_page_cache(path, root=False, sudo=as_sudo(tmp_path, 'exec "$@"')) is None
    assert path.read_bytes() == b"3\n"


def test_without_sudo_it_is_not_done(tmp_path: Path) -> None:
    path = tmp_path / "drop_caches"
    refusing = as_sudo(tmp_path, "echo sudo: a password is required >&2; exit 1")
    assert drop_page_cache(path, root=False, sudo=refusing) == "no root: sudo: a password is required"
    assert drop_page_cache(path, root=False, sudo=(str(tmp_path / "none"),)) == f"{path}: No such file or directory"
    assert not path.exists()


def bytes_read() -> int:
    return int(Path("/proc/self/io").read_text().split()[1])


def test_warm_reads_every_byte_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name, size in (("a", 1 << 20), ("below/b", 33 << 20)):
        (tmp_path / name).write_bytes(bytes(size))
    gates = Gates(Protocol(page_cache="warm"), temperature=lambda: None)
    before = bytes_read()
    assert gates.before(tmp_path, Stop()).notes == ()
    assert bytes_read() - before >= 34 << 20


def test_weights_that_cannot_be_read_are_a_note(tmp_path: Path) -> None:
    gates = Gates(Protocol(page_cache="warm"), temperature=lambda: None)
    (note,) = gates.before(tmp_path / "none", Stop()).notes
    assert note == f"weights not read into the page cache: {tmp_path}/none: No such file or directory"


def test_reading_stops_when_asked(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    stop = Stop()
    stop.set()
    with pytest.raises(RunInterruptedError):
        read_once(tmp_path, stop)


def test_the_hottest_gpu_counts() -> None:
    nvml = FakeNvml([gb10(temp_c=41), h100(temp_c=57)])
    with thermometer(nvml) as temperature:
        assert temperature() == 57.0
        nvml.devices[1].errors[fake.TEMPERATURE] = pynvml.NVML_ERROR_NOT_SUPPORTED
        assert temperature() == 41.0
        nvml.devices[0].lost = True
        assert temperature() is None
    assert nvml.opened == 0


def test_no_nvml_is_no_temperature() -> None:
    with thermometer(FakeNvml(init_error=pynvml.NVML_ERROR_LIBRARY_NOT_FOUND)) as temperature:
        assert temperature() is None


@pytest.mark.parametrize(
    ("rows", "reference_c"),
    [
        ([], None),
        ([(2, 41.0), (1, 38.0), (3, 44.0), (4, 30.0), (5, 30.0)], 41.0),
        ([(1, 52.0), (2, 43.0), (3, 39.0)], 41.0),
        ([(1, 45.0)], None),
        ([(1, None), (None, 40.0), (2, 41.0)], 41.0),
    ],
)
def test_the_reference_is_the_middle_of_the_first_starts_that_were_cool(
    rows: list[tuple[int | None, float | None]], reference_c: float | None
) -> None:
    stored = [{"started_at": at, "gpu_temp_gate_c": temp} for at, temp in rows]
    assert reference_of(stored, ADAPTIVE) == reference_c
