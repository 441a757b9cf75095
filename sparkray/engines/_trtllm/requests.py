"""The request file (`--request_json`): one object a request, times of `perf_counter_ns`, the machine's monotonic clock.

Warm-up requests are not in it. The derived fields (throughputs, latencies) are not read: they can be computed from the
times, and without streaming some are garbage.
"""

from collections.abc import Mapping
from typing import Any

from sparkray.engines._trtllm.report import read_json
from sparkray.errors import EngineOutputError
from sparkray.records import Request

_BEYOND = 2**63
"""No clock and no counter gets there, and no 64-bit column holds it."""


def read_requests(data: bytes) -> tuple[Request, ...]:
    """The requests in the order of submission.

    Raises:
        EngineOutputError: It is no list of requests, one of them lacks a time or a count, or one stands there twice.
    """
    document = read_json(data, "the request file")
    if not isinstance(document, list):
        raise EngineOutputError(f"the request file holds {type(document).__name__}, no list")
    records = [_checked(entry, place) for place, entry in enumerate(document)]
    ids = [str(record.get("id", place)) for place, record in enumerate(records)]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise EngineOutputError(f"the request file holds request {twice!r} more than once")
    ordered = sorted(records, key=lambda record: record["start_timestamp"])
    return tuple(_request(record, index) for index, record in enumerate(ordered))


def _checked(entry: object, place: int) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise EngineOutputError(f"request {place} of the request file is {type(entry).__name__}, no object")
    record = dict(entry)
    if "output_tokens" not in record:
        record["output_tokens"] = record.get("num_total_output_tokens")
    for name in ("start_timestamp", "end_timestamp", "num_input_tokens", "output_tokens"):
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _BEYOND:
            raise EngineOutputError(f"request {place} of the request file has {name} = {value!r}, no whole number")
    if record["end_timestamp"] < record["start_timestamp"]:
        raise EngineOutputError(f"request {place} of the request file ends before it starts")
    return record


def _request(record: Mapping[str, Any], index: int) -> Request:
    return Request(
        index=index,
        warmup=False,
        input_tokens=record["num_input_tokens"],
        output_tokens=record["output_tokens"],
        submit_ns=record["start_timestamp"],
        first_token_ns=_first_token(record, index),
        end_ns=record["end_timestamp"],
        error=_error(record),
    )


def _first_token(record: Mapping[str, Any], index: int) -> int | None:
    """-1 stands for: not streamed.

    Raises:
        EngineOutputError: It is no time, or lies outside the request.
    """
    value = record.get("first_token_timestamp")
    if value is None or value == -1:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise EngineOutputError(f"request {index} has first_token_timestamp = {value!r}, no whole number")
    if not record["start_timestamp"] <= value <= record["end_timestamp"]:
        raise EngineOutputError(f"request {index} has its first token outside its own time")
    return value


def _error(record: Mapping[str, Any]) -> str | None:
    wrong = record.get("error_tokens")
    if isinstance(wrong, int) and wrong > 0:
        return f"{wrong} tokens in error"
    return "no token was generated" if record["output_tokens"] == 0 else None
