"""A plain process of this machine, with the declared start state and an environment built from nothing."""

from contextlib import AbstractContextManager

from sparkray.errors import RunUnreadyError
from sparkray.runtimes import Launch, Running
from sparkray.runtimes.linux.process import launched


class Runtime:
    """See the module. Lowering nice or the OOM score below the parent's needs root."""

    name = "host"

    def start(self, launch: Launch) -> AbstractContextManager[Running]:
        """Raises RunUnreadyError, PrivilegeError."""
        if launch.isolation:
            raise RunUnreadyError(f"a plain process takes on no layers of isolation: {', '.join(launch.isolation)}")
        return launched(launch)
