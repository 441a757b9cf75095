"""Whether the processes live that a Ray of our own cannot work without; Ray itself notices late, or ends this process."""

import os
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray.exceptions import RayError, RaySystemError, RayTaskError, RpcError

from sparkray.errors import ClusterError
from sparkray.runtimes.linux.owner import process_start
from sparkray.units import reason_of

_NEEDED = {"gcs_server": "GCS", "raylet": "raylet"}
_SILENT_S = 10.0


class RunnerLostError(ClusterError):
    """The actor died while it worked: killed, or its node is gone."""


class RayLostError(RunnerLostError):
    """A Ray died or hangs, and with it every actor. Another can be started where it was our own."""


@contextmanager
def connection() -> Iterator[None]:
    """Inside, what Ray raises bare once its head or this machine's raylet is gone is RayLostError."""
    try:
        yield
    except RayTaskError:  # it is an error of the class of its cause, too
        raise
    except (OSError, RaySystemError, RpcError) as error:
        why = " ".join(str(error).split())[:300] if isinstance(error, RayError) else reason_of(error)
        remedy = "Start the cluster again where it ended. The same command goes on where this one stopped"
        raise RayLostError(f"the connection to Ray was lost: {why}", remedy) from error


@dataclass
class Pulse:
    """Of a Ray of our own; of another's Ray nothing is known, and it always passes.

    Attributes:
        processes: Pid and start time by what it is.
    """

    processes: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    _stopped: dict[int, float] = field(default_factory=dict, init=False)

    @classmethod
    def of_node(cls, node: Any) -> "Pulse":  # noqa: ANN401 - Ray is untyped
        """Of the node that `ray.init` started in this process."""
        started = {name: node.all_processes.get(kind, ()) for kind, name in _NEEDED.items()}
        pids = {name: found[0].process.pid for name, found in started.items() if found}
        return cls({name: (pid, process_start(pid)) for name, pid in pids.items()})

    def check(self) -> None:
        """Raises RayLostError where one is dead, or has been stopped for 10 s."""
        for name, (pid, started) in self.processes.items():
            if process_start(pid) != started:
                raise RayLostError(f"Ray's {name} (process {pid}) died")
            if not is_stopped(pid):
                self._stopped.pop(pid, None)
            elif time.monotonic() - self._stopped.setdefault(pid, time.monotonic()) > _SILENT_S:
                raise RayLostError(f"Ray's {name} (process {pid}) has not answered for {_SILENT_S:g} s: it is stopped")

    def end_where_lost(self) -> None:
        """End all of them where one is dead or stopped: Ray would wait for it, at its own end, for ever."""
        if any(not process_start(pid) or is_stopped(pid) for pid, _ in self.processes.values()):
            for pid, _ in self.processes.values():
                with suppress(OSError):
                    os.kill(pid, signal.SIGKILL)


def is_stopped(pid: int) -> bool:
    """Whether a process was stopped (SIGSTOP, a debugger); False where that cannot be seen."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "tT"
    except (OSError, IndexError):
        return False
