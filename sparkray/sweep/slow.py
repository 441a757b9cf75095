"""Say what is being done, where it takes long: a command that works for a minute must not look like one that hangs."""

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

AFTER_S, AGAIN_S = 5.0, 15.0


class SlowSteps:
    """Within a `with` block: the step that goes on is reported after some seconds, then as it changes or goes on.

    Args:
        say: Gets the line.
        after_s: Before the first line, s.
        again_s: Between two lines, s.
    """

    def __init__(self, say: Callable[[str], None], after_s: float = AFTER_S, again_s: float = AGAIN_S) -> None:
        self._say, self._after_s, self._again_s = say, after_s, again_s
        self._step = "working"
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="sparkray-slow-steps", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()

    def at(self, step: str) -> None:
        """Another step begins."""
        self._step = step

    def _watch(self) -> None:
        wait_s = self._after_s
        while not self._done.wait(wait_s):
            self._say(f"still {self._step}")
            wait_s = self._again_s
