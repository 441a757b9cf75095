"""llama.cpp through the `xllamacpp` wheel: the engine that every machine has, GPU or not."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from sparkray.config.boundary import STRICT, parse
from sparkray.engines import EngineCommand, Job, Paths
from sparkray.engines._worker import WorkerEngine, worker_command
from sparkray.records import Measurement

Count = Annotated[int, Ge(0)]
_CONTEXT_STEP = 256


@dataclass(frozen=True)
class Options:
    """llama.cpp's own settings.

    `threads` 0 takes every CPU that the process may run on; `n_gpu_layers` acts in CUDA builds of llama.cpp; `n_ctx` 0
    takes what the workload needs, which fixes the KV cache to the same size in every arm.
    """

    __pydantic_config__ = STRICT

    threads: Count = 0
    n_gpu_layers: Count = 0
    n_ctx: Count = 0


class Engine(WorkerEngine):
    """See the module."""

    name = "llamacpp"
    image_contents = "venv"

    def options(self, mapping: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        """Options with defaults. Raises ConfigError for an unknown key or a bad value."""
        return asdict(parse(Options, mapping, source))

    def command(self, job: Job, paths: Paths) -> EngineCommand:
        """The worker on this job; a context of 0 becomes what the workload needs."""
        options = dict(job.options)
        if not options["n_ctx"]:
            need = (job.workload.most_input + job.workload.most_output) * job.concurrency
            options["n_ctx"] = -(-need // _CONTEXT_STEP) * _CONTEXT_STEP
        sized = Job(job.card, job.workload, job.seed, options)
        return worker_command(sized, paths, "llamacpp_worker.py")

    def identity(self, measurement: Measurement, job: Job, *, model_path: str) -> tuple[str, ...]:
        """Architecture as llama.cpp reports it, and the file that the process really had mapped."""
        facts, wanted = measurement.facts, job.card.engine_architecture
        wrong: list[str] = []
        if wanted is not None and facts.model_architecture != wanted:
            wrong.append(f"the engine reports architecture {facts.model_architecture!r}, the card {wanted!r}")
        if facts.model_path is not None and Path(facts.model_path).name != Path(model_path).name:
            wrong.append(f"the engine loaded {facts.model_path}, asked for was {model_path}")
        return tuple(wrong)
