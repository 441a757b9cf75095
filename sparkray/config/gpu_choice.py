"""Which GPUs an engine is given, by index. Pure.

`trtllm-bench` 1.2 and 1.3 read the first entry of CUDA_VISIBLE_DEVICES as a number when they write their report: a UUID ends
the run there, with a report of 0 bytes. So no environment is started with one. A UUID of this machine's GPUs is replaced
by its index in the order of the PCI bus, which is NVML's. CUDA's own order puts the fastest GPU first, so CUDA_DEVICE_ORDER
goes with it. A MIG slice has no index of its own.
"""

import re
from collections.abc import Mapping, Sequence

from sparkray.errors import ConfigError

CUDA, ORDER, NVIDIA = "CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "NVIDIA_VISIBLE_DEVICES"
BY_BUS = "PCI_BUS_ID"
_INDEX = re.compile(r"-?\d{1,4}", re.ASCII)
_SAME_EVERYWHERE = ("", "all")


def by_index(variables: Mapping[str, str], uuids: Sequence[str], source: str) -> dict[str, str]:
    """The variables with every GPU named by its index; as they are where they name none.

    Args:
        variables: Variables of an engine's process.
        uuids: UUIDs of this machine's GPUs in NVML's order; empty when they are not known.
        source: Where the variables were written, for errors.

    Raises:
        ConfigError: A GPU that is not of this machine, a MIG slice, or a variable that acts in containers alone.
    """
    if variables.get(NVIDIA, "") not in _SAME_EVERYWHERE:
        raise ConfigError(
            f"{source}: {NVIDIA} = {variables[NVIDIA]!r} acts in containers alone: the native arm would use other GPUs",
            f"Set {CUDA} to an index, which acts in every arm",
        )
    entries = [entry.strip() for entry in variables.get(CUDA, "").split(",")]
    if all(entry == "" or _INDEX.fullmatch(entry) for entry in entries):
        return dict(variables)
    indices = [entry if _INDEX.fullmatch(entry) else str(_index_of(entry, uuids, source)) for entry in entries]
    if variables.get(ORDER, BY_BUS) != BY_BUS:
        raise ConfigError(f"{source}: {CUDA} names a GPU by UUID, which needs {ORDER}={BY_BUS}", f"Leave {ORDER} out")
    return {**variables, CUDA: ",".join(indices), ORDER: BY_BUS}


def names_a_uuid(variables: Mapping[str, str]) -> bool:
    """Whether CUDA_VISIBLE_DEVICES holds anything but indices."""
    return any(entry.strip() and not _INDEX.fullmatch(entry.strip()) for entry in variables.get(CUDA, "").split(","))


def _index_of(entry: str, uuids: Sequence[str], source: str) -> int:
    """The index of the one GPU that a UUID, or the beginning of one, names."""
    if entry.startswith("MIG"):
        raise ConfigError(
            f"{source}: {CUDA} = {entry!r} is a MIG slice: trtllm-bench takes an index, and a slice has none of its own",
            "Make it the only slice of its GPU, and set the index of that GPU",
        )
    matches = [index for index, uuid in enumerate(uuids) if entry.startswith("GPU-") and uuid.startswith(entry)]
    if len(matches) == 1:
        return matches[0]
    known = ", ".join(f"{index} = {uuid}" for index, uuid in enumerate(uuids)) or "none is known here"
    raise ConfigError(
        f"{source}: {CUDA} = {entry!r} is neither an index nor the UUID of one GPU of this machine",
        f"Write an index, such as {CUDA}=0 (GPUs: {known})",
    )
