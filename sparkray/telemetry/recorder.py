"""Recorder: ticks the samplers and streams their rows to disk, so that a crash costs at most the last second.

One thread does everything: samplers need no locks, and its CPU time is the whole cost. A tick only captures; a flush
parses, checks and writes. A slow sampler (PSS of a large process) delays the others; missed ticks are skipped. The file
is an Arrow IPC stream of independent batches: all complete batches stay readable after a kill (`recover`).
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

from sparkray.errors import StorageError, refusal
from sparkray.telemetry import Sampler, Target
from sparkray.telemetry._stream import Stream, check_row, recover, sample_schema
from sparkray.units import NS_PER_MS, NS_PER_S

__all__ = ["PATIENCE_S", "Recorder", "check_row", "first_due", "next_due", "recover", "sample_schema"]

# Below one second by the time a batch and its fdatasync take.
FLUSH_PERIOD_S = 0.8
_FLUSH_PERIOD_NS = int(FLUSH_PERIOD_S * NS_PER_S)
# How long a sampler that hangs in the driver may delay the run's start or end, s.
PATIENCE_S = 30.0

_NEVER_NS = 2**63


def next_due(due_ns: int, period_ns: int, now_ns: int) -> int:
    """The next time after now on the grid through `due_ns`: no drift, and no burst after a delay."""
    return due_ns + period_ns * max(1, (now_ns - due_ns) // period_ns + 1)


def first_due(period_ns: int, beat_ns: int, now_ns: int) -> int:
    """About half a period from now, on a beat that all samplers share, since waking costs more than most samples.

    Half a period, so that a rare sampler still sees a run shorter than its period, but not before there is anything to
    see. Samplers whose periods are whole beats then stay in step.
    """
    return now_ns + beat_ns // 2 + period_ns // 2 // beat_ns * beat_ns


class _WakeUp:
    """An eventfd that wakes the thread early. Waiting on a lock, as queues do, costs a third more CPU per time-out."""

    def __init__(self) -> None:
        self._handle = os.eventfd(0, os.EFD_CLOEXEC)
        self._poll = select.poll()
        self._poll.register(self._handle, select.POLLIN)

    def signal(self) -> None:
        os.eventfd_write(self._handle, 1)

    def wait(self, timeout_ns: int) -> bool:
        """True when signalled, False on time-out (rounded up to the next millisecond)."""
        signalled = bool(self._poll.poll(-(-timeout_ns // NS_PER_MS) if timeout_ns > 0 else 0))
        if signalled:
            os.eventfd_read(self._handle)
        return signalled

    def close(self) -> None:
        os.close(self._handle)


@dataclass
class _Slot:
    """A sampler, its next due time and its cost so far."""

    sampler: Sampler
    period_ns: int
    due_ns: int
    on: bool = True
    cost_ns: int = 0

    @property
    def ticks(self) -> bool:
        """Whether to tick it: an unavailable sampler would cost a wake-up for nothing."""
        return self.on and self.sampler.unavailable is None


class Recorder:
    """Samples from enter to exit: all samplers once before `__enter__` returns, each at its period, all once at exit.

    Attributes:
        problems: Failures of samplers and of writing. None of them ends a run.
        unavailable: Samplers without data on this machine, with the reason.
        write_error: Why rows were lost, if they were; recording ended there.
        cpu_s: CPU seconds of the recording thread, sampling and writing.
        cost_s: CPU seconds by sampler.
    """

    def __init__(
        self, path: Path, samplers: Sequence[Sampler], *, clock: Callable[[], int] = time.monotonic_ns
    ) -> None:
        """Take over the samplers; the recording thread enters and leaves them.

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
        """Start recording and wait for the first sample of each.

        Raises:
            StorageError: The file cannot be created.
        """
        try:
            stream = Stream(self._path)
        except OSError as error:
            raise StorageError(f"samples cannot be written to {self._path}: {refusal(error, self._path)}") from error
        self._wake_up = _WakeUp()
        self._thread = threading.Thread(
            target=self._record, args=(stream, self._wake_up), name="sparkray-recorder", daemon=True
        )
        self._thread.start()
        if not self._started.wait(PATIENCE_S):
            self.problems.append(f"a sampler has not answered within {PATIENCE_S:.0f} s of the start")
        return self

    def __exit__(self, *exc: object) -> None:
        """Take the last samples, end the stream, close the samplers."""
        self._send(None)
        if self._thread is not None and self._wake_up is not None:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                self.problems.append(f"a sampler has not answered within {PATIENCE_S:.0f} s of the end")
            else:
                self._wake_up.close()
            self._wake_up = None

    def attach(self, target: Target) -> None:
        """Attach every sampler to a target. Returns at once; the first samples follow half a period later."""
        self._send(target)

    def _send(self, target: Target | None) -> None:
        self._inbox.append(target)
        if self._wake_up is not None:
            self._wake_up.signal()

    def _record(self, stream: Stream, wake_up: _WakeUp) -> None:
        """Body of the thread. Its CPU time is counted up to its last action."""
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
        """Attach all samplers and restart their schedule; returns the next due time."""
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
        """Capture the samplers that are due, or all for None; returns the next due time.

        Kept short: it runs ten times a second on cold caches.
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
        """Capture one sampler; False when it is to be dropped."""
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
        """Parse all pending captures, except those of failed samplers."""
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
        """Run an action of a sampler, count its cost and record its failure; False when it raised."""
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
        """Write, and keep the first failure."""
        try:
            action()
        except (OSError, OverflowError, pa.ArrowException) as error:
            if self.write_error is None:
                self.write_error = StorageError(f"samples could not be written to {self._path}: {error}")
                self.problems.append(self.write_error.message)
