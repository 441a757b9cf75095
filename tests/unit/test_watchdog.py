"""The watchdog over a file that stands for /proc/meminfo."""

import threading
from pathlib import Path

import pytest

from sparkray.execute.watchdog import Watchdog

_FAST_S = 0.005
_PATIENCE_S = 5.0
_KIB_PER_GIB = 1 << 20


class Memory:
    """/proc/meminfo with a MemAvailable that the test sets, replaced whole so that no reader sees half of it."""

    def __init__(self, folder: Path, available_gib: float) -> None:
        self.path = folder / "meminfo"
        self.set(available_gib)

    def set(self, available_gib: float) -> None:
        partial = self.path.with_suffix(".new")
        partial.write_text(f"MemFree:  10 kB\nMemAvailable:  {int(available_gib * _KIB_PER_GIB)} kB\n")
        partial.replace(self.path)


class Trip:
    def __init__(self) -> None:
        self.reasons: list[str] = []
        self.happened = threading.Event()

    def __call__(self, reason: str) -> None:
        self.reasons.append(reason)
        self.happened.set()


def test_it_trips_once_when_memory_falls_below_the_floor(tmp_path: Path) -> None:
    memory, trip = Memory(tmp_path, 100.0), Trip()
    with Watchdog(8.0, trip, meminfo=memory.path, period_s=_FAST_S) as watchdog:
        assert not trip.happened.wait(10 * _FAST_S)
        memory.set(7.5)
        assert trip.happened.wait(_PATIENCE_S)
        assert not threading.Event().wait(10 * _FAST_S)
    assert trip.reasons == ["MemAvailable fell to 7.50 GiB, below the floor of 8"]
    assert watchdog.reason == trip.reasons[0]


def test_the_floor_itself_is_enough(tmp_path: Path) -> None:
    trip = Trip()
    with Watchdog(8.0, trip, meminfo=Memory(tmp_path, 8.0).path, period_s=_FAST_S) as watchdog:
        assert not trip.happened.wait(10 * _FAST_S)
    assert watchdog.reason is None


def test_the_first_look_is_at_once(tmp_path: Path) -> None:
    trip = Trip()
    with Watchdog(8.0, trip, meminfo=Memory(tmp_path, 1.0).path, period_s=3600):
        assert trip.happened.wait(_PATIENCE_S)


def test_leaving_does_not_wait_for_the_period_and_leaves_no_thread(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    with Watchdog(8.0, Trip(), meminfo=Memory(tmp_path, 100.0).path, period_s=3600):
        assert set(threading.enumerate()) - before
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize(("floor_gib", "text"), [(0.0, "MemAvailable:  1 kB\n"), (8.0, "MemFree:  1 kB\n")])
def test_without_a_floor_or_a_number_nothing_trips(tmp_path: Path, floor_gib: float, text: str) -> None:
    (tmp_path / "meminfo").write_text(text)
    trip = Trip()
    with Watchdog(floor_gib, trip, meminfo=tmp_path / "meminfo", period_s=_FAST_S):
        assert not trip.happened.wait(10 * _FAST_S)
