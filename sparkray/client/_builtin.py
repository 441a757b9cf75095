"""Starts the `builtin` generator (`python -m sparkray.client`), waits for it and reads what it left."""

import json
import os
import select
import subprocess
import sys
import tempfile
from array import array
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from sparkray.client import Load, LoadResult, Target
from sparkray.client._rows import Row, parsed, result_of
from sparkray.errors import ClientFailedError, ConfigError

_ALLOCATOR = {"MALLOC_MMAP_THRESHOLD_": str(1 << 28), "MALLOC_TRIM_THRESHOLD_": str(1 << 28)}
"""asyncio receives into 256 KiB: with glibc's defaults each chunk maps and unmaps them, which triples its CPU time."""
_PATIENCE_S = 5.0
_SHOWN = 500


def run(target: Target, load: Load, *, cpus: Sequence[int] | None, stop_fd: int | None) -> LoadResult:
    """See `client.run_load`."""
    try:
        offsets = load.arrival.offsets(len(load.prompts) - load.warmup, load.seed)
    except ValueError as error:
        raise ConfigError(str(error)) from None
    document = {
        "target": asdict(target),
        "load": {
            "prompts": [prompt if isinstance(prompt, str) else list(prompt) for prompt in load.prompts],
            "output_tokens": load.output_tokens if isinstance(load.output_tokens, int) else list(load.output_tokens),
            "concurrency": load.concurrency,
            "warmup": load.warmup,
            "timeout_s": load.timeout_s,
            "most_in_flight": load.most_in_flight,
            "most_latency_s": load.most_latency_s,
        },
        "offsets_s": offsets,
        "cpus": None if cpus is None else sorted(cpus),
    }
    with tempfile.TemporaryDirectory(prefix="sparkray-client-") as folder:
        request, rows, log = (Path(folder) / name for name in ("request.json", "rows", "client.log"))
        request.write_text(json.dumps(document))
        command = [sys.executable, "-m", "sparkray.client", str(request), str(rows)]
        with log.open("wb") as output:
            code = wait_for(command, output.fileno(), stop_fd)
        recorded = _read(rows)
        if code != 0 or not recorded or "ended" not in recorded[-1]:
            raise ClientFailedError(
                f"the load generator ended with status {code} after {len(recorded)} requests: {last_line(log)}"
            )
    end = recorded.pop()
    parsed_rows = [parsed(row) for row in recorded]
    return result_of(parsed_rows, load, ended=end["ended"], cpu_s=end["cpu_s"], load_cpu_s=end["load_cpu_s"])


def last_line(log: Path) -> str:
    """The last error that a generator printed, else its last line."""
    lines = log.read_text(errors="replace").strip().splitlines()
    errors = [line for line in lines if " ERROR " in line]
    return (errors or lines or ["it printed nothing"])[-1][-_SHOWN:]


def wait_for(command: Sequence[str], output: int, stop_fd: int | None) -> int:
    """Exit status of a generator. It is stopped by the end of its stdin, which the death of this process brings too."""
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=output,
        stderr=output,
        env=os.environ | _ALLOCATOR,
        start_new_session=True,
    ) as process:
        ended = os.pidfd_open(process.pid)
        try:
            select.select([ended, *([] if stop_fd is None else [stop_fd])], [], [])
            if process.stdin is not None:
                process.stdin.close()
            return process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()
        except BaseException:
            process.kill()
            raise
        finally:
            os.close(ended)


def _read(rows: Path) -> list[Row]:
    """Rows that were written whole, with the pieces that came; a generator that was killed may leave half of one."""
    read: list[Row] = []
    if not rows.exists():
        return read
    with rows.open("rb") as file:
        while (line := file.readline()).endswith(b"\n"):
            row = json.loads(line)
            count, numbers = row["pieces"], array("q")
            packed = file.read(2 * numbers.itemsize * count)
            if len(packed) < 2 * numbers.itemsize * count:
                break
            numbers.frombytes(packed)
            stamps, sizes = numbers[:count].tolist(), numbers[count:].tolist()
            pieces = [file.read(size) for size in sizes]
            if [len(piece) for piece in pieces] != sizes:
                break
            read.append({**row, "pieces": pieces, "stamps": stamps})
    return read
