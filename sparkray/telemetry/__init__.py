"""Samplers: what the host sees while a run goes on, measured from outside and alike in every arm.

A sampler reads a few numbers of the host, of the engine's process tree, of its container or of the GPUs. It runs on the
host, never inside the environment: in a container on GB10 no per-process GPU memory is seen, and cgroups do not see
CUDA allocations. Cheap fields are read often and dear ones seldom, which is why what belongs together by subject can
be several samplers with periods of their own. `recorder.Recorder` ticks them and streams the rows to disk.

A sampler looks at its period and makes rows of what it saw later, many looks in one go: a thread that wakes ten times a
second finds its caches cold, and parsing a line then costs three times what it costs when it is parsed beside others.

Adding one is one new file here: the module's name is the sampler's name, and the module holds a class `Sampler` that
needs no arguments (edges such as the root of /proc or NVML are keyword arguments with defaults).
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, cast

from sparkray.errors import UnknownNameError

Value = str | int | float | list[int | None] | None
Row = Mapping[str, Value]
"""Column to value. Columns are those of `records.SAMPLE_COLUMNS` without run_id, attempt, sampler and t_ns."""

INFRASTRUCTURE = frozenset({"nvml", "recorder"})
"""Public modules of this package that are no samplers."""


@dataclass(frozen=True)
class Target:
    """What the engine's environment is, seen from the host.

    `pid` is the root of its process tree in the host's PID namespace, None while or where there is none. `in_container`
    says that the tree has a cgroup of its own, whose numbers mean something.
    """

    pid: int | None
    in_container: bool = False


class Sampler(Protocol):
    """What every sampler module's class `Sampler` does. It is used by one thread only."""

    name: str
    """The module's name."""
    period_s: float
    """Time from one sample to the next, s."""
    unavailable: str | None
    """Why this machine yields nothing, in words; None when it does. Set once entered or attached."""

    def __enter__(self) -> Self:
        """Opens what sampling needs. What the machine lacks is said in `unavailable`, not raised."""
        ...

    def __exit__(self, *exc: object) -> None:
        """Closes it."""
        ...

    def attach(self, target: Target) -> None:
        """Turns to a target. Host memory is sampled before an engine exists, so this comes after the first samples."""
        ...

    def capture(self) -> Any:  # noqa: ANN401 - whatever this sampler's own `rows` takes
        """Reads, and no more than that. None when there is nothing to see.

        Raises:
            Exception: Anything; the recorder notes it and leaves this sampler out from then on.
        """
        ...

    def rows(self, captured: Any, /) -> Sequence[Row]:  # noqa: ANN401 - what `capture` returned
        """Rows of one look: one a device, or one, or none. Missing columns are null, never 0.

        Called once for every look, in their order, at most a second after it and before the sampler is left.

        Raises:
            Exception: As for `capture`.
        """
        ...


def sampler_names() -> list[str]:
    """The samplers there are: the public modules of this package that are no infrastructure."""
    names = (m.name for m in pkgutil.iter_modules(__path__))
    return sorted(name for name in names if not name.startswith("_") and name not in INFRASTRUCTURE)


def load_sampler(name: str) -> Sampler:
    """A new sampler of that name.

    Raises:
        UnknownNameError: There is none.
    """
    if name not in sampler_names():
        raise UnknownNameError("sampler", name, sampler_names())
    return cast("Sampler", importlib.import_module(f"{__name__}.{name}").Sampler())
