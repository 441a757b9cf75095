"""Docker through its SDK: create, start, read back, wait, collect, remove.

`--rm` is emulated, since automatic removal races with the exit status and with the log.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, NotFound
from docker.models.containers import Container

from sparkray.config.container import ContainerSpec, create_arguments, publishes, run_words
from sparkray.docker_engine import connect, docker_errors, explanation, local_endpoint, tell
from sparkray.errors import ContainerEndedError, DockerError, LockHeldError, RunUnreadyError
from sparkray.files import fresh_file
from sparkray.runtimes import MARKER, TRIAL_MARKER, Exit, Launch, Running, exit_code
from sparkray.runtimes.linux.interventions import Event, end_by_another_client, interventions
from sparkray.runtimes.linux.owner import DOCTOR, LABEL, PROBE, VARIABLE, Owner, process_start, this_process
from sparkray.runtimes.linux.process import carries, children, is_foreign, parent

_START_PATIENCE_S = 30.0
# How long Docker may name a process that is not there.
_UNSEEN_S = 3.0
_NO_CONFIGURATION = "/nonexistent"
_CHILD_PATIENCE_S = 2.0
_CREATE_PATIENCE_S = 120.0
# Of an engine that has ended.
_WAIT_PATIENCE_S, _ASK_AGAIN_S = 60, 3
# Docker's answers for a container that is gone, or is being removed.
_REMOVED = (404, 409)
# The status of a container whose end containerd did not see.
_UNKNOWN = 255
# How long an event may be on its way.
_EVENTS_S = 0.2


def container_spec(launch: Launch) -> ContainerSpec:
    """The container of a launch, as the printed line and the SDK call both make it."""
    # what `doctor` starts measures nothing: a sweep that cannot see whether it still runs need not wait for it
    marker = TRIAL_MARKER if launch.labels.get(PROBE) == DOCTOR else MARKER
    return ContainerSpec(
        name=launch.name,
        image=launch.image or "",
        argv=launch.argv,
        options=launch.options,
        environment={**launch.environment, marker: launch.name},
        binds=launch.binds,
        labels=launch.labels,
        workdir=launch.workdir,
        port=launch.port if publishes(launch.options) else None,
    )


def owned(spec: ContainerSpec) -> ContainerSpec:
    """The container with who starts it: what the printed line leaves out, since another process may repeat it."""
    owner = this_process().text
    return replace(spec, environment={**spec.environment, VARIABLE: owner}, labels={**spec.labels, LABEL: owner})


def create(client: docker.DockerClient, spec: ContainerSpec) -> Container:
    """The container, made by the SDK; with options that have no type by Docker's command line, which alone knows them.

    No configuration of the user's is read: its variables would reach this arm alone.

    Raises:
        RunUnreadyError: The command line is not there, or refused.
        docker.errors.DockerException: The engine refused.
    """
    if not spec.options.other:
        return client.containers.create(**create_arguments(spec))
    kept = {name: value for name, value in os.environ.items() if name != "DOCKER_CONTEXT"}
    own = {"DOCKER_HOST": local_endpoint(), "DOCKER_CONFIG": _NO_CONFIGURATION}
    words = run_words(spec, ("create",))
    try:
        done = subprocess.run(
            words, env={**kept, **own}, capture_output=True, text=True, check=False, timeout=_CREATE_PATIENCE_S
        )
    except subprocess.TimeoutExpired:
        raise DockerError(f"docker create had not ended after {_CREATE_PATIENCE_S:g} s") from None
    except OSError as error:
        raise RunUnreadyError(f"docker cannot be run, which {spec.options.other} needs: {error.strerror}") from None
    if done.returncode != 0:
        raise RunUnreadyError(f"the container could not be created: {' '.join(done.stderr.split())}")
    return client.containers.get(spec.name)


@dataclass
class Contained:
    """A `Running` that is a container's first process."""

    pid: int
    container: Container
    log: Path
    under_init: bool = False
    in_container: bool = True
    signalled: bool = False
    """Whether this process sent it a signal."""

    def __post_init__(self) -> None:
        self._at_start = self.container.attrs
        self._shim = parent(self.pid) if self.pid else 0

    @property
    def published(self) -> str:
        """As `docker inspect` has it."""
        ports = self.container.attrs.get("NetworkSettings", {}).get("Ports") or {}
        pairs = ((inside, place) for inside, places in ports.items() for place in places or ())
        return ", ".join(f"{place['HostIp']}:{place['HostPort']}->{inside}" for inside, place in pairs)

    @property
    def engine_pid(self) -> int:
        """The engine itself: under `--init` the child of the container's first process."""
        if not self.under_init:
            return self.pid
        deadline = time.monotonic() + _CHILD_PATIENCE_S
        while time.monotonic() < deadline:
            if started := children(self.pid):
                return started[0]
            time.sleep(0.002)
        return 0

    def finish(self) -> Exit:
        """Exit status, OOM flag, log, and what other clients of Docker did to it. Raises DockerError."""
        status, state, lost = None, dict[str, Any](), False
        # it outlives its container until Docker has heard of the end
        alone = self._shim > 1 and not process_start(self._shim)
        with docker_errors(f"waiting for container {self.container.name}"):
            try:
                status = self._status()
                self.container.reload()
                state = self.container.attrs["State"]
                lost = not self._collect_log()
            except NotFound:
                lost = True
            well = status == 0 or (self.signalled and not lost)
            # one that ended badly may have done so this very moment
            events = list(self._events(_ended_at(state) + (0.0 if well else _EVENTS_S)))
        if well:
            touched = interventions(events, self._at_start, self.container.attrs, signalled=self.signalled)
            return Exit(exit_code(status or 0), bool(state.get("OOMKilled")), touched=touched)
        died = next((int(event.attributes["exitCode"]) for event in events if event.action == "die"), None)
        # who removes a container that runs kills it
        code = next((code for code in (died, status) if code is not None), 128 + signal.SIGKILL)
        return Exit(
            exit_code(code),
            bool(state.get("OOMKilled")),
            outside="its containerd-shim was killed, and it by containerd"
            if alone and code == _UNKNOWN
            else end_by_another_client(events, removed=lost, signalled=self.signalled),
            log_lost=lost,
        )

    def _collect_log(self) -> bool:
        """Output in the order it came. A driver that cannot be read (none, syslog) leaves the file empty.

        Returns:
            Whether the container was still there to be asked.
        """
        with fresh_file(self.log) as log:
            try:
                for chunk in self.container.logs(stream=True, stdout=True, stderr=True):
                    log.write(chunk)
            except APIError as error:
                return error.status_code not in _REMOVED
        return True

    def _status(self) -> int:
        """Docker's status of a container whose process has ended; what `docker restart` started again in it is killed."""
        deadline = time.monotonic() + _WAIT_PATIENCE_S
        while True:
            self.container.reload()
            state = self.container.attrs["State"]
            if state["Running"] and self.pid and int(state["Pid"]) not in (0, self.pid):
                self.container.kill()
            try:
                return int(self.container.wait(timeout=_ASK_AGAIN_S)["StatusCode"])
            except requests.RequestException as error:
                if time.monotonic() > deadline or "timed out" not in str(error).lower():
                    raise

    def _events(self, until_s: float) -> Iterator[Event]:
        """This container's events up to a time of Docker's clock, oldest first, as far as Docker kept them."""
        until = f"{until_s:.3f}"
        only = {"container": self.container.id, "type": "container"}
        client = self.container.client
        assert client is not None  # noqa: S101 - the client that made the container
        for event in client.api.events(since=1, until=until, filters=only, decode=True):  # type: ignore[call-overload] # text too
            yield Event.of(event)

    def send(self, number: signal.Signals) -> None:
        """Sent through Docker, which needs no root here; one that has ended already is left as it is."""
        self.signalled = True
        with suppress(DockerException, requests.RequestException):
            self.container.kill(number.name)

    def kill(self) -> None:
        """End it now; one that has ended already is left as it is."""
        self.signalled = True
        with suppress(DockerException, requests.RequestException):
            self.container.kill()


def _ended_at(state: Mapping[str, Any]) -> float:
    """When a container ended, by Docker's clock, seconds since 1970; now where that is not known."""
    with suppress(KeyError, ValueError):
        ended = datetime.fromisoformat(state["FinishedAt"])
        if ended.year > 1:  # Docker's "not yet"
            return ended.timestamp()
    return time.time()


class Runtime:
    """See the module. One client for its lifetime, made at the first start."""

    name = "container"

    def __init__(self, client: docker.DockerClient | None = None) -> None:
        self._client = client

    @property
    def client(self) -> docker.DockerClient:
        """Raises DockerError when no engine answers."""
        if self._client is None:
            self._client = connect()
        return self._client

    @contextmanager
    def start(self, launch: Launch) -> Iterator[Running]:
        """Raises RunUnreadyError with the engine's own words, DockerError."""
        self._remove_namesake(launch.name)
        container = self._create(launch)
        try:
            try:
                container.start()
            except APIError as error:
                if "No such container" in explanation(error):
                    raise ContainerEndedError(
                        "another client of Docker removed its container before the start"
                    ) from None
                raise RunUnreadyError(f"the container could not be started: {explanation(error)}") from None
            except (DockerException, requests.RequestException) as error:
                raise DockerError(f"starting {launch.name}: {error}") from None
            # under --pid=host Docker starts no init process, since the host has one
            under_init = bool(launch.options.init) and launch.options.pid != "host"
            yield Contained(self._pid(container, launch.name), container, launch.log, under_init)
        finally:
            self._remove(container)

    def _remove(self, container: Container) -> None:
        try:
            container.remove(force=True, v=True)
        except NotFound:
            return
        except (DockerException, requests.RequestException):
            tell(self.client, f"container {container.name} could not be removed: the next start will do it")

    def _create(self, launch: Launch) -> Container:
        try:
            return create(self.client, owned(container_spec(launch)))
        except APIError as error:
            raise RunUnreadyError(f"the container could not be created: {explanation(error)}") from None
        except (DockerException, requests.RequestException) as error:
            raise DockerError(f"creating {launch.name}: {error}") from None

    def _remove_namesake(self, name: str) -> None:
        """A container of this very run that a dead sweep left: names are predictable so that it can be found.

        Raises:
            LockHeldError: Somebody who lives started it.
        """
        with suppress(NotFound), docker_errors(f"looking for a leftover {name}"):
            try:
                found = self.client.containers.get(name)
            except NotFound:
                return
            if is_foreign(Owner.parse(found.labels.get(LABEL, ""))):
                raise LockHeldError(
                    f"this machine is busy: another sparkray, which runs, has the container {name}", "Wait for its end"
                )
            found.remove(force=True, v=True)

    def _pid(self, container: Container, name: str) -> int:
        """Host pid of the first process, once runc has become it; 0 when it has ended already.

        Raises:
            DockerError: It runs, and cannot be seen from here.
        """
        began = seen = time.monotonic()
        while True:
            with docker_errors(f"inspecting {name}"):
                try:
                    container.reload()
                except NotFound:
                    return 0  # somebody removed it: `finish` says so
            pid, now = int(container.attrs["State"]["Pid"]), time.monotonic()
            if not container.attrs["State"]["Running"]:
                return 0
            if carries(pid, name) is not False:
                return pid
            seen = now if process_start(pid) else seen
            if now - seen > _UNSEEN_S or now - began > _START_PATIENCE_S:
                raise DockerError(
                    f"container {name} runs as process {pid} for Docker, which is not that process here: Docker and "
                    "sparkray are in different PID namespaces",
                    "Run sparkray where the Docker engine runs, or in a container with --pid=host",
                )
            time.sleep(0.005)
