"""What a benchmark leaves: report, output, requests, and then the summary for people."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import gpu
from .checkpoint import Checkpoint
from .console import log
from .report import MACHINE_SINCE, report, request_records
from .schedule import Played
from .settings import Settings
from .summary import summary

SHARED_WRITER_SINCE = (1, 1)
Values = dict[str, Any]


def write_results(
    settings: Settings, values: Values, *, model: Checkpoint, played: Sequence[Played], origin: int, energy: bool
) -> None:
    """Write the files in the tool's order. Each is opened before its content is known, as the tool does it.

    Raises:
        Exception: Whatever the tool dies of: an NVMLError leaves an empty report and nothing after it.
    """

    def document() -> dict[str, Any]:
        asks = settings.minor >= MACHINE_SINCE or settings.fault == "nvml_clock"
        machine = gpu.machine(settings) if asks else None
        return report(values, model, settings=settings, played=played, machine=machine, energy=energy)

    records = request_records(played, origin, streaming=values["streaming"])
    indent = 4 if settings.minor >= SHARED_WRITER_SINCE else None
    _write(settings, values["report_json"], "report", lambda: _spoilt(settings, document()))
    outputs = {str(record["id"]): "" for record in records}
    _write(settings, values["output_json"], "output", lambda: json.dumps(outputs, indent=4))
    _write(settings, values["request_json"], "request information", lambda: json.dumps(records, indent=indent))
    log(settings, summary(settings, document()))


def _write(settings: Settings, path: str | None, what: str, content: Callable[[], str]) -> None:
    if path is None:
        return
    if settings.minor >= SHARED_WRITER_SINCE:
        log(settings, f"Writing report information to {path}...")
    else:
        log(settings, f"Writing report to '{path}'." if what == "report" else f"Writing {what} to {path}.")
    with Path(path).open("w") as stream:
        stream.write(content())
    if settings.minor >= SHARED_WRITER_SINCE:
        log(settings, f"Report information written to {path}.")


def _spoilt(settings: Settings, document: dict[str, Any]) -> str:
    if settings.fault == "nan":
        document["performance"] = dict.fromkeys(document["performance"], float("nan"))
    text = json.dumps(document, indent=4)
    if settings.fault == "garbage_report":
        return "Segmentation fault (core dumped)\n"
    return text[: len(text) // 2] if settings.fault == "truncated_report" else text
