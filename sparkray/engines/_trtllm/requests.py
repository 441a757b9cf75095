"""The request file (`--request_json`): one object a request, times of `perf_counter_ns`, the machine's monotonic clock.

Warm-up requests are not in it. The derived fields (throughputs, latencies) are not read: they can be computed from the
times, and without streaming some are garbage.
"""

from collections.abc import Mapping
from typing import Any

from sparkray.engines._trtllm.messages import message, note
from sparkray.engines._trtllm.report import read_json
from sparkray.errors import EngineOutputError
from sparkray.records import Request

_BEYOND = 2**63  # no clock and no counter gets there, and no 64-bit column holds it


def read_requests(data: bytes) -> tuple[Request, ...]:
    """The requests in the order of submission.

    Raises:
        EngineOutputError: It is not a list of requests, one lacks a time or a count, or one is there twice.
    """
    document = read_json(data, "the request file")
    if not isinstance(document, list):
        raise EngineOutputError(*message("requests_no_list", type=type(document).__name__))
    records = [_checked(entry, place) for place, entry in enumerate(document)]
    ids = [str(record.get("id", place)) for place, record in enumerate(records)]
    if len(set(ids)) != len(ids):
        twice = next(name for name in ids if ids.count(name) > 1)
        raise EngineOutputError(*message("request_twice", id=twice))
    ordered = sorted(records, key=lambda record: record["start_timestamp"])
    return tuple(_request(record, index) for index, record in enumerate(ordered))


def _checked(entry: object, place: int) -> Mapping[str, Any]:
    if not isinstance(entry, dict):
        raise EngineOutputError(*message("request_no_object", place=place, type=type(entry).__name__))
    record = dict(entry)
    if "output_tokens" not in record:
        record["output_tokens"] = record.get("num_total_output_tokens")
    for name in ("start_timestamp", "end_timestamp", "num_input_tokens", "output_tokens"):
        value = record.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _BEYOND:
            raise EngineOutputError(*message("request_bad_number", place=place, name=name, value=value))
    if record["end_timestamp"] < record["start_timestamp"]:
        raise EngineOutputError(*message("request_ends_early", place=place))
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
        EngineOutputError: It is not a time, or lies outside the request.
    """
    value = record.get("first_token_timestamp")
    if value is None or value == -1:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        raise EngineOutputError(*message("first_token_no_number", index=index, value=value))
    if not record["start_timestamp"] <= value <= record["end_timestamp"]:
        raise EngineOutputError(*message("first_token_outside", index=index))
    return value


def _error(record: Mapping[str, Any]) -> str | None:
    wrong = record.get("error_tokens")
    if isinstance(wrong, int) and wrong > 0:
        return note("tokens_in_error", count=wrong)
    return note("no_tokens") if record["output_tokens"] == 0 else None
