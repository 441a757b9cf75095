"""What a run waits for before it starts: a GPU as cool as for the runs before it, and a page cache as the protocol says.

The page cache comes last, since a wait lets others fill it. What could not be reached is a note of the run, never the end
of it: a pair that differs in it can be told from one that does not.
"""

import os
import select
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sparkray.config.experiment import Protocol
from sparkray.errors import RunInterruptedError
from sparkray.runtimes import Stop
from sparkray.telemetry import gpu_slow
from sparkray.telemetry.nvml import FAULTS, Nvml

DROP_CACHES = Path("/proc/sys/vm/drop_caches")
SUDO = ("sudo", "-n")
POLL_S = 2.0
_ALL_CACHES = b"3\n"  # page cache, dentries and inodes: proc_sys_vm(5)
_CHUNK = 16 << 20
_SUDO_PATIENCE_S = 120
_FIRST = 3


@dataclass(frozen=True)
class GateRecord:
    """What the gates did before one run. Times in s, temperatures in degrees C of the hottest GPU as the first let go.

    `waited_s` is all that was spent before the gates. `reference_c` is where this experiment's runs start, as far as it
    was known. `page_cache_dropped` is None when that was not asked for, False when it could not be done. `notes` say in
    words where the run starts otherwise than the protocol asks.
    """

    waited_s: float = 0.0
    temp_start_c: float | None = None
    reference_c: float | None = None
    page_cache_dropped: bool | None = None
    notes: tuple[str, ...] = ()


def pause(seconds: float, stop: Stop) -> bool:
    """Sleep, and wake at once for a stop. Whether there was one."""
    return bool(select.select([stop.fd], [], [], max(0.0, seconds))[0])


def drop_page_cache(path: Path = DROP_CACHES, *, root: bool | None = None, sudo: tuple[str, ...] = SUDO) -> str | None:
    """Write dirty pages back, then empty page cache, dentries and inodes; as root, else through sudo.

    Returns:
        Why it could not be done; None when it was.
    """
    os.sync()
    try:
        if os.geteuid() == 0 if root is None else root:
            path.write_bytes(_ALL_CACHES)
            return None
        done = subprocess.run(
            [*sudo, "tee", str(path)], input=_ALL_CACHES, capture_output=True, check=False, timeout=_SUDO_PATIENCE_S
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{path}: {getattr(error, 'strerror', None) or error}"
    if done.returncode == 0:
        return None
    said = done.stderr.decode(errors="replace").strip().splitlines()
    return f"no root: {said[-1] if said else f'{sudo[0]} ended with status {done.returncode}'}"


@contextmanager
def thermometer(nvml: Nvml | None = None) -> Iterator[Callable[[], float | None]]:
    """A reader of the hottest GPU's temperature, degrees C; it reads None where no GPU reports one."""
    with gpu_slow.Sampler(nvml=nvml) as sampler:

        def hottest() -> float | None:
            try:
                temperatures = [row.get("gpu_temp_c") for row in sampler.sample()]
            except FAULTS:  # a GPU that is lost: the run itself will say so better
                return None
            return max((float(value) for value in temperatures if isinstance(value, int | float)), default=None)

        yield hottest


def reference_of(rows: Iterable[Mapping[str, Any]], protocol: Protocol) -> float | None:
    """Where an experiment's runs start, degrees C: the median of the first three gates below the protocol's threshold.

    One that started above it, because the wait ran out, would be a place that no later run could be near to; and the
    first of all may have been colder than any that follows a run. None before there is one.

    Args:
        rows: Stored rows with `started_at` and `gpu_temp_gate_c`, in any order; so it survives a resume.
        protocol: Has the threshold.
    """
    starts = sorted(
        (row["started_at"], row["gpu_temp_gate_c"])
        for row in rows
        if row["started_at"] is not None and row["gpu_temp_gate_c"] is not None
    )
    cool = [temp for _, temp in starts if temp < protocol.start_below_c]
    return statistics.median(cool[:_FIRST]) if cool else None


class Gates:
    """The gates of a protocol.

    Args:
        protocol: What is asked for.
        temperature: Reads degrees C; None where no GPU reports one.
        clock: Monotonic seconds.
        wait: Sleeps for seconds unless stopped; whether it was.
        drop: Empties the page cache; why it could not, or None.
    """

    def __init__(
        self,
        protocol: Protocol,
        *,
        temperature: Callable[[], float | None],
        clock: Callable[[], float] = time.monotonic,
        wait: Callable[[float, Stop], bool] = pause,
        drop: Callable[[], str | None] = drop_page_cache,
    ) -> None:
        self._protocol, self._temperature = protocol, temperature
        self._clock, self._wait, self._drop = clock, wait, drop

    def before(
        self,
        weights: Path,
        stop: Stop,
        reference_c: float | None = None,
        *,
        once_cool: Callable[[], None] = lambda: None,
    ) -> GateRecord:
        """Wait until a run may start.

        Args:
            weights: File or folder that `warm` reads.
            stop: Ends the wait.
            reference_c: Where this experiment's runs start (`reference_of`); None for the first.
            once_cool: What is done between the two gates: it may warm the GPU a little and fill the page cache.

        Raises:
            RunInterruptedError: Stopped.
        """
        began = self._clock()
        notes = [self._cool_down(stop, reference_c), None]
        temperature = self._temperature()
        once_cool()
        dropped: bool | None = None
        if self._protocol.page_cache == "drop":
            why_not = self._drop()
            dropped = why_not is None
            notes[1] = None if dropped else f"page cache not dropped: {why_not}"
        elif self._protocol.page_cache == "warm":
            notes[1] = read_once(weights, stop)
        return GateRecord(
            self._clock() - began,
            temperature,
            reference_c,
            dropped,
            tuple(note for note in notes if note is not None),
        )

    def _cool_down(self, stop: Stop, reference_c: float | None) -> str | None:
        """Waits as the protocol says; a note when the run starts otherwise than it asks."""
        protocol = self._protocol
        if protocol.cooldown == "none":
            return None
        began = self._clock()
        if protocol.cooldown == "fixed":
            self._pause(protocol.cooldown_s, stop)
        lowest, since = float("inf"), began
        while (temp := self._temperature()) is not None:
            if temp < lowest:
                lowest, since = temp, self._clock()
            wanting = _wanting(temp, reference_c, protocol)
            if wanting is None:
                return None
            now = self._clock()
            if reference_c is not None and temp < reference_c:
                return f"GPU {wanting}: colder than that, which no wait mends"
            if temp < protocol.start_below_c and now - since >= protocol.cooldown_s:
                return f"GPU {wanting}: it had not cooled further for {now - since:.0f} s"
            if now - began >= protocol.cooldown_limit_s:
                return f"GPU {wanting}, after {now - began:.0f} s of cooling"
            self._pause(min(POLL_S, protocol.cooldown_limit_s - (now - began)), stop)
        return f"cooldown {protocol.cooldown}: no GPU tells its temperature"

    def _pause(self, seconds: float, stop: Stop) -> None:
        if self._wait(seconds, stop):
            raise RunInterruptedError("stopped while the GPU cooled down")


def _wanting(temp: float, reference_c: float | None, protocol: Protocol) -> str | None:
    """What a temperature lacks for a start, in words; None when it is fit."""
    if temp >= protocol.start_below_c:
        return f"at {temp:g} degrees C, not below {protocol.start_below_c:g}"
    if reference_c is not None and abs(temp - reference_c) > protocol.start_within_c:
        return (
            f"at {temp:g} degrees C, not within {protocol.start_within_c:g} of the {reference_c:g} where this "
            "experiment's runs start"
        )
    return None


def read_once(weights: Path, stop: Stop) -> str | None:
    """Read a file, or every file of a folder, so that the page cache has it; why it could not, or None.

    Raises:
        RunInterruptedError: Stopped.
    """
    files = sorted(path for path in weights.rglob("*") if path.is_file()) if weights.is_dir() else [weights]
    buffer = bytearray(_CHUNK)
    try:
        for path in files:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    if stop.is_set():
                        raise RunInterruptedError("stopped while the weights were read into the page cache")
    except OSError as error:
        return f"weights not read into the page cache: {error.filename or weights}: {error.strerror}"
    return None
