"""How a container is given NVIDIA GPUs: the routes, and which of them some options take. Pure.

A route is `runtime` (`--gpus`, by NVIDIA's container toolkit), `cdi` (`--device nvidia.com/gpu=all`, by a CDI description)
or `devices` (device files, with the driver's libraries mounted by sparkray). Outside Docker it is `host`: the process has
the machine's own device files.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sparkray.config.docker import DockerOptions

RUNTIME, CDI, DEVICES, OUTSIDE_DOCKER = "runtime", "cdi", "devices", "host"
NVIDIA_KIND = "nvidia.com/gpu"
# A qualified name, by the specification of the Container Device Interface: vendor/class=name.
_CDI_NAME = re.compile(r"[A-Za-z]([\w.-]*[A-Za-z0-9])?/[A-Za-z]([\w.-]*[A-Za-z0-9])?=[A-Za-z0-9]([\w.:-]*[A-Za-z0-9])?")
_NVIDIA_FILE = "/dev/nvidia"


def is_cdi_name(text: str) -> bool:
    """Whether a text is the qualified name of a CDI device (`nvidia.com/gpu=all`)."""
    return _CDI_NAME.fullmatch(text) is not None


def route_of(options: "DockerOptions") -> str | None:
    """The route by which options give a container GPUs; None where they ask for none."""
    devices = options.device or ()
    if options.gpus is not None or options.runtime == "nvidia":
        return RUNTIME
    if any(name.startswith(f"{NVIDIA_KIND}=") for name in devices):
        return CDI
    return DEVICES if any(name.startswith(_NVIDIA_FILE) for name in devices) else None


def any_wants_gpu(every: Iterable["DockerOptions"]) -> bool:
    """Whether one of some containers is given a GPU."""
    return any(route_of(options) is not None for options in every)
