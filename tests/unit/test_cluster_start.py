"""Ray's start: what it raises becomes an error of ours with a remedy, and a time-out is tried once more."""

from collections.abc import Callable

import pytest

from sparkray.cluster import start
from sparkray.errors import ClusterError

TIMED_OUT = "The current node timed out during startup. This could happen because some of the raylet failed to startup"


def failing(*errors: Exception | None) -> tuple[Callable[[], str], list[int]]:
    """An `init` that raises these in turn; None: it starts."""
    calls: list[int] = []

    def init() -> str:
        error = errors[len(calls)]
        calls.append(1)
        if error is not None:
            raise error
        return "context"

    return init, calls


def test_a_start_that_timed_out_is_tried_once_more() -> None:
    init, calls = failing(Exception(TIMED_OUT), None)
    assert start(init, address="local", origin="") == "context"
    assert len(calls) == 2


def test_a_second_time_out_says_that_the_machine_is_busy() -> None:
    init, calls = failing(Exception(TIMED_OUT), Exception(TIMED_OUT))
    with pytest.raises(ClusterError, match="cannot be started") as refused:
        start(init, address="local", origin="")
    assert "busy" in refused.value.remedy
    assert len(calls) == 2


@pytest.mark.parametrize("origin", ["--address", "RAY_ADDRESS"])
@pytest.mark.parametrize("error", [ConnectionError("no cluster"), Exception(TIMED_OUT), ValueError("bad address")])
def test_an_address_that_cannot_be_reached_names_where_it_came_from(origin: str, error: Exception) -> None:
    init, calls = failing(error)
    with pytest.raises(ClusterError, match="cannot be reached") as refused:
        start(init, address="10.0.0.1:1", origin=origin)
    assert refused.value.remedy == f"Check {origin}"
    assert len(calls) == 1


def test_an_error_of_another_kind_stays_itself() -> None:
    init, _ = failing(Exception("something new"))
    with pytest.raises(Exception, match="something new"):
        start(init, address="local", origin="")
