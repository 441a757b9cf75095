"""A container that Docker runs where this process cannot see it: another PID namespace."""

import time
from pathlib import Path
from typing import Any

import pytest

from sparkray.errors import DockerError
from sparkray.runtimes.container import Runtime


class Elsewhere:
    """A container that runs, with a process number that is nobody's here, or somebody else's."""

    def __init__(self, pid: int) -> None:
        self.attrs: dict[str, Any] = {"State": {"Pid": pid, "Running": True}}

    def reload(self) -> None:
        """As of Docker's SDK."""


def test_a_process_that_cannot_be_seen_here_is_said_in_seconds() -> None:
    gone = int(Path("/proc/sys/kernel/pid_max").read_text()) - 1
    assert not Path(f"/proc/{gone}").exists()
    began = time.monotonic()
    with pytest.raises(DockerError, match=rf"runs as process {gone} for Docker.*different PID namespaces") as refused:
        Runtime(None)._pid(Elsewhere(gone), "sparkray-x")  # type: ignore[arg-type]
    assert time.monotonic() - began < 10
    assert "--pid=host" in refused.value.remedy
