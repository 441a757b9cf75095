"""Samplers: metrics of the host, the process tree, the container and the GPUs while a run goes on.

Samplers run on the host, alike in every arm: a container on GB10 sees no per-process GPU memory, and cgroups do not see
CUDA allocations. Expensive fields are read rarely, so one subject may have several samplers with different periods.
`recorder.Recorder` ticks them and streams the rows to disk.

`capture` reads raw bytes at each tick; `rows` parses many captures at once later. A thread that wakes ten times a
second has cold caches, where parsing a line costs three times as much.

To add a sampler, add a file here: the module's name is the sampler's name, and it holds a class `Sampler` that needs no
arguments (edges such as the root of /proc or NVML are keyword arguments with defaults).
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Protocol, Self, cast

from sparkray.errors import UnknownNameError

Value = str | int | float | list[int | None] | None
# Column to value. Columns are those of the table `samples` without run_id, attempt, sampler and t_ns.
Row = Mapping[str, Value]

# Public modules of this package that are not samplers.
INFRASTRUCTURE = frozenset({"nvml", "recorder"})


@dataclass(frozen=True)
class Target:
    """The engine's environment as seen from the host.

    `pid` is the root of its process tree in the host's PID namespace, or None. `in_container`: the tree has a cgroup of
    its own.
    """

    pid: int | None
    in_container: bool = False


class Sampler(Protocol):
    """Interface of every sampler module's class `Sampler`. One thread uses it."""

    # The module's name.
    name: str
    # Time from one sample to the next, s.
    period_s: float
    # Why this machine yields no samples; None when it does. Set once entered or attached.
    unavailable: str | None

    def __enter__(self) -> Self:
        """Open the files and handles. What the machine lacks goes into `unavailable`; nothing is raised."""
        ...

    def __exit__(self, *exc: object) -> None:
        """Close them."""
        ...

    def attach(self, target: Target) -> None:
        """Follow a target. Called after the first samples: host memory is sampled before an engine exists."""
        ...

    def capture(self) -> Any:  # noqa: ANN401 - whatever this sampler's own `rows` takes
        """Read raw data without parsing it; None when there is nothing to read.

        Raises:
            Exception: Anything; the recorder notes it and drops this sampler.
        """
        ...

    def rows(self, captured: Any, /) -> Sequence[Row]:  # noqa: ANN401 - what `capture` returned
        """Parse one capture: one row per device, one row, or none. Missing columns are null, never 0.

        Called once per capture, in order, at most a second later and before the sampler is closed.

        Raises:
            Exception: As for `capture`.
        """
        ...


@cache
def sampler_names() -> tuple[str, ...]:
    """Names of all samplers: the public modules of this package, infrastructure excluded. The folder is listed once."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return tuple(sorted(name for name in names if not name.startswith("_") and name not in INFRASTRUCTURE))


def load_sampler(name: str) -> Sampler:
    """A new sampler by name.

    Raises:
        UnknownNameError: No sampler has that name.
    """
    if name not in sampler_names():
        raise UnknownNameError("sampler", name, list(sampler_names()))
    return cast("Sampler", importlib.import_module(f"{__name__}.{name}").Sampler())
