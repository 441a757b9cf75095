"""What the engines that run one of sparkray's own workers share: the request document and the result document."""

import hashlib
import json
import random
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from sparkray.engines import EngineCommand, Job, Paths
from sparkray.errors import EngineOutputError
from sparkray.records import EngineFacts, Measurement, Request

FORMAT = "sparkray-worker/1"
_FIRST_ORDINARY_TOKEN = 256  # below it lie special tokens and single bytes in the vocabularies in use
_DEFAULT_VOCABULARY = 32_000
REQUEST_FILE, RESULT_FILE = "request.json", "result.json"


def prompts(job: Job) -> list[dict[str, Any]]:
    """Fixed prompts of token ids: the same seed, lengths and vocabulary give the same ones, on any machine."""
    vocabulary = job.card.shape.vocab if job.card.shape else _DEFAULT_VOCABULARY
    rng = random.Random(f"sparkray prompts {job.seed}")  # noqa: S311 - reproducible, not secret
    return [
        {
            "index": index,
            "warmup": index < job.workload.warmup_requests,
            "prompt": [rng.randrange(_FIRST_ORDINARY_TOKEN, vocabulary) for _ in range(length)],
            "output_tokens": output,
        }
        for index, (length, output) in enumerate(_lengths(job))
    ]


def _lengths(job: Job) -> list[tuple[int, int]]:
    """(input, output) tokens of every request, warm-up first."""
    load = job.workload
    return [(load.input_tokens, load.output_tokens)] * load.warmup_requests + list(load.lengths(job.seed))


def prompts_digest(job: Job) -> str:
    """The hash of the prompts, and of the tokens asked for each."""
    return hashlib.sha256(json.dumps(prompts(job), separators=(",", ":")).encode()).hexdigest()


class WorkerEngine:
    """What the engines with a worker have in common: nothing to ask beforehand, one document afterwards."""

    workloads = ("offline",)

    def probe(self) -> tuple[str, ...] | None:
        """Nothing to ask: the version stands in the result."""
        return None

    def understand(self, output: str) -> Mapping[str, str]:
        """Nothing was asked. Raises EngineOutputError if something was."""
        raise EngineOutputError(f"this engine has no probe, but got its output: {output[:80]!r}")

    def warnings(self, job: Job, *, memory_floor_gib: float = 0.0) -> tuple[str, ...]:  # noqa: ARG002 - the protocol's
        """None are known."""
        return ()

    def read(self, folder: Path, job: Job) -> Measurement:
        """The worker's document. Raises EngineOutputError when it is missing, broken or incomplete."""
        return read_result(folder, job)

    def salvage(self, folder: Path, job: Job) -> Measurement | None:
        """A worker writes its document at the end, so a run that failed left nothing."""
        del folder, job
        return None


def worker_command(job: Job, paths: Paths, script: str) -> EngineCommand:
    """The command that runs one of sparkray's workers on this job."""
    items = prompts(job)
    request = {
        "model": paths.model,
        "concurrency": job.concurrency,
        "options": dict(job.options),
        "prompts": items,
    }
    return EngineCommand(
        argv=(paths.python, f"{paths.workers}/{script}", f"{paths.input}/{REQUEST_FILE}", paths.output),
        inputs={REQUEST_FILE: json.dumps(request, separators=(",", ":")).encode()},
        dataset_sha256=prompts_digest(job),
    )


def read_result(folder: Path, job: Job) -> Measurement:
    """The worker's document as a measurement.

    Raises:
        EngineOutputError: There is none, it is no JSON of the known format, or requests are missing.
    """
    document = _load(folder / RESULT_FILE)
    try:
        requests = tuple(_request(item) for item in document["requests"])
        facts = _facts(document["engine"])
        simulated = bool(document["simulated"])
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise EngineOutputError(f"the engine's result has an unexpected shape: {error!r}") from None
    _complete(requests, job)
    return Measurement(requests=requests, facts=facts, simulated=simulated)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise EngineOutputError("the engine ended with status 0 but left no result.json") from None
    except (ValueError, OSError) as error:
        raise EngineOutputError(f"the engine's result.json cannot be read: {error}") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise EngineOutputError(f"the engine's result.json is not of the format {FORMAT!r}")
    return cast("Mapping[str, Any]", document)


def _request(item: Mapping[str, Any]) -> Request:
    first = item["first_token_ns"]
    return Request(
        index=int(item["index"]),
        warmup=bool(item["warmup"]),
        input_tokens=int(item["input_tokens"]),
        output_tokens=int(item["output_tokens"]),
        submit_ns=int(item["submit_ns"]),
        first_token_ns=None if first is None else int(first),
        end_ns=int(item["end_ns"]),
        token_ns=tuple(int(t) for t in item["token_ns"]),
        error=item["error"],
    )


def _facts(engine: Mapping[str, Any]) -> EngineFacts:
    return EngineFacts(
        version=engine["version"],
        model_path=engine["model_path"],
        model_sha256=engine["model_sha256"],
        model_architecture=engine["architecture"],
        kv_cache_bytes=engine["kv_cache_bytes"],
        threads=engine["threads"],
        load_s=float(engine["load_s"]),
        lifetime_s=float(engine["lifetime_s"]),
        reported={key: value for key, value in engine.items() if key in ("build", "system")},
    )


def _complete(requests: tuple[Request, ...], job: Job) -> None:
    """Every request that was asked for is there. Whether its tokens and clocks are right is for the check `tokens`."""
    expected = job.workload.warmup_requests + job.workload.requests
    if len(requests) != expected:
        raise EngineOutputError(f"the engine returned {len(requests)} requests of {expected}")
    if sorted(request.index for request in requests) != list(range(expected)):
        raise EngineOutputError("the engine's requests are not the ones it was given, by their numbers")
    for request in requests:
        if request.error is not None:
            raise EngineOutputError(f"request {request.index} failed: {request.error}")
