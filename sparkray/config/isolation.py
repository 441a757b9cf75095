"""The layers of isolation between a chroot and a container, and the ladder that takes or adds one at a time. Pure.

Two directions answer two questions. A layer added alone to the chroot (`native:plus-pid`) costs what it costs by itself;
a layer taken alone from the container (`container:less-pid`) gives back what it costs beside all the others. Where the
two disagree, layers interact. A rung is climbed only for a layer that the baseline container really has: adding one that
it has not would explain a difference that is not there. What cannot be climbed is excluded with the reason.

Page-cache state is no layer: which pages are warm is a matter of the runs' protocol, which an experiment has and a treatment
has not, so that it is alike in every arm of a block. A ladder under `drop` and one under `warm` tell what it costs.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from sparkray.config.docker import DockerOptions, flag_of, given, option_names
from sparkray.config.equivalence import signature
from sparkray.config.privilege import CAPABILITIES, capabilities_of, security_choices
from sparkray.config.site import CONTAINER_BASELINE, HOST, NATIVE, Environment
from sparkray.config.space import HostFacts

Direction = Literal["start", "add", "leave", "all"]
"""`start`: from a plain process to the chroot; `add`: one layer to the chroot; `leave`: one layer back to the container
that was taken from it; `all`: every layer that can be added, at once."""
ALL = "all"
_OLD_CAPABILITIES = tuple(name for name in CAPABILITIES if name not in ("PERFMON", "BPF", "CHECKPOINT_RESTORE"))
"""Engines do not all know the newest, whose rights SYS_ADMIN has as well (capabilities(7))."""
_NOT_TAKEN = "so that the baseline container has it not"
_NOT_LIMITED = "a chroot's group is made without limits: what they cost is among what the added layers leave"


@dataclass(frozen=True)
class Layer:
    """One layer of isolation.

    Attributes:
        name: As in the names of treatments.
        title: In words.
        why: How it may cost anything.
        added: What makes it in a chroot, and where that falls short of Docker's.
        flag: The `docker run` flag that takes it away; None where there is none.
        no_flag: Why there is none.
    """

    name: str
    title: str
    why: str
    added: str
    flag: str | None = None
    no_flag: str = ""


@dataclass(frozen=True)
class KernelFacts:
    """What a machine's kernel and Docker engine make of layers. None is unknown, and nothing is excluded for it.

    Attributes:
        cgroup_version: 1 or 2: under 1 Docker leaves a container in the host's cgroup namespace.
        storage_driver: How Docker stacks an image's layers (`overlay2`).
        refused: Layers that a process could not be given here, by name, with the kernel's reason; found by trying.
    """

    cgroup_version: int | None = None
    storage_driver: str | None = None
    refused: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class AttributionArm:
    """One treatment of a ladder; `layer` is None for its ends."""

    environment: str
    options: DockerOptions = field(default_factory=DockerOptions)
    adapt: tuple[str, ...] = ()
    isolation: tuple[str, ...] = ()
    layer: str | None = None


@dataclass(frozen=True)
class AttributionStep:
    """One question that a ladder asks: what `after` costs over `before` in the same block, since it has one layer more."""

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
    """The rungs in order, the questions they answer, and what was excluded. The total goes from `first` to `last`."""

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


LAYERS: tuple[Layer, ...] = (
    Layer(
        "overlay",
        "root on overlayfs",
        "every file of the image is looked up through the layers of an overlay; its pages are those of the layer below",
        "an overlay of one layer, mounted read-only; Docker stacks one for each layer of the image, to be written on",
        no_flag="Docker has no flag for it: the storage driver is a setting of the daemon",
    ),
    Layer(
        "pid",
        "PID namespace",
        "process numbers are kept twice; the engine is process 1, which ignores signals that it does not handle",
        "a PID namespace whose first process is the engine, with a /proc of its own",
        flag="--pid=host",
    ),
    Layer(
        "ipc",
        "IPC namespace and /dev/shm",
        "shared memory lies on a small file system of its own (64 MiB unless told otherwise)",
        "an IPC namespace with /dev/shm of the same size and a message queue file system",
        flag="--ipc=host",
    ),
    Layer(
        "network",
        "network namespace",
        "what goes over the network passes a bridge, a pair of virtual interfaces and address translation",
        "a network namespace with loopback alone: no bridge and no way out, so that only local traffic is compared",
        flag="--network=host",
    ),
    Layer("uts", "UTS namespace", "a host name of its own", "a UTS namespace with the run's name", flag="--uts=host"),
    Layer(
        "cgroupns",
        "cgroup namespace",
        "paths of cgroups are told relative to the container's own",
        "a cgroup namespace; the cgroup file systems stay those of the host",
        flag="--cgroupns=host",
    ),
    Layer(
        "cgroup",
        "cgroup accounting",
        "memory, CPU time and processes are charged to a group of the container's own, one level deeper",
        "a group of its own under the memory, CPU and pids controllers, without limits, below the root as Docker's is; "
        "the device controller's filter is left out",
        no_flag="Docker has no flag for it: a container always has a group of its own",
    ),
    Layer(
        "seccomp",
        "seccomp (a filter like Docker's)",
        "every system call passes a filter of hundreds of comparisons, unless the kernel remembers its answer",
        "a filter of the same kind and size: every call that the kernel knows is allowed by name but for those that "
        "Docker's documentation names as blocked",
        flag="--security-opt=seccomp=unconfined",
    ),
    Layer(
        "capabilities",
        "dropped capabilities",
        "system calls that need a capability are refused, those on memory placement among them",
        "the capabilities that the container has, in the effective and the bounding set",
        flag="--cap-add=ALL",
    ),
    Layer(
        "apparmor",
        "AppArmor",
        "the kernel asks a profile at every opening of a file or a socket",
        "the profile docker-default, which the engine has loaded",
        flag="--security-opt=apparmor=unconfined",
    ),
    Layer(
        "masked-paths",
        "masked and read-only paths of /proc and /sys",
        "paths of /proc are hidden, and /sys cannot be written on; more mounts to pass when a path is looked up",
        "the same paths hidden or made read-only",
        no_flag="only the command line knows a flag (--security-opt systempaths=unconfined): the SDK has no argument",
    ),
)
"""In the order in which a container would put them on. Each can be added to a chroot."""
BY_NAME: Mapping[str, Layer] = {layer.name: layer for layer in LAYERS}
LIMITS = Layer(
    "limits",
    "limits of the control group",
    "memory beyond a limit is reclaimed or kills, a quota stops threads, fewer CPUs do less work",
    "nothing",
)
"""Only taken away: without the flags that set them. Its own name, since accounting costs what it costs without any."""
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
    """The rungs that this machine can climb between a plain process and the baseline container.

    Args:
        baseline: The container at the top, with the options that it may give up.
        host: What is known of the machine and its Docker engine (`security`, `lacks`).
        kernel: What is known of its kernel.
        start: Where the ladder begins: `native` for engines that run nowhere but in their image.
        together: Whether one more rung has every added layer at once: what then still differs from the container is no
            layer that was added, and what its cost lacks or has over the sum is interaction.
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
    """Options of a container that lacks one layer more.

    `--cap-add=ALL` is written out where the engine itself lacks a capability: it cannot give what it has not, and would
    not start the container. Docker's own filter of system calls is made to fit the capabilities, so that adding them
    opens it too.

    Raises:
        KeyError: No flag takes that layer away.
    """
    by_layer: Mapping[str, Mapping[str, Any]] = {
        "pid": {"pid": "host"},
        "ipc": {"ipc": "host", "shm_size": None},
        "network": {"network": "host"},
        "uts": {"uts": "host"},
        "cgroupns": {"cgroupns": "host"},
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
    """Why no flag can take a layer from the container that has it; None when one can."""
    if layer.flag is None:
        return layer.no_flag
    if signature(without_layer(layer.name, baseline, host)) == signature(baseline):
        return f"{layer.flag} makes no difference beside the baseline's flags"
    return None


def _unlimited(options: DockerOptions) -> str | None:
    """Why a container has no limits to take away; None where it has some."""
    if any(name in _LIMITING for name, _, _ in given(options)):
        return None
    flags = ", ".join(flag_of(name).text for name in _LIMITING)
    return f"none of {flags} is in the baseline, {_NOT_TAKEN}"


def not_in_container(name: str, options: DockerOptions, host: HostFacts, kernel: KernelFacts) -> str | None:
    """Why the baseline container does not have a layer; None when it has, as far as is known.

    Raises:
        KeyError: There is no such layer.
    """
    return _ABSENT[BY_NAME[name].name](options, host, kernel)


_Absent = Callable[[DockerOptions, HostFacts, KernelFacts], str | None]


def _shares(name: str) -> _Absent:
    def absent(options: DockerOptions, _: HostFacts, __: KernelFacts) -> str | None:
        return _shared(name) if getattr(options, name) == "host" else None

    return absent


def _shared(name: str) -> str:
    return f"{BY_NAME[name].flag} is in the baseline, {_NOT_TAKEN}"


def _no_cgroup_namespace(options: DockerOptions, _: HostFacts, kernel: KernelFacts) -> str | None:
    if options.cgroupns == "host":
        return _shared("cgroupns")
    if options.cgroupns is None and kernel.cgroup_version == 1:
        return f"under cgroup version 1 Docker leaves a container in the host's cgroup namespace, {_NOT_TAKEN}"
    return None


def _no_overlay(_: DockerOptions, __: HostFacts, kernel: KernelFacts) -> str | None:
    if kernel.storage_driver is None or "overlay" in kernel.storage_driver:
        return None
    return f"the Docker engine's storage driver is {kernel.storage_driver}, {_NOT_TAKEN}"


def _unfiltered(name: str) -> _Absent:
    def absent(options: DockerOptions, host: HostFacts, _: KernelFacts) -> str | None:
        if host.security is not None and name not in host.security:
            return f"the Docker engine of this machine uses no {name}, {_NOT_TAKEN}"
        if security_choices(options).get(name) == "unconfined":
            return f"--security-opt={name}=unconfined is in the baseline, {_NOT_TAKEN}"
        return _privileged(options)

    return absent


def _privileged(options: DockerOptions) -> str | None:
    return f"--privileged is in the baseline, {_NOT_TAKEN}" if options.privileged else None


def _all_capabilities(options: DockerOptions, host: HostFacts, _: KernelFacts) -> str | None:
    if capabilities_of(options) >= frozenset(_OLD_CAPABILITIES) - set(host.lacks):
        return f"the baseline gives every capability, {_NOT_TAKEN}"
    return None


_ABSENT: Mapping[str, _Absent] = {
    "overlay": _no_overlay,
    "pid": _shares("pid"),
    "ipc": _shares("ipc"),
    "network": _shares("network"),
    "uts": _shares("uts"),
    "cgroupns": _no_cgroup_namespace,
    "cgroup": lambda _, __, ___: None,
    "seccomp": _unfiltered("seccomp"),
    "capabilities": _all_capabilities,
    "apparmor": _unfiltered("apparmor"),
    "masked-paths": lambda options, _, __: _privileged(options),
}
