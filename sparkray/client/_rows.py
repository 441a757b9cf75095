"""From the generator's rows to requests: token counts checked against chunks, notes on what a reader should know. Pure."""

import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sparkray.client import Ended, Load, LoadResult
from sparkray.client._stream import Chunk, EventParser, read_chunks
from sparkray.records import Request
from sparkray.units import NS_PER_MS, NS_PER_S

Row = dict[str, Any]
NAME = "builtin"
_LATE_MS = 2.0


def result_of(
    rows: Iterable[Row], load: Load, *, ended: Ended, cpu_s: float, load_cpu_s: float | None = None
) -> LoadResult:
    """The result of a load.

    Args:
        rows: One per request, parsed.
        load: What was asked for.
        ended: How it ended.
        cpu_s: CPU seconds of the client.
        load_cpu_s: Those of them that were used by one process during the load; None where they are not known.
    """
    rows = sorted(rows, key=lambda row: row["index"])
    requests = tuple(request_of(row, asked(load, row["index"])) for row in rows)
    return LoadResult(
        requests=requests,
        client_cpu_s=cpu_s,
        max_rate_share=rate_share(rows, load_cpu_s),
        notes=tuple(notes(rows, requests)),
        ended=ended,
        client=NAME,
        models=tuple(dict.fromkeys(row["model"] for row in rows if row.get("model"))),
    )


def parsed(row: Row) -> Row:
    """The row with what its pieces hold: `chunk_ns`, `finish_ns`, `done`, `usage`, `model`, and an error in the stream."""
    found: Row = {"chunk_ns": [], **row}
    if row.get("content_type") == "application/json":
        return {"error_kind": "no_stream", "error": "the answer is one JSON document, not a stream of events", **found}
    parser = EventParser()
    for received, at_ns in zip([*row["pieces"], b""], [*row["stamps"], row["ended_ns"]], strict=True):
        for payload in parser.feed(received) if received else parser.close():
            for chunk in read_chunks(payload):
                _add(chunk, at_ns, found)
    count = len(found["chunk_ns"])
    if found.get("error_kind") == "truncated":  # the connection broke
        found["error"] += f", after {count} chunks with text"
    elif not {"done", "finish_ns", "error"} & found.keys():
        found["error_kind"] = "truncated"
        found["error"] = f"the stream ended without a finish reason, after {count} chunks with text"
    return found


def _add(chunk: Chunk, at_ns: int, found: Row) -> None:
    if chunk.text:
        found["chunk_ns"].append(at_ns)
    if chunk.finished:
        found["finish_ns"] = at_ns
    if chunk.usage is not None:
        before, after = found.get("usage", (None, None))[1], chunk.usage[1]
        if before is not None and after is not None and after < before:
            found["usage_fell"] = (before, after)
        found["usage"] = chunk.usage
    if chunk.done:
        found["done"] = True
    if chunk.model is not None:
        found["model"] = chunk.model
    if chunk.error is not None and found.get("error_kind") in (None, "truncated"):  # the server's reason, if it has one
        found["error_kind"], found["error"] = "server", chunk.error


def asked(load: Load, index: int) -> int:
    """Output tokens that were asked for with a prompt."""
    return load.output_tokens if isinstance(load.output_tokens, int) else load.output_tokens[index]


def rate_share(rows: Sequence[Row], load_cpu_s: float | None) -> float | None:
    """Chunks with text of the busiest second over those that one CPU of this machine can take; None where not known.

    The generator is one thread, so its limit is one CPU. What a chunk costs is the CPU time of this load over its chunks.
    """
    seconds = Counter(ns // NS_PER_S for row in rows for ns in row["chunk_ns"])
    if load_cpu_s is None or not seconds:
        return None
    return max(seconds.values()) * load_cpu_s / seconds.total()


def request_of(row: Row, asked: int) -> Request:
    """One request. Its tokens are what the usage field reports; None where it reports none."""
    chunks: list[int] = row["chunk_ns"]
    prompt, completion = row.get("usage") or (None, None)
    kind, error = row.get("error_kind"), row.get("error")
    if error is None:
        kind, error = count_error(row, completion, asked)
    last_ns = max(row.get("finish_ns") or 0, chunks[-1] if chunks else 0) or row["ended_ns"]
    return Request(
        index=row["index"],
        warmup=row["warmup"],
        input_tokens=prompt,
        output_tokens=completion,
        submit_ns=row["submit_ns"],
        first_token_ns=chunks[0] if chunks else None,
        end_ns=last_ns if error is None else row["ended_ns"],
        token_ns=tuple(chunks) if len(chunks) == completion else (),
        error=error,
        due_ns=row["due_ns"],
        chunks=len(chunks),
        error_kind=kind,
    )


def count_error(row: Row, completion: int | None, asked: int) -> tuple[str | None, str | None]:
    """Kind and text of what is wrong with the token count of a request that ended well; (None, None) when it can be right.

    A chunk may hold several tokens, so fewer chunks than tokens contradict nothing.
    """
    chunks = len(row["chunk_ns"])
    if completion is None:
        return "usage_missing", f"no usage field: the number of tokens is unknown ({chunks} chunks held text)"
    if fell := row.get("usage_fell"):
        return "usage_contradicts", f"usage fell from {fell[0]} to {fell[1]} output tokens during the stream"
    if completion < chunks:
        return "usage_contradicts", f"usage reports {completion} output tokens, but {chunks} chunks held text"
    if completion > asked:
        return "usage_contradicts", f"usage reports {completion} output tokens, but at most {asked} were asked for"
    if completion and not chunks:
        return "usage_contradicts", f"usage reports {completion} output tokens, but no chunk held text"
    return None, None


def notes(rows: Sequence[Row], requests: Sequence[Request]) -> list[str]:
    """What a reader of the numbers should know."""
    found = [
        f"{count} of {len(requests)} requests failed ({kind}), the first, {first.index}: {first.error}"
        for kind, count in Counter(r.error_kind for r in requests if r.error_kind).items()
        for first in [next(r for r in requests if r.error_kind == kind)]
    ]
    good = [r for r in requests if r.error is None]
    several = sum(1 for r in good if not r.token_ns and r.output_tokens)
    if several:
        found.append(f"{several} of {len(good)} requests had chunks of several tokens: their ITL is a mean per request")
    resent = sum(1 for row in rows if row.get("resent"))
    if resent:
        found.append(f"{resent} requests were sent again: the server had closed the connection that it had kept")
    undone = sum(1 for row in rows if row.get("finish_ns") and not row.get("done"))
    if undone:
        found.append(f"{undone} streams ended without [DONE]")
    late_ms = [(r.submit_ns - r.due_ns) / NS_PER_MS for r in requests if r.due_ns is not None]
    if len(late_ms) > 1 and (p99 := statistics.quantiles(late_ms, n=100)[98]) > _LATE_MS:
        found.append(f"requests were sent late: p99 {p99:.1f} ms after they were due")
    return found
