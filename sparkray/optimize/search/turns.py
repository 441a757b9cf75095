"""Who is at work on a study, and what a driver that died has left.

A driver signs each trial that it takes. One that is dead is known by its process on this machine, by its last sign of life
on another. Its trial is put into the queue again before it is closed, so that being killed between the two loses nothing;
two trials of one configuration are one (`search.history`), so that being killed there doubles nothing either.
"""

import os
import platform
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import count

import optuna
import psutil
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial, TrialState

from sparkray.runtimes.linux.owner import boot_id

BEAT_S, SILENT_S = 30.0, 300.0
# A trial without a signature is that of a driver that has just taken it, or that died there.
UNSIGNED_S = 60.0
_PREFIX = "driver "
SERIAL = count()
# Held by whoever takes trials: one that a driver of this process has not signed yet is not that of a dead driver.
TAKING = threading.Lock()
_KEPT = ("again", "block", "raced", "unanswered")
# Attributes of a trial that a trial in its place has as well; the latter if it was made to correct others.
_CORRECTION = ("corrects", "evaluations")


@dataclass(frozen=True)
class Driver:
    """A process: host, boot of it, process id, start of the process (s since the epoch), and a count within it.

    `machine` is the host that measures for it, where that is another one.
    """

    host: str
    boot: str
    pid: int
    started: float
    serial: int = 0
    machine: str = ""

    @property
    def name(self) -> str:
        """One word."""
        where = f"@{self.machine}" if self.machine else ""
        return f"{self.host}/{self.boot[:8]}/{self.pid}/{self.started:.2f}/{self.serial}{where}"


def this_driver(serial: int = 0, machine: str = "") -> Driver:
    """The process that asks, `machine` measuring for it; empty: its own."""
    host = platform.node()
    elsewhere = "" if machine == host else machine
    return Driver(host, boot_id(), os.getpid(), psutil.Process().create_time(), serial, elsewhere)


def is_alive(name: str, last_sign: float | None, *, now: float) -> bool:
    """Whether the driver of that name still works: its process on this machine and boot, its last sign of life elsewhere.

    Args:
        name: As `Driver.name`.
        last_sign: When it last signed, s since the epoch; None never.
        now: s since the epoch.
    """
    host, boot, pid, started, _ = name.rsplit("/", 4)
    here = this_driver()
    if host != here.host or not boot:
        return last_sign is not None and now - last_sign < SILENT_S
    if boot != here.boot[:8]:
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(started)) < 1.0
    except (psutil.Error, ValueError):
        return False


@contextmanager
def at_work(study: optuna.Study, driver: str, *, clock: Callable[[], float] = time.time) -> Iterator[None]:
    """Signs of life in the study's attributes while the body runs; none is left after it."""
    key, done = f"{_PREFIX}{driver}", threading.Event()
    study.set_user_attr(key, clock())

    def beat() -> None:
        while not done.wait(BEAT_S):
            with suppress(Exception):  # a storage that is away for a moment is no reason to stop
                study.set_user_attr(key, clock())

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        study.set_user_attr(key, None)


def signs_of_life(study: optuna.Study) -> dict[str, float]:
    """When each driver that has not left last signed."""
    return {
        name.removeprefix(_PREFIX): float(value)
        for name, value in study.user_attrs.items()
        if name.startswith(_PREFIX) and value is not None
    }


def alive_drivers(study: optuna.Study, mine: str, *, now: float) -> set[str]:
    """Names of the drivers that work on a study.

    Args:
        study: The study.
        mine: Name of the driver that asks; it is one of them.
        now: s since the epoch.
    """
    signs = signs_of_life(study)
    return {name for name, sign in signs.items() if name == mine or is_alive(name, sign, now=now)} | {mine}


def neighbours_of(study: optuna.Study, mine: str, *, now: float) -> set[str]:
    """Drivers of other processes for which the same machine measures."""
    others = alive_drivers(study, mine, now=now)
    return {name for name in others if process_of(name) != process_of(mine) and _machine(name) == _machine(mine)}


def process_of(name: str) -> str:
    """A driver's name without its count: drivers of one process do not wait for each other."""
    return name.rpartition("/")[0]


def _machine(name: str) -> str:
    """The host that measures for a driver."""
    return name.rpartition("@")[2] if "@" in name else name.partition("/")[0]


@contextmanager
def present(storage: BaseStorage, name: str) -> Iterator[None]:
    """Signs of life in a study, made if there is none, of a process that will work on it and may have to wait for that."""
    study = optuna.create_study(study_name=name, storage=storage, direction="maximize", load_if_exists=True)
    with at_work(study, this_driver(next(SERIAL)).name):
        yield


def take_up(study: optuna.Study, trials: Sequence[FrozenTrial], mine: str, *, now: float) -> int:
    """Puts the trials of dead drivers into the queue again and closes them; how many there were.

    Args:
        study: The study.
        trials: All of it.
        mine: Name of the driver that asks; its own trials are alive.
        now: s since the epoch.
    """
    alive = alive_drivers(study, mine, now=now)
    taken = {trial.user_attrs.get("retry_of") for trial in trials}
    left = [trial for trial in trials if trial.state == TrialState.RUNNING and _abandoned(trial, alive, mine, now)]
    for trial in left:
        if trial.number not in taken:
            put_back(study, trial)
        _close(study, trial)
    return len(left)


def put_back(study: optuna.Study, trial: FrozenTrial, **more: object) -> None:
    """The same configuration into the queue again, with all that was to be done about it.

    A trial from the queue has its choices among the system's attributes until it has asked for each of them: one whose
    driver died before that would be lost with them.
    """
    params = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
    if params:
        names = (*_KEPT, *_CORRECTION) if "corrects" in trial.user_attrs else _KEPT
        kept = {name: trial.user_attrs[name] for name in names if name in trial.user_attrs}
        study.enqueue_trial(params, user_attrs={**kept, **more, "retry_of": trial.number})


def _abandoned(trial: FrozenTrial, alive: set[str], mine: str, now: float) -> bool:
    driver = trial.user_attrs.get("driver")
    if driver is not None:
        return driver not in alive
    started = trial.datetime_start.timestamp() if trial.datetime_start else 0.0
    return all(process_of(name) == process_of(mine) for name in alive) or now - started > UNSIGNED_S


def _close(study: optuna.Study, trial: FrozenTrial) -> None:
    with suppress(UpdateFinishedTrialError, ValueError):  # another driver was faster
        storage = study._storage  # noqa: SLF001 - a frozen trial of another driver has no public setter
        storage.set_trial_user_attr(trial._trial_id, "abandoned", True)  # noqa: SLF001
        study.tell(trial.number, state=TrialState.FAIL)
