"""The load itself: one process, asyncio, one task per request in flight, a time stamp per arrival of bytes.

This module runs in a process of its own. While the load runs it only stamps and keeps bytes: a chunk must not wait until
another is parsed. `_rows` parses and judges them afterwards.
"""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any
from urllib.parse import urlsplit

from sparkray.client._http import BrokenAnswerError, ClosedIdleError, Pool
from sparkray.client._stream import error_text
from sparkray.units import NS_PER_S

_HEADERS = {
    "Accept": "text/event-stream",
    "Accept-Encoding": "identity",  # a compressed stream is held back until there is enough of it
    "Content-Type": "application/json",
    "User-Agent": "sparkray",
}
_BODY_SHOWN = 2000
_LEAST_SLOW = 4
"""Slow requests in a row that saturate a server: one alone is an accident."""
Row = dict[str, Any]


class _Patience:
    """Counts requests in a row that take longer than a limit; `over` is set when there are too many."""

    def __init__(self, limit_s: float, most: int) -> None:
        self._limit_s, self._most, self._slow = limit_s, most, 0
        self.over = asyncio.Event()

    @contextmanager
    def request(self) -> Iterator[None]:
        """Around one request. It counts as slow at the limit, not at its end: a server that hangs is noticed too."""
        late = False

        def be_late() -> None:
            nonlocal late
            late = True
            self._slow += 1
            if self._slow >= self._most:
                self.over.set()

        timer = asyncio.get_running_loop().call_later(self._limit_s, be_late)
        try:
            yield
        finally:
            timer.cancel()
            if not late:
                self._slow = 0


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
        limit_s, most = self._load["most_latency_s"], max(_LEAST_SLOW, self._load["concurrency"] or 0)
        self._patience = None if limit_s is None else _Patience(limit_s, most)
        self._pool = Pool(self._target["url"])
        self._chat = self._target["endpoint"] == "chat"
        base = urlsplit(self._target["url"]).path.rstrip("/").removesuffix("/v1")
        path = base + ("/v1/chat/completions" if self._chat else "/v1/completions")
        headers = {"Host": self._pool.netloc, **_HEADERS, **self._target["headers"]}
        lines = (f"{name}: {value}" for name, value in headers.items())
        self._head = "\r\n".join((f"POST {path} HTTP/1.1", *lines, "Content-Length: "))

    async def run(self) -> str:
        """Warm-up, then the load. Returns `complete`, or `saturated` where a bound of the load ended it."""
        warmup, every = self._load["warmup"], range(len(self._load["prompts"]))
        await self._closed(iter(every[: min(1, warmup)]), 1)  # alone: it pays for what only a first request pays
        await self._closed(iter(every[min(1, warmup) : warmup]), self._load["concurrency"] or 1)
        if self._offsets is None:
            return await self._bounded(iter(every[warmup:]), self._load["concurrency"])
        return await self._open(every[warmup:], self._offsets)

    async def _bounded(self, indices: Iterator[int], concurrency: int) -> str:
        """A closed loop, until it is over or patience is."""
        tasks: list[asyncio.Task[Any]] = [asyncio.create_task(self._closed(indices, concurrency))]
        if self._patience is not None:
            tasks.append(asyncio.create_task(self._patience.over.wait()))
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            if not tasks[0].done():
                return "saturated"
            tasks[0].result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        return "complete"

    async def _closed(self, indices: Iterator[int], concurrency: int) -> None:
        async def drain() -> None:
            for index in indices:
                with self._watched(index):
                    await self._one(index, None)

        async with asyncio.TaskGroup() as group:
            for _ in range(concurrency):
                group.create_task(drain())

    def _watched(self, index: int) -> AbstractContextManager[None]:
        if self._patience is None or index < self._load["warmup"]:
            return nullcontext()
        return self._patience.request()

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
        request = f"{self._head}{len(body)}\r\n\r\n".encode() + body
        row: Row = {
            "index": index,
            "warmup": index < self._load["warmup"],
            "due_ns": due_ns,
            "stamps": [],
            "pieces": [],
        }
        row["submit_ns"] = time.monotonic_ns()
        try:
            async with asyncio.timeout(self._load["timeout_s"]):
                try:
                    await self._exchange(request, row)
                except ClosedIdleError:
                    row["resent"] = True
                    await self._exchange(request, row)
        except TimeoutError:
            _fail(row, "timeout", f"no complete answer within {self._load['timeout_s']:g} s")
        except asyncio.CancelledError:
            _fail(row, "interrupted", "the load was stopped before the answer was complete")
            raise
        except BrokenAnswerError as error:
            _fail(row, "truncated" if "status" in row else "connection", str(error))
        except OSError as error:
            _fail(row, "connection", str(error) or type(error).__name__)
        finally:
            row["ended_ns"] = time.monotonic_ns()
            self._record(row)

    async def _exchange(self, request: bytes, row: Row) -> None:
        connection = await self._pool.take(fresh="resent" in row)
        answer = connection.send(request)
        row["pieces"], row["stamps"] = answer.pieces, answer.stamps
        try:
            await answer.ended
        except BaseException:
            connection.abort()
            raise
        finally:
            if answer.status is not None:
                row["status"], row["content_type"] = answer.status, answer.content_type
        self._pool.give(connection)
        if answer.status != 200:  # noqa: PLR2004 - HTTP's own number
            text = b"".join(answer.pieces)[:_BODY_SHOWN].decode(errors="replace")
            _fail(row, "status", f"HTTP {answer.status}: {_message(text)}")
            row["pieces"], row["stamps"] = [], []


def _fail(row: Row, kind: str, text: str) -> None:
    """The first error of a request is the one that is kept: later ones follow from it."""
    if "error" not in row:
        row["error_kind"], row["error"] = kind, text


def _message(text: str) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return text.strip()[:300] or "no body"
    return error_text(document.get("error", document) if isinstance(document, dict) else document)
