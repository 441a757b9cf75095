"""Sites: facts about a kind of machine. What runs there, with which image and which Docker flags."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

from annotated_types import Gt

from sparkray.config.boundary import STRICT
from sparkray.config.cpu_list import not_a_list
from sparkray.config.docker import DockerOptions
from sparkray.config.docker_values import not_an_image

# An `image` that is the machine's own files, bound read-only (`images.host_files`).
HOST_FILES = "host-files"
SPARK = "dgx-spark"
HOST, NATIVE, CONTAINER_BASELINE, CONTAINER_OPTIMIZED = "host", "native", "container_baseline", "container_optimized"
ENVIRONMENTS = (HOST, NATIVE, CONTAINER_BASELINE, CONTAINER_OPTIMIZED)
_NEVER_BOUND = ("", "/dev", "/etc", "/proc", "/run", "/sys", "/sparkray", "/tmp", "/var")  # noqa: S108 - the arms have their own
CONTAINER_ENVIRONMENTS = (CONTAINER_BASELINE, CONTAINER_OPTIMIZED)


def is_container(environment: str) -> bool:
    """Whether Docker runs an environment of that name: the site's own, or a search's or attribution's (`container:...`)."""
    return environment.startswith("container")


def is_native(environment: str) -> bool:
    """Whether it is a chroot: the site's own, or one with a layer of isolation added (`native:...`)."""
    return environment.startswith(NATIVE)


def own_images(site: object) -> dict[str, str]:
    """Images by environment, of those that have one in place of the site's, from a site as plain values."""
    known = site if isinstance(site, Mapping) else {}
    environments = known.get("environments")
    each = environments.items() if isinstance(environments, Mapping) else ()
    images = {str(name): str(one.get("image") or "") for name, one in each if isinstance(one, Mapping)}
    return {name: image for name, image in images.items() if image not in ("", known.get("image"))}


@dataclass(frozen=True)
class Environment:
    """A container environment of a site.

    `adapt` names the options that the site gives up when the host cannot honour them; each loss is recorded as a
    deviation. Options that are not named there, or that the user asked for, are never given up. `image` is a reference in
    place of the site's image, `engine` has options of the engine in place of the experiment's of the same names.
    """

    __pydantic_config__ = STRICT

    options: DockerOptions
    adapt: tuple[str, ...] = ()
    image: str = ""
    engine: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if why := not_an_image(self.image):
            raise ValueError(why)


@dataclass(frozen=True)
class Device:
    """A GPU as its data sheet has it: GB/s, GiB, TFLOPS of dense 16-bit arithmetic; its SM clock's floor as in `Site`."""

    __pydantic_config__ = STRICT

    bandwidth_gb_s: Annotated[float, Gt(0)]
    memory_gib: Annotated[float, Gt(0)] | None = None
    compute_tflops: Annotated[float, Gt(0)] | None = None
    least_sm_clock_mhz: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True)
class Site:
    """A kind of machine.

    `image` is `venv` (built from the running virtual environment), `double` (built here, with a double of the engine's
    tool in it), `host-files` (the machine's own files, of which `host_files` are bound read-only in every arm) or a
    reference that Docker knows. `host_files_content`: whether the digest of those reads them. `models_root` is the folder
    of the checkpoints; `double` makes ones without weights for the double. `hf_cache` is a Hugging Face cache to mount
    read-only in every arm (HF_HOME), for engines that read it. `validation` is the experiment that `validate` takes.
    `memory_gib`, `bandwidth_gb_s` and `compute_tflops` (dense, 16 bit) are the figures of the machine's data sheet; a
    site of several kinds of GPU has them in `devices`, under NVML's name of each. `modes` are named variants of the
    optimised environment's options (`OPTIMIZATION_MODE` of the older shell scripts). A GPU whose SM clock under load is
    below `least_sm_clock_mhz` is in a state in which no run should be measured. `engine_cpus` are left to the engine:
    sparkray and Ray keep off them (a CPU list, or `performance` for the machine's fastest kind of core; empty: they keep
    off none). `client_cpus` is a CPU list that the load generator of a serving run is pinned to, alike in every arm
    (empty: it is not).
    `protocol` overrides keys of the experiment's protocol. `space` names what `optimize` may choose from
    (`conf/spaces`), `optimization` the experiment that it takes; empty: it is not available there.
    `deviations` state where a site differs from the one it represents.
    """

    __pydantic_config__ = STRICT

    name: str
    description: str
    engine: str
    image: str
    experiment: str
    validation: str
    environments: Mapping[str, Environment]
    inherits: str | None = None
    modes: Mapping[str, DockerOptions] = field(default_factory=dict)
    host_files: tuple[str, ...] = ("/usr", "/opt")
    host_files_content: bool = False
    models_root: str = "/data/models/huggingface"
    hf_cache: str = ""
    engine_options: Mapping[str, Any] = field(default_factory=dict)
    memory_gib: Annotated[float, Gt(0)] | None = None
    bandwidth_gb_s: Annotated[float, Gt(0)] | None = None
    compute_tflops: Annotated[float, Gt(0)] | None = None
    devices: Mapping[str, Device] = field(default_factory=dict)
    least_sm_clock_mhz: Annotated[float, Gt(0)] | None = None
    engine_cpus: str = ""
    client_cpus: str = ""
    space: str = ""
    optimization: str = ""
    simulated: bool = False
    protocol: Mapping[str, Any] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if why := not_an_image(self.image):
            raise ValueError(why)
        if self.client_cpus and (why := not_a_list(self.client_cpus)):
            raise ValueError(f"client_cpus: {why}")
        for folder in self.host_files:
            if not folder.startswith("/") or folder.rstrip("/") in _NEVER_BOUND or ":" in folder:
                raise ValueError(f"host_files: {folder!r} cannot be bound: name absolute folders such as /usr")

    def with_gpus(self, names: Iterable[str]) -> "Site":
        """The site with its GPU's data sheet where it has none of its own; as it is for a GPU that `devices` lacks.

        Of GPUs that are not alike each number is the greatest, so that no bound is too low; of the SM clock, whose floor
        must not be too high, it is the least.

        Args:
            names: The machine's GPUs by NVML's names.
        """
        distinct = list(dict.fromkeys(names))
        sheets = [self.devices[name] for name in distinct if name in self.devices]
        if self.bandwidth_gb_s is not None or not sheets or len(sheets) < len(distinct):
            return self

        def most(values: Iterable[float | None]) -> float | None:
            known = [value for value in values if value is not None]
            return max(known) if len(known) == len(sheets) else None

        floors = [sheet.least_sm_clock_mhz for sheet in sheets if sheet.least_sm_clock_mhz is not None]

        return replace(
            self,
            bandwidth_gb_s=most(sheet.bandwidth_gb_s for sheet in sheets),
            memory_gib=self.memory_gib or most(sheet.memory_gib for sheet in sheets),
            compute_tflops=self.compute_tflops or most(sheet.compute_tflops for sheet in sheets),
            least_sm_clock_mhz=self.least_sm_clock_mhz or (min(floors) if len(floors) == len(sheets) else None),
        )
