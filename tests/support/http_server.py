"""A small OpenAI-compatible server with faults that can be switched on: `python http_server.py OPTIONS.json`.

It prints `PORT n` on stdout once it listens on 127.0.0.1. It needs the standard library alone, so that it also runs inside
an image. `Faults` are its options; `server` starts it for a test.
"""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

LINE_ENDS = {"lf": b"\n", "crlf": b"\r\n", "cr": b"\r"}


@dataclass(frozen=True)
class Faults:
    """How the server behaves. Times in s; `*_requests` are counted from 1 over completions, warm-up included."""

    port: int = 0
    model: str = "test-model"
    version: str = "1.0"
    token_s: float = 0.0
    """Pause before each token after the first."""
    first_token_s: float = 0.0
    first_request_s: float = 0.0
    """Pause before the first token of the first request, beside `first_token_s`."""
    loading_s: float = 0.0
    """Time after the start for which every path answers 503; a negative one for ever."""
    error_requests: tuple[int, ...] = ()
    """Requests answered with HTTP 500."""
    half_requests: tuple[int, ...] = ()
    """Requests whose stream breaks off in the middle: the connection is closed."""
    stream_error_requests: tuple[int, ...] = ()
    """Requests with an error object in the middle of the stream."""
    hang_requests: tuple[int, ...] = ()
    """Requests that are never answered."""
    die_at_request: int = 0
    """Request in whose middle the process ends with status 7; 0 for never."""
    usage: str = "last"
    """`last`, `every`, `none`, `short` (fewer tokens than chunks), `long` (twice what was sent)."""
    tokens_per_chunk: int = 1
    line_end: str = "lf"
    split: bool = False
    """Each event in two writes, cut in the middle; comments between events; `data:` without a space."""
    done: bool = True
    ignore_sigterm: bool = False
    no_stream: bool = False
    """Answers with one JSON document."""
    close_kept: bool = False
    """Closes a connection when a second request comes on it, without an answer."""
    announce: bool = False
    """Prints `REQUEST n` on stdout when a request has come."""


class _Server:
    def __init__(self, faults: Faults) -> None:
        self.faults, self.count, self.began = faults, 0, asyncio.get_running_loop().time()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._request(reader, writer):
                if self.faults.close_kept:
                    await reader.readexactly(1)
                    break
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = head.split(" ", 2)
        lengths = [line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length:")]
        body = await reader.readexactly(int(lengths[0])) if lengths else b""
        if self._loading():
            return await _answer(writer, 503, {"error": {"message": "Loading model"}})
        if method == "POST" and path.endswith("completions"):
            return await self._complete(json.loads(body), path, writer)
        known = {
            "/health": {"status": "ok"},
            "/version": {"version": self.faults.version},
            "/v1/models": {"object": "list", "data": [{"id": self.faults.model, "object": "model"}]},
        }
        return await _answer(
            writer, 200 if path in known else 404, known.get(path, {"error": {"message": "not found"}})
        )

    def _loading(self) -> bool:
        age_s = asyncio.get_running_loop().time() - self.began
        return self.faults.loading_s < 0 or age_s < self.faults.loading_s

    async def _complete(self, request: dict, path: str, writer: asyncio.StreamWriter) -> bool:
        self.count += 1
        count, faults = self.count, self.faults
        if faults.announce:
            print(f"REQUEST {count}", flush=True)
        if count in faults.hang_requests:
            await asyncio.sleep(3600)
        if count in faults.error_requests:
            return await _answer(writer, 500, {"error": {"message": f"request {count} fails on purpose"}})
        if faults.no_stream:
            return await _answer(writer, 200, {"choices": [{"text": "a"}]})
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await asyncio.sleep(faults.first_token_s + (faults.first_request_s if count == 1 else 0.0))
        asked = request["max_tokens"]
        for index in range(0, asked, faults.tokens_per_chunk):
            if index:
                await asyncio.sleep(faults.token_s)
            if index >= asked // 2 and await self._breaks(writer, count):
                return False
            sent = min(index + faults.tokens_per_chunk, asked)
            await self._event(writer, self._document(request, path, sent, last=sent == asked))
        if faults.usage in ("last", "short", "long"):
            await self._event(
                writer, {"object": "text_completion", "choices": [], "usage": self._usage(request, asked)}
            )
        if faults.done:
            await self._event(writer, None)
        writer.write(b"0\r\n\r\n")
        await writer.drain()
        return True

    async def _breaks(self, writer: asyncio.StreamWriter, count: int) -> bool:
        if count == self.faults.die_at_request:
            os._exit(7)
        if count in self.faults.stream_error_requests:
            await self._event(writer, {"error": {"message": "out of memory on purpose"}})
            return True
        return count in self.faults.half_requests

    def _document(self, request: dict, path: str, sent: int, *, last: bool) -> dict:
        chat = path.endswith("chat/completions")
        text = {"delta": {"content": " é"}} if chat else {"text": " é"}
        choice = {"index": 0, "finish_reason": "length" if last else None, **text}
        usage = {"usage": self._usage(request, sent)} if self.faults.usage == "every" else {}
        kind = "chat.completion.chunk" if chat else "text_completion"
        return {"object": kind, "model": self.faults.model, "choices": [choice], **usage}

    def _usage(self, request: dict, sent: int) -> dict:
        prompt = request.get("prompt") or request["messages"][0]["content"]
        tokens = len(prompt) if isinstance(prompt, list) else len(prompt.split())
        reported = {"short": sent - 1, "long": 2 * sent}.get(self.faults.usage, sent)
        return {"prompt_tokens": tokens, "completion_tokens": reported, "total_tokens": tokens + reported}

    async def _event(self, writer: asyncio.StreamWriter, document: dict | None) -> None:
        end = LINE_ENDS[self.faults.line_end]
        text = b"[DONE]" if document is None else json.dumps(document, ensure_ascii=False).encode()
        if not self.faults.split:
            return await _chunk(writer, b"data: " + text + end + end)
        await _chunk(writer, b": a comment" + end + end + b"event: message" + end)
        middle = len(text) // 2
        await _chunk(writer, b"data:" + text[:middle])
        await asyncio.sleep(0)
        await _chunk(writer, text[middle:] + end[:1])
        return await _chunk(writer, end[1:] + end)


async def _chunk(writer: asyncio.StreamWriter, data: bytes) -> None:
    if data:
        writer.write(b"%x\r\n%s\r\n" % (len(data), data))
        await writer.drain()


async def _answer(writer: asyncio.StreamWriter, status: int, document: dict) -> bool:
    body = json.dumps(document).encode()
    head = f"HTTP/1.1 {status} X\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    await writer.drain()
    return True


async def _main(faults: Faults) -> None:
    listener = await asyncio.start_server(_Server(faults).serve, "127.0.0.1", faults.port)
    if faults.ignore_sigterm:
        asyncio.get_running_loop().add_signal_handler(15, lambda: None)
    print(f"PORT {listener.sockets[0].getsockname()[1]}", flush=True)
    await listener.serve_forever()


@contextlib.contextmanager
def server(faults: Faults = Faults()) -> Iterator[tuple[str, subprocess.Popen]]:
    """URL and process of a server that listens; it is killed at the end."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as options:
        json.dump(asdict(faults), options)
        options.flush()
        with subprocess.Popen([sys.executable, __file__, options.name], stdout=subprocess.PIPE, text=True) as process:
            try:
                line = process.stdout.readline()
                yield f"http://127.0.0.1:{int(line.split()[1])}", process
            finally:
                process.kill()


if __name__ == "__main__":
    asyncio.run(_main(Faults(**json.loads(Path(sys.argv[1]).read_text()))))
