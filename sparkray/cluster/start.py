"""How a Ray is started or reached: a private one with loopback sockets alone, or the cluster at an address that answers."""

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import _raylet  # the loader of the token is no part of the public API
from ray._private import node, ray_constants, worker
from ray._private.services import canonicalize_bootstrap_address

from sparkray.errors import ClusterError, host_error_of
from sparkray.machine.ray_folder import ray_folder, token_in
from sparkray.stopping import SIGNALS, STUCK
from sparkray.units import reason_of, shorten

_ALONE, _TOKEN_PATH = "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "RAY_AUTH_TOKEN_PATH"
_ANSWER_S, _LAST_PORT, _DIGITS = 10.0, 65535, 6
# How a client of HTTP/2 begins: the preface, and a frame of settings that holds none.
_SETTINGS, _FRAME_HEAD = 4, 9
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, _SETTINGS, 0, 0, 0, 0, 0])


@contextmanager
def private_ray() -> Iterator[Path]:
    """What closes a Ray of our own to everybody else: its folder, a token of its own, loopback sockets alone.

    Ray binds the sockets of all its processes (GCS, raylet, driver, workers, agents) to the loopback address where its
    constant says that no cluster goes beyond this machine; `_node_ip_address` does not do that, since Ray replaces a
    loopback address by the machine's. The driver reads the constant at each start, its processes read the variable.

    Yields:
        The folder, for `ray.init(_temp_dir=...)`.

    Raises:
        ClusterError: It cannot be made.
    """
    clustered = ray_constants.ENABLE_RAY_CLUSTER
    with ray_folder() as folder, _variables({_ALONE: "0", _TOKEN_PATH: str(token_in(folder))}):
        ray_constants.ENABLE_RAY_CLUSTER = False
        _forget_token()
        try:
            yield folder
        finally:
            ray_constants.ENABLE_RAY_CLUSTER = clustered
            _forget_token()


def silent() -> None:
    """Have Ray print nothing: what its processes say of a death goes to standard output, where `--json` writes."""
    worker.print_to_stdstream = lambda *_, **__: None


@contextmanager
def only_needed(*, dashboard: bool) -> Iterator[None]:
    """Have `ray.init` start no process that a sweep on one machine makes no use of: each costs a start, and idles.

    They are the autoscaler's, the one that reads workers' logs for the driver (`log_to_driver=False`), and without a
    dashboard its server, which Ray starts all the same. A version of Ray that names these methods otherwise starts them.
    """
    names = ("start_monitor", "start_log_monitor", *(() if dashboard else ("start_api_server",)))
    before = {name: getattr(node.Node, name) for name in names if hasattr(node.Node, name)}
    try:
        for name in before:
            setattr(node.Node, name, lambda *_, **__: None)
        yield
    finally:
        for name, method in before.items():
            setattr(node.Node, name, method)


def _forget_token() -> None:
    """Have Ray read the token's file again: it keeps the first one for as long as the process lives."""
    _raylet.AuthenticationTokenLoader.instance().reset_cache()  # type: ignore[attr-defined]


@contextmanager
def _variables(values: dict[str, str]) -> Iterator[None]:
    """Variables of this process and those that it starts, put back at the end."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def must_answer(address: str, origin: str, *, patience_s: float = _ANSWER_S) -> None:
    """Refuse an address of a cluster at which nobody listens: Ray itself would try for minutes.

    Args:
        address: `auto`, or `host:port`.
        origin: The option or variable that it comes from.
        patience_s: How long to wait for an answer.

    Raises:
        ClusterError: It is no address, nobody answers there, or not as Ray does.
    """
    remedy = f"Check {origin}: it names the cluster's head, as in 192.168.1.10:6379, not its dashboard"
    found = _of_auto(origin) if address == "auto" else address
    host, _, port = found.rpartition(":")
    known = port.isascii() and port.isdecimal() and 0 < int(port[:_DIGITS]) <= _LAST_PORT
    if not host or "/" in found or not known:
        raise ClusterError(f"{origin} is {shorten(found)!r}, which is no HOST:PORT of a Ray cluster", remedy)
    try:
        with socket.create_connection((host.strip("[]"), int(port)), patience_s) as talk:
            why = None if _speaks_grpc(talk, patience_s) else "what listens there is no Ray"
    except (OSError, UnicodeError) as error:
        why = reason_of(error)
    if why is not None:
        raise ClusterError(f"no Ray cluster answers at {shorten(found)} (from {origin}): {why}", remedy)


def _speaks_grpc(talk: socket.socket, patience_s: float) -> bool:
    """Whether somebody begins to talk as a gRPC server does, which Ray's GCS is: with a frame of HTTP/2's settings.

    Raises:
        OSError: Nothing is heard.
    """
    if os.environ.get("RAY_USE_TLS", "0").lower() in ("1", "true"):  # as Ray reads it
        return True  # only Ray has the certificate
    talk.settimeout(patience_s)
    talk.sendall(_PREFACE)
    heard = b""
    while len(heard) < _FRAME_HEAD and (more := talk.recv(_FRAME_HEAD - len(heard))):
        heard += more
    return len(heard) == _FRAME_HEAD and heard[3] == _SETTINGS


def _of_auto(origin: str) -> str:
    """The address that Ray finds by itself. Raises ClusterError."""
    try:
        return str(canonicalize_bootstrap_address("auto"))
    except (ConnectionError, ValueError, OSError) as error:
        raise ClusterError(f"Ray cannot be reached ({origin} is auto): {reason_of(error)}", f"Check {origin}") from None


def start(init: Callable[[], Any], *, address: str, origin: str, again: bool = True) -> Any:  # noqa: ANN401 - untyped
    """Call `ray.init`; once more where the start of a Ray of our own timed out, as it does on a busy machine.

    Args:
        init: Starts or reaches Ray.
        address: What it starts or reaches.
        origin: The option or variable that the address comes from; empty where sparkray starts a Ray of its own.
        again: Whether a second try is allowed.

    Raises:
        ClusterError: Ray cannot be started or reached.
    """
    try:
        with _own_handlers():
            return init()
    except Exception as error:  # noqa: BLE001 - Ray raises a bare Exception where its node does not start in time
        if origin or not again or not _timed_out(error):
            raise _start_error(error, address, origin) from None
    ray.shutdown()
    return start(init, address=address, origin=origin, again=False)


def leave() -> None:
    """Disconnect from a cluster. Ray waits for its head without a limit; we do not, and then Ray has no part in our end."""
    thread = threading.Thread(target=ray.shutdown, name="sparkray-leave", daemon=True)
    thread.start()
    thread.join(_ANSWER_S)
    if thread.is_alive():
        STUCK.append(thread.name)


@contextmanager
def _own_handlers() -> Iterator[None]:
    """Keep the handlers of signals: Ray puts its own in place of that of SIGTERM, which ends the program with status 15.

    Raises:
        KeyboardInterrupt: Ray's own heard SIGTERM.
    """
    before = {number: signal.getsignal(number) for number in SIGNALS}
    try:
        yield
    except SystemExit as ended:
        if ended.code == signal.SIGTERM:
            raise KeyboardInterrupt from None
        raise
    finally:
        if threading.current_thread() is threading.main_thread():  # no other may set one, nor does Ray there
            for number, handler in before.items():
                signal.signal(number, handler)


def _timed_out(error: Exception) -> bool:
    return "timed out" in str(error)


def _start_error(error: Exception, address: str, origin: str) -> Exception:
    """What Ray's error means to a user; an error that Ray is not known to raise stays itself."""
    known = isinstance(
        error, (ConnectionError, RuntimeError, ValueError, OSError, AssertionError, ray.exceptions.RayError)
    )
    if not known and not _timed_out(error):
        return error
    busy = f"This machine is busy (load {os.getloadavg()[0]:.1f}): end other programs, then repeat the command"
    refused = host_error_of(error) if isinstance(error, OSError) else None
    remedy = f"Check {origin}" if origin else busy if _timed_out(error) else refused.remedy if refused else ""
    return ClusterError(f"Ray cannot be {'reached' if origin else 'started'} ({address}): {reason_of(error)}", remedy)
