"""Carries a plan out: one run after another through the cluster's runner, resumable, stoppable, and honest at the end."""

import signal
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from sparkray.cluster import Cluster, Runner, RunnerLostError, connected, login_hint
from sparkray.errors import DatasetError, SparkrayError
from sparkray.plan import PlannedRun, Study
from sparkray.store import Dataset
from sparkray.sweep.options import Options
from sparkray.sweep.show import Display
from sparkray.sweep.timing import Timing

_LOSSES = 3
_REPEATED = ("invalid", "interrupted")


@dataclass
class Ended:
    """How a sweep ended: stopped by the user, or by an error that made every further run impossible."""

    interrupted: bool = False
    error: SparkrayError | None = None


@contextmanager
def interruptible(asked: threading.Event) -> Iterator[None]:
    """SIGINT and SIGTERM as an event: the run that goes on is stopped and stored, then the sweep ends.

    A second signal ends the program at once, as it always would.
    """

    def on_signal(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            signal.default_int_handler(number, frame)
        asked.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def carry_out(study: Study, dataset: Dataset, todo: Sequence[PlannedRun], options: Options, display: Display) -> Ended:
    """Every run of `todo`, stored as it ends.

    Returns:
        How it ended. Rows are in the dataset.
    """
    ended = Ended()
    asked = threading.Event()
    try:
        with connected(options.address) as cluster, interruptible(asked):
            if cluster.dashboard:
                hint = login_hint()
                display.say(f"Ray dashboard: {cluster.dashboard}" + (f" ({hint})" if hint else ""))
            Sweep(study, dataset, options, display, cluster, asked, Timing(study, dataset)).carry_out(todo)
    except SparkrayError as error:
        ended.error = error
    except KeyboardInterrupt:
        asked.set()
    ended.interrupted = asked.is_set()
    return ended


@dataclass
class Sweep:
    """A sweep under way."""

    study: Study
    dataset: Dataset
    options: Options
    display: Display
    cluster: Cluster
    asked: threading.Event
    timing: Timing
    losses: int = 0

    def carry_out(self, todo: Sequence[PlannedRun]) -> None:
        """Run after run; a lost runner is replaced, an invalid run measured again."""
        runner = self._ready()
        done = self.dataset.ok_run_ids()  # another sweep into this dataset may have had its turn while we waited
        waiting = [planned for planned in todo if planned.run_id not in done]
        self.display.done += len(todo) - len(waiting)
        tries: dict[str, int] = {}
        try:
            while waiting and not self.asked.is_set():
                planned = waiting.pop(0)
                tries[planned.run_id] = tries.get(planned.run_id, 0) + 1
                try:
                    status = self._one(runner, planned, waiting)
                except RunnerLostError as error:
                    runner = self._replace(error)
                    self.display.done += 1
                    status = "interrupted"
                if status in _REPEATED and tries[planned.run_id] < self.study.experiment.max_attempts:
                    waiting.insert(0, planned)
                    if not self.asked.is_set():
                        self.display.again(status)
        finally:
            runner.release()

    def _ready(self) -> Runner:
        runner = self.cluster.runner(self.study.experiment.name, self.options.lock, self.display.say, self.asked.is_set)
        try:
            with self._stopping(runner):
                identity = runner.prepare(self.study, self.dataset, self.options.lock, self.display.say)
            self._same_bits(identity)
        except SparkrayError:
            runner.release()
            raise
        return runner

    def _replace(self, error: RunnerLostError) -> Runner:
        """A new runner for one that died; it clears up after it. Too many losses end the sweep."""
        self.losses += 1
        if self.losses > _LOSSES:
            raise error
        self.display.say(f"{error.message}; starting another")
        return self._ready()

    def _same_bits(self, identity: Mapping[str, Any]) -> None:
        """What is stored was made on this machine by the same files and weights, or the dataset is another one.

        Raises:
            DatasetError: It was not.
        """
        columns = ["status", "model", "host", "rootfs_digest", "image_digest", "model_sha256", "checkpoint_sha256"]
        for row in self.dataset.read("runs", columns):
            now = {**identity, "weights": identity["weights"].get(row["model"])}
            then = {**row, "weights": row["checkpoint_sha256"] or row["model_sha256"]}
            for name in ("host", "rootfs_digest", "image_digest", "weights"):
                both = then[name] is not None and now[name] is not None
                if row["status"] == "ok" and both and then[name] != now[name]:
                    raise DatasetError(
                        f"{self.dataset.path} holds runs with another {name.replace('_', ' ')} "
                        f"({then[name]}; now {now[name]})",
                        "Machine, engine, interpreter or weights changed since. Start a new folder: --fresh",
                    )

    def _one(self, runner: Runner, planned: PlannedRun, after: Sequence[PlannedRun]) -> str:
        """One attempt. `after` are the runs that come then, for the time that is left."""
        self.display.expect(sum(self.timing.total_s(run) for run in (planned, *after)))
        self.display.begin(planned)
        self._tell_progress(planned)
        with self._stopping(runner):
            outcome = runner.run(planned, self.display.say)
        self.timing.learn(planned, outcome.row)
        self.display.expect(sum(self.timing.total_s(run) for run in after))
        self.display.end(planned, outcome.row)
        return outcome.status

    @contextmanager
    def _stopping(self, runner: Runner) -> Iterator[None]:
        """While inside, a signal to us reaches the runner: a watcher waits for it, so that nothing has to poll."""
        over = threading.Event()

        def watch() -> None:
            self.asked.wait()
            if not over.is_set():
                runner.stop()

        watcher = threading.Thread(target=watch, name="sparkray-stop", daemon=True)
        watcher.start()
        try:
            yield
        finally:
            over.set()

    def _tell_progress(self, planned: PlannedRun) -> None:
        state: Mapping[str, Any] = {
            "run": self.display.done + 1,
            "of": self.display.total,
            "run_id": planned.run_id,
            "environment": planned.environment,
            "model": planned.model,
            "since": time.time(),
            "eta_s": self.display.left_s,
        }
        self.dataset.tell_progress(state)
