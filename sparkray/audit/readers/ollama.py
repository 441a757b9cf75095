"""Answers of ollama's API: tokens and nanoseconds of the prompt and of what was generated."""

from dataclasses import replace
from typing import Any

from sparkray.audit.content import Content
from sparkray.audit.reading import Asked, KeyReader, Reading
from sparkray.audit.rows import Row
from sparkray.audit.statuses import UNKNOWN, status_of
from sparkray.audit.values import number

LABEL = "ollama"
TRIED = "files made up after the documented answers of its API"
_COUNTS = (
    "eval_count",
    "eval_duration",
    "prompt_eval_count",
    "prompt_eval_duration",
    "total_duration",
    "load_duration",
)
_KEYS = KeyReader(
    LABEL,
    requires=["eval_count", "eval_duration"],
    columns={
        "model": "model",
        "started_s": "created_at",
        "status": "done_reason",
        **{name: name for name in _COUNTS},
    },
    tried=TRIED,
    ignore=["response", "done", "thinking"],
)


def read(content: Content, asked: Asked) -> Reading | None:
    """A row an answer; None without any."""
    reading = _KEYS.read(content, asked)
    return None if reading is None else replace(reading, rows=[_row(row) for row in reading.rows])


def _row(row: Row) -> dict[str, Any]:
    total, load = (number(row.get(name)) for name in ("total_duration", "load_duration"))
    return {
        **{name: value for name, value in row.items() if name not in _COUNTS},
        "status": status_of(row.get("status")) or (UNKNOWN if row.get("done") is False else "ok"),
        "output_throughput_tok_s": _rate(row, "eval_count", "eval_duration"),
        "prefill_throughput_tok_s": _rate(row, "prompt_eval_count", "prompt_eval_duration"),
        "latency_mean_ms": None if total is None else total / 1e6,
        "load_ms": None if load is None else load / 1e6,
    }


def _rate(row: Row, tokens: str, nanoseconds: str) -> float | None:
    count, time = number(row.get(tokens)), number(row.get(nanoseconds))
    return None if count is None or not time else count / time * 1e9
