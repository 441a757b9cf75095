"""A server of any recipe (`conf/engines/`), as an engine: its command, and what a serving run left of it.

A recipe of the user's own stands in the options, so that a dataset, a plan and another machine have it whole.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from sparkray.catalog import Catalog, data_root
from sparkray.config.boundary import STRICT, parse
from sparkray.config.docker_values import volume_of
from sparkray.config.experiment import Saturation, Serving
from sparkray.config.recipe import TEXT_FACTS, Recipe, Version, fill, recipe_of
from sparkray.engines import SERVER, SERVING_FILE, EngineCommand, Job, Paths
from sparkray.engines._worker import prompts, prompts_digest
from sparkray.errors import ConfigError, EngineOutputError
from sparkray.records import EngineFacts, Measurement, Request

LOG = "engine.log"
OPTIONS_FILE = "options.yaml"
_CONTEXT_STEP = 256
_MIB, _GIB = 1 << 20, 1 << 30


@dataclass(frozen=True)
class Options:
    """What a user may change of a server.

    `arguments` are added to the command, `environment` to the recipe's variables, `request` to the body of each request.
    `context_length` 0 takes what the workload needs, which fixes the KV cache to the same size in every arm;
    `max_batch_size` 0 takes the requests in flight. `port` 0 takes a free one for each run. An empty `served_name` or
    `stop_signal` is the recipe's. `recipe` is a whole recipe, where none that ships is meant.
    """

    __pydantic_config__ = STRICT

    arguments: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    request: Mapping[str, Any] = field(default_factory=dict)
    context_length: Annotated[int, Ge(0)] = 0
    max_batch_size: Annotated[int, Ge(0)] = 0
    port: Annotated[int, Ge(0)] = 0
    served_name: str = ""
    stop_signal: str = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)


class Engine:
    """See the module. Named as its recipe, or `server:NAME` where the recipe stands in the options."""

    workloads: tuple[str, ...] = ("serve",)

    def __init__(self, name: str) -> None:
        self.name = name
        self._shipped = None if name.startswith(f"{SERVER}:") else Catalog(data_root()).recipe(name)
        self.image_contents = "venv" if self._shipped is not None and self._shipped.image == "venv" else "reference"

    def recipe(self, options: Mapping[str, Any]) -> Recipe:
        """The recipe with the options applied. Raises ConfigError where a user's own is not well-formed."""
        recipe = self._shipped or recipe_of(options.get("recipe", {}), self.name)
        changes: dict[str, Any] = {"environment": {**recipe.environment, **options.get("environment", {})}}
        for key in ("served_name", "stop_signal"):
            changes |= {key: options[key]} if options.get(key) else {}
        if extra := options.get("request"):
            changes["requests"] = replace(recipe.requests, body={**recipe.requests.body, **extra})
        return replace(recipe, **changes)

    def options(self, mapping: Mapping[str, Any], source: str) -> Mapping[str, Any]:
        """Options with defaults. Raises ConfigError for an unknown key, a bad value, or a recipe that is none."""
        options = json.loads(json.dumps(asdict(parse(Options, mapping, source))))
        if bool(options["recipe"]) == (self._shipped is not None):
            raise ConfigError(f"{source}: engine {self.name}: a recipe of its own belongs to an engine named by a file")
        try:
            self.recipe(options)
        except ValueError as error:
            raise ConfigError(f"{source}: {error}") from None
        return dict(options)

    def probe(self) -> tuple[str, ...] | None:
        """The recipe's command for the version of what is installed; None where it has none."""
        return self._shipped.probe.command if self._shipped is not None and self._shipped.probe else None

    def understand(self, output: str) -> Mapping[str, str]:
        """The version in the probe's output. Raises EngineOutputError when there is none."""
        probe = self._shipped.probe if self._shipped is not None else None
        match = re.search(probe.pattern, output) if probe else None
        if match is None:
            raise EngineOutputError(f"{self.name}: no version in {output[-200:]!r}")
        return {"version": match[1]}

    def served_name(self, job: Job, model_path: str) -> str:
        """The recipe's template, filled in."""
        return fill(self.recipe(job.options).served_name, _names(job, model_path))

    def command(self, job: Job, paths: Paths) -> EngineCommand:
        """The server's command, its places filled in, with the user's arguments last."""
        recipe, options = self.recipe(job.options), job.options
        own = version_of(recipe, job.tool.get("version", ""))
        places = self._places(job, paths)
        words = (*recipe.command, *own.arguments, *options["arguments"])
        content = {**recipe.options_file, **own.options_file}
        inputs = {OPTIONS_FILE: json.dumps(_filled(content, places), indent=1).encode() + b"\n"} if content else {}
        variables = {**recipe.environment, **own.environment, **options["environment"]}
        return EngineCommand(
            tuple(fill(word, places) for word in words),
            {name: fill(value, places) for name, value in variables.items()},
            inputs,
            prompts_digest(job),
            binds=tuple(volume_of(str(Path(volume).expanduser()), "/")[0] for volume in recipe.volumes),
            workdir=recipe.workdir or "/",
        )

    def prompts(self, job: Job) -> list[dict[str, Any]]:
        """Token ids, the same for every engine; as many short words where the server takes text alone."""
        items = prompts(job)
        if self.recipe(job.options).requests.token_ids:
            return items
        return [{**item, "prompt": " ".join(_WORDS[token % len(_WORDS)] for token in item["prompt"])} for item in items]

    def _places(self, job: Job, paths: Paths) -> dict[str, object]:
        load = job.workload
        context, batch = sizes_of(job)
        return {
            **asdict(paths),
            **_names(job, paths.model),
            "served_name": self.served_name(job, paths.model),
            "context_length": context,
            "total_context": context * batch,
            "max_batch_size": batch,
            "requests": load.requests + load.warmup_requests,
        }

    def warnings(self, job: Job, *, memory_floor_gib: float = 0.0) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        """That the recipe was never run, and what the server cannot be asked for."""
        recipe = self.recipe(job.options)
        never = () if recipe.verified else (f"the recipe of {recipe.name} was never run by sparkray",)
        lacking = (f"{recipe.name}: {recipe.requests.unsupported}",) if recipe.requests.unsupported else ()
        unused = (f"keys of {recipe.name} that have no effect: {', '.join(recipe.unused)}",) if recipe.unused else ()
        missing = [name for name in recipe.needs if name not in recipe.environment]
        needed = [f"{recipe.name} needs {name}: --set engine.environment.{name}=VALUE" for name in missing]
        return (*never, *lacking, *unused, *needed)

    def read(self, folder: Path, job: Job) -> Measurement:
        """Requests as the load generator saw them, and facts as the server reported them.

        Raises:
            EngineOutputError: The record of the run is missing or not whole, or every request failed.
        """
        measurement = self._read(folder, job)
        if measurement.saturated:
            return measurement
        wanted = job.workload.requests + job.workload.warmup_requests
        if [request.index for request in measurement.requests] != list(range(wanted)):
            raise EngineOutputError(f"the load generator returned {len(measurement.requests)} requests of {wanted}")
        failed = [request.error for request in measurement.requests if request.error is not None]
        if len(failed) == wanted:
            raise EngineOutputError(f"every request failed, the first: {failed[0]}")
        return measurement

    def _read(self, folder: Path, job: Job) -> Measurement:
        try:
            document = json.loads((folder / SERVING_FILE).read_bytes())
            requests = tuple(Request(**{**item, "token_ns": tuple(item["token_ns"])}) for item in document["requests"])
            facts = self._facts(document, (folder / LOG).read_text(errors="replace"), job)
            ids = self.recipe(job.options).requests.token_ids
            in_order = tuple(sorted(requests, key=lambda request: request.index))
            saturated = _saturation(in_order, job) if document["ended"] == "saturated" else ""
            return Measurement(in_order, facts, notes=tuple(document["notes"]), exact_input=ids, saturated=saturated)
        except FileNotFoundError as error:
            raise EngineOutputError(f"the run left no {Path(error.filename).name}") from None
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineOutputError(f"the record of the run has an unexpected shape: {error!r}") from None

    def _facts(self, document: Mapping[str, Any], log: str, job: Job) -> EngineFacts:
        facts = engine_facts(facts_of_log(self.recipe(job.options), log))
        return replace(
            facts,
            version=document["version"] or facts.version,
            model_path=document["model_path"],
            model_sha256=document["model_sha256"],
        )

    def identity(self, measurement: Measurement, job: Job, *, model_path: str) -> tuple[str, ...]:
        """The architecture by the server's log; its model's name was compared before the load."""
        del model_path
        reported, wanted = measurement.facts.model_architecture, job.card.engine_architecture
        if wanted is None or reported is None or reported == wanted:
            return ()
        return (f"the server reports architecture {reported!r}, the card {wanted!r}",)

    def salvage(self, folder: Path, job: Job) -> Measurement | None:
        """Requests of a run that failed, where the load had begun."""
        try:
            return self._read(folder, job)
        except EngineOutputError:
            return None


def sizes_of(job: Job) -> tuple[int, int]:
    """Longest sequence in tokens, and sequences at once: the options', else what the workload needs."""
    load = job.workload
    needed = -(-(load.most_input + load.most_output) // _CONTEXT_STEP) * _CONTEXT_STEP
    return job.options["context_length"] or needed, job.options["max_batch_size"] or job.concurrency


_WORDS = ("time", "year", "people", "way", "day", "man", "thing", "woman", "life", "child", "world", "school", "state")


def _saturation(requests: Sequence[Request], job: Job) -> str:
    """Why a load ended early, in words."""
    bounds = (job.workload.serve or Serving()).saturation or Saturation()
    done = sum(request.error is None and not request.warmup for request in requests)
    why = (
        f"{bounds.most_in_flight} requests were unanswered at once (serve.saturation.most_in_flight)"
        if bounds.most_latency_s is None
        else f"requests in a row took longer than {bounds.most_latency_s:g} s (serve.saturation.most_latency_s)"
    )
    return f"over-saturated: {why}, when {done} of {job.workload.requests} had ended"


def _filled(value: Any, places: Mapping[str, object]) -> Any:  # noqa: ANN401 - whatever a file holds
    """A document with its places filled in; one that is a whole value keeps its type."""
    if isinstance(value, Mapping):
        return {key: _filled(each, places) for key, each in value.items()}
    if isinstance(value, str):
        return places.get(value[1:-1], value) if value.startswith("{") and value.endswith("}") else fill(value, places)
    return value


def _names(job: Job, model_path: str) -> dict[str, object]:
    return {
        "name": job.card.name,
        "hf_id": job.card.hf_id or job.card.name,
        "model": model_path,
        "model_name": Path(model_path).name,
    }


def version_of(recipe: Recipe, version: str) -> Version:
    """What a version has beyond the recipe: that of the newest entry that is not newer than it."""
    fitting = [name for name in recipe.versions if _numbers(name) <= _numbers(version)]
    return recipe.versions[max(fitting, key=_numbers)] if fitting else Version()


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:2]))


_REPORTED = (
    *("kv_cache_tokens", "context_length", "weights_gib", "attention_backend", "flash_attention", "compile_cache"),
    *("compile_s", "graph_capture_s", "engine_init_s"),
)


def engine_facts(log: Mapping[str, Any]) -> EngineFacts:
    """What a log shows, as `facts_of_log` read it, under the names of a row."""
    kv = log.get("kv_cache_mib", log.get("kv_cache_gib"))
    unit = _MIB if "kv_cache_mib" in log else _GIB
    # One range compiled and another loaded: the start paid for a compilation.
    state = "cold" if "compile_cold" in log else "warm" if "compile_warm" in log else None
    return EngineFacts(
        version=log.get("version"),
        model_architecture=log.get("architecture"),
        kv_cache_bytes=None if kv is None else round(kv * unit),
        load_s=log.get("load_s"),
        reported={
            **{key: log[key] for key in _REPORTED if key in log},
            **({"compile_state": state} if state else {}),
        },
    )


def facts_of_log(recipe: Recipe, log: str) -> dict[str, Any]:
    """What the log tells, by fact. Numbers may have thousands separators; sizes of a KV cache in parts are added up."""
    facts: dict[str, Any] = {}
    for name, pattern in recipe.log.items():
        found = [match.group(1) for match in re.finditer(pattern, log, re.MULTILINE)]
        if found and name in TEXT_FACTS:
            facts[name] = found[-1]
        elif found:
            numbers = [float(text.replace(",", "")) for text in found]
            facts[name] = sum(numbers) if name == "kv_cache_mib" else numbers[-1]
    return facts
