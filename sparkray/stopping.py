"""Signals that end the program: the first asks for an orderly end; a second, or 14 seconds, end it at once.

A Python handler runs only when the main thread comes to it: not while that waits inside Ray, for a lock or for Docker. So a
thread reads the signals from the interpreter's wake-up pipe. It imports nothing and takes no lock.
"""

import os
import select
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
ORDERLY_S = 14.0
# `sudo`, `timeout` and a terminal may each pass on what is one signal to the user.
_SAME_S = 0.1
# In the pipe, among the numbers of signals: a KeyboardInterrupt that was raised where nothing can be.
_LOST = 255
_STDERR = 2
LEFT: dict[str, str] = {}
"""What is under way, in words, by kind: reported when the program is ended before it could clean up."""
STUCK: list[str] = []
"""Names of threads that wait for ever inside Ray: the interpreter's own end crashes while there is one."""


@contextmanager
def watched(*, orderly_s: float = ORDERLY_S) -> Iterator[None]:
    """While inside, a signal is KeyboardInterrupt, and one that is not heeded ends the program.

    SIGHUP stays ignored where it was (nohup). Outside the main thread nothing happens.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = [one for one in SIGNALS if one != signal.SIGHUP or signal.getsignal(one) != signal.SIG_IGN]
    before = {number: signal.signal(number, signal.default_int_handler) for number in ours}
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    woken = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    hook = sys.unraisablehook

    def on_unraisable(lost: "sys.UnraisableHookArgs") -> None:
        """A signal may come in a destructor or in a lock of the imports, which only print what is raised in them."""
        if issubclass(lost.exc_type, KeyboardInterrupt):
            os.write(writing, bytes([_LOST]))
        else:
            hook(lost)

    sys.unraisablehook = on_unraisable
    threading.Thread(target=_watch, args=(reading, orderly_s), name="sparkray-signals", daemon=True).start()
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.set_wakeup_fd(woken)
        os.close(writing)
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def interruptible(asked: threading.Event) -> Iterator[None]:
    """Signals as an event: the run that goes on is stopped and stored, then the command ends."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            signal.default_int_handler(number, frame)
        asked.set()

    ours = [one for one in SIGNALS if signal.getsignal(one) != signal.SIG_IGN or one != signal.SIGHUP]
    before = {number: signal.signal(number, on_signal) for number in ours}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _watch(reading: int, orderly_s: float) -> None:
    """Reads signals until the pipe is closed."""
    first: float | None = None
    last = 0.0
    while True:
        left_s = None if first is None else max(0.0, first + orderly_s - time.monotonic())
        if not select.select([reading], [], [], left_s)[0]:
            _end(f"the orderly end took longer than {orderly_s:g} s")
        numbers = os.read(reading, 64)
        if not numbers:
            os.close(reading)
            return
        now = time.monotonic()
        if _LOST in numbers:  # sent once more, when the main thread has left that place
            time.sleep(_SAME_S / 2)
            last = now = time.monotonic()
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        if not any(number in SIGNALS for number in numbers):
            continue
        if first is not None and now - last > _SAME_S:
            _end("a second signal")
        first, last = first or now, now


def _end(why: str) -> None:
    """End this process and all that it started."""
    left = "; ".join(LEFT.values())
    tail = f". Left for the next start, which cleans up: {left}" if left else ""
    with suppress(OSError):
        os.write(_STDERR, f"\nsparkray: ended at once: {why}{tail}\n".encode())
    for pid in descendants(os.getpid()):
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    os._exit(INTERRUPTED)


def descendants(pid: int) -> list[int]:
    """Processes that a process started, and those that these did; none where they cannot be seen."""
    found: list[int] = []
    with suppress(OSError):
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in map(int, children.read_text().split()):
                found += [child, *descendants(child)]
    return found
