"""The settings of the simulated tool, from its environment."""

import os
import random
from dataclasses import dataclass
from pathlib import Path

from .versions import Minor, number, table, text


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
    def minor(self) -> Minor:
        """For comparisons: (1, 2)."""
        return number(self.version)

    @property
    def full(self) -> str:
        """The version as the tool reports it."""
        return str(table()["versions"][self.version])

    def has(self, behaviour: str) -> bool:
        """Whether this version behaves so, by `behaviour_since` in `versions.json`."""
        return self.minor >= number(table()["behaviour_since"][behaviour])


def read_settings() -> Settings:
    """The settings from the environment.

    Raises:
        ValueError: One of them cannot be used: a test must get the fault and the version that it names.
    """
    baked = Path(__file__).resolve().parent / "VERSION"
    version = os.environ.get("SPARKRAY_DOUBLE_VERSION") or (baked.read_text().strip() if baked.is_file() else "1.2")
    fault = os.environ.get("SPARKRAY_DOUBLE_FAULT") or None
    for variable, value, known in (("VERSION", version, table()["versions"]), ("FAULT", fault, table()["faults"])):
        if value is not None and value not in known:
            name = f"SPARKRAY_DOUBLE_{variable}"
            raise ValueError(text("unknown_setting", variable=name, value=value, known=", ".join(known)))
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
