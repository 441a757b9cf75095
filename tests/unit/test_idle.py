"""The program that waits in images without a shell: it really runs here, and is a whole file for the other machine."""

import platform
import struct
import subprocess
import time
from pathlib import Path

import pytest

from sparkray.images.idle import idle_program, write_idle


def test_it_starts_and_waits_without_cpu_time(tmp_path: Path) -> None:
    program = write_idle(tmp_path / "cache")
    assert program is not None
    assert write_idle(tmp_path / "cache") == program
    with subprocess.Popen([program]) as child:
        deadline = time.monotonic() + 5
        while Path(f"/proc/{child.pid}/comm").read_text() != "idle\n" and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        fields = Path(f"/proc/{child.pid}/stat").read_text().rpartition(")")[2].split()
        assert (child.poll(), fields[0], int(fields[11])) == (None, "S", 0)
        child.kill()


@pytest.mark.parametrize(("machine", "number"), [("x86_64", 62), ("aarch64", 183)])
def test_each_file_is_an_executable_of_its_machine(machine: str, number: int) -> None:
    program = idle_program(machine)
    assert program is not None
    kind, of, _, entry = struct.unpack("<HHIQ", program[16:32])
    start, base, _, size, _ = struct.unpack("<QQQQQ", program[64 + 8 : 64 + 48])
    assert (program[:4], kind, of, start, size) == (b"\x7fELF", 2, number, 0, len(program))
    assert base < entry < base + size
    assert idle_program(platform.machine()) is not None
    assert idle_program("riscv64") is None
