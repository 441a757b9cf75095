"""Engines: what to run, and how to read what it left.

An engine turns (model card, workload, options) into a command, and afterwards a folder of files into measurements. It
starts nothing and knows nothing of chroot or Docker: a runtime takes the command and runs it somewhere, `execute` joins
the two. So the path through sparkray's own code is the same in every arm.

Adding one is one new file here: the module's name is the engine's name, and the module holds a class `Engine`. Adding a
server is one recipe (`conf/engines/NAME.yaml`): `server` makes an engine of any, and `execute` starts, loads and stops it.
"""

import importlib
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

from sparkray.catalog import Catalog, data_root
from sparkray.config.experiment import Workload
from sparkray.config.model import ModelCard
from sparkray.config.recipe import Recipe
from sparkray.errors import UnknownNameError
from sparkray.records import Measurement

PYTHON_PATH = "PYTHONPATH"
SERVER = "server"


@dataclass(frozen=True)
class Paths:
    """Where things lie as the engine sees them, inside its environment.

    `model` is the weights file or folder, `input` holds what `EngineCommand.inputs` named, `output` is where the engine
    writes, `python` is an interpreter and `workers` the folder of sparkray's worker scripts (images built here only).
    """

    model: str
    input: str
    output: str
    python: str
    workers: str
    host: str = "127.0.0.1"
    port: int = 8000
    """Where a server listens; of no meaning to others."""


@dataclass(frozen=True)
class Job:
    """One run's work: which model under which load. `options` are the engine's own, as `Engine.options` checked them.

    `tool` is what `Engine.understand` made of the probe inside the environment (empty when there was none). `image` is the
    reference of the image that holds the engine, as the site has it; empty when not known. `preview`: only the command line
    is asked for, and an engine may leave out input files that take long to make.
    """

    card: ModelCard
    workload: Workload
    seed: int
    options: Mapping[str, Any] = field(default_factory=dict)
    tool: Mapping[str, str] = field(default_factory=dict)
    image: str = ""
    preview: bool = False

    @property
    def concurrency(self) -> int:
        """Requests in flight at once: the workload's, else the card's batch size."""
        return self.workload.concurrency or self.card.max_batch_size


@dataclass(frozen=True)
class EngineCommand:
    """What to start. `inputs` are files (name to content) for the input folder; `environment` adds to the image's.

    `binds` are mounted beside model, input and output, as (source, target, read_only); `workdir` is where it starts.

    A `PYTHONPATH` in it stands before the image's own and does not replace it: an image may need its own to find the tool.
    """

    argv: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    inputs: Mapping[str, bytes] = field(default_factory=dict)
    dataset_sha256: str | None = None
    binds: tuple[tuple[str, str, bool], ...] = ()
    workdir: str = "/"


class Engine(Protocol):
    """What every engine module's class `Engine` does."""

    name: str
    """The module's name."""
    image_contents: str
    """`venv` when its image is built from the running virtual environment, else `reference`."""
    workloads: tuple[str, ...]
    """The kinds of workload that it runs: `offline`, `serve` or both."""

    def options(self, mapping: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        """The engine's own options, defaults filled in.

        Raises:
            ConfigError: An unknown key or a bad value.
        """
        ...

    def probe(self) -> tuple[str, ...] | None:
        """A command that, run inside the environment, tells version and options of the tool; None when not needed."""
        ...

    def understand(self, output: str) -> Mapping[str, str]:
        """What the probe's output says, for `Job.tool`.

        Raises:
            EngineOutputError: It says nothing that can be used.
        """
        ...

    def command(self, job: Job, paths: Paths) -> EngineCommand:
        """The command of one run. Pure: the same job and paths give the same command."""
        ...

    def warnings(self, job: Job, *, memory_floor_gib: float = 0.0) -> tuple[str, ...]:
        """What is assumed about this job or likely to go wrong with it, in words; empty when nothing is known to.

        Args:
            job: As `command` takes it.
            memory_floor_gib: MemAvailable at which the watchdog ends a run, GiB; 0 when nothing watches.

        Raises:
            ConfigError: As `command` does.
        """
        ...

    def read(self, folder: Path, job: Job) -> Measurement:
        """What the engine left in its output folder. `engine.log` there is its stdout and stderr together.

        Raises:
            EngineOutputError: Something is missing, cannot be parsed, or does not fit the job.
            EngineFailedError: The files say themselves that the engine failed.
        """
        ...

    def identity(self, measurement: Measurement, job: Job, *, model_path: str) -> tuple[str, ...]:
        """Where what ran departs from what was asked, by the engine's own report, in words; empty when it does not."""
        ...

    def salvage(self, folder: Path, job: Job) -> Measurement | None:
        """Whatever can be known of a run that failed; None when there is nothing. Does not raise for what was left."""
        ...


@runtime_checkable
class Server(Protocol):
    """An engine that is a server, for workloads of the kind `serve`: its `command` starts it.

    After the run its output folder holds `SERVING_FILE` beside the log: what was asked of the server and what it answered.
    """

    def recipe(self, options: Mapping[str, Any]) -> Recipe:
        """How it is waited for, asked, loaded and stopped, with the engine's options applied."""
        ...

    def served_name(self, job: Job, model_path: str) -> str:
        """What it must call the model."""
        ...

    def prompts(self, job: Job) -> Sequence[Mapping[str, Any]]:
        """One mapping for each request, warm-up first: `prompt` (token ids or text) and `output_tokens`."""
        ...


SERVING_FILE = "serving.json"


@runtime_checkable
class Simulator(Protocol):
    """An engine that brings a simulator of its tool: for sites whose image is `double`."""

    def simulator_files(self, options: Mapping[str, Any], python: str) -> dict[str, bytes]:
        """Files of the simulated image, by path relative to a prefix.

        Args:
            options: The engine's own.
            python: Absolute path of the image's interpreter.
        """
        ...


@runtime_checkable
class Caching(Protocol):
    """An engine that keeps compiled code between its starts, in folders of their own."""

    caches: Mapping[str, str]
    """Environment variables that name such a folder, each with the folder's name inside that of the arm."""


def engine_names() -> list[str]:
    """The engines there are: the public modules of this package, and the recipes of servers."""
    return sorted({*_modules(), *Catalog(data_root()).recipe_files()})


@cache
def _modules() -> list[str]:
    """`server` runs recipes and is no engine without one."""
    return [m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_") and m.name != SERVER]


def load_engine(name: str) -> Engine:
    """The engine of that name. `server:NAME` is a server whose recipe stands in its options.

    Raises:
        UnknownNameError: There is none.
    """
    if name in _modules():
        return cast("Engine", importlib.import_module(f"{__name__}.{name}").Engine())
    kind, _, own = name.partition(":")
    if name not in engine_names() and (kind != SERVER or not own):
        raise UnknownNameError("engine", name, engine_names())
    return cast("Engine", importlib.import_module(f"{__name__}.{SERVER}").Engine(name))
