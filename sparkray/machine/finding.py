"""What `doctor` says, and what it says it from."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from sparkray.config.model import ModelCard
from sparkray.config.site import Site
from sparkray.machine._nvml import Gpu, Gpus
from sparkray.machine.fingerprint import Machine

__all__ = ["Finding", "Gpu", "Gpus", "Seen", "State"]
State = Literal["good", "warn", "stop", "info"]
SPARK = "dgx-spark"
_MARKS = {"good": "ok  ", "warn": "WARN", "stop": "STOP", "info": "    "}
_PATIENCE_S = 10


@dataclass(frozen=True)
class Finding:
    """One line. `remedy` is empty when there is nothing to do."""

    name: str
    state: State
    value: str
    why: str
    remedy: str = ""

    def document(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def text(self) -> str:
        """For people."""
        line = f"{_MARKS[self.state]}  {self.name}: {self.value}"
        if self.state in ("warn", "stop"):
            line += f"\n        why: {self.why}"
        return line + (f"\n        do:  {self.remedy}" if self.remedy and self.state != "good" else "")


@dataclass(frozen=True)
class ImageFacts:
    """An image that Docker has. `size` in bytes, `environment` the variables that it sets."""

    digest: str
    size: int
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DockerFacts:
    """What the Docker engine told. `problem` and `remedy` when none answers; `image` None when it has not that image."""

    version: str | None = None
    api: str | None = None
    runtimes: tuple[str, ...] = ()
    image: ImageFacts | None = None
    problem: str | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Programs:
    """What NVIDIA's programs say of themselves; None for one that is not there."""

    nvidia_smi: str | None = None
    container_toolkit: str | None = None


@dataclass(frozen=True)
class Seen:
    """Everything that findings are made from, so that a check is a function of values and of files below `root`.

    `root` is `/`; `cache` is where models and exports are kept, when that is known. `site_named` is False for a site that
    stands in where the machine's own could not be recognised. `ptxas` is what each arm's printed (`_ptxas.ask_ptxas`).
    `loaded_mhz` are SM clocks under the probe's work by UUID; empty where no work was done.
    """

    site: Site
    cards: Sequence[ModelCard]
    machine: Machine
    gpus: Gpus
    docker: DockerFacts
    programs: Programs
    root: Path = Path("/")
    cache: Path | None = None
    site_named: bool = True
    ptxas: Mapping[str, str | None] = field(default_factory=dict)
    loaded_mhz: Mapping[str, float] = field(default_factory=dict)

    def text(self, path: str) -> str | None:
        """A file below the root; None when it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return None


def needs_gpu(site: Site) -> bool:
    """Whether a site is for a real machine with an NVIDIA GPU."""
    return not site.simulated and any(environment.options.gpus for environment in site.environments.values())


def is_spark(site: Site) -> bool:
    """Whether a site is a real DGX Spark: the one that ships, or one that inherits it."""
    return not site.simulated and SPARK in (site.name, site.inherits)


def said_by(*command: str) -> str | None:
    """What a program prints; None when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
