"""HTTP/1.1 as a load generator needs it: a time stamp for each arrival of bytes, lost to no later error.

aiohttp was tried first. It stamps when a task wakes, not when bytes arrive, and drops what it had buffered when a stream
breaks off. asyncio connects, writes and closes; what arrives is read without it (`Receiver`).
"""

import asyncio
import os
import re
import select
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_END = b"\r\n"
_DONE = re.compile(rb"data: ?\[DONE\]\s*\Z")
_AFTER_DONE_S = 0.5
"""How long the end of the body may follow `[DONE]`; the request ends there in any case."""
_IDLE_S = 4.0
"""Below the 5 s after which llama.cpp and uvicorn close an idle connection: a request must not meet the close."""
_LONGEST_HEAD = 1 << 16
_MOST_AT_ONCE = 1 << 16
"""Bytes of one read."""


class BrokenAnswerError(Exception):
    """The answer ended before its end, or is not HTTP."""


class ClosedIdleError(Exception):
    """The server had closed a kept connection when a request was sent on it: it can be sent again on another one.

    llama.cpp announces 5 s of keep-alive and closes some connections at once.
    """


@dataclass
class Answer:
    """What came: `pieces` of the body, each with its time stamp. `ended` is done when the body is complete."""

    ended: "asyncio.Future[None]"
    status: int | None = None
    content_type: str = ""
    pieces: list[bytes] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)


class Connection(asyncio.Protocol):
    """One connection, with one request at a time."""

    def __init__(self, receiver: "Receiver | None" = None) -> None:
        """`receiver` reads for it; None leaves that to asyncio."""
        self.idle_since = 0.0
        self._receiver = receiver
        self._transport: asyncio.Transport
        self._answer: Answer | None = None
        self._rest = b""
        self._body: _Body | None = None
        self._keep = True
        self._reused = False

    @property
    def usable(self) -> bool:
        """Whether another request can be sent on it."""
        return self._keep and not self._transport.is_closing() and time.monotonic() - self.idle_since < _IDLE_S

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a stream protocol's always is
        self._transport = transport
        if self._receiver is not None:
            # Up to Python 3.11 asyncio begins to read after this call, whatever was paused in it.
            asyncio.get_running_loop().call_soon(transport.pause_reading)
            self._receiver.add(self, transport.get_extra_info("socket").fileno())

    def end(self, error: OSError | None) -> None:
        """Nothing more will come. Called by the receiver, where asyncio would have noticed by itself."""
        self.connection_lost(error)
        self._transport.abort()

    def send(self, request: bytes) -> Answer:
        """Send a whole request; its answer fills as bytes come. `ended` may raise BrokenAnswerError or ClosedIdleError."""
        self._reused = self.idle_since > 0
        self._answer = Answer(asyncio.get_running_loop().create_future())
        self._rest, self._body = b"", None
        self._transport.write(request)
        return self._answer

    def abort(self) -> None:
        """Close at once. A server sees that nobody waits any more."""
        self._answer = None
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        now_ns = time.monotonic_ns()
        answer = self._answer
        if answer is None:
            self._keep = False
            return
        try:
            body = self._body
            if body is None:
                self._rest += data
                body, data = self._head(answer)
                if body is None:
                    return
            piece = body.feed(data)
        except ValueError as error:
            self._end(BrokenAnswerError(f"the answer is not HTTP/1.1: {error}"))
            self._transport.abort()
            return
        if piece:
            answer.pieces.append(piece)
            answer.stamps.append(now_ns)
        if body.ended:
            self._end(None)
        elif b"[DONE]" in piece and _DONE.search(piece):
            asyncio.get_running_loop().call_later(_AFTER_DONE_S, self._give_up, answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        complete = self._body is not None and self._body.ends_with_connection and exc is None
        self._keep = False
        if complete:
            self._end(None)
        elif self._reused and self._body is None and not self._rest:
            self._end(ClosedIdleError())
        else:
            self._end(BrokenAnswerError(str(exc) if exc else "the server closed the connection"))

    def _head(self, answer: Answer) -> "tuple[_Body | None, bytes]":
        """Body and what came of it, once the head is complete."""
        head, blank, rest = self._rest.partition(_END + _END)
        if not blank:
            if len(head) > _LONGEST_HEAD:
                raise ValueError("its head does not end")
            return None, b""
        first, *lines = head.decode("latin-1").split("\r\n")
        version, status, *_ = [*first.split(" ", 2), ""]
        if not version.startswith("HTTP/1.") or not status.isdigit():
            raise ValueError(f"it begins with {first[:40]!r}")
        if status.startswith("1"):  # an interim answer: the real one follows
            self._rest = rest
            return self._head(answer)
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        answer.status = int(status)
        answer.content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._body = _Body(headers)
        closes = headers.get("connection", "close" if version == "HTTP/1.0" else "").lower() == "close"
        self._keep = not closes and not self._body.ends_with_connection
        return self._body, rest

    def _give_up(self, answer: Answer) -> None:
        if answer is self._answer:
            self._keep = False
            self._end(None)

    def _end(self, error: Exception | None) -> None:
        answer, self._answer = self._answer, None
        self.idle_since = time.monotonic()
        if answer is not None and not answer.ended.done():
            if error is None:
                answer.ended.set_result(None)
            else:
                answer.ended.set_exception(error)


class Receiver:
    """Reads every connection's socket in one callback of the event loop.

    asyncio runs a handle, a transport and a protocol for each read. Under thousands of chunks a second they cost more than
    the read itself, and while they run the next chunk waits for its stamp.
    """

    def __init__(self) -> None:
        """Needs a running event loop."""
        self._poll = select.epoll()
        self._connections: dict[int, Connection] = {}
        asyncio.get_running_loop().add_reader(self._poll.fileno(), self._read)

    def add(self, connection: Connection, fd: int) -> None:
        """Read for a new connection until its socket is closed, which takes it out of the kernel's list."""
        self._connections[fd] = connection
        self._poll.register(fd, select.EPOLLIN)

    def _read(self) -> None:
        connections, read = self._connections, os.read
        for fd, _ in self._poll.poll(0):
            try:
                data = read(fd, _MOST_AT_ONCE)
            except BlockingIOError:
                continue
            except OSError as error:
                self._end(fd, error)
                continue
            if data:
                connections[fd].data_received(data)
            else:
                self._end(fd, None)

    def _end(self, fd: int, error: OSError | None) -> None:
        self._poll.unregister(fd)
        self._connections.pop(fd).end(error)


class _Body:
    """Takes the framing off a body: chunked, of a length, or up to the end of the connection."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        chunked = "chunked" in headers.get("transfer-encoding", "").lower()
        length = None if chunked else headers.get("content-length")
        self.ends_with_connection = not chunked and length is None
        self._left = int(length or 0)
        self.ended = length is not None and not self._left
        self._rest = b""
        self._last = False
        self.feed = self._unchunk if chunked else self._counted
        """What some bytes hold of the body. Raises ValueError for a malformed size."""

    def _counted(self, data: bytes) -> bytes:
        if not self.ends_with_connection:
            data = data[: self._left]
            self._left -= len(data)
            self.ended = not self._left
        return data

    def _unchunk(self, data: bytes) -> bytes:
        """`_left` counts the bytes of the present chunk that are still to come, with the line end after it."""
        data = self._rest + data
        if not self._left and not self._last:  # a read is mostly one whole chunk
            end = data.find(_END)
            if end > 0 and data.find(b";", 0, end) < 0 and end + int(data[:end], 16) + 4 == len(data) > end + 4:
                self._rest = b""
                return data[end + 2 : -2]
        held, at = [], 0
        while not self.ended:
            if self._left:
                piece = data[at : at + self._left]
                at, self._left = at + len(piece), self._left - len(piece)
                held.append(piece if self._left > 1 else piece[: len(piece) - (2 - self._left)])
                if self._left:
                    break
            end = data.find(_END, at)
            if end < 0:
                break
            line, at = data[at:end], end + 2
            if self._last:
                self.ended = not line  # else a trailer
            else:
                size = int(line.partition(b";")[0], 16)
                self._last, self._left = size == 0, size + 2 if size else 0
        self._rest = data[at:]
        return b"".join(held)


class Pool:
    """Connections to one server, kept between requests."""

    def __init__(self, url: str) -> None:
        """Nothing is opened yet, but an event loop runs. `url`: scheme, host and port."""
        parts = urlsplit(url)
        secure = parts.scheme == "https"
        self.host, self._port = parts.hostname or "", parts.port or (443 if secure else 80)
        self.netloc = parts.netloc.rpartition("@")[2]
        self._ssl = ssl.create_default_context() if secure else None
        self._idle: list[Connection] = []
        self._receiver = Receiver()

    async def take(self, *, fresh: bool = False) -> Connection:
        """An idle connection unless it must be `fresh`, else a new one. Raises OSError."""
        while self._idle and not fresh:
            connection = self._idle.pop()
            if connection.usable:
                return connection
            connection.abort()
        loop = asyncio.get_running_loop()
        receiver = self._receiver if self._ssl is None else None  # else the socket's bytes are not the stream's
        _, connection = await loop.create_connection(lambda: Connection(receiver), self.host, self._port, ssl=self._ssl)
        return connection

    def give(self, connection: Connection) -> None:
        """Keep a connection whose answer is complete."""
        if connection.usable:
            self._idle.append(connection)
        else:
            connection.abort()
