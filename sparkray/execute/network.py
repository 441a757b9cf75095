"""How a server is reached: its network, its published port and the route to it, read back from outside."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil

from sparkray.config.container import EVERY_ADDRESS, LOOPBACK
from sparkray.runtimes import Running


def network_of(running: Running, port: int) -> dict[str, Any]:
    """Columns of the run's row. `network_route` names the process that listens on the host's side; null if unknown."""
    return {
        "network_mode": _mode(running.engine_pid),
        "network_published": running.published or None,
        "network_route": _listener(port),
    }


def _mode(pid: int) -> str | None:
    """`host` where the process shares sparkray's network namespace, else `own`; None where that may not be read."""
    with suppress(OSError):
        same = Path(f"/proc/{pid}/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
        return "host" if same else "own"
    return None


def _listener(port: int) -> str | None:
    """Name of the process of this network namespace that listens on a port of the loopback interface."""
    places = ((LOOPBACK, port), (EVERY_ADDRESS, port))
    with suppress(psutil.Error, OSError):
        for each in psutil.net_connections("tcp"):
            if each.status == psutil.CONN_LISTEN and tuple(each.laddr) in places:
                return psutil.Process(each.pid).name() if each.pid else None
    return None
