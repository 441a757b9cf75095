"""Why a run ended by its time-out: the engine was slow, or others used the CPUs. Only what its samples show."""

from collections.abc import Mapping, Sequence
from typing import Any

from sparkray.errors import RunTimeoutError
from sparkray.machine.load import NOISY_CORES
from sparkray.runtimes.linux.halted import halted
from sparkray.units import NS_PER_S


def late(what: str, pid: int) -> RunTimeoutError:
    """The error of a process that has not ended in time, and still runs.

    Args:
        what: What was not in time, and after how long.
        pid: The process.
    """
    if why := halted(pid):
        error = RunTimeoutError(f"{what}: {why}", "Find out who halted it, then give the same command again")
        error.halted = True
        return error
    return RunTimeoutError(what, "Raise it: --set experiment.timeout_s=N")


def reason_of_timeout(
    error: RunTimeoutError, samples: Sequence[Mapping[str, Any]], *, cpus: int | None, own_cores: float
) -> str:
    """The reason in words.

    Args:
        error: Of the run.
        samples: Of the run, up to its end.
        cpus: CPUs of the machine.
        own_cores: Cores that sparkray and Ray used.
    """
    busy = [float(row["cpu_busy_pct"]) for row in samples if row.get("cpu_busy_pct") is not None]
    if error.halted or not busy or not cpus:
        return str(error)
    busy_pct = sum(busy) / len(busy)
    others = max(0.0, busy_pct * cpus / 100 - _engine_cores(samples) - own_cores)
    known = f"the CPUs were {busy_pct:.1f} % busy, other processes used {others:.1f} of {cpus} cores"
    if others < NOISY_CORES:
        return f"{error} ({known})"
    return f"{error.message}; {known}: the machine is not quiet. End other programs, then give the same command again"


def _engine_cores(samples: Sequence[Mapping[str, Any]]) -> float:
    """Cores that the engine's process tree used; 0 where it was not sampled twice."""
    found = [(row["t_ns"], row["process_cpu_s"]) for row in samples if row.get("process_cpu_s") is not None]
    if not found or found[-1][0] <= found[0][0]:
        return 0.0
    return float((found[-1][1] - found[0][1]) / (found[-1][0] - found[0][0]) * NS_PER_S)
