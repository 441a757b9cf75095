"""What a benchmark leaves: report, output, requests, and then the summary for people."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from . import gpu
from .checkpoint import Checkpoint
from .console import log, record
from .report import report, request_records
from .schedule import Played
from .settings import Settings
from .summary import summary
from .versions import text

Values = dict[str, Any]


def write_results(
    settings: Settings, values: Values, *, model: Checkpoint, played: Sequence[Played], origin: int, energy: bool
) -> None:
    """Write the files in the tool's order. Each is opened before its content is known, as the tool does it.

    Raises:
        Exception: Whatever the tool dies of: an NVMLError leaves an empty report and nothing after it.
    """

    def document() -> dict[str, Any]:
        asks = settings.has("machine_query") or settings.fault == "nvml_clock"
        machine = gpu.machine(settings) if asks else None
        return report(values, model, settings=settings, played=played, machine=machine, energy=energy)

    records = request_records(played, origin, streaming=values["streaming"])
    indent = 4 if settings.has("shared_writer") else None
    _write(settings, values["report_json"], "write_report", lambda: _report_text(settings, document()))
    outputs = {str(entry["id"]): "" for entry in records}
    _write(settings, values["output_json"], "write_output", lambda: json.dumps(outputs, indent=4))
    _write(settings, values["request_json"], "write_requests", lambda: json.dumps(records, indent=indent))
    record(settings, summary(settings, document()))


def _write(settings: Settings, path: str | None, message: str, content: Callable[[], str]) -> None:
    if path is None:
        return
    log(settings, message, path=path)
    with Path(path).open("w") as stream:
        stream.write(content())
    if settings.has("shared_writer"):
        log(settings, "written", path=path)


def _report_text(settings: Settings, document: dict[str, Any]) -> str:
    """The report, or what a fault makes of it."""
    if settings.fault == "nan":
        document["performance"] = dict.fromkeys(document["performance"], float("nan"))
    content = json.dumps(document, indent=4)
    if settings.fault == "garbage_report":
        return text("garbage") + "\n"
    return content[: len(content) // 2] if settings.fault == "truncated_report" else content
