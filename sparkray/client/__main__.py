"""The generator's process: `python -m sparkray.client REQUEST.json ROWS`. The end of stdin stops it at once.

ROWS gets, for each request, a line of JSON, the time stamps and the sizes of the pieces that came, and the pieces.
"""

import asyncio
import gc
import json
import os
import sys
import time
from array import array
from pathlib import Path

from sparkray.client._generate import Generator, Row


async def _run(request: dict[str, object], rows: Path) -> None:
    with rows.open("wb") as file:

        def record(row: Row) -> None:
            received: list[bytes] = row.pop("pieces", [])
            stamps, sizes = array("q", row.pop("stamps", [])), array("q", map(len, received))
            head = json.dumps({**row, "pieces": len(received)}).encode()  # numbers as text would hold up other streams
            file.write(b"".join([head, b"\n", stamps.tobytes(), sizes.tobytes(), *received]))
            file.flush()  # a row outlives a crash of this process

        loop, started_s = asyncio.get_running_loop(), time.process_time()
        task = asyncio.ensure_future(Generator(request, record).run())

        def stop() -> None:
            loop.remove_reader(sys.stdin.fileno())
            task.cancel()

        loop.add_reader(sys.stdin.fileno(), stop)
        try:
            ended = await task
        except asyncio.CancelledError:
            ended = "stopped"
        cpu_s = time.process_time()
        record({"ended": ended, "cpu_s": cpu_s, "load_cpu_s": cpu_s - started_s})


def main() -> None:
    """Pin this process, run the load, write the rows."""
    request_file, rows = sys.argv[1:]
    request = json.loads(Path(request_file).read_bytes())
    if request["cpus"] is not None:
        os.sched_setaffinity(0, request["cpus"])
        if missing := set(request["cpus"]) - os.sched_getaffinity(0):  # the kernel leaves out what does not exist
            sys.exit(f"OSError: CPUs {sorted(missing)} cannot be used")
    gc.disable()  # a collection stops every stream; what a load leaves is freed with the process
    asyncio.run(_run(request, Path(rows)))


if __name__ == "__main__":
    main()
