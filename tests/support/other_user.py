"""This program under sudo of another user, without sudo: its marks in the environment, and an interpreter for everybody."""

import os
import shutil
import subprocess
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import pytest

USER = 65534
_ANSWER = "import sys, yaml, click; print(sys.version_info[:2] == {version})"


@cache
def interpreter() -> str:
    """A Python of our version that any user may run with our packages; skips where there is none, or we are not root."""
    if os.geteuid() != 0:
        pytest.skip("becoming another user needs root")
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if python is not None:
            code = _ANSWER.format(version=sys.version_info[:2])
            with suppress(OSError):
                if as_user([python, "-c", code], environment("/")).stdout.strip() == "True":
                    return python
    pytest.skip("no Python here that another user may run")


def as_user(command: list[str], variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command, user=USER, group=USER, extra_groups=[], env=variables, capture_output=True, text=True, check=False
    )


def environment(cache: str | Path) -> dict[str, str]:
    """As sudo leaves it."""
    path = [str(Path(__file__).parents[2]), *(entry for entry in sys.path if entry.endswith("-packages"))]
    own = {"SUDO_UID": str(USER), "SUDO_GID": str(USER), "SUDO_USER": "nobody", "HOME": "/root"}
    return {**os.environ, **own, "PYTHONPATH": os.pathsep.join(path), "XDG_CACHE_HOME": str(cache)}
