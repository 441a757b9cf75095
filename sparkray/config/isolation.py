"""Layers of isolation between a chroot and a container, and the attribution steps that add or remove one at a time. Pure.

Two directions answer two questions. A layer added alone to the chroot (`native:plus-pid`) costs what it costs by itself;
a layer removed alone from the container (`container:less-pid`) gives back what it costs beside all the others. Where the
two disagree, layers interact. Only layers that the baseline container really has are measured: adding another one would
explain a difference that does not exist. Steps that cannot be measured are excluded with the reason.

Page-cache state is no layer: it belongs to the protocol, which is the same in every arm of a block. The attributions of
two experiments, under `drop` and under `warm`, show what it costs.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from sparkray.config.boundary import read_yaml
from sparkray.config.docker import DockerOptions, flag_of, given, option_names
from sparkray.config.equivalence import signature
from sparkray.config.privilege import CAPABILITIES, capabilities_of, security_choices
from sparkray.config.site import CONTAINER_BASELINE, HOST, NATIVE, Environment
from sparkray.config.space import HostFacts

# `start`: from a plain process to the chroot; `add`: one layer added to the chroot; `leave`: one layer that was removed
# from the container; `all`: every layer that can be added, at once.
Direction = Literal["start", "add", "leave", "all"]
ALL = "all"
# Engines do not all know the newest, whose rights SYS_ADMIN has as well (capabilities(7)).
_OLD_CAPABILITIES = tuple(name for name in CAPABILITIES if name not in ("PERFMON", "BPF", "CHECKPOINT_RESTORE"))
_NOT_LIMITED = "a chroot's group has no limits: their cost is in what the added layers leave unexplained"


@dataclass(frozen=True)
class Layer:
    """One layer of isolation.

    Attributes:
        name: As in the names of treatments.
        title: For figures and tables.
        flag: The `docker run` flag that removes it; None where there is none.
        no_flag: Why there is none.
    """

    name: str
    title: str
    flag: str | None = None
    no_flag: str = ""


@dataclass(frozen=True)
class KernelFacts:
    """What a machine's kernel and Docker engine make of layers. None is unknown and excludes nothing.

    Attributes:
        cgroup_version: 1 or 2: under 1 Docker leaves a container in the host's cgroup namespace.
        storage_driver: How Docker stacks an image's layers (`overlay2`).
        refused: Layers that a process could not be given here, by name, with the kernel's reason, as tried.
    """

    cgroup_version: int | None = None
    storage_driver: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AttributionArm:
    """One treatment of an attribution; `layer` is None for its ends."""

    environment: str
    options: DockerOptions = field(default_factory=DockerOptions)
    adapt: tuple[str, ...] = ()
    isolation: tuple[str, ...] = ()
    layer: str | None = None


@dataclass(frozen=True)
class AttributionStep:
    """One question: what `after` costs over `before` in the same block, since it has one layer more."""

    layer: str
    direction: Direction
    before: str
    after: str


@dataclass(frozen=True)
class ExcludedStep:
    """A layer that is not measured in a direction (`add` or `leave`), and why."""

    layer: str
    direction: Direction
    reason: str


@dataclass(frozen=True)
class AttributionSteps:
    """The arms in order, the questions they answer, and what was excluded. The total goes from `first` to `last`."""

    arms: tuple[AttributionArm, ...]
    steps: tuple[AttributionStep, ...]
    excluded: tuple[ExcludedStep, ...]

    @property
    def first(self) -> str:
        """The environment with the least isolation."""
        return self.arms[0].environment

    @property
    def last(self) -> str:
        """The container as it is."""
        return self.arms[-1].environment


BY_NAME: Mapping[str, Layer] = {
    name: Layer(name, **row) for name, row in read_yaml(Path(__file__).with_name("layers.yaml")).items()
}
LAYERS = tuple(BY_NAME.values())
# Only removed: without the flags that set them. Not part of `cgroup`, whose accounting costs what it costs without any.
LIMITS = Layer("limits", "limits of the control group")
LAYER_TITLES: Mapping[str, str] = {layer.name: layer.title for layer in (*LAYERS, LIMITS)}
_LIMITING = tuple(name for name in option_names() if flag_of(name).limits)


def attribution_steps(
    baseline: Environment,
    host: HostFacts,
    kernel: KernelFacts,
    *,
    start: Literal["host", "native"] = "host",
    together: bool = True,
) -> AttributionSteps:
    """The steps that this machine can measure between a plain process and the baseline container.

    Args:
        baseline: The container at the end, with the options that it may give up.
        host: What is known of the machine and its Docker engine (`security`, `lacks`).
        kernel: What is known of its kernel.
        start: The first arm: `native` for engines that run nowhere but in their image.
        together: Whether one more arm has every added layer at once: what then still differs from the container is no
            layer that was added, and the difference of its cost from the sum is interaction.
    """
    added, left, excluded = [], [], []
    for layer in LAYERS:
        absent = not_in_container(layer.name, baseline.options, host, kernel)
        reasons = (absent or kernel.refused.get(layer.name), absent or _not_taken_away(layer, baseline.options, host))
        for direction, reason in zip(_DIRECTIONS, reasons, strict=True):
            if reason is not None:
                excluded.append(ExcludedStep(layer.name, direction, reason))
        if reasons[0] is None:
            added.append(_plus((layer.name,), layer.name, baseline.options))
        if reasons[1] is None:
            left.append(_less(layer.name, baseline, host))
    if unlimited := _unlimited(baseline.options):
        excluded += [ExcludedStep(LIMITS.name, direction, unlimited) for direction in _DIRECTIONS]
    else:
        excluded.append(ExcludedStep(LIMITS.name, "add", _NOT_LIMITED))
        left.append(_less(LIMITS.name, baseline, host))
    every = tuple(name for arm in added for name in arm.isolation)
    if together and len(every) > 1:
        added.append(_plus(every, ALL, baseline.options))
    ends = [AttributionArm(HOST)] if start == HOST else []
    arms = (
        *ends,
        AttributionArm(NATIVE),
        *added,
        *left,
        AttributionArm(CONTAINER_BASELINE, baseline.options, baseline.adapt),
    )
    return AttributionSteps(arms, tuple(_steps(arms)), tuple(excluded))


_DIRECTIONS: tuple[Direction, Direction] = ("add", "leave")


def _plus(layers: tuple[str, ...], name: str, baseline: DockerOptions) -> AttributionArm:
    return AttributionArm(f"{NATIVE}:plus-{name}", _made_with(layers, baseline), isolation=layers, layer=name)


def _made_with(layers: tuple[str, ...], baseline: DockerOptions) -> DockerOptions:
    """The baseline's own settings of layers that have some, so that the chroot's are made alike."""
    fields = {"ipc": ("shm_size",), "capabilities": ("cap_add", "cap_drop")}
    names = {name for layer in layers for name in fields.get(layer, ())}
    return DockerOptions(**{name: value for name, _, value in given(baseline) if name in names})


def _less(name: str, baseline: Environment, host: HostFacts) -> AttributionArm:
    options = without_layer(name, baseline.options, host)
    adapt = tuple(option for option in baseline.adapt if getattr(options, option) is not None)
    return AttributionArm(f"container:less-{name}", options, adapt, layer=name)


def _steps(arms: tuple[AttributionArm, ...]) -> Iterator[AttributionStep]:
    if arms[0].environment == HOST:
        yield AttributionStep("chroot", "start", HOST, NATIVE)
    for arm in arms:
        if arm.layer is None:
            continue
        if arm.isolation:
            yield AttributionStep(arm.layer, "all" if arm.layer == ALL else "add", NATIVE, arm.environment)
        else:
            yield AttributionStep(arm.layer, "leave", arm.environment, CONTAINER_BASELINE)


def without_layer(name: str, options: DockerOptions, host: HostFacts) -> DockerOptions:
    """Options of the container without one of its layers.

    `--cap-add=ALL` is written out where the engine itself lacks a capability: it could not start the container. Docker
    makes its own filter of system calls fit the capabilities, so that adding them opens it too.

    Raises:
        KeyError: No flag removes that layer.
    """
    by_layer: Mapping[str, Mapping[str, Any]] = {
        **{name: {name: "host"} for name in ("pid", "network", "uts", "cgroupns")},
        "ipc": {"ipc": "host", "shm_size": None},
        "seccomp": {"security_opt": _unconfined("seccomp", options)},
        "apparmor": {"security_opt": _unconfined("apparmor", options)},
        "capabilities": {"cap_add": _every_capability(host), "cap_drop": None},
        LIMITS.name: dict.fromkeys(_LIMITING),
    }
    return replace(options, **by_layer[name])


def _unconfined(name: str, options: DockerOptions) -> tuple[str, ...]:
    kept = (text for text in options.security_opt or () if text.replace(":", "=", 1).partition("=")[0] != name)
    return (*kept, f"{name}=unconfined")


def _every_capability(host: HostFacts) -> tuple[str, ...]:
    return tuple(name for name in _OLD_CAPABILITIES if name not in host.lacks) if host.lacks else ("ALL",)


def _not_taken_away(layer: Layer, baseline: DockerOptions, host: HostFacts) -> str | None:
    """Why no flag can remove a layer from the container that has it; None when one can."""
    if layer.flag is None:
        return layer.no_flag
    if signature(without_layer(layer.name, baseline, host)) == signature(baseline):
        return f"{layer.flag} makes no difference beside the baseline's flags"
    return None


def _unlimited(options: DockerOptions) -> str | None:
    """Why a container has no limits to remove; None where it has some."""
    if any(name in _LIMITING for name, _, _ in given(options)):
        return None
    return f"none of {', '.join(flag_of(name).text for name in _LIMITING)} is in the baseline"


def not_in_container(name: str, options: DockerOptions, host: HostFacts, kernel: KernelFacts) -> str | None:
    """Why the baseline container does not have a layer; None when it has, as far as is known.

    Raises:
        KeyError: There is no such layer.
    """
    reason = None
    match BY_NAME[name].name:
        case "pid" | "ipc" | "network" | "uts" | "cgroupns" if getattr(options, name) == "host":
            reason = f"{BY_NAME[name].flag} is in the baseline"
        case "cgroupns" if options.cgroupns is None and kernel.cgroup_version == 1:
            reason = "under cgroup version 1 a container is in the host's cgroup namespace"
        case "overlay" if "overlay" not in (kernel.storage_driver or "overlay"):
            reason = f"Docker's storage driver is {kernel.storage_driver}"
        case "seccomp" | "apparmor" if host.security is not None and name not in host.security:
            reason = f"Docker uses no {name} on this machine"
        case "seccomp" | "apparmor" if security_choices(options).get(name) == "unconfined":
            reason = f"{BY_NAME[name].flag} is in the baseline"
        case "seccomp" | "apparmor" | "masked-paths" if options.privileged:
            reason = "--privileged is in the baseline"
        case "capabilities" if capabilities_of(options) >= frozenset(_OLD_CAPABILITIES) - set(host.lacks):
            reason = "the baseline has every capability"
    return reason
