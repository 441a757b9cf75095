"""Limits under which no Ray starts are refused by name, before it is tried."""

import subprocess
import sys

import pytest

from sparkray.cluster.limits import must_have_limits
from sparkray.errors import ClusterError

_TRY = """
import resource, sys
from sparkray.cluster.limits import must_have_limits
limit = getattr(resource, sys.argv[1])
resource.setrlimit(limit, (int(sys.argv[2]), int(sys.argv[2])))
must_have_limits(80 * 1024 * 1024)
"""


@pytest.mark.parametrize(
    ("name", "value", "option"),
    [("NOFILE", 64, "-n"), ("FSIZE", 409600, "-f"), ("AS", 1_536_000_000, "-v")],
)
def test_a_limit_that_is_too_low_is_named(name: str, value: int, option: str) -> None:
    command = [sys.executable, "-c", _TRY, f"RLIMIT_{name}", str(value)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"Ray cannot be started: {value} " in done.stderr
    assert f"`ulimit {option}`" in done.stderr


@pytest.mark.parametrize(
    ("name", "low", "enough", "remedy"),
    [("pids", 120, 200, "pids.max"), ("memory_bytes", 300 << 20, 1 << 30, "memory")],
)
def test_a_control_group_with_little_is_named(name: str, low: int, enough: int, remedy: str) -> None:
    with pytest.raises(ClusterError, match=f"may have {low} ") as error:
        must_have_limits(1, group=lambda: {name: low})
    assert remedy in error.value.remedy
    for most in (enough, -1):
        must_have_limits(1, group=lambda most=most: {name: most})
    must_have_limits(1)
