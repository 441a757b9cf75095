"""Ask whether a Docker engine answers at an address: `engine_ping.py ADDRESS [SECONDS]`, ADDRESS as in DOCKER_HOST.

Standard library alone and no Docker client: it runs before anything is installed. The exit status is the answer:
0 an engine answers, 10 nobody is there, 11 no permission, 12 somebody listens there but is no engine that answers,
13 not an address of this machine's engine.
"""

import http.client
import socket
import sys
from urllib.parse import urlsplit

ANSWERS, NOBODY, FORBIDDEN, MUTE, UNUSABLE = 0, 10, 11, 12, 13


def connect(address: str, timeout_s: float) -> socket.socket | None:
    """Open the stream that DOCKER_HOST names.

    Returns:
        The connected socket; None for a scheme other than unix, tcp and http.

    Raises:
        OSError: Nobody listens there, or this user may not connect.
    """
    parts = urlsplit(address)
    if parts.scheme == "unix":
        stream = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        stream.settimeout(timeout_s)
        stream.connect(parts.netloc + parts.path)
        return stream
    if parts.scheme in {"tcp", "http"}:
        return socket.create_connection((parts.hostname or "localhost", parts.port or 2375), timeout_s)
    return None


def ask(stream: socket.socket) -> int:
    """Send `GET /_ping` and judge the reply."""
    connection = http.client.HTTPConnection("docker")
    connection.sock = stream
    try:
        connection.request("GET", "/_ping")
        reply = connection.getresponse()
    except (OSError, http.client.HTTPException):
        return MUTE
    return ANSWERS if reply.status == http.client.OK and reply.read().strip() == b"OK" else MUTE


def main(address: str, timeout_s: float) -> int:
    """Ping once.

    Args:
        address: As DOCKER_HOST spells it.
        timeout_s: Seconds to wait for the connection and for the reply, each.

    Returns:
        The exit status.
    """
    try:
        stream = connect(address, timeout_s)
    except PermissionError:
        return FORBIDDEN
    except TimeoutError:
        return MUTE
    except (OSError, ValueError):
        return NOBODY
    if stream is None:
        return UNUSABLE
    with stream:
        return ask(stream)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 20.0))  # noqa: PLR2004 - the optional SECONDS
