"""The report (`--report_json`): what ran, as the tool reports itself, and how many requests.

`NaN` is not JSON, but the tool writes it. A number that is missing or not finite is None. Of the
three totals one that is not finite is an error. Unknown keys are kept under `other`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sparkray.engines._trtllm.messages import message
from sparkray.errors import EngineOutputError

_SECTIONS = (
    "engine",
    "machine",
    "world_info",
    "request_info",
    "performance",
    "energy",
    "streaming_metrics",
    "decoding_stats",
    "dataset",
)
_TEXTS = ("model", "model_path", "backend", "version", "dtype", "kv_cache_dtype", "quantization")
_WORLD = ("tp_size", "pp_size", "ep_size", "world_size", "max_batch_size", "max_num_tokens")
_TOTALS = ("total_latency_ms", "request_throughput_req_s", "system_output_throughput_tok_s")
_ENERGY = ("total_energy_j", "output_tps_per_w", "average_gpu_power")


@dataclass(frozen=True)
class Report:
    """A report that can be read. `reported` is flat: what the tool reports of itself, by name."""

    num_requests: int
    reported: Mapping[str, Any]
    streaming: bool

    def text(self, name: str) -> str | None:
        """One of the things reported, if it is text."""
        value = self.reported.get(name)
        return value if isinstance(value, str) else None


def read_json(data: bytes, name: str) -> Any:  # noqa: ANN401 - whatever the file holds
    """JSON as Python's `json` writes it.

    Raises:
        EngineOutputError: It is empty, cut off, or not JSON.
    """
    if not data.strip():
        raise EngineOutputError(*message("empty_file", name=name, size=len(data)))
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise EngineOutputError(
            *message("unreadable_file", name=name, size=len(data), error=str(error)[:200])
        ) from None


def read_report(data: bytes) -> Report:
    """The report.

    Raises:
        EngineOutputError: It cannot be parsed, lacks its number of requests, or a total is not a number.
    """
    document = read_json(data, "the report")
    if not isinstance(document, dict):
        raise EngineOutputError(*message("report_no_object", type=type(document).__name__))
    sections = {name: _mapping(document.get(name)) for name in _SECTIONS}
    count = _whole(sections["request_info"].get("num_requests"))
    if count is None:
        raise EngineOutputError(*message("report_no_count"))
    for name in _TOTALS:
        value = sections["performance"].get(name)
        if value is not None and number(value) is None:
            raise EngineOutputError(*message("report_bad_total", value=value, name=name))
    other = {name: value for name, value in document.items() if name not in _SECTIONS}
    reported = {**_facts(sections), **({"other": _finite(other)} if other else {})}
    return Report(count, reported, streaming=bool(sections["streaming_metrics"]))


def number(value: object) -> float | None:
    """A finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def _facts(sections: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    engine, world, performance = sections["engine"], sections["world_info"], sections["performance"]
    machine, requests = sections["machine"], sections["request_info"]
    return {
        **{name: _text(engine.get(name)) for name in _TEXTS},
        **{name: _whole(world.get(name)) for name in _WORLD},
        "scheduling_policy": _text(world.get("scheduling_policy")),
        "kv_fraction": number(world.get("kv_cache_percentage")),
        "num_requests": _whole(requests.get("num_requests")),
        "mean_concurrency": number(requests.get("avg_num_concurrent_requests")),
        "mean_input_tokens": number(requests.get("avg_input_length")),
        "mean_output_tokens": number(requests.get("avg_output_length")),
        **{name: number(performance.get(name)) for name in _TOTALS},
        **{name: number(sections["energy"].get(name)) for name in _ENERGY},
        "machine_name": _text(machine.get("name")),
        "machine_memory_gib": number(machine.get("memory.total")),
        "machine_memory_clock_ghz": number(machine.get("clocks.mem")),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    """Text; the tool writes the word None for what is not set."""
    return value if isinstance(value, str) and value not in ("", "None") else None


def _whole(value: object) -> int | None:
    finite = number(value)
    return int(finite) if finite is not None and finite == int(finite) else None


def _finite(value: object) -> object:
    """The same, with None for every number that is not finite: what is stored must be JSON."""
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return number(value) if isinstance(value, float) else value
