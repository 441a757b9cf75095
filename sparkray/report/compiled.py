"""Compiled templates, kept like Python's own bytecode: in `__pycache__`, or where that is not writable in memory alone.

Compiling the templates of a report takes longer than rendering them.
"""

import sys
from contextlib import suppress
from functools import cache
from pathlib import Path
from pickle import UnpicklingError

import jinja2
from jinja2 import BytecodeCache
from jinja2.bccache import Bucket

from sparkray.files import read_regular, replace_file

_FOLDER = Path(__file__).parent


class Compiled(BytecodeCache):
    """The compiled templates of one kind of environment.

    Args:
        kind: Its name. Environments of one kind have the same delimiters, escapes and filters.
        keep: Whether they are kept on disk; by default as Python keeps its own.
    """

    def __init__(self, kind: str, *, keep: bool = not sys.dont_write_bytecode) -> None:
        self.kind, self.keep = kind, keep
        self.known: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        """Takes what is kept; Jinja compares the checksum of the template's text."""
        if bucket.key not in self.known:
            with suppress(OSError):
                head, _, content = read_regular(self._file(bucket)).partition(b"\n")
                if head == _versions():
                    self.known[bucket.key] = content
        with suppress(EOFError, UnpicklingError):  # it was cut: compiled again
            bucket.bytecode_from_string(self.known.get(bucket.key, b""))

    def dump_bytecode(self, bucket: Bucket) -> None:
        """Keeps it."""
        self.known[bucket.key] = bucket.bytecode_to_string()
        if self.keep:
            with suppress(OSError):
                self._file(bucket).parent.mkdir(exist_ok=True)
                replace_file(self._file(bucket), _versions() + b"\n" + self.known[bucket.key])

    def _file(self, bucket: Bucket) -> Path:
        return _FOLDER / "__pycache__" / f"{bucket.key}.{self.kind}"


@cache
def _versions() -> bytes:
    """Jinja's, and when the code of filters last changed: what they make of constants is compiled in."""
    return f"{jinja2.__version__} {max(file.stat().st_mtime_ns for file in _FOLDER.glob('*.py'))}".encode()
