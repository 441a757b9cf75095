"""The report (`--report_json`): what ran, as the tool says itself, and how many requests.

`NaN` is no JSON, but the tool writes it. A number that is missing or not finite is None, except for the three totals: a
run whose totals are no numbers is no run. Keys that nothing is known of are kept under `other`.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
    """A report that can be read. `reported` is flat: what the tool says of itself, by name."""

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
        EngineOutputError: It is empty, cut off, or no JSON.
    """
    if not data.strip():
        raise EngineOutputError(f"{name} is empty ({len(data)} bytes)", "The end of the engine's log says why")
    try:
        return json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise EngineOutputError(f"{name} cannot be read ({len(data)} bytes): {str(error)[:200]}") from None


def read_report(data: bytes) -> Report:
    """The report.

    Raises:
        EngineOutputError: It cannot be parsed, does not say its number of requests, or its totals are no numbers.
    """
    document = read_json(data, "the report")
    if not isinstance(document, dict):
        raise EngineOutputError(f"the report holds {type(document).__name__}, no object")
    sections = {name: _mapping(document.get(name)) for name in _SECTIONS}
    count = _whole(sections["request_info"].get("num_requests"))
    if count is None:
        raise EngineOutputError("the report does not say how many requests it is about (request_info.num_requests)")
    for name in _TOTALS:
        value = sections["performance"].get(name)
        if value is not None and number(value) is None:
            raise EngineOutputError(f"the report says {value!r} for performance.{name}, which is no number")
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
    policy = world.get("scheduling_policy")
    return {
        **{name: _said(engine.get(name)) for name in _TEXTS},
        **{name: _whole(world.get(name)) for name in _WORLD},
        "scheduling_policy": _said(policy),
        "kv_fraction": number(world.get("kv_cache_percentage")),
        "num_requests": _whole(requests.get("num_requests")),
        "mean_concurrency": number(requests.get("avg_num_concurrent_requests")),
        "mean_input_tokens": number(requests.get("avg_input_length")),
        "mean_output_tokens": number(requests.get("avg_output_length")),
        **{name: number(performance.get(name)) for name in _TOTALS},
        **{name: number(sections["energy"].get(name)) for name in _ENERGY},
        "machine_name": _said(machine.get("name")),
        "machine_memory_gib": number(machine.get("memory.total")),
        "machine_memory_clock_ghz": number(machine.get("clocks.mem")),
    }


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _said(value: object) -> str | None:
    """Text; the tool writes the word None for what is not set."""
    return value if isinstance(value, str) and value not in ("", "None") else None


def _whole(value: object) -> int | None:
    found = number(value)
    return int(found) if found is not None and found == int(found) else None


def _finite(value: object) -> object:
    """The same, with None for every number that is none: what is stored must be JSON."""
    if isinstance(value, dict):
        return {str(key): _finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_finite(inner) for inner in value]
    return number(value) if isinstance(value, float) else value
