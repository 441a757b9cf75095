"""From a job to the command line of `trtllm-bench throughput`, for whichever version stands in the environment.

Why each part is there:

* Options of the group stand before the subcommand. `--model` takes the Hugging Face name (a path is refused) and
  `--model_path` the folder (without it the tool downloads).
* `--max_batch_size` and `--max_num_tokens` always stand together: without both the tool asks NVML for the memory size,
  which a GB10 does not tell.
* `--streaming`, or there is no time to first token; `--eos_id -1`, so that every request generates its full length.
* The options file is given by `--extra_llm_api_options`, which every version knows (`--config` came with 1.2).
* Everything about the KV cache stands in that file and nothing on the command line: `kv_cache_config` there replaces the
  tool's own as a whole in some versions (the fraction of the command line is lost then, and block reuse is on) and is
  merged with it in others. Whole in one place, it means the same in all. Block reuse is off, as the tool has it.
* `latency` is never used: it cannot be given a batch size. Low latency is `throughput --concurrency 1`.
"""

import json
from typing import Any

from sparkray.engines import PYTHON_PATH, EngineCommand, Job, Paths
from sparkray.engines._trtllm.dataset import dataset
from sparkray.engines._trtllm.features import NEWEST, OLDEST, Features
from sparkray.engines._trtllm.messages import message
from sparkray.engines._trtllm.options import (
    TOOL_FRACTION,
    TrtllmOptions,
    batch_size,
    concurrency,
    fixed_kv_tokens,
    tokens_per_step,
)
from sparkray.engines._trtllm.shipping import nvml_shim
from sparkray.errors import ConfigError, RunUnreadyError

REPORT, REQUESTS, ITERATIONS = "report.json", "requests.json", "iterations.log"
DATASET, API_OPTIONS, SHIM = "dataset.jsonl", "llm_api_options.yaml", "sitecustomize.py"


def model_name(job: Job) -> str:
    """What `--model` is given: the Hugging Face id, else the card's name."""
    return job.card.hf_id or job.card.name


def build(job: Job, paths: Paths, *, options: TrtllmOptions, features: Features) -> EngineCommand:
    """The command of one run, with its input files.

    Raises:
        ConfigError: The card has no shape, so its vocabulary is not known; or the load exceeds the model's context.
        RunUnreadyError: The tool lacks an option that the run cannot do without.
    """
    data, digest = _dataset(job)
    inputs = {DATASET: data, API_OPTIONS: api_options(job, options)}
    if options.nvml_shim:
        inputs[SHIM] = nvml_shim()
    words = _group_words(job, paths, features) + _throughput_words(job, paths, options=options, features=features)
    return EngineCommand(tuple(words), _environment(paths, options), inputs, digest)


def api_options(job: Job, options: TrtllmOptions) -> bytes:
    """The options file. JSON, which is YAML; it sets nothing that the command line sets."""
    kv_cache: dict[str, Any] = {
        "dtype": options.kv_cache_dtype,
        "enable_block_reuse": options.kv_block_reuse,
        "free_gpu_memory_fraction": options.kv_fraction or TOOL_FRACTION,
    }
    fixed = fixed_kv_tokens(options, job.card, job.workload)
    if fixed is not None:
        kv_cache["max_tokens"] = fixed
    extra = dict(options.extra)
    content: dict[str, Any] = {**extra, "kv_cache_config": {**extra.get("kv_cache_config", {}), **kv_cache}}
    if not options.cuda_graph:
        content["cuda_graph_config"] = None
    return json.dumps(content, indent=2, sort_keys=True).encode() + b"\n"


def _dataset(job: Job) -> tuple[bytes, str]:
    shape, load = job.card.shape, job.workload
    if shape is None:
        raise ConfigError(*message("no_shape", model=job.card.name))
    if load.most_input + load.most_output > shape.context:
        limits = {"inputs": load.most_input, "outputs": load.most_output, "context": shape.context}
        raise ConfigError(*message("beyond_context", model=job.card.name, **limits))
    if job.preview:
        return b"", ""
    return dataset(shape.vocab, job.seed, load)


def _group_words(job: Job, paths: Paths, features: Features) -> list[str]:
    pairs = {
        "--model": model_name(job),
        "--model_path": paths.model,
        "--workspace": f"{paths.output}/workspace",
        "--log_level": "info",
    }
    quiet = ["--no-telemetry"] if "--no-telemetry" in features.group else []
    return ["trtllm-bench", *_words(pairs, features.group, features), *quiet]


def _throughput_words(job: Job, paths: Paths, *, options: TrtllmOptions, features: Features) -> list[str]:
    load = job.workload
    pairs = {
        "--backend": options.backend,
        "--dataset": f"{paths.input}/{DATASET}",
        "--num_requests": load.requests,
        "--warmup": load.warmup_requests,
        "--concurrency": concurrency(options, job.card, load),
        "--max_batch_size": batch_size(options, job.card),
        "--max_num_tokens": tokens_per_step(options, job.card, load),
        "--max_seq_len": load.most_input + load.most_output,
        "--eos_id": -1,
        "--tp": options.tp,
        "--pp": options.pp,
        **({"--scheduler_policy": options.scheduler_policy} if options.scheduler_policy else {}),
        "--extra_llm_api_options": f"{paths.input}/{API_OPTIONS}",
        "--report_json": f"{paths.output}/{REPORT}",
        "--request_json": f"{paths.output}/{REQUESTS}",
        **({"--iteration_log": f"{paths.output}/{ITERATIONS}"} if options.iteration_log else {}),
    }
    flags = dict.fromkeys(["--streaming", *_chunking(options, features)])
    return ["throughput", *_words({**pairs, **flags}, features.throughput, features)]


def _chunking(options: TrtllmOptions, features: Features) -> list[str]:
    """1.0 chunks on request; from 1.1 on it chunks unless it is turned off."""
    if options.chunked_context is None:
        return []
    if options.chunked_context:
        return ["--enable_chunked_context"]
    return ["--disable_chunked_context"] if "--disable_chunked_context" in features.throughput else []


def _words(pairs: dict[str, Any], known: frozenset[str], features: Features) -> list[str]:
    missing = sorted(set(pairs) - known)
    if missing:
        known_versions = {"oldest": OLDEST, "newest": NEWEST}
        raise RunUnreadyError(
            *message("unknown_options", version=features.version, options=", ".join(missing), **known_versions)
        )
    return [word for name, value in pairs.items() for word in ((name,) if value is None else (name, str(value)))]


def _environment(paths: Paths, options: TrtllmOptions) -> dict[str, str]:
    """Offline, so that no run downloads; caches where every arm may write; Open MPI's leave to run as root."""
    return {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        **dict.fromkeys(("XDG_CACHE_HOME", "FLASHINFER_WORKSPACE_BASE"), "/tmp/cache"),  # noqa: S108 - of the environment
        "TRITON_CACHE_DIR": "/tmp/cache/triton",  # noqa: S108
        "CUDA_CACHE_PATH": "/tmp/cache/cuda",  # noqa: S108
        "TORCHINDUCTOR_CACHE_DIR": "/tmp/cache/inductor",  # noqa: S108
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        **({"TRT_LLM_DISABLE_LOAD_WEIGHTS_IN_PARALLEL": "1"} if options.serial_weight_loading else {}),
        **options.environment,
        **({PYTHON_PATH: _joined(paths.input, options.environment.get(PYTHON_PATH))} if options.nvml_shim else {}),
    }


def _joined(*folders: str | None) -> str:
    return ":".join(folder for folder in folders if folder)
