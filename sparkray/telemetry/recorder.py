"""Ticks the samplers and streams their rows to disk, so that a crash costs at most the last second.

One thread does all of it: samplers need no locks, its CPU time is the whole cost, and nothing of it runs while it
waits. A sampler that takes long (PSS of a large process) delays the others; ticks missed meanwhile are left out rather
than made up for in a burst. The file is an Arrow IPC stream, whose batches stand on their own: what was written before
a kill can be read whatever happened after (`recover`).
"""

import contextlib
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from sparkray.errors import StorageError
from sparkray.records import SAMPLE_COLUMNS, Column, Kind
from sparkray.telemetry import Row, Sampler, Target, Value
from sparkray.units import NS_PER_S

FLUSH_PERIOD_S = 0.8
"""Less than a second by what a batch and its fdatasync may take."""
_FLUSH_PERIOD_NS = int(FLUSH_PERIOD_S * NS_PER_S)
PATIENCE_S = 30.0
"""How long a sampler that hangs in the driver may hold up the run, at its start and at its end."""

COLUMNS: tuple[Column, ...] = tuple(column for column in SAMPLE_COLUMNS if column.name not in ("run_id", "attempt"))
"""The columns of the stream; whoever stores it adds the run."""

_FITTING: Mapping[Kind, tuple[type, ...]] = {"string": (str,), "int": (int,), "float": (float, int), "bool": (bool,)}


def sample_schema() -> Any:  # noqa: ANN401 - pyarrow is untyped
    """The stream's `pyarrow.Schema`, made of `records.SAMPLE_COLUMNS` less run_id and attempt."""
    types = {"string": pa.string(), "int": pa.int64(), "float": pa.float64(), "bool": pa.bool_()}
    return pa.schema([pa.field(column.name, types[column.kind]) for column in COLUMNS])


def recover(path: Path) -> list[dict[str, Value]]:
    """The rows of a stream that may end anywhere: all of its complete batches, in order.

    A file that is not there, or has not even its schema, holds no rows. Every row has every column; missing is None.
    """
    rows: list[dict[str, Value]] = []
    with contextlib.suppress(pa.ArrowInvalid, OSError, StopIteration), pa.OSFile(str(path)) as source:
        reader = pa.ipc.open_stream(source)
        while True:
            batch = reader.read_next_batch()
            batch.validate(full=True)
            rows.extend(batch.to_pylist())
    return rows


def next_due(due_ns: int, period_ns: int, now_ns: int) -> int:
    """The first time after now on the grid that runs through `due_ns`: no drift, and no burst after a delay."""
    return due_ns + period_ns * max(1, (now_ns - due_ns) // period_ns + 1)


def first_due(period_ns: int, beat_ns: int, now_ns: int) -> int:
    """About half a period from now, on a beat that all samplers share: waking costs more than most samples.

    Half a period, so that one that is seldom still sees a run shorter than its period, and not before there is
    anything to see. Samplers whose periods are whole beats fall due together from then on.
    """
    return now_ns + beat_ns // 2 + period_ns // 2 // beat_ns * beat_ns


def check_row(row: Row) -> None:
    """Refuses what the stream has no column for, before it spoils a whole batch.

    Raises:
        TypeError: An unknown column, or a value of the wrong type.
    """
    for name, value in row.items():
        if name not in _KINDS:
            raise TypeError(f"there is no column {name!r} for samples")
        if value is not None and type(value) not in _FITTING[_KINDS[name]]:
            raise TypeError(f"column {name!r} holds {_KINDS[name]}s, not {value!r}")


_KINDS: Mapping[str, Kind] = {column.name: column.kind for column in COLUMNS if column.name not in ("sampler", "t_ns")}


class _Stream:
    """The file: rows in, a batch on disk at every flush."""

    def __init__(self, path: Path) -> None:
        self._schema = sample_schema()
        self._rows: list[Row] = []
        # The first conversion loads what pyarrow finds installed (pandas: 0.3 s of CPU). That is paid before the run.
        pa.RecordBatch.from_pylist([{}], schema=self._schema)
        self._file = path.open("wb")
        try:
            self._writer = pa.ipc.new_stream(self._file, self._schema)
        except BaseException:
            self._file.close()
            raise

    def add(self, row: Row) -> None:
        self._rows.append(row)

    def flush(self) -> None:
        """Writes what was added since and waits until the disk has it."""
        if self._rows:
            self._writer.write_batch(pa.RecordBatch.from_pylist(self._rows, schema=self._schema))
            self._rows = []
            self._file.flush()
            os.fdatasync(self._file.fileno())

    def close(self) -> None:
        """Flushes, ends the stream and closes the file, which happens even if the disk is full."""
        try:
            self.flush()
            self._writer.close()
        finally:
            # Closing tries once more to write what is buffered: on a full disk that fails as the write before did.
            self._file.close()


@dataclass
class _Slot:
    """A sampler and when it is due next."""

    sampler: Sampler
    period_ns: int
    due_ns: int
    on: bool = True

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
        self._inbox: queue.SimpleQueue[Target | None] = queue.SimpleQueue()
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
            stream = _Stream(self._path)
        except OSError as error:
            raise StorageError(f"samples cannot be written to {self._path}: {error.strerror}") from error
        self._thread = threading.Thread(target=self._record, args=(stream,), name="sparkray-recorder", daemon=True)
        self._thread.start()
        if not self._started.wait(PATIENCE_S):
            self.problems.append(f"a sampler has not answered within {PATIENCE_S:.0f} s of the start")
        return self

    def __exit__(self, *exc: object) -> None:
        """Takes the last samples, ends the stream, leaves the samplers."""
        self._inbox.put(None)
        if self._thread is not None:
            self._thread.join(PATIENCE_S)
            if self._thread.is_alive():
                self.problems.append(f"a sampler has not answered within {PATIENCE_S:.0f} s of the end")

    def attach(self, target: Target) -> None:
        """Turns every sampler to a target. Returns at once; the first samples of it come half a period later."""
        self._inbox.put(target)

    def _record(self, stream: _Stream) -> None:
        """The thread. Its CPU time is counted up to the last thing it does."""
        try:
            with contextlib.ExitStack() as stack:
                opened = [sampler for sampler in self._samplers if self._opened(sampler, stack)]
                stack.callback(self._written, stream.close)
                # One instant for all, so that equal periods fall due together and cost one waking.
                now = self._clock()
                slots = [_Slot(sampler, int(sampler.period_s * NS_PER_S), now) for sampler in opened]
                self._flush_due_ns = now + _FLUSH_PERIOD_NS
                self._loop(slots, stream)
        finally:
            self._started.set()
            self.cpu_s = time.thread_time()

    def _loop(self, slots: list[_Slot], stream: _Stream) -> None:
        self._tick(slots, stream)
        self._started.set()
        while self.write_error is None:
            until_ns = min([slot.due_ns for slot in slots if slot.ticks] + [self._flush_due_ns])
            try:
                target = self._inbox.get(timeout=max(0, until_ns - self._clock()) / NS_PER_S)
            except queue.Empty:
                self._work(slots, stream)
            else:
                if target is None:
                    self._tick(slots, stream)
                    return
                self._turn(slots, target)

    def _work(self, slots: list[_Slot], stream: _Stream) -> None:
        """Does what is due."""
        now = self._clock()
        self._tick([slot for slot in slots if slot.due_ns <= now], stream)
        if self._flush_due_ns <= now:
            self._flush(stream)

    def _opened(self, sampler: Sampler, stack: contextlib.ExitStack) -> bool:
        opened = self._tried(sampler, sampler.__enter__)
        if opened:
            stack.callback(self._tried, sampler, partial(sampler.__exit__, None, None, None))
        return opened

    def _turn(self, slots: list[_Slot], target: Target) -> None:
        """Attaches, and begins everybody's grid anew."""
        for slot in slots:
            if slot.on:
                slot.on = self._tried(slot.sampler, partial(slot.sampler.attach, target))
        now = self._clock()
        beat_ns = min([slot.period_ns for slot in slots if slot.ticks], default=_FLUSH_PERIOD_NS)
        for slot in slots:
            slot.due_ns = first_due(slot.period_ns, beat_ns, now)
        self._flush_due_ns = first_due(_FLUSH_PERIOD_NS, beat_ns, now)

    def _tick(self, slots: list[_Slot], stream: _Stream) -> None:
        for slot in slots:
            if slot.ticks:
                slot.on = self._tried(slot.sampler, partial(self._sample, slot.sampler, stream))
                slot.due_ns = next_due(slot.due_ns, slot.period_ns, self._clock())

    def _sample(self, sampler: Sampler, stream: _Stream) -> None:
        t_ns = self._clock()
        for row in sampler.sample():
            check_row(row)
            stream.add({**row, "sampler": sampler.name, "t_ns": t_ns})

    def _tried(self, sampler: Sampler, action: Callable[[], object]) -> bool:
        """Counts what a sampler costs, and turns whatever it raises into a problem; False when it raised."""
        before = time.thread_time()
        try:
            action()
        except Exception as error:  # noqa: BLE001 - a sampler must never end a run, whatever is wrong with it
            self.problems.append(f"sampler {sampler.name}: {type(error).__name__}: {error}")
            return False
        else:
            return True
        finally:
            self.cost_s[sampler.name] += time.thread_time() - before
            if sampler.unavailable is not None:
                self.unavailable[sampler.name] = sampler.unavailable

    def _flush(self, stream: _Stream) -> None:
        self._written(stream.flush)
        self._flush_due_ns = next_due(self._flush_due_ns, _FLUSH_PERIOD_NS, self._clock())
        self.cpu_s = time.thread_time()

    def _written(self, action: Callable[[], object]) -> None:
        """Writes, and keeps the first reason why it could not."""
        try:
            action()
        except (OSError, OverflowError, pa.ArrowException) as error:
            if self.write_error is None:
                self.write_error = StorageError(f"samples could not be written to {self._path}: {error}")
                self.problems.append(self.write_error.message)
