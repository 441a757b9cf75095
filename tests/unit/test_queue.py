"""What is measured again, and how often."""

from builders import study

from sparkray.plan import make_plan
from sparkray.workflows.queue import Queue

PLAN = make_plan(study())


def test_runs_are_taken_in_order() -> None:
    queue = Queue(list(PLAN[:2]), most=3)
    assert [queue.take(), queue.take()] == PLAN[:2]
    assert queue.waiting == []


def test_doubtful_runs_come_before_all_others_until_they_were_tried_often_enough() -> None:
    queue = Queue(list(PLAN[:3]), most=2)
    first = queue.take()
    assert queue.again([first]) == [first]
    assert queue.waiting == [first, *PLAN[1:3]]
    assert queue.take() == first
    assert queue.again([first]) == []
    assert queue.waiting == PLAN[1:3]


def test_a_run_of_an_earlier_sweep_counts_as_tried_once() -> None:
    queue = Queue([], most=2)
    assert queue.again([PLAN[5]]) == [PLAN[5]]
    queue.take()
    assert queue.again([PLAN[5]]) == []
