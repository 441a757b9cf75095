"""vLLM in both kinds of workload: its server by the recipe `conf/engines/vllm.yaml`, offline by `vllm bench`.

Offline, a run counts when the tool ended with status 0 *and* left a report about as many requests as were asked for. Both
kinds read the same values from the log, by the recipe's patterns. vLLM keeps compiled graphs in folders that `caches`
names: a start that compiles has less memory for its KV cache than one that loads them, so such starts are never compared.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from sparkray.config.boundary import parse
from sparkray.engines import EngineCommand, Job, Paths, server
from sparkray.engines._vllm.bench import REPORT, batch_of, bench_command, read_requests
from sparkray.engines._vllm.options import Options, engine_arguments
from sparkray.engines._vllm.shipping import DOUBLE_MARKER, double_files
from sparkray.errors import EngineFailedError, EngineOutputError, RunOutOfMemoryError
from sparkray.records import Measurement

_ERRORS = ("Error: ", "Exception: ")
_OUT_OF_MEMORY = ("CUDA out of memory", "torch.OutOfMemoryError", "larger than the available KV cache memory")


class Engine(server.Engine):
    """The vLLM engine."""

    workloads = ("offline", "serve")
    caches: Mapping[str, str] = {
        "HOME": "home",
        "VLLM_CACHE_ROOT": "vllm",
        "TORCHINDUCTOR_CACHE_DIR": "inductor",
        "TRITON_CACHE_DIR": "triton",
    }

    def __init__(self, name: str = "vllm") -> None:
        super().__init__(name)

    def options(self, mapping: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        """See `Engine.options`."""
        own = json.loads(json.dumps(asdict(parse(Options, mapping, source))))
        return {**own, **super().options({key: own[key] for key in asdict(server.Options())}, source)}

    def simulator_files(self, options: Mapping[str, Any], python: str) -> dict[str, bytes]:
        """A simulated vLLM as files of an image."""
        del options, python
        return double_files()

    def command(self, job: Job, paths: Paths) -> EngineCommand:
        """See `Engine.command`.

        Raises:
            ConfigError: The benchmark cannot make the load.
        """
        if job.workload.kind == "offline":
            return bench_command(job, paths, self.recipe(job.options).environment)
        served = super().command(job, paths)
        own = engine_arguments(job.options, job.card, paths.model)
        caching = ("--enable-prefix-caching",) if job.options["prefix_caching"] else ()
        words = served.argv[: len(served.argv) - len(job.options["arguments"])]
        argv = (*(job.options["program"] or words[:1]), *words[1:], *own, *caching, *job.options["arguments"])
        return replace(served, argv=argv)

    def warnings(self, job: Job, *, memory_floor_gib: float = 0.0) -> tuple[str, ...]:
        """See `Engine.warnings`."""
        if job.workload.kind == "offline" and job.options["tool"] == "latency":
            batch_of(job)
        return super().warnings(job, memory_floor_gib=memory_floor_gib)

    def read(self, folder: Path, job: Job) -> Measurement:
        """See `Engine.read`.

        Raises:
            EngineOutputError: No report, or one that cannot be read or is about another number of requests.
            EngineFailedError: By its log the tool failed.
            RunOutOfMemoryError: By its log memory ran out.
        """
        if job.workload.kind == "serve":
            return super().read(folder, job)
        log = _text(folder / server.LOG)
        if not (folder / REPORT).is_file():
            _raise_cause(log)
        requests = read_requests(folder / REPORT, job)
        return replace(self._offline(folder, job, log), requests=requests)

    def salvage(self, folder: Path, job: Job) -> Measurement | None:
        """See `Engine.salvage`."""
        if job.workload.kind == "serve":
            return super().salvage(folder, job)
        return self._offline(folder, job, _text(folder / server.LOG))

    def _offline(self, folder: Path, job: Job, log: str) -> Measurement:
        """What a log shows, without requests."""
        facts = server.engine_facts(server.facts_of_log(self.recipe(job.options), log))
        notes = ("vllm bench throughput reports no time of a single request: every latency is that of all requests",)
        return Measurement(
            (),
            replace(facts, model_path=_model_of(log)),
            simulated=(folder / DOUBLE_MARKER).exists(),
            notes=notes if job.options["tool"] == "throughput" else (),
        )


def _model_of(log: str) -> str | None:
    """The model that the engine's configuration names."""
    _, found, rest = log.partition(" with config: model='")
    return rest.partition("'")[0] if found else None


def _raise_cause(log: str) -> None:
    """The error in a log without a report; nothing where it shows none."""
    found = [line for line in log.splitlines() if any(word in line for word in _ERRORS) and not line.startswith(" ")]
    if any(word in log for word in _OUT_OF_MEMORY):
        last = next((line for line in reversed(log.splitlines()) if any(word in line for word in _OUT_OF_MEMORY)), "")
        raise RunOutOfMemoryError(f"vLLM ran out of memory: {last.strip()[-300:]}", "Lower gpu_memory_utilization")
    if found:
        raise EngineFailedError(f"vLLM failed: {found[-1].strip()[:300]}", "See its log")


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        raise EngineOutputError(f"the run left no {path.name}") from None
