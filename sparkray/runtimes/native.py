"""A chroot into the root file system exported from the image, in a private mount namespace.

Why a chroot and not a plain process: both arms then run the same bits, and what differs is the container and nothing
else. The rootfs is mounted read-only, with proc, sys and dev of the host, so that no run can alter what the next one
runs; /tmp is a fresh folder on disk.

Layers of isolation that a container has and a chroot has not may be added to a launch, one or several, so that each can
be measured by itself (`config.isolation`).
"""

from contextlib import AbstractContextManager

from sparkray.errors import RunUnreadyError
from sparkray.runtimes import Launch, Running
from sparkray.runtimes.linux.process import launched


class Runtime:
    """See the module."""

    name = "native"

    def start(self, launch: Launch) -> AbstractContextManager[Running]:
        """Raises RunUnreadyError, PrivilegeError."""
        if launch.rootfs is None:
            raise RunUnreadyError("the native arm has no root file system to run in")
        return launched(launch)
