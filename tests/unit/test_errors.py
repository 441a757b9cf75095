"""The tree of errors: drawn in a docstring, so the drawing is held against the classes."""

import pickle
import re

import pytest

from sparkray import errors
from sparkray.errors import HostError, InputError, RunError, SparkrayError, UnknownNameError
from sparkray.records import STATUSES


def _tree(kind: type[SparkrayError] = SparkrayError) -> list[type[SparkrayError]]:
    below = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(found for child in below for found in _tree(child))]


def test_the_drawing_holds_every_class_and_no_other() -> None:
    drawn = re.findall(r"(\w+Error)\b", (errors.__doc__ or "").partition("A message says")[0])
    assert sorted(drawn) == sorted({kind.__name__ for kind in _tree()})


@pytest.mark.parametrize(("kind", "status"), [(InputError, 2), (HostError, 3), (RunError, 1), (SparkrayError, 1)])
def test_exit_statuses_follow_the_branch(kind: type[SparkrayError], status: int) -> None:
    assert kind.exit_status == status
    assert all(below.exit_status == status for below in kind.__subclasses__() if kind is not SparkrayError)


def test_every_run_error_becomes_a_status_and_no_two_but_failed_share_one() -> None:
    statuses = [kind.status for kind in _tree(RunError)]
    assert set(statuses) == set(STATUSES) - {"ok", "warmup"}
    own = [kind.status for kind in RunError.__subclasses__() if kind.status != "failed"]
    assert sorted(own) == sorted(set(own))


def test_a_message_and_its_remedy_make_two_sentences() -> None:
    assert str(HostError("the disk is full", "Free some")) == "the disk is full. Free some"
    assert str(HostError("the disk is full")) == "the disk is full"


@pytest.mark.parametrize("kind", [kind for kind in _tree() if kind is not UnknownNameError])
def test_errors_cross_processes_whole(kind: type[SparkrayError]) -> None:
    found = pickle.loads(pickle.dumps(kind("what", "do")))
    assert (type(found), found.message, found.remedy) == (kind, "what", "do")


def test_an_unknown_name_says_what_is_near_and_crosses_processes() -> None:
    error = UnknownNameError("model", "alfa", ["Gamma", "Alpha"])
    assert str(error).startswith(
        "unknown model 'alfa'. Did you mean 'Alpha'? Known: Alpha, Gamma. Another one needs a card"
    )
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
    assert "Known: none" in str(UnknownNameError("model", "x", []))
