"""The load itself: asyncio over aiohttp, one task per request in flight, a time stamp per chunk.

This module runs in a process of its own. It only stamps and records; `rows` judges what it recorded.
"""

import asyncio
import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import aiohttp

from sparkray.client._stream import Chunk, EventParser, error_text, read_chunks
from sparkray.units import NS_PER_S

_KEEP_ALIVE_S = 4.0
"""Below the 5 s after which llama.cpp and uvicorn close an idle connection: a request must not meet the close."""
_HEADERS = {"Accept": "text/event-stream", "Accept-Encoding": "identity"}
_BODY_SHOWN = 2000
_END_S = 0.5
Row = dict[str, Any]


class Generator:
    """Sends a load's requests and hands over one row for each that was sent."""

    def __init__(self, request: Mapping[str, Any], record: Callable[[Row], None]) -> None:
        """Nothing is sent before `run`.

        Args:
            request: The document that `client` writes: target, load and due times.
            record: Called with each row when its request has ended.
        """
        self._target, self._load, self._record = request["target"], request["load"], record
        self._offsets: Sequence[float] | None = request["offsets_s"]
        self._in_flight = 0
        self._session: aiohttp.ClientSession
        self._chat = self._target["endpoint"] == "chat"
        base = self._target["url"].rstrip("/").removesuffix("/v1")
        self._url = base + ("/v1/chat/completions" if self._chat else "/v1/completions")

    async def run(self) -> str:
        """Warm-up, then the load. Returns `complete`, or `saturated` where too many requests were in flight."""
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_ALIVE_S)
        timeout = aiohttp.ClientTimeout(total=None)
        headers = {**_HEADERS, **self._target["headers"]}
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, headers=headers) as self._session:
            warmup, every = self._load["warmup"], range(len(self._load["prompts"]))
            await self._closed(iter(every[: min(1, warmup)]), 1)  # alone: it pays for what only a first request pays
            await self._closed(iter(every[min(1, warmup) : warmup]), self._load["concurrency"] or 1)
            if self._offsets is None:
                await self._closed(iter(every[warmup:]), self._load["concurrency"])
                return "complete"
            return await self._open(every[warmup:], self._offsets)

    async def _closed(self, indices: Iterator[int], concurrency: int) -> None:
        async def drain() -> None:
            for index in indices:
                await self._one(index, None)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(drain())

    async def _open(self, indices: Sequence[int], offsets: Sequence[float]) -> str:
        limit = asyncio.Semaphore(self._load["concurrency"] or len(indices))
        most = self._load["most_in_flight"]
        began = time.monotonic_ns()

        async def send(index: int, due_ns: int) -> None:
            try:
                async with limit:
                    await self._one(index, due_ns)
            finally:
                self._in_flight -= 1

        tasks: list[asyncio.Task[None]] = []
        try:
            for index, offset in zip(indices, offsets, strict=True):
                due_ns = began + round(offset * NS_PER_S)
                await asyncio.sleep(max(0.0, (due_ns - time.monotonic_ns()) / NS_PER_S))
                if most is not None and self._in_flight >= most:
                    return "saturated"
                self._in_flight += 1
                tasks.append(asyncio.create_task(send(index, due_ns)))
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return "complete"

    def _body(self, index: int) -> bytes:
        prompt, outputs = self._load["prompts"][index], self._load["output_tokens"]
        body: dict[str, Any] = {
            "model": self._target["model"],
            "max_tokens": outputs if isinstance(outputs, int) else outputs[index],
            "temperature": 0,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        body |= {"messages": [{"role": "user", "content": prompt}]} if self._chat else {"prompt": prompt}
        body |= self._target["request_options"]
        return json.dumps({key: value for key, value in body.items() if value is not None}).encode()

    async def _one(self, index: int, due_ns: int | None) -> None:
        body = self._body(index)
        row: Row = {"index": index, "warmup": index < self._load["warmup"], "due_ns": due_ns, "chunk_ns": []}
        row["submit_ns"] = time.monotonic_ns()
        try:
            async with asyncio.timeout(self._load["timeout_s"]):
                await self._exchange(body, row)
        except TimeoutError:
            _fail(row, "timeout", f"no complete answer within {self._load['timeout_s']:g} s")
        except asyncio.CancelledError:
            _fail(row, "interrupted", "the load was stopped before the answer was complete")
            raise
        except (aiohttp.ClientError, OSError) as error:
            if "status" in row:
                _fail(row, "truncated", f"the stream broke off after {len(row['chunk_ns'])} chunks with text")
            else:
                _fail(row, "connection", f"connection failed: {str(error) or type(error).__name__}")
        finally:
            row["ended_ns"] = time.monotonic_ns()
            self._record(row)

    async def _exchange(self, body: bytes, row: Row) -> None:
        headers = {"Content-Type": "application/json"}
        async with self._session.post(self._url, data=body, headers=headers) as response:
            row["status"] = response.status
            if response.status != 200:  # noqa: PLR2004 - HTTP's own number
                text = (await response.content.read(_BODY_SHOWN)).decode(errors="replace")
                _fail(row, "status", f"HTTP {response.status}: {_message(text)}")
                return
            if response.content_type == "application/json":
                _fail(row, "no_stream", "the answer is one JSON document, not a stream of events")
                return
            await _read(response.content, row)


async def _read(content: aiohttp.StreamReader, row: Row) -> None:
    """Stamp each chunk as its bytes come, until the stream ends or `[DONE]`."""
    parser = EventParser()
    while not row.get("done"):
        received = await content.readany()
        now_ns = time.monotonic_ns()
        for payload in parser.feed(received) if received else parser.close():
            for chunk in read_chunks(payload):
                _note(chunk, now_ns, row)
        if not received:
            break
    if not (row.get("done") or row.get("finish_ns") or row.get("error")):
        _fail(
            row, "truncated", f"the stream ended after {len(row['chunk_ns'])} chunks with text, without a finish reason"
        )
    if not content.at_eof():  # read to the end, so that the connection can serve the next request
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(content.read(), _END_S)


def _note(chunk: Chunk, now_ns: int, row: Row) -> None:
    if chunk.text:
        row["chunk_ns"].append(now_ns)
    if chunk.finished:
        row["finish_ns"] = now_ns
    if chunk.usage is not None:
        before, after = (row.get("usage") or (None, None))[1], chunk.usage[1]
        if before is not None and after is not None and after < before:
            row["usage_fell"] = (before, after)
        row["usage"] = chunk.usage
    if chunk.done:
        row["done"] = True
    if chunk.error is not None:
        _fail(row, "server", chunk.error)
    if chunk.model is not None:
        row["model"] = chunk.model


def _fail(row: Row, kind: str, text: str) -> None:
    """The first error of a request is the one that is kept: later ones follow from it."""
    if "error" not in row:
        row["error_kind"], row["error"] = kind, text


def _message(text: str) -> str:
    try:
        document = json.loads(text)
    except ValueError:
        return text.strip()[:300] or "no body"
    return error_text(document.get("error", document) if isinstance(document, dict) else document)
