"""Carries a plan out, on this machine or on those of a cluster, and says how it ended."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass

from sparkray.errors import SparkrayError
from sparkray.plan import PlannedRun, Study
from sparkray.progress import Progress
from sparkray.store import Dataset
from sparkray.timing import Timing
from sparkray.workflows.machines import on_machines
from sparkray.workflows.options import Options
from sparkray.workflows.session import opened
from sparkray.workflows.sweeping import Sweep


@dataclass
class Ended:
    """How a sweep ended: stopped by the user, or by an error that made every further run impossible."""

    interrupted: bool = False
    error: SparkrayError | None = None


def carry_out(
    study: Study, dataset: Dataset, todo: Sequence[PlannedRun], options: Options, progress: Progress
) -> Ended:
    """Every run of `todo`, stored as it ends.

    Returns:
        How it ended. Rows are in the dataset.
    """
    ended = Ended()
    asked = threading.Event()
    until = None if options.seconds is None else time.monotonic() + options.seconds
    try:
        with opened(options, progress, asked) as session:
            sweep = Sweep(study, dataset, session, Timing(study, dataset), until=until)
            if session.store is None:
                sweep.carry_out(todo)
            else:
                on_machines(sweep, todo)
    except SparkrayError as error:
        ended.error = error
    except KeyboardInterrupt:
        asked.set()
    ended.interrupted = asked.is_set()
    return ended
