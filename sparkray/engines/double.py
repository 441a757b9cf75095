"""A simulated engine: no model, real processes, faults on demand. Its rows are marked as simulated.

It stands in where a fault is needed that a real engine does not have today: a crash, a hang, garbage in its output.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt

from sparkray.config.boundary import STRICT, parse
from sparkray.engines import EngineCommand, Job, Paths
from sparkray.engines._worker import WorkerEngine, worker_command
from sparkray.records import Measurement

Fault = Literal[
    "none",
    "crash",
    "signal",
    "hang",
    "missing",
    "garbage",
    "truncated",
    "short",
    "clock",
    "lost",
    "wrong_model",
]


@dataclass(frozen=True)
class Options:
    """How the simulated engine behaves.

    `fault`: what it simulates; `short` one token too few, `lost` one request too few, `clock` one that jumps back by five
    seconds in the middle of a request.
    """

    __pydantic_config__ = STRICT

    tokens_per_s: Annotated[float, Gt(0)] = 400.0
    load_s: Annotated[float, Ge(0)] = 0.1
    noise: Annotated[float, Ge(0)] = 0.02
    kv_cache_bytes: Annotated[int, Ge(0)] = 1 << 20
    fault: Fault = "none"


class Engine(WorkerEngine):
    """See the module."""

    name = "double"
    image_contents = "venv"

    def options(self, mapping: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        """Options with defaults. Raises ConfigError for an unknown key or a bad value."""
        return asdict(parse(Options, mapping, source))

    def command(self, job: Job, paths: Paths) -> EngineCommand:
        """The worker on this job."""
        return worker_command(job, paths, "double_worker.py")

    def identity(self, measurement: Measurement, job: Job, *, model_path: str) -> tuple[str, ...]:
        """It loads no model: there is nothing that its report could contradict."""
        del measurement, job, model_path
        return ()
