"""Single flags that Docker refused: remembered where the cause lasts, asked again where it passes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest

from sparkray.config.docker import DockerOptions
from sparkray.errors import RunUnreadyError
from sparkray.execute.preflight import Probe, Refusals
from sparkray.images.rootfs import Image
from sparkray.runtimes import Launch
from sparkray.runtimes.container import Runtime

LASTS = "the container could not be started: could not select device driver with capabilities: [[gpu]]"


class Engine:
    """Docker that refuses every start for a reason, and counts them."""

    def __init__(self, why: str) -> None:
        self.why, self.starts = why, 0

    @contextmanager
    def start(self, launch: Launch) -> Iterator[Any]:
        del launch
        self.starts += 1
        raise RunUnreadyError(self.why)
        yield


def asked_twice(why: str, known: Refusals, *digests: str) -> int:
    """How often the engine is asked of one flag."""
    engine = Engine(why)
    for digest in digests:
        probe = Probe(cast("Runtime", engine), Image("own", digest, 1), ("sleep",), known=known)
        assert probe.refusal(DockerOptions(gpus="all")) == why
    return engine.starts


def test_a_refusal_that_lasts_is_remembered_by_image() -> None:
    known: Refusals = {}
    assert asked_twice(LASTS, known, "sha256:a", "sha256:a") == 1
    assert asked_twice(LASTS, known, "sha256:a") == 0
    assert asked_twice(LASTS, known, "sha256:b") == 1


@pytest.mark.parametrize(
    "why",
    [
        "the container could not be created: context deadline exceeded",
        "the container could not be started: mkdir /var/lib/docker/overlay2/x: no space left on device",
        "the container could not be started: too many requests: the daemon is busy",
        "a container of own ended at once: ('sleep', '60')",
    ],
)
def test_a_refusal_that_may_pass_is_asked_again(why: str) -> None:
    assert asked_twice(why, {}, "sha256:a", "sha256:a") == 2
