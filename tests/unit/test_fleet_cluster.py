"""Two nodes of a real Ray cluster, both on this machine: a sweep waits for its own node, and a search sees one machine."""

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from simulated_runner import NOTHING, Pretending, context_in, pretending

from sparkray.cluster import RESOURCE, Cluster, RunnerLostError, connected
from sparkray.errors import ClusterError, LockHeldError
from sparkray.machine.fingerprint import fingerprint
from sparkray.optimize.search.stage import dataset_of
from sparkray.workflows.fleet import companions
from sparkray.workflows.session import Session

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    # Ray leaves sockets of its own to the garbage collector
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]
SETTINGS = {"num_cpus": 0, "resources": {RESOURCE: 1}, "object_store_memory": 80 * 1024 * 1024}


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two raylets."""
    from ray.cluster_utils import Cluster as Nodes  # after our own room, which sets what Ray reads when it is imported

    made = Nodes(initialize_head=True, head_node_args={**SETTINGS, "include_dashboard": False})
    try:
        made.add_node(**SETTINGS)
        yield made
    finally:
        made.shutdown()


@pytest.fixture(scope="module")
def cluster(nodes: Any) -> Iterator[Cluster]:
    with connected(nodes.address, dashboard=False) as found:
        yield found


def nobody(line: str) -> None:
    """Nothing is to be reported but that this machine is slow."""
    assert line.startswith("Ray has not started a runner on")


def test_two_sweeps_on_two_nodes_do_not_take_turns(cluster: Cluster) -> None:
    import ray

    one, two = cluster.nodes()
    assert one.id == ray.get_runtime_context().get_node_id(), "this machine's first"
    mine = cluster.runner(one, "mine", "fail", nobody, lambda: False)
    other = cluster.runner(two, "other", "fail", nobody, lambda: False)
    try:
        assert (mine.node, other.node) == (one, two)
        with pytest.raises(LockHeldError, match=f"another sweep of this Ray cluster is measuring on {two.host}"):
            cluster.runner(two, "third", "fail", nobody, lambda: False)
        said: list[str] = []
        with pytest.raises(LockHeldError):
            cluster.runner(two, "third", "wait", said.append, lambda: bool(said))
        assert len(said) == 1
        assert said[0].startswith(f"waiting: another sweep of this Ray cluster is measuring on {two.host}, or Ray")
    finally:
        mine.release()
        other.release()


class OnRay(Pretending):
    """Has a real session, whose runner is started and not made ready."""

    def turn(self, study, dataset):
        session = self.opened()
        if session.runner is None:
            node = session.cluster.nodes()[0]
            session.runner = session.cluster.runner(node, "search", "wait", self.say, self.asked.is_set)
        return session


def test_two_nodes_of_one_machine_are_one_and_it_is_said(cluster: Cluster, tmp_path: Path) -> None:
    context = context_in(tmp_path)
    with ExitStack() as stack:
        plain = pretending(tmp_path, stack, NOTHING)
        measuring = OnRay(replace(plain.options, address=cluster.address), plain.reporter, stack)
        measuring.session = Session(cluster, measuring.options, measuring.reporter.progress(0, 0), measuring.asked)
        try:
            found = companions(context, measuring, dataset_of(context, measuring))
        finally:
            measuring.release()
    host = fingerprint().host
    assert found == []
    said = measuring.out.file.getvalue()
    assert said == f"{host} is left out of the search: it is a machine that another node stands for already\n"


def test_a_machine_tells_what_it_is_and_can(cluster: Cluster, tmp_path: Path) -> None:
    reported = cluster.about(cluster.nodes(), context_in(tmp_path).space)
    assert [one.machine.host for one in reported] == [fingerprint().host] * 2
    assert reported[0] == reported[1]
    assert reported[0].facts is not None
    assert reported[0].facts.cpus is not None


def test_a_runner_of_another_machine_that_is_stopped_is_named_and_given_up(cluster: Cluster) -> None:
    started = cluster.runner(cluster.nodes()[1], "mine", "wait", nobody, lambda: False)
    runner = replace(started, host="elsewhere", sign_s=0.1, gone_s=1.0)
    process = psutil.Process(runner.pid)
    process.suspend()
    said: list[str] = []
    try:
        with pytest.raises(RunnerLostError, match=r"on elsewhere\) has not answered for 1 s and was ended"):
            runner.adopt(None, None, said.append)
        assert said == ["the runner has not answered for 1 s; another is started after 1 s"]
        process.wait(60)
    finally:
        runner.release()


def test_a_node_that_left_is_lost_and_not_waited_for(cluster: Cluster, nodes: Any) -> None:
    """The last test: one node is gone after it."""
    _, two = cluster.nodes()
    runner = cluster.runner(two, "mine", "wait", nobody, lambda: False)
    nodes.remove_node(next(node for node in nodes.worker_nodes if node.node_id == two.id))
    with pytest.raises(RunnerLostError, match="died"):
        runner.adopt(None, None, nobody)
    runner.release()
    with pytest.raises(ClusterError, match=f"{two.host} has left the Ray cluster"):
        cluster.runner(two, "mine", "wait", nobody, lambda: False)
    assert [node.id for node in cluster.nodes()] != [two.id]
    assert issubclass(RunnerLostError, ClusterError), "what a search goes on without"
