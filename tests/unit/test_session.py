"""The driver keeps off the engine's CPUs, where it is on the machine that measures."""

import os
import socket
from collections.abc import Iterator

import pytest

from sparkray.cluster import Runner
from sparkray.machine.apart import keep_to
from sparkray.sweep.session import step_aside


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    before = frozenset(os.sched_getaffinity(0))
    yield
    keep_to(before, [os.getpid()])


@pytest.mark.parametrize(("elsewhere", "moves"), [(False, True), (True, False)])
def test_the_driver_steps_aside_on_the_machine_that_measures(elsewhere: bool, moves: bool) -> None:
    every = os.sched_getaffinity(0)
    if len(every) < 2:
        pytest.skip("one CPU leaves nothing to step aside to")
    engines = max(every)
    step_aside(str(engines), Runner(None, 1, "elsewhere" if elsewhere else socket.gethostname()))
    assert (engines not in os.sched_getaffinity(0)) is moves


def test_where_the_site_leaves_none_to_the_engine_nobody_moves() -> None:
    before = os.sched_getaffinity(0)
    step_aside("", Runner(None, 1, socket.gethostname()))
    assert os.sched_getaffinity(0) == before
