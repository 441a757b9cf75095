"""The driver keeps off the engine's CPUs, where it is on the machine that measures, and waits for whom it gave way to."""

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from io import StringIO
from pathlib import Path
from typing import Any, cast

import pytest
from builders import outcome, study
from rich.console import Console

from sparkray.cluster import Cluster, Node, Runner
from sparkray.errors import DatasetError, HostError, LockHeldError
from sparkray.machine.cpu_isolation import pin_processes
from sparkray.optimize.runner import InterruptedSweepError
from sparkray.store import open_dataset
from sparkray.sweep.progress import Display, Terminal
from sparkray.workflows.options import Options
from sparkray.workflows.session import Session, pin_to_housekeeping_cpus, same_bits
from sparkray.workflows.study_runner import SessionRunner


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    before = frozenset(os.sched_getaffinity(0))
    yield
    pin_processes(before, [os.getpid()])


@pytest.mark.parametrize(("elsewhere", "moves"), [(False, True), (True, False)])
def test_the_driver_steps_aside_on_the_machine_that_measures(elsewhere: bool, moves: bool) -> None:
    every = os.sched_getaffinity(0)
    if len(every) < 2:
        pytest.skip("one CPU leaves nothing to step aside to")
    engines = max(every)
    pin_to_housekeeping_cpus(str(engines), Runner(None, 1, "elsewhere" if elsewhere else socket.gethostname()))
    assert (engines not in os.sched_getaffinity(0)) is moves


def test_where_the_site_leaves_none_to_the_engine_nobody_moves() -> None:
    before = os.sched_getaffinity(0)
    pin_to_housekeeping_cpus("", Runner(None, 1, socket.gethostname()))
    assert os.sched_getaffinity(0) == before


class OneMachine:
    """A cluster of one machine and its runner. `busy`: somebody else measures there, who is soon done."""

    busy = False
    host = "elsewhere"

    def runner(self, node: Node | None, experiment: str, mode: str, *_: object, store: object = None) -> Any:
        del experiment, store
        self.asked_for = node
        return self._entered(mode)

    def prepare(self, asked: object, dataset: object, mode: str, say: Callable[[str], None]) -> dict[str, Any]:
        del asked, dataset, say
        self._entered(mode)
        return {"rootfs_digest": {"": "r"}, "image_digest": {}, "weights": {}, "weights_digest": {}}

    def release(self) -> None:
        """The neighbour takes its turn."""
        self.busy = True

    def _entered(self, mode: str) -> "OneMachine":
        if self.busy and mode == "fail":
            raise LockHeldError("somebody else is measuring")
        self.busy = False
        return self


def test_a_neighbour_that_was_given_way_to_is_waited_for(tmp_path: Path) -> None:
    """A search that takes turns does not end because its neighbour took one."""
    machine, asked = OneMachine(), threading.Event()
    out = Console(file=StringIO())
    session = Session(cast("Cluster", machine), Options(lock="fail"), Display(out, 0, 0), asked)
    dataset = open_dataset(tmp_path, "question", "d" * 64)
    machine.busy = True
    with pytest.raises(LockHeldError):
        session.turn(study(), dataset)
    machine.busy = False
    session.turn(study(), dataset)
    asked.set()  # or it would leave the machine alone for seconds
    with ExitStack() as stack, pytest.raises(InterruptedSweepError):
        SessionRunner(session.options, Terminal(out), stack, asked=asked, session=session).let_go()
    assert machine.busy
    session.turn(study(), dataset)
    assert not machine.busy


def test_a_session_measures_on_its_node_and_only_with_the_files_of_the_first_machine(tmp_path: Path) -> None:
    machine = OneMachine()
    session = Session(
        cast("Cluster", machine),
        Options(),
        Display(Console(file=StringIO()), 0, 0),
        threading.Event(),
        node=Node("2", "two"),
    )
    dataset = open_dataset(tmp_path, "question", "d" * 64)
    threads = threading.active_count()
    session.turn(study(), dataset)
    assert threading.active_count() == threads, "each run would leave one too"
    assert (machine.asked_for, session.identity["rootfs_digest"]) == (session.node, {"": "r"})
    session.release()
    machine.busy = False
    session.like = {**session.identity, "rootfs_digest": {"": "other"}}
    with pytest.raises(HostError, match="its root file system is another than the first machine's"):
        session.turn(study(), dataset)
    assert session.runner is None, "it is let go"


def test_a_dataset_goes_on_with_the_files_that_each_environment_ran(tmp_path: Path) -> None:
    dataset = open_dataset(tmp_path, "question", "d" * 64)
    for name, digest in (("native", "a"), ("container_baseline", "a"), ("container_against", "b")):
        dataset.write(outcome(name, environment=name, host="h", rootfs_digest=digest, image_digest=digest))
    same = {"host": "h", "weights": {}, "weights_digest": {}}

    def refused(**digests: str | None) -> str:
        of_arms = {name.removeprefix("site"): digest for name, digest in digests.items()}
        try:
            same_bits(dataset, {**same, "rootfs_digest": of_arms, "image_digest": {}})
        except DatasetError as error:
            return error.message.partition("runs of ")[2]
        return ""

    assert refused(site="a", container_against="b") == ""
    assert refused(site="a", container_against=None) == "", "not in this sweep"
    assert refused(site=None, container_against="b") == ""
    assert refused(site="a", container_against="c") == "container_against with another rootfs digest (b; now c)"
    assert refused(site="c", container_against="b").endswith("with another rootfs digest (a; now c)")
    assert refused(site="a").startswith("container_against with another"), "its image was its own, now it is the site's"
