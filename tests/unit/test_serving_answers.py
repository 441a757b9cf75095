"""What a server answers outside the load: an answer that does not end, or is of another shape."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sparkray.client import LoadResult
from sparkray.engines import SERVING_FILE
from sparkray.execute import serving
from sparkray.execute.serving import answer, models_of

HEAD = b"HTTP/1.1 200 OK\r\n"


@contextmanager
def answering(speak: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that answers one connection by `speak`."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                try:
                    speak(connection)
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def for_ever(head: bytes, piece: bytes, pause_s: float) -> Callable[[socket.socket], None]:
    def speak(connection: socket.socket) -> None:
        connection.sendall(head)
        while True:
            connection.sendall(piece)
            time.sleep(pause_s)

    return speak


@pytest.mark.parametrize(
    "speak",
    [
        for_ever(HEAD + b"\r\n", b"x" * 65536, 0.0),
        for_ever(HEAD + b"\r\n", b"x", 0.05),
        for_ever(HEAD, b"X-A: b\r\n", 0.05),
        for_ever(b"", b"H", 0.05),
    ],
    ids=["a flood", "a drip", "a head that drips", "a first line that drips"],
)
def test_an_answer_that_does_not_end_is_none(speak: Callable[[socket.socket], None], monkeypatch) -> None:
    monkeypatch.setattr(serving, "_PROBE_PATIENCE_S", 0.5)
    with answering(speak) as port:
        assert answer(port, "/health") is None


def test_an_answer_that_ends_is_read_whole() -> None:
    body = b"x" * 300_000
    with answering(lambda connection: connection.sendall(HEAD + b"Content-Length: 300000\r\n\r\n" + body)) as port:
        assert answer(port, "/metrics") == (200, body)


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"data": [{"id": "a"}]}', ["a"]),
        (b'{"data": [{"id": "\\ud800"}]}', ["?"]),
        (b'{"data": {"id": [1]}}', None),
        (b'{"data": 5}', None),
        (b"[" * 100_000, None),
        (b"<html>", None),
    ],
)
def test_lists_of_models_of_another_shape_list_none(body: bytes, names: list[str] | None) -> None:
    with answering(lambda connection: connection.sendall(HEAD + b"Connection: close\r\n\r\n" + body)) as port:
        assert models_of(port, "/v1/models") == names


@pytest.mark.parametrize(
    ("models", "notes"),
    [
        ((), []),
        (("asked",), []),
        (("asked", "another"), ["the server's answers name the model another, not asked"]),
    ],
)
def test_answers_that_name_another_model_are_noted(tmp_path: Path, models: tuple[str, ...], notes: list[str]) -> None:
    run = SimpleNamespace(folder=tmp_path, model="m", hashed=False, served_name="asked")
    result = LoadResult((), 0.0, None, (), "complete", "builtin", models)
    serving._write(cast("Any", run), result, None, cast("Any", SimpleNamespace(engine_pid=1)))
    assert json.loads((tmp_path / SERVING_FILE).read_text())["notes"] == notes
