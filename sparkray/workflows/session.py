"""One connection to the cluster and one runner on one of its machines, kept for as many studies as a command has.

A command that measures on several machines has a session for each, on a connection that they share.
"""

import os
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sparkray.cluster import (
    Cluster,
    LockMode,
    Node,
    RayLostError,
    Runner,
    RunnerLostError,
    Store,
    connected,
    login_hint,
)
from sparkray.errors import DatasetError, HostError, SparkrayError
from sparkray.execute.recovery import clear_as_root
from sparkray.machine.cpu_isolation import housekeeping_cpus, pin_processes
from sparkray.plan import PlannedRun, Study
from sparkray.progress import Progress
from sparkray.records import Outcome
from sparkray.stopping import LEFT, interruptible
from sparkray.store import Dataset
from sparkray.store.parcel import receive
from sparkray.workflows.options import Options
from sparkray.workflows.prerequisites import is_elsewhere

_LOSSES = 3
# What does not change in a dataset: for runs of any machine, and of one. An image may be built anew from the same files.
_OF_ANY = ("rootfs_digest", "weights", "weights_digest")
_OF_ONE = ("host", "rootfs_digest", "image_digest", "weights", "weights_digest")


@dataclass
class Session:
    """A connection under way.

    Attributes:
        cluster: The connection.
        options: Of the command.
        progress: Shows what happens; may be exchanged.
        asked: Set by a signal.
        runner: The runner, once there is one.
        losses: Runners that died.
        gave_way: Once the machine was left to somebody else on purpose: that one is waited for, whatever `--lock` says.
        node: Where to measure; None: on this machine, else on the first that may.
        like: The identity of another machine, whose files and weights this one's must be.
        dataset: The last that runs went into.
        lost: Whether a runner of this machine died, so that it could not clean up.
        connection: What ends the connection, where that is this session's to end and to make anew.
        identity: The last identity that the runner reported (`PreparedHost.identity`).
        store: Stores what the runner sends; None where it writes into the dataset itself.
    """

    cluster: Cluster
    options: Options
    progress: Progress
    asked: threading.Event
    runner: Runner | None = None
    losses: int = 0
    gave_way: bool = False
    node: Node | None = None
    like: Mapping[str, Any] | None = None
    identity: Mapping[str, Any] = field(default_factory=dict)
    store: Store | None = None
    dataset: Dataset | None = None
    lost: bool = False
    connection: ExitStack | None = None

    @property
    def host(self) -> str:
        """The machine, once it is known."""
        return self.node.host if self.node else self.runner.host if self.runner else ""

    def turn(self, study: Study, dataset: Dataset) -> None:
        """The runner is ready for a study: a new one for the first, the same for those after it; one that dies, another.

        Raises:
            SparkrayError: The machine cannot do it, or the dataset was made of other bits.
        """
        while True:
            try:
                self._turn(study, dataset)
            except RunnerLostError as error:
                self._recover(error)
            else:
                return

    def _turn(self, study: Study, dataset: Dataset) -> None:
        """Raises SparkrayError."""
        say = self.progress.say
        self.dataset = dataset
        LEFT["dataset"] = f"an attempt in {dataset.spool}"
        mode: LockMode = "wait" if self.gave_way else self.options.lock
        if self.runner is None:
            if self.store is None:
                dataset.make_folders()  # so that they are the user's where the runner is root
            name = study.experiment.name
            self.runner = self.cluster.runner(self.node, name, mode, say, self.asked.is_set, store=self.store)
            try:
                self.identity = self.runner.prepare(study, dataset, mode, say)
                self.lost = False  # it has cleaned up after the one before it
                pin_to_housekeeping_cpus(study.site.engine_cpus, self.runner)
                self._same_bits(dataset)
                if self.like is not None:
                    same_files(self.like, self.identity)
            except RunnerLostError:
                raise
            except SparkrayError:
                self.release()
                raise
        else:
            self.identity = self.runner.adopt(study, dataset, say)
            self._same_bits(dataset)

    def _same_bits(self, dataset: Dataset) -> None:
        same_bits(dataset, self.identity, many_machines=self.store is not None)

    def run(self, planned: PlannedRun, name: str = "run") -> Outcome:
        """One attempt, of this name on Ray's dashboard. Raises RunnerLostError, HostError."""
        if self.runner is None:
            raise RunnerLostError("there is no runner")
        LEFT["dataset"] = f"run {planned.run_id} in {self.dataset.path if self.dataset else 'its dataset'}"
        return self.runner.run(planned, self.progress.say, name)

    def replace(self, error: RunnerLostError, study: Study, dataset: Dataset) -> None:
        """A new runner for one that died; it clears up after it. Too many losses, or a stop, end it all: raises `error`."""
        self._recover(error)
        self.turn(study, dataset)

    def _recover(self, error: RunnerLostError) -> None:
        """The runner is dead, or all of its Ray, which is started anew. Raises `error` where it is time to give up."""
        if self.runner is not None:
            self.lost = self.lost or self.runner.is_local
            self.runner.kill()  # it outlives its Ray for a while, with the machine's lock
        self.runner = None
        self.losses += 1
        gone = isinstance(error, RayLostError)
        if self.losses > _LOSSES or self.asked.is_set() or (gone and self.connection is None):
            raise error
        self.progress.say(f"{error.message}; starting another{' Ray' if gone else ''}")
        if gone and self.connection is not None:
            self.connection.close()
            self.cluster = _connect(self.connection, self.options, self.progress)

    def release(self) -> None:
        """Let go of the machine; what a runner left that died is removed, or named."""
        if self.runner is not None:
            with suppress(SparkrayError):
                self.runner.release()
            self.runner = None
        if self.lost and self.dataset is not None:
            self.lost = False
            # on a cluster other machines' results are being written there
            clear_as_root(self.dataset if self.store is None else None, self.progress.say)
        LEFT.pop("dataset", None)

    def give_way(self) -> None:
        """Leave the machine to whoever waits for it."""
        self.release()
        self.gave_way = True


def pin_to_housekeeping_cpus(engine_cpus: str, runner: Runner) -> None:
    """Keeps this process off the engine's CPUs, where it is on the machine that measures: it draws and reads meanwhile."""
    if engine_cpus and runner.host == socket.gethostname():
        pin_processes(housekeeping_cpus(engine_cpus), [os.getpid()])


@contextmanager
def opened(options: Options, progress: Progress, asked: threading.Event) -> Iterator[Session]:
    """A session; at its end the machine is free and a Ray of our own is gone.

    Raises:
        ClusterError: Ray cannot be started or reached.
    """
    with ExitStack() as connection:
        cluster = _connect(connection, options, progress)
        with interruptible(asked):
            store = None if cluster.own else receive
            session = Session(cluster, options, progress, asked, connection=connection, store=store)
            try:
                yield session
            finally:
                session.release()


def _connect(connection: ExitStack, options: Options, progress: Progress) -> Cluster:
    """Raises ClusterError."""
    where = options.address or os.environ.get("RAY_ADDRESS")
    progress.say(f"connecting to Ray at {where}" if is_elsewhere(options) else "starting Ray")
    cluster = connection.enter_context(connected(options.address, dashboard=options.dashboard))
    if cluster.dashboard:
        hint = login_hint(cluster)
        progress.say(f"Ray dashboard: {cluster.dashboard}" + (f" ({hint})" if hint else ""))
    return cluster


def same_bits(dataset: Dataset, identity: Mapping[str, Any], *, many_machines: bool = False) -> None:
    """What is stored was made on this machine by the same files and weights, or the dataset is another one.

    Files and images are compared by environment: those of environments without an image of their own with each other.
    `many_machines` may share a dataset: what others measured there was made by the same files and weights.

    Raises:
        DatasetError: It was not.
    """
    columns = ["status", "model", "environment", "host", "rootfs_digest", "image_digest", "model_sha256"]
    for row in dataset.read("runs", [*columns, "checkpoint_sha256", "weights_digest"]):
        of_model = {name: identity.get(name, {}).get(row["model"]) for name in ("weights", "weights_digest")}
        of_arm = {name: _of_arm(identity[name], row["environment"]) for name in ("rootfs_digest", "image_digest")}
        now = {**identity, **of_model, **of_arm}
        then = {**row, "weights": row["checkpoint_sha256"] or row["model_sha256"]}
        for name in _OF_ANY if many_machines and row["host"] != identity["host"] else _OF_ONE:
            both = then.get(name) is not None and now[name] is not None
            if row["status"] == "ok" and both and then[name] != now[name]:
                raise DatasetError(
                    f"{dataset.path} holds runs of {row['environment']} with another {name.replace('_', ' ')} "
                    f"({then[name]}; now {now[name]})",
                    "Machine, image, engine, interpreter or weights changed since. Start a new folder: --fresh",
                )


def _of_arm(digests: Mapping[str, str | None], environment: str) -> str | None:
    """The digest of an environment in an identity; None where it is not known."""
    return digests[environment] if environment in digests else digests.get("")


def same_files(there: Mapping[str, Any], here: Mapping[str, Any]) -> None:
    """Two machines run the same files and weights, or their ratios are not of one thing.

    Raises:
        HostError: They do not.
    """
    own = {name: f"root file system{f' of {name}' if name else ''}" for name in there["rootfs_digest"]}
    pairs = {what: (there["rootfs_digest"][name], here["rootfs_digest"].get(name)) for name, what in own.items()}
    for name in ("weights", "weights_digest"):
        pairs |= {f"{name.replace('_', ' ')} of {m}": (digest, here[name].get(m)) for m, digest in there[name].items()}
    for what, (theirs, ours) in pairs.items():
        if theirs is not None and ours is not None and theirs != ours:
            raise HostError(
                f"its {what} is another than the first machine's ({ours}; there {theirs})",
                "Install the same engine and weights on both",
            )
