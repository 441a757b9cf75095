"""An engine that starts no container at all is distinguished from flags that this host cannot honour."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import cast

import pytest

from sparkray.config.docker import DockerOptions
from sparkray.errors import PreflightError, RunUnreadyError
from sparkray.execute.preflight import Probe, honoured
from sparkray.images.rootfs import Image
from sparkray.plan import Treatment
from sparkray.runtimes import Launch, Running
from sparkray.runtimes.container import Runtime

ASKED = Treatment("container_baseline", DockerOptions(ipc="host", ulimit_memlock=-1), ("ulimit_memlock",))


class Refusing:
    """A Docker engine that refuses containers, all of them or those with given flags."""

    def __init__(self, why: str, *, only_with_flags: bool = False) -> None:
        self.why, self.only_with_flags, self.started = why, only_with_flags, list[DockerOptions]()

    def start(self, launch: Launch) -> AbstractContextManager[Running]:
        self.started.append(launch.options)
        return self._started(launch.options)

    @contextmanager
    def _started(self, options: DockerOptions) -> Iterator[Running]:
        if self.only_with_flags and options == DockerOptions():
            yield cast("Running", type("Idle", (), {"pid": 1}))
            return
        raise RunUnreadyError(f"the container could not be started: {self.why}")


def refused(runtime: Refusing) -> PreflightError:
    probe = Probe(cast("Runtime", runtime), Image("busybox:1", "sha256:1", 1), ("sleep", "60"))
    with pytest.raises(PreflightError) as caught:
        honoured(ASKED, probe)
    return caught.value


@pytest.mark.parametrize(
    ("why", "remedy"),
    [
        (
            "failed to set up container networking: could not find bridge docker0: no such network interface",
            "its bridge",
        ),
        ("dial unix /run/containerd/containerd.sock: connect: connection refused", "Restart containerd"),
        ("mkdir /var/lib/docker/overlay2/1: no space left on device", "Free some space on the disk of Docker's data"),
        ("something that nobody has seen", "journalctl -u docker"),
    ],
)
def test_no_flag_is_blamed_where_no_container_starts(why: str, remedy: str) -> None:
    runtime = Refusing(why)
    error = refused(runtime)
    assert error.message == (
        f"this Docker engine cannot start any container of busybox:1: the container could not be started: {why}"
    )
    assert remedy in error.remedy
    assert runtime.started == [ASKED.options, DockerOptions()], "one probe without any flag is enough"


def test_a_flag_is_blamed_where_a_container_without_it_starts() -> None:
    error = refused(Refusing("not here", only_with_flags=True))
    assert error.message.startswith("this host cannot honour the flags of container_baseline: --ipc=host")
