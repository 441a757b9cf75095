"""A serving run between its server's start and end: wait until it is ready, compare its model, load it, stop it.

What the server answered and every request go to `SERVING_FILE` in the run's folder, which the engine reads. The load
generator runs outside the environment and reaches the server over the loopback interface, alike in every arm.
"""

import http.client
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sparkray.client import Load, LoadResult, Target, run_load
from sparkray.config.container import LOOPBACK
from sparkray.config.cpu_list import cpu_numbers
from sparkray.config.experiment import Saturation, Serving
from sparkray.config.recipe import Readiness, Recipe, counters
from sparkray.engines import SERVING_FILE, Job
from sparkray.errors import RunError, RunInterruptedError, RunUnreadyError
from sparkray.execute.lateness import late
from sparkray.execute.network import network_of
from sparkray.files import replace_file
from sparkray.images.digest import hash_stream
from sparkray.runtimes import Exit, Running, Stop, await_end
from sparkray.units import MIB, NS_PER_S, encodable

_PROBE_PATIENCE_S = 5.0
_MOST_ANSWERED, _MOST_SHOWN = 16 * MIB, 200
_SHORTEST_WAIT_S, _LONGEST_WAIT_S, _RELATIVE_WAIT = 0.01, 0.25, 0.01
"""Between two probes of readiness: 1 % of the time waited so far, which is the error of `container_to_ready_s`."""


@dataclass(frozen=True)
class ServingRun:
    """One server's run. `model` is its model's path as the process sees it, `model_on_host` where that really lies.

    `hashed`: the weights are a single file, whose hash identifies them. `client_cpus`: the load generator's, empty where it
    is not pinned. `prompts` are as `engines.Server.prompts` has them.
    """

    recipe: Recipe
    job: Job
    served_name: str
    prompts: Sequence[Mapping[str, Any]]
    port: int
    model: str
    model_on_host: Path
    hashed: bool
    folder: Path
    client_cpus: str = ""
    columns: dict[str, Any] = field(default_factory=dict)
    """Columns of the run's row, as they become known."""

    @property
    def load(self) -> Serving:
        """The workload's part that is about serving."""
        return self.job.workload.serve or Serving()


class _EndedError(Exception):
    """The server ended although nobody asked it to."""


def free_port(wanted: int = 0) -> int:
    """A TCP port of the loopback interface that nobody listens on, any unless one is wanted. It is free on return.

    Raises:
        OSError: The one that is wanted is taken.
    """
    with socket.socket() as one:
        one.setsockopt(
            socket.SOL_SOCKET, socket.SO_REUSEADDR, 1
        )  # connections of an earlier run that wind down take none
        one.bind((LOOPBACK, wanted))
        return int(one.getsockname()[1])


def serve(run: ServingRun, running: Running, stop: Stop, *, timeout_s: float) -> Exit:
    """From the server's process to its exit.

    Args:
        run: What is served, and how it is loaded.
        running: The server, just started.
        stop: Asks for an early end.
        timeout_s: For all of it, s.

    Returns:
        The exit, with what is to be held against it.

    Raises:
        RunError: It was not ready in time, serves another model, or the load could not be made.
    """
    began, when = time.monotonic(), "while it loaded the model"
    try:
        with _watched(running.pid, stop, timeout_s) as watch:
            _await_ready(run, watch)
            run.columns["container_to_ready_s"] = time.monotonic() - began
            when = "before the load"
            version, run = _identify(run)
            run.columns.update(network_of(running, run.port))
            before = _scrape(run)
            when = "under load"
            cpus = sorted(cpu_numbers(run.client_cpus)) or None
            result = run_load(_target(run), _load(run), cpus=cpus, stop_fd=watch.fileno())
            _count(run, result, before)
            _write(run, result, version, running)
            watch.check()
    except _EndedError:
        ended = running.finish()
        return replace(ended, fault=f"the server ended with {ended.how} {when}")
    except RunError:
        running.kill()
        running.finish()
        raise
    return _stop(run.recipe, running)


class _Watch:
    """Becomes readable when the server has ended, somebody asked for a stop, or the time is over."""

    def __init__(self, pid: int, process: int | None, stop: Stop, deadline: Stop) -> None:
        self._pid, self._process, self._stop, self._deadline = pid, process, stop, deadline
        self._poll = select.epoll()
        for fd in (process, stop.fd, deadline.fd):
            if fd is not None:
                self._poll.register(fd, select.EPOLLIN)

    def fileno(self) -> int:
        """The descriptor to wait on."""
        return self._poll.fileno()

    def close(self) -> None:
        """Give back the descriptors, but for the one of the user's stop."""
        self._poll.close()
        for fd in (self._process, self._deadline.fd):
            if fd is not None:
                os.close(fd)

    def check(self, wait_s: float = 0.0) -> None:
        """Raises _EndedError, RunInterruptedError, RunTimeoutError as soon as it applies, within `wait_s`."""
        if self._process is None:
            raise _EndedError
        ready = {fd for fd, _ in self._poll.poll(wait_s)}
        if self._stop.fd in ready:
            raise RunInterruptedError("stopped while the server ran")
        if self._process in ready:
            raise _EndedError
        if self._deadline.fd in ready:
            raise late("the run had not ended in time", self._pid)


@contextmanager
def _watched(pid: int, stop: Stop, timeout_s: float) -> Iterator[_Watch]:
    deadline = Stop()
    timer = threading.Timer(timeout_s, deadline.set)
    timer.daemon = True
    timer.start()
    process = None
    with suppress(ProcessLookupError):
        process = os.pidfd_open(pid) if pid else None
    watch = _Watch(pid, process, stop, deadline)
    try:
        yield watch
    finally:
        timer.cancel()
        timer.join()
        watch.close()


class _BoundedSocket(socket.socket):
    """One answer, of a bounded size and whole in time: a server that drips or never ends could hold a run otherwise."""

    def __init__(self) -> None:
        super().__init__()
        self._until, self._left = time.monotonic() + _PROBE_PATIENCE_S, _MOST_ANSWERED
        self.settimeout(_PROBE_PATIENCE_S)

    def recv_into(self, *arguments: Any) -> int:  # noqa: ANN401 - as of a socket
        self.settimeout(max(_SHORTEST_WAIT_S, self._until - time.monotonic()))
        count = super().recv_into(*arguments)
        self._left -= count
        if self._left < 0 or time.monotonic() > self._until:
            raise TimeoutError("its answer does not end")
        return count


def answer(port: int, path: str) -> tuple[int, bytes] | None:
    """Status and body of a GET; None where nobody answers, or the answer does not end. No proxy is asked."""
    connection = http.client.HTTPConnection(LOOPBACK, port)
    connection.sock = _BoundedSocket()
    try:
        connection.sock.connect((LOOPBACK, port))
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read()
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _await_ready(run: ServingRun, watch: _Watch) -> None:
    """Raises RunUnreadyError, and what `_Watch.check` raises."""
    readiness, began = run.recipe.readiness, time.monotonic()
    while not _is_ready(readiness, answer(run.port, readiness.path)):
        waited = time.monotonic() - began
        if waited > run.load.ready_timeout_s:
            raise RunUnreadyError(
                f"the server was not ready after {run.load.ready_timeout_s:g} s",
                "See its log; raise it: --set experiment.workload.serve.ready_timeout_s=N",
            )
        watch.check(min(max(_SHORTEST_WAIT_S, _RELATIVE_WAIT * waited), _LONGEST_WAIT_S))


def _is_ready(readiness: Readiness, answered: tuple[int, bytes] | None) -> bool:
    """Raises RunUnreadyError for a status that means neither ready nor loading."""
    if answered is None or answered[0] in readiness.loading:
        return False
    if answered[0] in readiness.ready:
        return True
    raise RunUnreadyError(f"the server answered {readiness.path} with status {answered[0]}: {_shown(answered[1])}")


def _shown(body: bytes) -> str:
    return " ".join(body[:_MOST_SHOWN].decode(errors="replace").split()) or "an empty body"


def document(port: int, path: str) -> Any:  # noqa: ANN401 - whatever JSON holds
    """A JSON document of the server; None where it has none there."""
    answered = answer(port, path)
    with suppress(ValueError, RecursionError):
        return json.loads(answered[1]) if answered is not None and answered[0] == http.HTTPStatus.OK else None
    return None


def models_of(port: int, path: str) -> list[str] | None:
    """Names of the models that a server lists; None where it lists none in OpenAI's form."""
    listed = document(port, path)
    try:
        return [encodable(str(model["id"])) for model in listed["data"]]
    except (TypeError, KeyError):
        return None


def version_of(recipe: Recipe, port: int) -> str | None:
    """The version by the server's own route; None where it has none, or does not report one."""
    version = document(port, recipe.version.path) if recipe.version else None
    for key in recipe.version.key.split(".") if recipe.version else ():
        version = version.get(key) if isinstance(version, dict) else None
    return None if version is None else encodable(str(version))[:_MOST_SHOWN]


def _identify(run: ServingRun) -> tuple[str | None, ServingRun]:
    """The version, and the run with the model's name where that was left to the server.

    Raises:
        RunUnreadyError: The server's model is not the one that was asked for.
    """
    if run.recipe.models:
        served = models_of(run.port, run.recipe.models)
        if served is None:
            raise RunUnreadyError(f"the server is ready, but {run.recipe.models} lists no models")
        if served and not run.served_name:
            run = replace(run, served_name=served[0])
        if run.served_name not in served:
            listed = ", ".join(served)[:_MOST_SHOWN] or "no model"
            raise RunUnreadyError(f"the server serves {listed}, not {run.served_name}")
    return version_of(run.recipe, run.port), run


def _target(run: ServingRun) -> Target:
    requests = run.recipe.requests
    return Target(f"http://{LOOPBACK}:{run.port}", run.served_name, requests.endpoint, requests.body)


def _load(run: ServingRun) -> Load:
    closed, bounds = run.load.arrival.kind == "closed", run.load.saturation or Saturation()
    return Load(
        prompts=[item["prompt"] for item in run.prompts],
        output_tokens=[item["output_tokens"] for item in run.prompts],
        concurrency=run.job.concurrency if closed else None,
        arrival=run.load.arrival,
        warmup=run.job.workload.warmup_requests,
        timeout_s=run.load.request_timeout_s,
        seed=run.job.seed,
        most_in_flight=bounds.most_in_flight,
        most_latency_s=bounds.most_latency_s,
    )


def _scrape(run: ServingRun) -> dict[str, float]:
    """The recipe's counters as they are; empty where the server has none, or does not answer."""
    if not run.recipe.metrics_path:
        return {}
    answered = answer(run.port, run.recipe.metrics_path)
    return counters(answered[1].decode(errors="replace"), run.recipe.metrics) if answered else {}


def _count(run: ServingRun, result: LoadResult, before: dict[str, float]) -> None:
    """What the load was, and what the server counted meanwhile, warm-up included."""
    first = next((request for request in result.requests if request.index == 0), None)
    after = _scrape(run)
    counted = [one for one in result.requests if not one.warmup and one.error_kind != "interrupted"]
    failed = sum(request.error is not None for request in counted)
    grown = {name: after[name] - before[name] for name in after if name in before}
    queued, queries = grown.get("queued"), grown.get("prefix_queries")
    run.columns.update(
        first_request_s=(first.end_ns - first.submit_ns) / NS_PER_S if first and first.error is None else None,
        error_rate_pct=100 * failed / len(counted) if counted else None,
        client=result.client,
        client_cpus=run.client_cpus or None,
        client_cpu_s=result.client_cpu_s,
        client_rate_ratio=result.max_rate_share,
        server_queue_mean_ms=1000 * grown["queue_s"] / queued if queued and "queue_s" in grown else None,
        prefix_cache_hit_pct=100 * grown["prefix_hits"] / queries if queries and "prefix_hits" in grown else None,
    )


def _write(run: ServingRun, result: LoadResult, version: str | None, running: Running) -> None:
    record = {
        "requests": [asdict(request) for request in result.requests],
        "notes": [*result.notes, *_other_models(run, result)],
        "ended": result.ended,
        "version": version,
        "model_path": run.model,
        "model_sha256": _hash(run, running.engine_pid) if run.hashed else None,
    }
    # the server writes to this folder too, and root must follow no link that it left there
    replace_file(run.folder / SERVING_FILE, json.dumps(record).encode())


def _other_models(run: ServingRun, result: LoadResult) -> list[str]:
    """That answers name another model than was asked for, as those of a proxy in front of several do."""
    others = ", ".join(name for name in result.models if name != run.served_name)[:_MOST_SHOWN]
    return [f"the server's answers name the model {others}, not {run.served_name}"] if others else []


def _hash(run: ServingRun, pid: int) -> str | None:
    """Of the weights as the process sees them; of the file mounted there, where its root may not be read."""
    for path in (Path(f"/proc/{pid}/root{run.model}"), run.model_on_host):
        with suppress(OSError), path.open("rb") as file:
            return hash_stream(file)
    return None


def _stop(recipe: Recipe, running: Running) -> Exit:
    """Asks the server to end, and ends it after its grace. Well is status 0, or the signal itself."""
    number, began = signal.Signals[recipe.stop_signal], time.monotonic()
    if await_end(running.pid, 0.0, Stop()) == "ended":
        ended = running.finish()
        return replace(ended, fault=f"the server ended with {ended.how} before it was asked to")
    running.send(number)
    if await_end(running.pid, recipe.grace_s, Stop()) == "ended":
        ended = running.finish()
        well = ended.code in (0, -number, 128 + number)
        return replace(ended, fault="" if well else f"the server ended with {ended.how} at its stop")
    running.kill()
    ended = running.finish()
    fault = f"the server had not ended {time.monotonic() - began:.0f} s after {number.name} and was killed"
    return replace(ended, fault=fault)
