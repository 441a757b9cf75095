"""Finds the performance cores from the CPU itself.

On GB10, CPUs 5-9 and 15-19 are Cortex-X925, 0-4 and 10-14 Cortex-A725: `0-9` is half efficiency cores. So no CPU numbers are
hard-coded.
"""

import re
from collections.abc import Mapping
from pathlib import Path

_ARM = 0x41
# Cores by implementer and part number of the MIDR (their Technical Reference Manuals, `MIDR_EL1`).
PARTS: Mapping[tuple[int, int], str] = {
    (_ARM, 0xD44): "Cortex-X1",
    (_ARM, 0xD48): "Cortex-X2",
    (_ARM, 0xD4E): "Cortex-X3",
    (_ARM, 0xD82): "Cortex-X4",
    (_ARM, 0xD85): "Cortex-X925",
    (_ARM, 0xD81): "Cortex-A720",
    (_ARM, 0xD87): "Cortex-A725",
}
_FAST = frozenset(part for part, name in PARTS.items() if "-X" in name)
# Capacities nearer than this are one kind: on Grace equal cores differ by 3 %, on GB10 the two kinds by 28 %.
_ALIKE = 0.9
_CAPACITY = "sys/devices/system/cpu/cpu[0-9]*/cpu_capacity"


def parts_of(cpuinfo: str) -> dict[int, tuple[int, int] | None]:
    """(implementer, part) of every CPU in a /proc/cpuinfo; None where missing, as on x86."""
    parts: dict[int, tuple[int, int] | None] = {}
    for block in re.split(r"\n\s*\n", cpuinfo):
        values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in block.splitlines())}
        if not values.get("processor", "").isdigit():
            continue
        ids = values.get("CPU implementer"), values.get("CPU part")
        parts[int(values["processor"])] = None if None in ids else (int(str(ids[0]), 16), int(str(ids[1]), 16))
    return parts


def performance_cores(cpuinfo: str, capacities: Mapping[int, int]) -> tuple[int, ...]:
    """The CPUs of the fastest kind, in order; every CPU where all are of one kind.

    Args:
        cpuinfo: Text of /proc/cpuinfo.
        capacities: `cpu_capacity` by CPU, 1024 for the fastest; empty where the kernel reports none.
    """
    parts = parts_of(cpuinfo)
    if len(set(parts.values())) > 1 and any(part in _FAST for part in parts.values()):
        return tuple(sorted(cpu for cpu, part in parts.items() if part in _FAST))
    known = {cpu: capacity for cpu, capacity in capacities.items() if cpu in parts}
    if not known or set(known) != set(parts):
        return tuple(sorted(parts))
    fastest = max(known.values())
    return tuple(sorted(cpu for cpu, capacity in known.items() if capacity >= _ALIKE * fastest))


def capacities_of(root: Path) -> dict[int, int]:
    """`cpu_capacity` by CPU below a root folder."""
    capacities = {}
    for path in root.glob(_CAPACITY):
        try:
            capacities[int(path.parent.name.removeprefix("cpu"))] = int(path.read_text())
        except (OSError, ValueError):
            continue
    return capacities


def machine_performance_cores(root: Path = Path("/")) -> tuple[int, ...]:
    """`performance_cores` of the machine whose files lie below a root folder."""
    return performance_cores((root / "proc/cpuinfo").read_text(), capacities_of(root))
