"""Which Docker flags this host can honour, found by trying them before the first run, and what they then give.

A container is really started with the flags of each environment. When that fails, each flag is tried alone: one that the
site may give up is dropped and recorded as a deviation; any other stops the sweep with the flag, Docker's own words and
a remedy. `--gpus` is not dropped where the same GPUs can be given by another route (CDI, device files): the first that
works takes its place, as a deviation.
"""

import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from sparkray.config.docker import DockerOptions, cannot_act, given, without, words_of
from sparkray.errors import ContainerEndedError, PreflightError, RunUnreadyError
from sparkray.images.rootfs import Image
from sparkray.plan import Treatment
from sparkray.runtimes import Launch
from sparkray.runtimes.container import Runtime
from sparkray.runtimes.linux.gpu_routes import Route
from sparkray.runtimes.linux.process import is_zombie
from sparkray.runtimes.linux.readback import effective_state

_REMEDIES = {
    "error setting rlimit": "This host may not raise that limit (CAP_SYS_RESOURCE is not in the bounding set)",
    "unable to apply caps": "This host lacks capabilities that the flag asks for (CAP_SYS_RESOURCE, most likely)",
    "could not select device driver": "Install the NVIDIA Container Toolkit (or turn CDI on: `doctor` shows the routes to a "
    "GPU), or choose a site without a GPU: --site cpu",
    "unknown or invalid runtime": "Install that OCI runtime, or leave the flag out",
    "Unknown runtime specified": "Install that OCI runtime, or leave the flag out",
}


_ENGINE_REMEDIES = {
    "bridge docker0": "Restart the Docker engine, which makes its bridge again: systemctl restart docker",
    "containerd": "Restart containerd and the Docker engine: systemctl restart containerd docker",
    "no space left on device": "Free some space on the disk of Docker's data (`docker info`: Docker Root Dir)",
}
_ENGINE_LOG = "The log of the Docker engine may say why: journalctl -u docker"


Refusals = dict[tuple[str, str], str | None]
"""Why Docker refuses single flags, None where it does not, by image and flag; kept for a session, as arms share most."""


@dataclass(frozen=True)
class Probe:
    """Starts a container that does nothing, with given flags, and looks at it.

    `idle` is a command that waits, and `program` a file of the host that is mounted for it, where the image has none.
    `known` is what was found before, `purpose` the value of such containers' label.
    `routes` gives the routes to a GPU beside `--gpus`, for a value of that flag.
    """

    runtime: Runtime
    image: Image
    idle: tuple[str, ...]
    program: Path | None = None
    known: Refusals = field(default_factory=dict)
    routes: Callable[[str], Sequence[Route]] = lambda _: ()
    purpose: str = "1"

    def state(self, options: DockerOptions) -> Mapping[str, Any]:
        """The effective state of a container with these flags; of a second one where somebody ended the first.

        Raises:
            RunUnreadyError: Docker could not start it.
            PreflightError: Somebody ended the second too.
            DockerError: Docker does not answer.
        """
        with suppress(ContainerEndedError):
            return self._state(options)
        try:
            return self._state(options)
        except ContainerEndedError as error:
            raise PreflightError(
                f"somebody ended two trial containers of {self.image.reference}, one after the other: {error.message}",
                "Find out what ends containers on this machine (`docker events` shows it), and repeat the command",
            ) from None

    def _state(self, options: DockerOptions) -> Mapping[str, Any]:
        """Raises ContainerEndedError, RunUnreadyError, DockerError."""
        with TemporaryDirectory(prefix="sparkray-probe-") as folder:
            scratch = Path(folder, "tmp")
            launch = Launch(
                name=f"sparkray-probe-{uuid4().hex[:12]}",
                argv=self.idle,
                environment={},
                log=Path(folder, "log"),
                scratch=scratch,
                python="",
                image=self.image.digest,
                options=options,
                binds=(
                    *((folder, folder, True) for folder in self.image.bound),
                    *(((str(self.program), self.idle[0], True),) if self.program else ()),
                ),
                labels={"io.sparkray.probe": self.purpose},
            )
            with self.runtime.start(launch) as running:
                state = effective_state(running.pid) if running.pid else {}
                if running.pid and not is_zombie(running.pid):  # or some of it may be missing
                    return state
                ended = running.finish()
                if ended.outside or (ended.code == -signal.SIGKILL and not ended.out_of_memory):
                    raise ContainerEndedError(f"it ended with {ended.how}")
                raise RunUnreadyError(f"a container of {self.image.reference} ended at once: {self.idle}")

    def refusal(self, options: DockerOptions) -> str | None:
        """Why Docker refuses one flag by itself, or None. Raises DockerError.

        Only a refusal whose cause is known to last is kept: a busy engine, a time-out or a full disk pass.
        """
        key = self.image.digest, repr(options)
        if key in self.known:
            return self.known[key]
        try:
            self.state(options)
        except RunUnreadyError as error:
            if _remedy(error.message):
                self.known[key] = error.message
            return error.message
        self.known[key] = None
        return None


def honoured(treatment: Treatment, probe: Probe) -> tuple[DockerOptions, tuple[str, ...], Mapping[str, Any]]:
    """The options that this host can honour, what was given up or replaced (in words), and the state that they give.

    Raises:
        PreflightError: A flag cannot be honoured and may not be given up.
    """
    try:
        return treatment.options, (), probe.state(treatment.options)
    except RunUnreadyError as error:
        _must_start_any(probe)
        refused = {name: why for name, _, _ in given(treatment.options) if (why := _alone(name, treatment, probe))}
        if not refused:
            raise _refusal(treatment, {"": error.message}) from None
    options, deviations = treatment.options, list[str]()
    if "gpus" in refused:
        options, routed = _by_another_route(options, refused.pop("gpus"), probe)
        deviations += [routed] if options.gpus is None else []
        refused |= {} if options.gpus is None else {"gpus": routed}
    if hard := {name: why for name, why in refused.items() if name not in treatment.adapt}:
        raise _refusal(treatment, hard)
    options = without(options, set(refused))
    try:
        state = probe.state(options)
    except RunUnreadyError as error:
        raise _refusal(treatment, {"": error.message}) from None
    deviations += [_deviation(treatment.options, name, why) for name, why in refused.items()]
    return options, tuple(deviations), state


def _must_start_any(probe: Probe) -> None:
    """Whatever the flags: they are judged only where a container without any starts. Raises PreflightError."""
    try:
        probe.state(DockerOptions())
    except RunUnreadyError as error:
        known = (remedy for said, remedy in _ENGINE_REMEDIES.items() if said in error.message)
        raise PreflightError(
            f"this Docker engine cannot start any container of {probe.image.reference}: {error.message}",
            next(known, _ENGINE_LOG),
        ) from None


def _by_another_route(options: DockerOptions, why: str, probe: Probe) -> tuple[DockerOptions, str]:
    """The options with the GPUs given by the first other route that works, and the deviation in words.

    Where none works, the options as they are and every reason.
    """
    reasons = [why]
    for route in probe.routes(options.gpus):
        alone = DockerOptions(device=route.devices)
        problem = route.missing or probe.refusal(alone)
        if problem is None:
            others = {name: value for name, _, value in given(options) if name not in ("gpus", "device")}
            given_so = DockerOptions(**others, device=(*(options.device or ()), *route.devices))
            words = f"{words_of('gpus', options)} given as {words_of('device', alone)} (route {route.name})"
            return given_so, f"{words}: {'; '.join(reasons)}"
        reasons.append(f"{route.name}: {problem}")
    return options, "; ".join(reasons)


def _alone(name: str, treatment: Treatment, probe: Probe) -> str | None:
    """Why a flag cannot be honoured by itself, or None when it can; nothing is said against one that needs another."""
    options = DockerOptions(**{name: getattr(treatment.options, name)})
    return None if cannot_act(options) else probe.refusal(options)


def _deviation(options: DockerOptions, name: str, why: str) -> str:
    return f"{words_of(name, options)} left out: {_remedy(why) or why}"


def _remedy(why: str) -> str:
    return next((remedy for said, remedy in _REMEDIES.items() if said in why), "")


def _refusal(treatment: Treatment, refused: Mapping[str, str]) -> PreflightError:
    parts = [
        f"{words_of(name, treatment.options) if name else 'the flags together'}: {why}" for name, why in refused.items()
    ]
    remedies = {_remedy(why) for why in refused.values()} - {""}
    leave = " and ".join(words_of(name, treatment.options) for name in refused if name)
    remedies.add(f"Leave {leave} out" if leave else "Try the printed docker run line by hand")
    return PreflightError(
        f"this host cannot honour the flags of {treatment.environment}: {'; '.join(parts)}",
        ". ".join(sorted(remedies)),
    )
