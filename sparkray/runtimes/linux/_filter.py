"""A filter of system calls of the kind and size of Docker's, made from the calls that its documentation names as blocked.

Docker's own profile is a list of what is allowed, which the OCI runtime turns into one comparison a call. This is the
same the other way round: every call that the kernel knows is allowed by a comparison of its own, but for those below. It
stands alone (standard library only), as the launcher reads it.
"""

import os
import struct
from typing import Any

MACHINES = ("x86_64", "aarch64")
# As linux/audit.h has them.
ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
# Numbers of the system calls that a kernel of 2024 knows; newer ones are answered with ENOSYS, as Docker does.
KNOWN = {"x86_64": (*range(335), *range(424, 463)), "aarch64": (*range(295), *range(424, 463))}
_CALLS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "_blocked_calls.txt")  # noqa: PTH100, PTH118, PTH120
# `clone` is judged by its flags; `clone3`, whose flags no filter can see, gets ENOSYS.
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
NEW_NAMESPACES = 0x7E020000
_LOAD, _AND, _EQUAL, _AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_EPERM, _ENOSYS = 1, 38
# Places in struct seccomp_data (seccomp(2)).
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16


def blocked_calls() -> list[tuple[Any, ...]]:
    """Name of each call that Docker blocks by default, and its number on either machine."""
    with open(_CALLS, encoding="ascii") as file:  # noqa: PTH123 - the launcher imports as little as it can
        rows = [line.split() for line in file if not line.startswith("#")]
    return [(name, *(None if number == "-" else int(number) for number in numbers)) for name, *numbers in rows]


def seccomp_program(machine: str) -> bytes:
    """A filter as instructions of the kernel's (struct sock_filter, 8 bytes each), for `x86_64` or `aarch64`.

    Every known call is compared by name and allowed, as Docker's profile of allowed names becomes one; what is named as
    blocked gets EPERM, a call of another architecture or none that is known ENOSYS.

    Raises:
        KeyError: The filter is not known for that machine.
    """
    clone, known = CLONE[machine], KNOWN[machine]
    blocked = {numbers[MACHINES.index(machine)] for _, *numbers in blocked_calls()}
    code = [
        *((_LOAD, 0, 0, _ARCHITECTURE), (_EQUAL, 1, 0, ARCHITECTURE[machine]), (_RETURN, 0, 0, _ERRNO | _ENOSYS)),
        *((_LOAD, 0, 0, _NUMBER), (_AT_LEAST, 0, 1, max(known) + 1), (_RETURN, 0, 0, _ERRNO | _ENOSYS)),
        *((_EQUAL, 0, 1, CLONE3), (_RETURN, 0, 0, _ERRNO | _ENOSYS)),
    ]
    for number in known:
        if number not in blocked and number not in (clone, CLONE3):
            code += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ALLOW)]
    code += [
        *((_EQUAL, 0, 4, clone), (_LOAD, 0, 0, _FIRST_ARGUMENT), (_AND, 0, 0, NEW_NAMESPACES), (_EQUAL, 0, 1, 0)),
        *((_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _ERRNO | _EPERM)),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)
