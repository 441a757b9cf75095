"""What the double is told by its environment, and which version it plays."""

import os
import random
from dataclasses import dataclass
from pathlib import Path

FULL = {"1.0": "1.0.0", "1.1": "1.1.0", "1.2": "1.2.1", "1.3": "1.3.0rc13"}
FAULTS = {
    "crash": "dies of SIGABRT in the middle",
    "garbage_report": "ends with 0 and a report that is no JSON",
    "hang": "never ends",
    "nan": "ends with 0 and a report whose totals are NaN",
    "null_machine": "ends with 0 and a report without a machine",
    "nvml_clock": "versions that do not ask NVML for the memory clock ask it too, and die as those that do",
    "nvml_energy": "NVML does not report energy: a report without it",
    "nvml_uninitialized": "no other part of the tool initialises NVML before the report asks it",
    "oom": "memory runs out: ends with 1",
    "short_output": "every request generates one token less than asked for",
    "sigint": "behaves as interrupted: ends with 0 and leaves no report",
    "slow": "takes twice the time",
    "truncated_report": "ends with 0 and half a report",
    "wrong_count": "reports one request less than it was given",
    "wrong_model": "reports another model than it was given",
}


@dataclass(frozen=True)
class Settings:
    """All settings. `scale` None means: sleep for a moment that telemetry can see."""

    version: str
    fault: str | None
    bandwidth: float
    memory_gib: float
    scale: float | None
    seed: int

    @property
    def minor(self) -> tuple[int, int]:
        """For comparisons: (1, 2)."""
        major, minor = self.version.split(".")
        return int(major), int(minor)

    @property
    def full(self) -> str:
        """The version as the tool reports it."""
        return FULL[self.version]


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        ValueError: One of them cannot be used; the double must not guess what a test meant.
    """
    baked = Path(__file__).resolve().parent / "VERSION"
    version = os.environ.get("SPARKRAY_DOUBLE_VERSION") or (baked.read_text().strip() if baked.is_file() else "1.2")
    fault = os.environ.get("SPARKRAY_DOUBLE_FAULT") or None
    if version not in FULL:
        raise ValueError(f"SPARKRAY_DOUBLE_VERSION={version}: known are {', '.join(FULL)}")
    if fault is not None and fault not in FAULTS:
        raise ValueError(f"SPARKRAY_DOUBLE_FAULT={fault}: known are {', '.join(FAULTS)}")
    scale = os.environ.get("SPARKRAY_DOUBLE_TIME_SCALE")
    seed = os.environ.get("SPARKRAY_DOUBLE_SEED")
    return Settings(
        version=version,
        fault=fault,
        bandwidth=float(os.environ.get("SPARKRAY_DOUBLE_BANDWIDTH_GB_S", "273")) * 1e9,
        memory_gib=float(os.environ.get("SPARKRAY_DOUBLE_MEMORY_GIB", "119.64")),
        scale=float(scale) if scale else None,
        seed=int(seed) if seed else random.SystemRandom().randrange(2**32),
    )
