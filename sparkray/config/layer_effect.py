"""What each layer of isolation must show in the effective state of a chroot's process when it acts. Pure.

`config.effect` does the same for Docker's options. A state comes from `runtimes.linux.readback.effective_state`. Masked
paths leave no trace in it.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from sparkray.config.docker import DockerOptions, flag_of
from sparkray.config.privilege import apparmor_is, capabilities_of, capability_names
from sparkray.units import MIB, parse_size

State = Mapping[str, Any]
# Layer to the kernel's name of its namespace.
NAMESPACES: Mapping[str, str] = {"pid": "pid", "ipc": "ipc", "network": "net", "uts": "uts", "cgroupns": "cgroup"}
WITHOUT_TRACE = ("masked-paths",)
# The control group below which a layered chroot has its own.
GROUP_PARENT = "sparkray"
# Of `Seccomp` in /proc/PID/status (proc_pid_status(5)).
_FILTER = "2"


def own_namespaces(layers: Sequence[str]) -> frozenset[str]:
    """The namespaces that a chroot with these layers must have for itself, by the kernel's names."""
    return frozenset({"mnt", *(NAMESPACES[layer] for layer in layers if layer in NAMESPACES)})


def missing(layers: Sequence[str], options: DockerOptions, state: State) -> Iterator[str]:
    """Layers that were asked for and do not act, in words; what cannot be read back is not complained of.

    Args:
        layers: Names of `config.isolation.LAYERS`.
        options: What they were made with (`shm_size`, capabilities).
        state: The effective state.
    """
    for layer in layers:
        if layer in NAMESPACES and state.get("namespaces", {}).get(NAMESPACES[layer]) == "host":
            yield f"the layer {layer} does not act: its {NAMESPACES[layer]} namespace is the host's"
        if layer in _RULES:
            field, acts = _RULES[layer]
            if field in state and acts(state[field], options) is False:
                yield f"the layer {layer} does not act: {field} is {state[field]}"


def shm_bytes(options: DockerOptions) -> int:
    """Size of a container's own /dev/shm."""
    return parse_size(options.shm_size or flag_of("shm_size").default)


def _dropped(mask: str, options: DockerOptions) -> bool:
    return capability_names(mask) <= capabilities_of(options)


_RULES: Mapping[str, tuple[str, Callable[[Any, DockerOptions], bool | None]]] = {
    "overlay": ("rootfs", lambda kind, _: bool(kind == "overlay")),
    "ipc": ("shm_bytes", lambda size, options: 0 <= size - shm_bytes(options) < MIB),
    "cgroup": ("cgroups", lambda groups, _: any(f":/{GROUP_PARENT}/" in line for line in groups)),
    "seccomp": ("seccomp", lambda mode, _: bool(mode == _FILTER)),
    "capabilities": ("capabilities_bounding", _dropped),
    "apparmor": ("apparmor", lambda profile, _: apparmor_is("docker-default", profile)),
}
