"""Index of a dataset's runs: the few columns that a sweep, `status` and `plan` read again and again, in one file.

Opening 900 Parquet files of 240 columns takes 4 s of CPU, a file of 900 lines 0.02. A line holds a checksum and, as JSON, a
file's name, its identity and its rows. A line counts while the file has that identity; the last line of a name counts. Other
files are read, and are in the index afterwards. Where it cannot be written nothing is kept, and every file is read.
"""

import json
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any

from sparkray.files import read_regular, replace_file

FOLDER, FILE = "cache", "runs.jsonl"
_TIMES = ("started_at", "ended_at")
INDEXED = (
    *("run_id", "attempt", "model", "level", "environment", "host", "site", "status", "reason", "replicate"),
    *("duration_s", "gpu_temp_gate_c", "output_throughput_tok_s", *_TIMES),
)
# Of other columns the checksum is another.
_SEED = zlib.crc32(repr(INDEXED).encode())
Rows = list[dict[str, Any]]
Identity = list[int]


def identity_of(path: Path) -> Identity:
    """What changes when a file is replaced or written to; empty where there is none."""
    try:
        found = path.stat()
    except OSError:
        return []
    return [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]


def indexed(paths: Sequence[Path], read: Callable[[Path], Rows]) -> Iterator[Rows]:
    """The rows of each file of `runs/` with the columns of `INDEXED`: from the index where it has them, else by `read`."""
    if not paths:
        return
    index = paths[0].parents[1] / FOLDER / FILE
    known, complete = _entries(index)
    lines = []
    for path in paths:
        identity = identity_of(path)
        entry = known.get(path.name)
        if entry is None or entry[0] != identity:
            entry, complete = (identity, [_part(row) for row in read(path)]), False
        lines.append((path.name, *entry))
        yield entry[1]
    if not complete:
        with suppress(OSError):
            index.parent.mkdir(exist_ok=True)
            replace_file(index, b"".join(_line(*line) for line in lines))


def add_to_index(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Put a file of `runs/` that has just been written into the index. Best effort."""
    line = _line(path.name, identity_of(path), [_part(row) for row in rows])
    index = path.parents[1] / FOLDER / FILE
    with suppress(OSError):
        index.parent.mkdir(exist_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with os.fdopen(os.open(index, flags, 0o666), "ab") as out:
            out.write(line)


def _part(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in INDEXED}


def _line(name: str, identity: Identity, rows: Rows) -> bytes:
    text = json.dumps([name, identity, rows], default=datetime.isoformat).encode()
    return b"%08x %s\n" % (zlib.crc32(text, _SEED), text)


def _entries(index: Path) -> tuple[dict[str, tuple[Identity, Rows]], bool]:
    """What the index holds by name of file, and whether each of its lines counts: others are damaged or out of date."""
    found: dict[str, tuple[Identity, Rows]] = {}
    try:
        lines = read_regular(index).splitlines()
    except OSError:
        return found, True
    for line in lines:
        checksum, _, text = line.partition(b" ")
        if checksum == b"%08x" % zlib.crc32(text, _SEED):
            name, identity, rows = json.loads(text)
            for row in rows:
                row.update({time: row[time] and datetime.fromisoformat(row[time]) for time in _TIMES})
            found[name] = identity, rows
    return found, len(found) == len(lines)
