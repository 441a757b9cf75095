"""Server-sent events of an OpenAI-compatible server, from the bytes as they come. Pure."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from sparkray.units import encodable

_TEXT_KEYS = ("content", "reasoning_content", "reasoning", "tool_calls")
"""Keys of a chat delta that carry generated tokens."""
_SHOWN = 300
_MOST_TOKENS = 1 << 53
"""Above it a count is none, and no column could hold it."""


class EventParser:
    """Splits a byte stream into the payloads of its events.

    Lines may end in LF, CR or CRLF and may be split anywhere; comments and other fields are skipped. An event whose blank
    line is missing at the end of the stream counts.
    """

    def __init__(self) -> None:
        self._rest = b""
        self._data: list[bytes] = []
        self._after_cr = False

    def feed(self, received: bytes) -> list[bytes]:
        """Take bytes as they came; return the payload of each event that is now complete."""
        if self._after_cr and received.startswith(b"\n"):
            received = received[1:]
        self._after_cr = received.endswith(b"\r")
        lines = (self._rest + received).splitlines(keepends=True)
        self._rest = lines.pop() if lines and not lines[-1].endswith((b"\n", b"\r")) else b""
        return [payload for line in lines if (payload := self._line(line.rstrip(b"\r\n"))) is not None]

    def close(self) -> list[bytes]:
        """Payload of an event that the end of the stream cut short of its blank line."""
        last = [payload for line in (self._rest, b"") if (payload := self._line(line)) is not None]
        self._rest = b""
        return last

    def _line(self, line: bytes) -> bytes | None:
        if line.startswith(b"data:"):
            value = line[5:]
            self._data.append(value[1:] if value.startswith(b" ") else value)
        elif line.startswith(b"error:"):  # older llama.cpp
            self._data.append(b'{"error": %s}' % line[6:])
        elif not line and self._data:
            payload, self._data = b"\n".join(self._data), []
            return payload
        return None


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event holds. `text`: generated text; `usage` is (prompt tokens, completion tokens)."""

    text: bool = False
    finished: bool = False
    done: bool = False
    usage: tuple[int | None, int | None] | None = None
    error: str | None = None
    model: str | None = None


_DONE = Chunk(done=True)


def read_chunks(payload: bytes) -> Iterator[Chunk]:
    """Chunks of one event: one, or one for each line where a server leaves out the blank lines between events."""
    if payload.strip() == b"[DONE]":
        yield _DONE
        return
    try:
        document = json.loads(payload.decode())
    except (ValueError, RecursionError):
        lines = payload.split(b"\n")
        if len(lines) > 1:
            for line in lines:
                yield from read_chunks(line)
        else:
            yield Chunk(error=f"an event is not JSON: {payload[:_SHOWN]!r}")
        return
    yield _chunk(document)


def _chunk(document: Any) -> Chunk:  # noqa: ANN401 - whatever JSON holds
    if not isinstance(document, dict):
        return Chunk(error=f"an event is not a JSON object: {str(document)[:_SHOWN]}")
    if document.get("error") is not None:
        return Chunk(error=f"the server reports an error in the stream: {error_text(document['error'])}")
    text = finished = False
    choices, model = document.get("choices") or (), document.get("model")
    if not isinstance(choices, list | tuple):
        return Chunk(error=f"choices of an event is {str(choices)[:_SHOWN]}")
    for choice in choices:
        if not isinstance(choice, dict):
            return Chunk(error=f"choices of an event holds {str(choice)[:_SHOWN]}")
        delta = choice.get("delta")
        if choice.get("text") or (isinstance(delta, dict) and any(delta.get(key) for key in _TEXT_KEYS)):
            text = True
        if choice.get("finish_reason") is not None:
            finished = True
    usage = document.get("usage")
    return Chunk(
        text=text,
        finished=finished,
        usage=(_count(usage, "prompt_tokens"), _count(usage, "completion_tokens")) if isinstance(usage, dict) else None,
        model=encodable(model)[:_SHOWN] if isinstance(model, str) else None,
    )


def _count(usage: dict[str, Any], key: str) -> int | None:
    value = usage.get(key)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _MOST_TOKENS else None


def error_text(error: object) -> str:
    """The server's own message, without the document around it."""
    message = error.get("message") if isinstance(error, dict) else error
    return encodable(message if isinstance(message, str) else json.dumps(error))[:_SHOWN]
