"""Findings of `doctor`, and the data they are computed from. Why each matters and what to do is in `findings.yaml`."""

import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from sparkray.config.boundary import read_yaml
from sparkray.config.gpu_access import any_wants_gpu
from sparkray.config.model import ModelCard
from sparkray.config.site import SPARK, Site
from sparkray.machine._nvml import Gpu, Gpus
from sparkray.machine.fingerprint import Machine
from sparkray.machine.load import Load

__all__ = ["Finding", "Gpu", "Gpus", "Seen", "State", "finding"]
State = Literal["good", "warn", "stop", "info"]
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


@cache
def _texts() -> Mapping[str, Mapping[str, str]]:
    return read_yaml(Path(__file__).with_name("findings.yaml"))


def finding(name: str, state: State, value: str, remedy: str = "", **values: object) -> Finding:
    """A finding with its texts.

    Args:
        name: Its name; that of a model's finding begins with `model`.
        state: What it means for a sweep.
        value: What was read.
        remedy: Name of its remedy in `findings.yaml`; empty for none.
        values: What these texts leave open.

    Raises:
        KeyError: No such text, or a value is missing.
    """
    texts = _texts()["models" if name.startswith("model ") else name]
    text = {"": "", **_texts()["shared"], **texts}[remedy]
    return Finding(name, state, value, texts["why"].format_map(values), text.format_map(values))


@dataclass(frozen=True)
class ImageFacts:
    """An image that Docker has. `size` in bytes, `environment` the variables that it sets."""

    digest: str
    size: int
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class DockerFacts:
    """Facts about the Docker engine. `problem` and `remedy` when none answers; `image` is None when it lacks that image.

    `cdi_dirs` are the folders of CDI descriptions that it reads; none where it has CDI off. `where` is its socket and what
    names it; empty for the default.
    """

    version: str | None = None
    api: str | None = None
    runtimes: tuple[str, ...] = ()
    image: ImageFacts | None = None
    problem: str | None = None
    remedy: str = ""
    cdi_dirs: tuple[str, ...] = ()
    where: str = ""


@dataclass(frozen=True)
class FlagTrial:
    """What became of an environment's flags when a container was started with them.

    `route` is how it got its GPUs (`config.gpu_access`); `deviations` are the flags that were left out or replaced, in
    words; `problem` and `remedy` where it could not be started.
    """

    route: str | None = None
    deviations: tuple[str, ...] = ()
    problem: str | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Programs:
    """Output of NVIDIA's programs; None for a missing one."""

    nvidia_smi: str | None = None
    container_toolkit: str | None = None


@dataclass(frozen=True)
class Seen:
    """Input of the checks, which are functions of these values and of files below `root`.

    `root` is `/`; `cache` is where models and exports are kept, if known. `site_named` is False for a fallback site
    where the machine's own could not be recognised. `ptxas` is each arm's output (`_ptxas.ask_ptxas`). `loaded_mhz` are
    SM clocks under the probe's work by UUID; empty where no work was done. `trials` are by environment; None where the
    flags were not tried. `start_below_c` is the experiment's threshold, where it is known. `load` is that of other programs;
    None where it was not measured.
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
    trials: Mapping[str, FlagTrial] | None = None
    start_below_c: float | None = None
    load: Load | None = None

    def text(self, path: str) -> str | None:
        """A file below the root; None when it cannot be read."""
        try:
            return (self.root / path).read_text(errors="replace")
        except OSError:
            return None


def needs_gpu(site: Site) -> bool:
    """Whether a site is for a real machine with an NVIDIA GPU."""
    return not site.simulated and any_wants_gpu(environment.options for environment in site.environments.values())


def is_spark(site: Site) -> bool:
    """Whether a site is a real DGX Spark: the one that ships, or one that inherits it."""
    return not site.simulated and SPARK in (site.name, site.inherits)


def output_of(*command: str) -> str | None:
    """A program's output; None when it is missing or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PATIENCE_S)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
