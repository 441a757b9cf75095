"""Routes by which Docker can hand this machine's NVIDIA GPUs to a container, where `--gpus` is not one.

In order of preference: CDI, where the engine has it on and a description of `nvidia.com/gpu` is there; device files. Each
gives the same GPUs as the `--gpus` that it stands for.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from sparkray.config.gpu_access import CDI, DEVICES, NVIDIA_KIND

# Beside the GPUs' own: the driver's control files, of which the last two are not on every machine.
CONTROL_FILES = ("nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset")
_NEEDED = ("nvidiactl", "nvidia-uvm")
_MINOR = re.compile(r"^Device Minor:\s*(\d+)", re.MULTILINE)
_UUID = re.compile(r"^GPU UUID:\s*(\S+)", re.MULTILINE)
_GPU_FILE = re.compile(r"nvidia(\d+)")


@dataclass(frozen=True)
class Route:
    """One route: its name (`config.gpu_access`), the values of `--device` that take it, or why it is not there.

    `brings_driver`: whether Docker mounts the driver's libraries by itself, as a CDI description may ask for.
    """

    name: str
    devices: tuple[str, ...] = ()
    missing: str = ""
    brings_driver: bool = False


def routes_for(gpus: str, cdi_dirs: Sequence[str], root: Path = Path("/")) -> tuple[Route, ...]:
    """The routes beside `--gpus`, the preferred one first; one that is not there says why.

    Args:
        gpus: The value of `--gpus`: `all`, a number, or indices or UUIDs.
        cdi_dirs: Folders of CDI descriptions that the engine reads; empty where it has CDI off.
        root: Parent of /dev, /proc and those folders.
    """
    return _cdi(gpus, cdi_dirs, root), _files(gpus, root)


def cdi_devices(cdi_dirs: Iterable[str], root: Path = Path("/")) -> dict[str, bool]:
    """Names of the described NVIDIA devices (`all`, `0`, a UUID), and whether the driver's libraries come with each.

    A description that cannot be read counts as none, as it does for Docker.
    """
    found: dict[str, bool] = {}
    for folder in cdi_dirs:
        for path in sorted((root / folder.lstrip("/")).glob("*")):
            spec = _description(path) if path.suffix in (".json", ".yaml", ".yml") else {}
            if spec.get("kind") != NVIDIA_KIND:
                continue
            shared = _mounts_driver(spec.get("containerEdits"))
            for device in spec.get("devices") or ():
                brings = shared or _mounts_driver(device.get("containerEdits"))
                found[str(device.get("name"))] = brings
    return found


def device_files(root: Path = Path("/")) -> tuple[tuple[str, str], ...]:
    """(UUID, device file) of each GPU, in the order of the PCI bus, which is NVML's; the UUID is empty where not known."""
    present = {path.name for path in (root / "dev").glob("nvidia*")}
    known: list[tuple[str, str]] = []
    for path in sorted(root.glob("proc/driver/nvidia/gpus/*/information")):
        text = path.read_text(errors="replace")
        minor, uuid = _MINOR.search(text), _UUID.search(text)
        if minor is not None and f"nvidia{minor[1]}" in present:
            known.append((uuid[1] if uuid else "", f"/dev/nvidia{minor[1]}"))
    if known:
        return tuple(known)
    minors = sorted(int(match[1]) for name in present if (match := _GPU_FILE.fullmatch(name)))
    return tuple(("", f"/dev/nvidia{minor}") for minor in minors)


def _cdi(gpus: str, cdi_dirs: Sequence[str], root: Path) -> Route:
    if not cdi_dirs:
        return Route(CDI, missing='the Docker engine has CDI off (before 25, or without "features": {"cdi": true})')
    described = cdi_devices(cdi_dirs, root)
    if not described:
        return Route(CDI, missing=f"no description of {NVIDIA_KIND} in {', '.join(cdi_dirs)}")
    numbers = sorted((name for name in described if name.isdigit()), key=int)
    wanted = _wanted(gpus)
    if gpus == "all":
        names = ["all"] if "all" in described else numbers
    else:
        names = numbers[: int(gpus)] if gpus.isdigit() else [name for name in wanted if name in described]
    if not names or (gpus.isdigit() and len(names) < int(gpus)) or (wanted and len(names) < len(wanted)):
        return Route(CDI, missing=f"no description of --gpus={gpus}: described are {', '.join(described)}")
    return Route(
        CDI, tuple(f"{NVIDIA_KIND}={name}" for name in names), brings_driver=all(described[name] for name in names)
    )


def _files(gpus: str, root: Path) -> Route:
    every = device_files(root)
    absent = [name for name in _NEEDED if not (root / "dev" / name).exists()]
    if not every or absent:
        lacking = ", ".join(f"/dev/{name}" for name in [*([] if every else ["nvidia0"]), *absent])
        return Route(DEVICES, missing=f"no {lacking}")
    places = {**{str(index): path for index, (_, path) in enumerate(every)}, **{u: path for u, path in every if u}}
    if gpus == "all":
        chosen = [path for _, path in every]
    elif gpus.isdigit():
        chosen = [path for _, path in every[: int(gpus)]] if int(gpus) <= len(every) else []
    else:
        wanted = _wanted(gpus)
        chosen = [places[name] for name in wanted] if set(wanted) <= set(places) else []
    if not chosen:
        return Route(DEVICES, missing=f"no device files of --gpus={gpus}: there are {len(every)} GPUs")
    control = [f"/dev/{name}" for name in CONTROL_FILES if (root / "dev" / name).exists()]
    return Route(DEVICES, (*dict.fromkeys(chosen), *control))


def _wanted(gpus: str) -> list[str]:
    """Indices and UUIDs that a value names; none for `all` and for a number of GPUs."""
    return [] if gpus == "all" or gpus.isdigit() else gpus.removeprefix("device=").split(",")


def _description(path: Path) -> Mapping[str, Any]:
    try:
        text = path.read_text()
        loaded = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return loaded if isinstance(loaded, dict) else {}


def _mounts_driver(edits: Any) -> bool:  # noqa: ANN401 - as the file has it
    mounts = edits.get("mounts") or () if isinstance(edits, dict) else ()
    return any("libcuda.so" in str(mount.get("containerPath")) for mount in mounts)
