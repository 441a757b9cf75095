"""Several machines of a Ray cluster at one piece of work: a thread for each, and which of them may take part.

A machine takes part if it is of the same kind and runs the same files: else its ratios were of something else. It has a
session of its own. In a search it has a dataset of its own inside that of the search, too (`machines/HOST/`), and it must
offer the same levels.

The first error of any machine stops all. One that is lost, or cannot be made ready, is left out with a line that says why,
and the work goes on with the rest.
"""

import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Generic

from sparkray.config.feasible_levels import LevelVerdict, judge
from sparkray.errors import ClusterError, LockHeldError, SparkrayError
from sparkray.machine.capabilities import About
from sparkray.optimize.context import OptimizationContext
from sparkray.optimize.runner import InterruptedSweepError
from sparkray.optimize.search.machines import MACHINES, Companion, Helper, W
from sparkray.store import Dataset
from sparkray.workflows.prerequisites import is_elsewhere

if TYPE_CHECKING:  # it brings Ray, which takes long to import
    from sparkray.cluster import Node
    from sparkray.workflows.study_runner import SessionRunner

_KIND = ("architecture", "cpu", "cpus", "gpus")


class Fleet(Generic[W]):
    """The machines of a search, as its crew; or those of a sweep.

    Args:
        asked: Set to ask for the end of all.
        find_helpers: The machines beside that of the caller's own thread; asked once, when there is something to do.
        work: What they take part in, as a noun.
        end: Ends what the caller's own thread does, after an error of another machine; None: `asked` is set.
    """

    def __init__(
        self,
        asked: threading.Event,
        find_helpers: Callable[[], Sequence[Helper[W]]],
        work: str = "search",
        *,
        end: Callable[[], None] | None = None,
    ) -> None:
        self._asked, self._find_helpers, self._name = asked, find_helpers, work
        self._end = end or asked.set
        self._helpers: list[Helper[W]] | None = None
        self._error: BaseException | None = None
        self._guard = threading.Lock()

    def size(self) -> int:
        """Machines that take part now."""
        return 1 + len(self._helpers or ())

    def work(self, first: W, work: Callable[[W], None]) -> None:
        """Has all of them work, the first on this thread, until the first has nothing left to do. Raises the first error."""
        self.work_beside(lambda: work(first), work)

    def work_beside(self, first: Callable[[], None], work: Callable[[W], None]) -> None:
        """Likewise, where this thread does something else (`first`)."""
        if self._helpers is None:
            self._helpers = list(self._find_helpers())
            if self._helpers:
                threading.Thread(target=self._pass_on, args=(list(self._helpers),), daemon=True).start()
        helpers = list(self._helpers)
        if not helpers:
            first()
            return
        threads = [threading.Thread(target=self._attend, args=(one, work), daemon=True) for one in helpers]
        try:
            for helper, thread in zip(helpers, threads, strict=True):
                helper.runner.asked.clear()
                thread.start()
            first()
        except BaseException as error:  # noqa: BLE001 - raised below, once nobody measures any more
            self._note(error)
        for helper in helpers:
            helper.runner.asked.set()
        for thread in threads:
            thread.join()
        if self._error is not None:
            raise self._error

    def _attend(self, helper: Helper[W], work: Callable[[W], None]) -> None:
        """One helper's thread."""
        try:
            if self._joins(helper):
                work(helper.worker)
        except InterruptedSweepError:
            pass  # all is done, or all is to stop
        except (ClusterError, LockHeldError) as error:
            self._leave_out(helper, f"lost to the {self._name}, which goes on without it: {error}")
        except BaseException as error:  # noqa: BLE001 - raised on the first machine's thread
            if isinstance(error, SparkrayError):
                error.message = f"{helper.worker.host}: {error.message}"
            self._note(error)
            self._end()
        finally:
            helper.runner.release()

    def _joins(self, helper: Helper[W]) -> bool:
        """Whether a helper can be made ready."""
        if self._asked.is_set() or helper.runner.asked.is_set():
            return False
        try:
            helper.ready()
        except SparkrayError as error:
            self._leave_out(helper, f"left out of the {self._name}: {error}")
            return False
        helper.runner.say(f"takes part in the {self._name}")
        return True

    def _leave_out(self, helper: Helper[W], why: str) -> None:
        if helper.runner.asked.is_set():
            return  # whatever it waited for, it was asked to stop
        with self._guard:
            self._helpers = [one for one in self._helpers or () if one is not helper]
        helper.runner.say(why)

    def _note(self, error: BaseException) -> None:
        with self._guard:
            self._error = self._error or error

    def _pass_on(self, helpers: Sequence[Helper[W]]) -> None:
        """A stop of the first machine is one of all."""
        self._asked.wait()
        for helper in helpers:
            helper.runner.asked.set()


def companions(context: OptimizationContext, runner: "SessionRunner", home: Dataset) -> list[Companion]:
    """The other machines of the cluster that may help; a line says why others may not.

    Args:
        context: What the optimisation is of.
        runner: At the first machine, which is made ready.
        home: The dataset of the search.

    Raises:
        SparkrayError: The first machine cannot do it.
        InterruptedSweepError: Somebody asked for the end.
    """
    if not is_elsewhere(runner.options):
        return []  # a Ray of our own is this machine alone, and not started before a run is due
    cluster = runner.opened().cluster
    if len(cluster.nodes()) == 1:
        return []
    session = runner.turn(context.stage("search", (context.baseline,), context.runs), home)
    here = session.runner.node if session.runner else None
    if here is None:
        return []
    nodes = [here, *(node for node in cluster.nodes() if node != here)]
    first, *others = cluster.about(nodes, context.space)
    if isinstance(first, str):
        runner.say(f"the search stays on {here.host}, which cannot be compared with the other machines: {first}")
        return []
    known, found = [first], []
    for node, about in zip(nodes[1:], others, strict=True):
        why = about if isinstance(about, str) else unlike(about, known) or differs(context, about)
        if why is not None or isinstance(about, str):
            runner.say(f"{node.host} is left out of the search: {why}")
        else:
            known.append(about)
            found.append(_companion(about, node, runner, home))
    return found


def _companion(about: About, node: "Node", runner: "SessionRunner", home: Dataset) -> Companion:
    """With a session on the first one's connection."""
    from sparkray.workflows.session import Session  # noqa: PLC0415 - it brings Ray, which is there by now
    from sparkray.workflows.study_runner import SessionRunner  # noqa: PLC0415 - it imports this module

    first, host = runner.opened(), about.machine.host
    options = replace(runner.options, results_dir=home.path / MACHINES / host, fresh=False)
    asked = threading.Event()
    progress = runner.reporter.machine(host)
    session = Session(
        first.cluster, options, progress, asked, node=replace(node, host=host), like=first.identity, store=first.store
    )
    mine = SessionRunner(options, runner.reporter, runner.stack, asked=asked, session=session, host=host)
    return Companion(host, about.boot, mine)


def unlike(about: About, known: Sequence[About]) -> str | None:
    """Why a machine cannot measure what others do; None for one that can.

    Args:
        about: The machine.
        known: The machines that measure already, in the order in which they began.
    """
    if any(_is_same(about, other) for other in known):
        return "it is a machine that another node stands for already"
    mine, theirs = known[0].machine.facts, about.machine.facts
    different = [name for name in _KIND if mine[name] != theirs[name]]
    if different:
        name = different[0]
        host = known[0].machine.host
        return f"it is of another kind: {name} {theirs[name]}, and {mine[name]} on {host}"
    return None


def _is_same(one: About, other: About) -> bool:
    """By name, or by what is locked under one and the same kernel, which two containers may give two names."""
    shared = set(one.machine.lock_keys) & set(other.machine.lock_keys)
    return one.machine.host == other.machine.host or (one.boot == other.boot and bool(shared))


def differs(context: OptimizationContext, about: About) -> str | None:
    """The first level of which another thing is true there than here."""
    if about.facts is None:
        raise AssertionError(about.machine.host)
    theirs = judge(
        context.space,
        context.baseline.options,
        workload=context.study.experiment.workload.kind,
        host=about.facts,
        allowed=context.request.allowed,
    )
    for mine, other in zip(context.verdicts, theirs, strict=True):
        if (mine.feasible, mine.options) != (other.feasible, other.options):
            return f"{mine.name} is {_words(other)} there, and here {_words(mine)}"
    return None


def _words(verdict: LevelVerdict) -> str:
    if not verdict.feasible:
        return f"excluded ({verdict.reason})"
    return "feasible as " + ", ".join(f"{name}={value}" for name, value in verdict.options.items())
