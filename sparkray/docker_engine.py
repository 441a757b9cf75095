"""The Docker engine: connecting, patience with it, and its errors as ours. Shared by the runtime and by `images`."""

import hashlib
import json
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import requests
import urllib3
from docker.errors import APIError, DockerException

from sparkray.errors import DockerError, RunInterruptedError
from sparkray.files import read_regular

_TIMEOUT_S = 120
# A ping does no work: an engine that is silent for so long hangs.
_SILENT_S = 10.0
_POLL_S = 0.2
# What a call may still take once a stop was asked for, and what it may take once one has not come back by then.
_GRACE_S, _LAST_S = 5.0, 0.5
_LONG = ("/images/load", "/images/create")
DEFAULT_SOCKET = "unix:///var/run/docker.sock"
# How the SDK reports an engine that ended, or whose socket is gone.
_GONE = (
    *("Connection aborted", "Connection broken", "Connection refused", "Connection reset"),
    "No such file or directory",
)
_START_IT = "Start the engine (`make docker`, or `systemctl start docker`), or point DOCKER_HOST at it"
_RESTART_IT = "Restart the engine (`systemctl restart docker`), or point DOCKER_HOST at another on this machine"


@dataclass
class Patience:
    """How long calls may take: a silent engine is named, and a stop ends the wait for it.

    Attributes:
        notify: Called when the engine has not answered for 10 s.
        should_stop: Whether somebody asked for the end.
        grace_s: What a call may take from then on.
        silent_s: When an engine that does not answer is named; one that never did is given up.
    """

    notify: Callable[[str], None] = lambda _: None
    should_stop: Callable[[], bool] = lambda: False
    grace_s: float = _GRACE_S
    silent_s: float = _SILENT_S
    _stopped_at: float = field(default=0.0, init=False)
    _is_silent: bool = field(default=False, init=False)

    def call(self, send: Callable[[], Any], what: str, *, report_silence: bool) -> Any:  # noqa: ANN401 - what the SDK returns
        """The result of a call, which goes on in a thread of its own, since nothing else can end a wait for a socket.

        Args:
            send: The call.
            what: Method and path.
            report_silence: Whether silence is unusual, so that it is reported.

        Raises:
            requests.ReadTimeout: There was a stop, and no answer for a while.
        """
        answer: Future[Any] = Future()
        threading.Thread(target=_into, args=(answer, send), name="sparkray-docker", daemon=True).start()
        began = time.monotonic()
        while True:
            try:
                return answer.result(_POLL_S)
            except TimeoutError:
                if answer.done():  # an answer of this very moment, or a time-out that the call itself raised
                    return answer.result()
            now = time.monotonic()
            if report_silence and now - began > self.silent_s:
                self.notify(f"Docker has not answered for {self.silent_s:g} s ({what})")
                report_silence = False
            if self.should_stop():
                self._stopped_at = self._stopped_at or now
                if now - max(began, self._stopped_at) > (_LAST_S if self._is_silent else self.grace_s):
                    self._is_silent = True
                    raise requests.ReadTimeout(f"Docker did not answer after the stop ({what})")


def _into(answer: "Future[Any]", send: Callable[[], Any]) -> None:
    try:
        answer.set_result(send())
    except BaseException as error:  # noqa: BLE001 - raised where the answer is waited for
        answer.set_exception(error)


class _Api(docker.APIClient):
    """The SDK's connection, with patience."""

    def __init__(self, where: str, patience: Patience) -> None:
        self.patience = patience
        super().__init__(base_url=where, timeout=patience.silent_s)  # type: ignore[arg-type] # requests takes any

    def send(self, request: requests.PreparedRequest, **kwargs: Any) -> requests.Response:  # noqa: ANN401 - as above
        path = request.path_url.partition("?")[0]
        report_silence = not path.endswith(_LONG) and (kwargs.get("timeout") or 0) <= _TIMEOUT_S

        kwargs["timeout"] = kwargs.get("timeout") or self.timeout  # the SDK sets none for a stream of events

        def sent() -> requests.Response:
            return super(_Api, self).send(request, **kwargs)

        response: requests.Response = self.patience.call(
            sent, f"{request.method} {path}", report_silence=report_silence
        )
        return response


class Client(docker.DockerClient):
    """A client whose waits end."""

    def __init__(self, where: str, patience: Patience) -> None:
        self.api = _Api(where, patience)


def tell(client: docker.DockerClient, line: str) -> None:
    """Say something to whoever hears of this client's silence."""
    if isinstance(client.api, _Api):
        client.api.patience.notify(line)


def until_stopped(client: docker.DockerClient, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """A stream that a stop ends. Raises RunInterruptedError."""
    patience = client.api.patience if isinstance(client.api, _Api) else Patience()
    for chunk in chunks:
        if patience.should_stop():
            raise RunInterruptedError("stopped while Docker sent files")
        yield chunk


def endpoint(variables: Mapping[str, str] = os.environ) -> tuple[str, str]:
    """Where `docker` of this user would find its engine, and what says so: a variable, a context, or nothing.

    Raises:
        DockerError: The Docker context that is named does not exist, or cannot be read.
    """
    if host := variables.get("DOCKER_HOST"):
        return host, "DOCKER_HOST"
    folder = Path(variables.get("DOCKER_CONFIG") or Path(variables.get("HOME") or "~").expanduser() / ".docker")
    name = variables.get("DOCKER_CONTEXT") or _current_context(folder / "config.json")
    if not name or name == "default":
        return DEFAULT_SOCKET, ""
    path = folder / "contexts" / "meta" / hashlib.sha256(name.encode()).hexdigest() / "meta.json"
    try:
        host = json.loads(read_regular(path))["Endpoints"]["docker"]["Host"]
    except (OSError, ValueError, LookupError, TypeError):
        raise DockerError(
            f"the Docker context {name!r} cannot be found in {folder}",
            "`docker context ls` lists them. Unset DOCKER_CONTEXT, or: docker context use default",
        ) from None
    return str(host), f"Docker context {name!r}"


def _current_context(config: Path) -> str:
    """As Docker's command line has it: a file that it cannot read names none."""
    try:
        return str(json.loads(read_regular(config)).get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def local_endpoint(variables: Mapping[str, str] = os.environ) -> str:
    """The socket of the Docker engine, which is on this machine.

    Raises:
        DockerError: The engine is on another machine, or `endpoint`'s reasons.
    """
    where, named_by = endpoint(variables)
    if not where.startswith("unix://"):
        remedy = "Unset DOCKER_HOST or point it at a unix:// socket"
        raise DockerError(
            f"{named_by} is {where!r}: sparkray measures processes of this machine and needs a local engine",
            remedy if named_by == "DOCKER_HOST" else "Choose another: docker context use default",
        )
    return where


def connect(patience: Patience | None = None, variables: Mapping[str, str] = os.environ) -> Client:
    """A client of the local Docker engine that answers (`endpoint`).

    Raises:
        DockerError: None answers, the socket may not be used, or the engine is on another machine.
    """
    where, patience = local_endpoint(variables), patience or Patience()
    try:
        client = Client(where, patience)
        client.ping()
    except (DockerException, requests.RequestException) as error:
        text = str(error)
        if "Permission denied" in text or "PermissionError" in text:
            raise DockerError(
                f"no permission on the Docker socket {where}",
                f"Run as root, or add the user to the group that owns {where.removeprefix('unix://')}",
            ) from None
        if "timed out" in text.lower() or "did not answer" in text:
            raise DockerError(f"Docker at {where} has not answered for {patience.silent_s:g} s", _RESTART_IT) from None
        raise DockerError(f"no Docker engine answers at {where}", _START_IT) from None
    client.api.timeout = _TIMEOUT_S
    return client


def versions_of(reported: Mapping[str, Any]) -> dict[str, str]:
    """Versions of the Docker engine, of containerd and of runc, as far as the engine's `version` has them."""
    parts = {str(part.get("Name")): part.get("Version") for part in reported.get("Components") or ()}
    versions = {"docker": reported.get("Version"), "containerd": parts.get("containerd"), "runc": parts.get("runc")}
    return {name: str(version) for name, version in versions.items() if version}


@contextmanager
def docker_errors(doing: str) -> Iterator[None]:
    """Errors of the SDK and of its transport as `DockerError`.

    Raises:
        DockerError: With what was being done and the engine's message.
    """
    try:
        yield
    except APIError as error:
        raise DockerError(f"{doing}: {explanation(error)}") from None
    except (DockerException, requests.RequestException, urllib3.exceptions.HTTPError) as error:
        # requests has a silence in the middle of an answer as a ConnectionError, and that of a stream passes it by
        if isinstance(error, requests.ReadTimeout) or "timed out" in str(error).lower():
            raise DockerError(f"{doing}: Docker does not answer", _RESTART_IT) from None
        why = "the Docker engine went away" if any(sign in str(error) for sign in _GONE) else str(error)
        raise DockerError(f"{doing}: {why}", _START_IT) from None


def explanation(error: APIError) -> str:
    """The engine's message, on one line."""
    return " ".join(str(error.explanation or error).split())
