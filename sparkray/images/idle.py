"""A program that waits for ever, for containers of any image: one made of the server alone has no shell and no `sleep`.

The file is an ELF header, one segment and a loop around one system call, so that it needs no interpreter and no library:
`pause` on x86_64 (34), `ppoll` on nothing on aarch64 (73, which has no `pause`). Numbers are those of the kernel's tables.
"""

import platform
import struct
from pathlib import Path

from sparkray.files import replace_file

_BASE = 0x400000
_HEADERS = 64 + 56
_CODE = {
    # mov eax, 34; syscall; jmp back
    "x86_64": (62, bytes.fromhex("b8220000000f05ebf7")),
    # movz x0..x4, 0; movz x8, 73; svc 0; b back
    "aarch64": (183, struct.pack("<8I", *(0xD2800000 + n for n in range(5)), 0xD2800928, 0xD4000001, 0x17FFFFF9)),
}


def idle_program(machine: str) -> bytes | None:
    """The file for a machine by its name in `uname`; None for one that is not known."""
    if machine not in _CODE:
        return None
    kind, code = _CODE[machine]
    size = _HEADERS + len(code)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH",
        b"\x7fELF\x02\x01\x01",
        *(2, kind, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 64, 0, 0),
    )
    return header + struct.pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x1000) + code


def write_idle(cache: Path) -> Path | None:
    """The file in a cache, made where it is not there yet; None on an unknown machine."""
    program = idle_program(platform.machine())
    path = cache / "idle"
    if program is None:
        return None
    if not path.is_file() or path.read_bytes() != program:
        cache.mkdir(parents=True, exist_ok=True)
        replace_file(path, program, mode=0o755)
    return path
