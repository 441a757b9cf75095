"""`trtllm-bench throughput`, played."""

import json
import random
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from . import pynvml
from .checkpoint import Checkpoint, read_checkpoint
from .console import log, memory, summary
from .report import MACHINE_SINCE, iteration_lines, report, request_records
from .schedule import Machine, Played, Prompt, play
from .settings import Settings

GIB = 2**30
OVERHEAD_GIB = 2.9
CLI_WINS_SINCE = (1, 3)
KV_MERGED_SINCE = (1, 2)
"""Before, the file's `kv_cache_config` replaced the tool's own, and the fraction of the command line with it."""
LIBRARY_FRACTION = 0.9
API_KEYS = (
    "batching_wait_iters",
    "cuda_graph_config",
    "disable_overlap_scheduler",
    "enable_attention_dp",
    "enable_chunked_prefill",
    "enable_iter_perf_stats",
    "kv_cache_config",
    "max_batch_size",
    "max_num_tokens",
    "max_seq_len",
    "moe_config",
    "print_iter_log",
    "scheduler_config",
    "speculative_config",
    "stream_interval",
    "torch_compile_config",
)
KV_KEYS = (
    "dtype",
    "enable_block_reuse",
    "enable_partial_reuse",
    "free_gpu_memory_fraction",
    "host_cache_size",
    "max_tokens",
    "tokens_per_block",
)
ABORT = -1
Values = dict[str, Any]


def throughput(settings: Settings, values: Values) -> int:
    """The whole subcommand; the value is the exit status, `ABORT` asks for a death by signal."""
    _mark(settings, values)
    log(settings, "Preparing to run throughput benchmark...")
    try:
        model, prompts = _prepare(settings, values)
    except Exception:  # noqa: BLE001 - the tool dies of whatever it is, with a traceback
        sys.stderr.write(traceback.format_exc())
        return 1
    try:
        return _run(settings, values, model=model, prompts=prompts)
    except KeyboardInterrupt:
        log(settings, "Keyboard interrupt, exiting benchmark...")
        return 0
    except Exception:  # noqa: BLE001 - as the tool does it
        log(settings, f"Error during benchmarking:\n{traceback.format_exc()}", "E")
        return 1


def _mark(settings: Settings, values: Values) -> None:
    if values["report_json"]:
        note = Path(values["report_json"]).parent / "sparkray-double.json"
        note.write_text(json.dumps({"simulated": True, **asdict(settings)}, indent=2))


def _prepare(settings: Settings, values: Values) -> tuple[Checkpoint, list[Prompt]]:
    """Everything that is checked before the benchmark begins."""
    if values["backend"] == "tensorrt":
        raise ValueError("An engine must be provided for the tensorrt backend.")
    if values["model_path"] is None:
        raise OSError(f"huggingface_hub: cannot download {values['model']}: no network, HF_HUB_OFFLINE=1 or not")
    model = read_checkpoint(Path(values["model_path"]))
    prompts = read_dataset(Path(values["dataset"]), model.vocab, values["num_requests"])
    if not (values["max_batch_size"] and values["max_num_tokens"]):
        pynvml.nvmlInit()
        pynvml.nvmlDeviceGetMemoryInfo(pynvml.nvmlDeviceGetHandleByIndex(0))
    log(settings, "Use user-provided max batch size and max num tokens.")
    _api_options(settings, values)
    longest = max(len(prompt.input_ids) + prompt.output_tokens for prompt in prompts)
    values["max_seq_len"] = values["max_seq_len"] or longest
    log(settings, f"Setting PyTorch max sequence length to {values['max_seq_len']}")
    if longest > values["max_seq_len"]:
        raise ValueError(f"a request of {longest} tokens exceeds max_seq_len {values['max_seq_len']}")
    chunked = values["enable_chunked_context"]
    if not chunked and max(len(prompt.input_ids) for prompt in prompts) > values["max_num_tokens"]:
        raise ValueError(f"a prompt exceeds max_num_tokens {values['max_num_tokens']}, and chunked context is off")
    return model, prompts


def read_dataset(path: Path, vocab: int, count: int) -> list[Prompt]:
    """The dataset, read as the tool reads it: line by line to the end, so that a blank last line is an error.

    Raises:
        ValueError: A line is no JSON, or an id is beyond the vocabulary.
        KeyError: A key is missing.
    """
    prompts = []
    with path.open() as stream:
        while line := stream.readline():
            entry = json.loads(line)
            ids = entry["input_ids"] if "input_ids" in entry else entry["logits"]
            if not ids or max(ids) >= vocab or min(ids) < 0:
                raise ValueError(f"task {entry['task_id']} has ids outside the vocabulary of {vocab}")
            prompts.append(Prompt(int(entry["task_id"]), ids, int(entry["output_tokens"])))
    return prompts[:count] if count else prompts


def _api_options(settings: Settings, values: Values) -> None:
    """The options file. The double reads the part of YAML that is JSON."""
    name = values["extra_llm_api_options"]
    content = json.loads(Path(name).read_text()) if name else {}
    unknown = [key for key in content if key not in API_KEYS]
    unknown += [f"kv_cache_config.{key}" for key in content.get("kv_cache_config", {}) if key not in KV_KEYS]
    if unknown:
        raise ValueError(f"validation error for TorchLlmArgs: {unknown[0]}: Extra inputs are not permitted")
    kv_cache = content.get("kv_cache_config")
    given = {key: content[key] for key in ("max_batch_size", "max_num_tokens", "max_seq_len") if key in content}
    if kv_cache is not None and ("free_gpu_memory_fraction" in kv_cache or settings.minor < KV_MERGED_SINCE):
        given["kv_cache_free_gpu_mem_fraction"] = kv_cache.get("free_gpu_memory_fraction")
    twice = [key for key in given if key in values["explicit"]]
    if twice and settings.minor >= CLI_WINS_SINCE:
        told = f"Explicit CLI flag(s) {twice} override the value(s) set in the YAML config; CLI takes precedence."
        log(settings, told, "W")
        given = {key: value for key, value in given.items() if key not in twice}
    values.update(given)
    values["kv_max_tokens"] = (kv_cache or {}).get("max_tokens")


def _run(settings: Settings, values: Values, *, model: Checkpoint, prompts: Sequence[Prompt]) -> int:
    log(settings, "Setting up throughput benchmark.")
    kv_bytes = _kv_bytes(settings, values, model)
    memory(settings, values, model=model, kv_bytes=kv_bytes)
    log(settings, "Setting up for warmup...")
    log(settings, "Running warmup.")
    log(settings, "Warmup done.")
    played = _play(settings, values, model=model, prompts=prompts)
    origin = time.perf_counter_ns()
    _pass_time(settings, max(one.end for one in played) / 1e9)
    if settings.fault == "crash":
        return ABORT
    if settings.fault == "sigint":
        raise KeyboardInterrupt
    told = f"[count={len(played)}, time=0.0100s, rate={len(played) * 100:.2f} req/s]"
    log(settings, f"Request submission complete. {told}")
    log(settings, "Benchmark done. Reporting results...")
    kv_tokens = int(kv_bytes // model.kv_per_token)
    _write(settings, values, model=model, played=played, origin=origin, kv_tokens=kv_tokens)
    return 0


def _kv_bytes(settings: Settings, values: Values, model: Checkpoint) -> float:
    left = settings.memory_gib * GIB - model.resident - OVERHEAD_GIB * GIB
    if left <= 0 or settings.fault == "oom":
        raise RuntimeError("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.")
    size = left * (values["kv_cache_free_gpu_mem_fraction"] or LIBRARY_FRACTION)
    if values["kv_max_tokens"]:
        size = min(size, values["kv_max_tokens"] * model.kv_per_token)
    if size < values["max_seq_len"] * model.kv_per_token:
        raise RuntimeError(f"the KV cache of {size / GIB:.2f} GiB does not hold one sequence")
    return float(size)


def _play(settings: Settings, values: Values, *, model: Checkpoint, prompts: Sequence[Prompt]) -> list[Played]:
    wanted = list(prompts)
    if settings.fault == "wrong_count":
        wanted = wanted[:-1]
    if settings.fault == "short_output":
        wanted = [replace(prompt, output_tokens=prompt.output_tokens - 1) for prompt in wanted]
    machine = Machine(settings.bandwidth, slowness=2.0 if settings.fault == "slow" else 1.0)
    noise = random.Random(settings.seed)  # noqa: S311 - noise, no secret
    return play(
        wanted,
        model,
        machine=machine,
        slots=values["max_batch_size"],
        concurrency=values["concurrency"],
        noise=noise,
    )


def _pass_time(settings: Settings, simulated_s: float) -> None:
    if settings.fault == "hang":
        while True:
            time.sleep(0.1)
    wait = 0.3 + min(0.7, simulated_s / 1000) if settings.scale is None else simulated_s * settings.scale
    time.sleep(wait)


def _machine(settings: Settings) -> dict[str, Any] | None:
    """What the tool asks about the GPU; it is prepared for two errors, and pynvml's is neither."""
    if settings.fault == "null_machine":
        return None
    clock = None
    if settings.fault == "nvml_clock":
        try:
            clock = ask_memory_clock()
        except (RuntimeError, AssertionError):
            return None
    return {"name": "NVIDIA GB10", "memory.total": settings.memory_gib, "clocks.mem": clock}


def ask_memory_clock() -> float:
    """The memory clock from whatever pynvml the interpreter finds, in GHz."""
    import pynvml as asked  # noqa: PLC0415 - as late as the tool does it, so that a shim can stand in between

    asked.nvmlInit()
    megahertz: int = asked.nvmlDeviceGetMaxClockInfo(asked.nvmlDeviceGetHandleByIndex(0), asked.NVML_CLOCK_MEM)
    return megahertz / 1000


def _write(
    settings: Settings, values: Values, *, model: Checkpoint, played: Sequence[Played], origin: int, kv_tokens: int
) -> None:
    """The report first: its file is opened before what it will hold is known, as the tool does it."""
    machine = None
    if values["report_json"]:
        log(settings, f"Writing report information to {values['report_json']}...")
        with Path(values["report_json"]).open("w") as stream:
            machine = _machine(settings) if settings.minor >= MACHINE_SINCE or settings.fault == "nvml_clock" else None
            document = report(values, model, settings=settings, played=played, machine=machine)
            stream.write(_spoilt(settings, document))
        log(settings, f"Report information written to {values['report_json']}.")
    summary(settings, report(values, model, settings=settings, played=played, machine=machine))
    records = request_records(played, origin, streaming=values["streaming"])
    if values["request_json"]:
        Path(values["request_json"]).write_text(json.dumps(records))
    if values["output_json"]:
        Path(values["output_json"]).write_text(json.dumps({str(record["id"]): "" for record in records}))
    if values["iteration_log"]:
        Path(values["iteration_log"]).write_text("".join(iteration_lines(values, played, kv_tokens)))


def _spoilt(settings: Settings, document: dict[str, Any]) -> str:
    if settings.fault == "nan":
        document["performance"] = dict.fromkeys(document["performance"], float("nan"))
    text = json.dumps(document, indent=4)
    if settings.fault == "garbage_report":
        return "Segmentation fault (core dumped)\n"
    return text[: len(text) // 2] if settings.fault == "truncated_report" else text
