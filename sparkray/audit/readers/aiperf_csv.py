"""CSV of aiperf and genai-perf: a metric a line, with its statistics; then one with its value."""

import csv
import io
import re
from typing import Any

from sparkray.audit.content import Content
from sparkray.audit.quantities import unit_of
from sparkray.audit.reading import Asked, Reading
from sparkray.audit.values import number

LABEL = "aiperf or genai-perf (CSV)"
TRIED = "files made up after the code that writes them"
_STATISTICS = {"avg": "mean", "p50": "p50", "p95": "p95", "p99": "p99"}
_METRICS = {
    "time to first token": "ttft_{}_ms",
    "inter token latency": "itl_{}_ms",
    "request latency": "latency_{}_ms",
}
_VALUES = {
    "output token throughput": "output_throughput_tok_s",
    "request throughput": "request_throughput_req_s",
    "request goodput": "goodput_req_s",
    "request count": "requests_completed",
    "error request count": "requests_failed",
}
_NAME = re.compile(r"(.*?)\s*(?:\(([^()]*)\))?\s*")


def read(content: Content, asked: Asked) -> Reading | None:
    """One run; None where the first column is not `Metric`."""
    if not content.table or content.columns[:1] != ["Metric"] or "avg" not in content.columns:
        return None
    row: dict[str, Any] = dict.fromkeys(asked.columns)
    header: list[str] = []
    for cells in csv.reader(io.StringIO(content.text)):
        if cells[:1] == ["Metric"]:
            header = cells
        elif len(cells) > 1:
            row |= _values(dict(zip(header, cells, strict=False)))
    return Reading(LABEL, [row], family="aiperf", rank=1)


def _values(cells: dict[str, str]) -> dict[str, Any]:
    match = _NAME.fullmatch(cells["Metric"])
    name, unit = ("", "") if match is None else (match[1].casefold(), match[2] or "")
    if name in _METRICS:
        return {_METRICS[name].format(ours): _in_ms(cells.get(theirs), unit) for theirs, ours in _STATISTICS.items()}
    if name in _VALUES:
        return {_VALUES[name]: number(cells.get("Value", cells.get("avg")))}
    return {}


def _in_ms(cell: str | None, unit: str) -> float | None:
    value, size = number(cell), unit_of(unit)
    return None if value is None or size is None or size[0] != "time" else value * size[1]
