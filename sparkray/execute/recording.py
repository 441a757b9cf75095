"""The recorder around one run, and what it lost: into the row, where the check `sampled` reads it."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from sparkray.checks.sampled import LOST
from sparkray.errors import DatasetError
from sparkray.execute.history import History
from sparkray.execute.row import SAMPLES, RunRecord
from sparkray.telemetry import Sampler, load_sampler, sampler_names
from sparkray.telemetry.recorder import Recorder

_GPU = "gpu"
_OF_MACHINE = (_GPU, "spark_hwmon")
"""How samplers are called that see the same whatever runs: what they found once they must find in every run."""


@contextmanager
def recording(
    record: RunRecord,
    spool: Path,
    *,
    gpus: Collection[str],
    history: History,
    samplers: Sequence[Sampler] | None = None,
) -> Iterator[Recorder]:
    """A recorder of every sampler; what it lost stands in the row, however the run ends.

    Args:
        record: Told what was lost.
        spool: The run's folder.
        gpus: The machine's, by its fingerprint.
        history: Earlier runs here, whose samples tell what this machine has.
        samplers: All there are, unless given.

    Raises:
        StorageError: The samples cannot be written.
    """
    recorder = Recorder(spool / SAMPLES, samplers or [load_sampler(name) for name in sampler_names()])
    try:
        with recorder:
            yield recorder
    finally:
        gone = vanished(recorder.unavailable, gpus, lambda: sampled_before(history))
        record.deviates(*(f"{LOST}{problem}" for problem in (*recorder.problems, *gone)))


def vanished(unavailable: Mapping[str, str], gpus: Collection[str], before: Callable[[], Collection[str]]) -> list[str]:
    """Samplers that found nothing where there was something: no lack of the machine, but a driver that is gone.

    Args:
        unavailable: Samplers that found nothing, and why.
        gpus: The machine's, by its fingerprint.
        before: Tells the samplers that an earlier run here has rows of; asked only where that decides.
    """
    missing = {name: why for name, why in unavailable.items() if name.startswith(_OF_MACHINE)}
    surely = {name for name in missing if gpus and name.startswith(_GPU)}
    known = surely if len(surely) == len(missing) else surely.union(before())
    return [
        f"sampler {name}: {why}, though there was something to see" for name, why in missing.items() if name in known
    ]


def sampled_before(history: History) -> frozenset[str]:
    """Samplers that the first ok run here has rows of; none where there is no such run, or its samples are unreadable."""
    try:
        first = [history.dataset.read("samples", ["sampler"], run_id=row["run_id"]) for row in history.every[:1]]
    except DatasetError:
        return frozenset()
    return frozenset(row["sampler"] for rows in first for row in rows)
