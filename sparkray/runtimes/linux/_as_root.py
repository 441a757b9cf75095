"""Runs Python with its arguments as root, through the part of sparkray that is root (`root_part.py`). Imports little."""

import json
import os
import socket
import sys


def main() -> int:
    """Returns the exit status of what was run."""
    with socket.socket(socket.AF_UNIX) as asking:
        asking.connect("\0" + os.environ["SPARKRAY_ROOT_PART"])
        request = {"arguments": sys.argv[1:], "environment": dict(os.environ), "folder": os.getcwd()}  # noqa: PTH109
        data = json.dumps(request).encode() + b"\n"
        sent = socket.send_fds(asking, [data], [0, 1, 2])
        asking.sendall(data[sent:])
        answer = asking.recv(16)
    return int(answer) if answer else 1


if __name__ == "__main__":
    sys.exit(main())
