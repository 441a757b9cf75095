"""Ticks the samplers and streams their rows to disk, so that a crash costs at most the last second.

One thread does all of it: samplers need no locks, its CPU time is the whole cost, and nothing of it runs while it
waits. At a tick it only looks; rows are made, checked and written together at each flush. A sampler that takes long (PSS
of a large process) delays the others; ticks missed meanwhile are left out rather than made up for in a burst. The file is
an Arrow IPC stream, whose batches stand on their own: what was written before a kill can be read whatever happened after
(`recover`).
"""

import collections
import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from sparkray.errors import StorageError
from sparkray.telemetry import Sampler, Target
from sparkray.telemetry._stream import Stream, check_row, recover, sample_schema
from sparkray.units import NS_PER_MS, NS_PER_S

__all__ = ["PATIENCE_S", "Recorder", "check_row", "first_due", "next_due", "recover", "sample_schema"]

FLUSH_PERIOD_S = 0.8
"""Less than a second by what a batch and its fdatasync may take."""
_FLUSH_PERIOD_NS = int(FLUSH_PERIOD_S * NS_PER_S)
PATIENCE_S = 30.0
"""How long a sampler that hangs in the driver may hold up the run, at its start and at its end."""

_NEVER_NS = 2**63


def next_due(due_ns: int, period_ns: int, now_ns: int) -> int:
    """The first time after now on the grid that runs through `due_ns`: no drift, and no burst after a delay."""
    return due_ns + period_ns * max(1, (now_ns - due_ns) // period_ns + 1)


def first_due(period_ns: int, beat_ns: int, now_ns: int) -> int:
    """About half a period from now, on a beat that all samplers share: waking costs more than most samples.

    Half a period, so that one that is seldom still sees a run shorter than its period, and not before there is
    anything to see. Samplers whose periods are whole beats fall due together from then on.
    """
    return now_ns + beat_ns // 2 + period_ns // 2 // beat_ns * beat_ns


class _WakeUp:
    """Wakes the thread before its time. Waiting on a lock, as queues do, costs a third more CPU for each time-out."""

    def __init__(self) -> None:
        self._handle = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def signal(self) -> None:
        os.eventfd_write(self._handle, 1)

    def wait(self, timeout_ns: int) -> bool:
        """True when it rang, False when the time is over, to the next millisecond."""
        signalled = bool(self._poll.poll(-(-timeout_ns // NS_PER_MS) if timeout_ns > 0 else 0))
        if signalled:
            os.eventfd_read(self._handle)
        return signalled

    def close(self) -> None:
        os.close(self._handle)


@dataclass
class _Slot:
    """A sampler, when it is due next, and what it has cost so far."""

    sampler: Sampler
    period_ns: int
    due_ns: int
    on: bool = True
    cost_ns: int = 0

    @property
    def ticks(self) -> bool:
        """Asking a sampler that has nothing to see would cost a waking for nothing."""
        return self.on and self.sampler.unavailable is None


class Recorder:
    """Samples from enter to exit: all samplers once before `__enter__` returns, each at its period, all once at exit.

    Attributes:
        problems: What went wrong, in words. None of it ends a run.
        unavailable: Samplers that this machine has nothing for, and why.
        write_error: Why rows were lost, if they were; recording ended there.
        cpu_s: CPU seconds of the recording thread, samplers and writing together.
        cost_s: CPU seconds by sampler.
    """

    def __init__(
        self, path: Path, samplers: Sequence[Sampler], *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Takes the samplers over; they are entered and left on the recording thread.

        Args:
            path: The stream's file; replaced if it exists.
            samplers: Each is ticked at its own `period_s`.
            clock: Monotonic ns, the same clock as the requests'.
        """
        self._path, self._samplers, self._clock = path, tuple(samplers), clock
        self._inbox: collections.deque[Target | None] = collections.deque()
        self._wake_up: _WakeUp | None = None
        self._slots: list[_Slot] = []
        self._live: list[_Slot] = []
        self._captured: list[tuple[_Slot, int, Any]] = []
        self._started = threading.Event()
        self._flush_due_ns = 0
        self._thread: threading.Thread | None = None
        self.problems: list[str] = []
        self.unavailable: dict[str, str] = {}
        self.write_error: StorageError | None = None
        self.cpu_s = 0.0
        self.cost_s: dict[str, float] = {sampler.name: 0.0 for sampler in self._samplers}

    def __enter__(self) -> Self:
        """Starts recording and waits for the first sample of each.

        Raises:
            StorageError: The file cannot be made.
        """
        try:
            stream = Stream(self._path)
        except OSError as error:
            raise StorageError(f"samples cannot be written to {self._path}: {error.strerror}") from error
        self._wake_up = _WakeUp()
        self._thread = threading.Thread(
            target=self._record, args=(stream, self._wake_up), name="sparkray-recorder", daemon=True
        )
        self._thread.start()
        if not self._started.wait(PATIENCE_S):
            self.problems.append(f"a sampler has not answered within {PATIENCE_S:.0f} s of the start")
        return self

    def __exit__(self, *exc: object) -> None:
        """Takes the last samples, ends the stream, leaves the samplers."""
        self._send(None)
        if self._thread is not None and self._wake_up is not None:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                self.problems.append(f"a sampler has not answered within {PATIENCE_S:.0f} s of the end")
            else:
                self._wake_up.close()
            self._wake_up = None

    def attach(self, target: Target) -> None:
        """Turns every sampler to a target. Returns at once; the first samples of it come half a period later."""
        self._send(target)

    def _send(self, target: Target | None) -> None:
        self._inbox.append(target)
        if self._wake_up is not None:
            self._wake_up.signal()

    def _record(self, stream: Stream, wake_up: _WakeUp) -> None:
        """The thread. Its CPU time is counted up to the last thing it does."""
        try:
            with contextlib.ExitStack() as stack:
                self._slots = [_Slot(sampler, int(sampler.period_s * NS_PER_S), 0) for sampler in self._samplers]
                for slot in self._slots:
                    self._open(slot, stack)
                stack.callback(self._write, stream.close)
                stack.callback(self._make_rows, stream)
                # One instant for all, so that equal periods fall due together and cost one waking.
                now = self._clock()
                for slot in self._slots:
                    slot.due_ns = now
                self._flush_due_ns = now + _FLUSH_PERIOD_NS
                self._loop(stream, wake_up)
        finally:
            self._count_costs()
            self._started.set()

    def _loop(self, stream: Stream, wake_up: _WakeUp) -> None:
        self._live = [slot for slot in self._slots if slot.ticks]
        due_ns = min(self._tick(self._clock()), self._flush_due_ns)
        self._started.set()
        while self.write_error is None:
            if not wake_up.wait(due_ns - self._clock()):
                now = self._clock()
                capture_ns = self._tick(now)
                if self._flush_due_ns <= now:
                    self._flush(stream)
                due_ns = min(capture_ns, self._flush_due_ns)
            while self._inbox:
                if (target := self._inbox.popleft()) is None:
                    self._tick(None)
                    return
                due_ns = self._attach(target)

    def _open(self, slot: _Slot, stack: contextlib.ExitStack) -> None:
        slot.on = self._attempt(slot, slot.sampler.__enter__)
        if slot.on:
            stack.callback(self._attempt, slot, partial(slot.sampler.__exit__, None, None, None))

    def _attach(self, target: Target) -> int:
        """Attaches, and begins everybody's grid anew; returns when it begins."""
        for slot in self._slots:
            if slot.on:
                slot.on = self._attempt(slot, partial(slot.sampler.attach, target))
        self._live = [slot for slot in self._slots if slot.ticks]
        now = self._clock()
        beat_ns = min([slot.period_ns for slot in self._live], default=_FLUSH_PERIOD_NS)
        for slot in self._slots:
            slot.due_ns = first_due(slot.period_ns, beat_ns, now)
        self._flush_due_ns = first_due(_FLUSH_PERIOD_NS, beat_ns, now)
        return min([slot.due_ns for slot in self._live] + [self._flush_due_ns])

    def _tick(self, now: int | None) -> int:
        """Has those look that are due now, everybody for None; returns when somebody is due next.

        Between two ticks the caches go cold: what is done here ten times a second is kept short.
        """
        clock, all_on, dues = time.thread_time_ns, True, [_NEVER_NS]
        before = clock()
        for slot in self._live:
            if now is None or slot.due_ns <= now:
                all_on &= self._capture(slot)
                after = clock()
                slot.cost_ns += after - before
                before = after
            dues.append(slot.due_ns)
        if not all_on:
            self._live = [slot for slot in self._live if slot.ticks]
        return min(dues)

    def _capture(self, slot: _Slot) -> bool:
        """Looks; False when the sampler is not to be asked again."""
        t_ns = self._clock()
        try:
            captured = slot.sampler.capture()
        except Exception as error:  # noqa: BLE001 - a sampler must never end a run, whatever is wrong with it
            self._fail(slot, error)
            return False
        if captured is not None:
            self._captured.append((slot, t_ns, captured))
        slot.due_ns = next_due(slot.due_ns, slot.period_ns, self._clock())
        if slot.sampler.unavailable is not None:
            self.unavailable[slot.sampler.name] = slot.sampler.unavailable
            return False
        return True

    def _make_rows(self, stream: Stream) -> None:
        """Makes rows of everything that was seen since, but of what a sampler saw that has failed."""
        for slot, t_ns, captured in self._captured:
            if slot.on and not self._attempt(slot, partial(self._add, stream, slot.sampler, t_ns, captured)):
                slot.on = False
                self._live = [slot for slot in self._live if slot.ticks]
        self._captured.clear()

    def _add(self, stream: Stream, sampler: Sampler, t_ns: int, captured: Any) -> None:  # noqa: ANN401 - see `Sampler`
        for row in sampler.rows(captured):
            check_row(row)
            stream.add({**row, "sampler": sampler.name, "t_ns": t_ns})

    def _attempt(self, slot: _Slot, action: Callable[[], object]) -> bool:
        """Counts what a sampler costs, and turns whatever it raises into a problem; False when it raised."""
        before = time.thread_time_ns()
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a sampler must never end a run, whatever is wrong with it
            self._fail(slot, error)
            return False
        finally:
            slot.cost_ns += time.thread_time_ns() - before
            if slot.sampler.unavailable is not None:
                self.unavailable[slot.sampler.name] = slot.sampler.unavailable
        return True

    def _fail(self, slot: _Slot, error: Exception) -> None:
        slot.on = False
        self.problems.append(f"sampler {slot.sampler.name}: {type(error).__name__}: {error}")

    def _flush(self, stream: Stream) -> None:
        self._make_rows(stream)
        self._write(stream.flush)
        self._flush_due_ns = next_due(self._flush_due_ns, _FLUSH_PERIOD_NS, self._clock())
        self._count_costs()

    def _count_costs(self) -> None:
        self.cost_s = {slot.sampler.name: slot.cost_ns / NS_PER_S for slot in self._slots}
        self.cpu_s = time.thread_time()

    def _write(self, action: Callable[[], object]) -> None:
        """Writes, and keeps the first reason why it could not."""
        try:
            action()
        except (OSError, OverflowError, pa.ArrowException) as error:
            if self.write_error is None:
                self.write_error = StorageError(f"samples could not be written to {self._path}: {error}")
                self.problems.append(self.write_error.message)
