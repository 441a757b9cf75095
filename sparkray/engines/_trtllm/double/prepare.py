"""What `throughput` does before the benchmark starts: model, dataset, settings and options file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import gpu
from .checkpoint import Checkpoint, read_checkpoint
from .console import log
from .report import dataset_statistics
from .schedule import Prompt
from .settings import Settings
from .summary import dataset_table

CLI_WINS_SINCE = INITIAL_SETTINGS_SINCE = (1, 3)
KV_MERGED_SINCE = (1, 2)
"""Before, the file's `kv_cache_config` replaced the tool's own, and the fraction of the command line with it."""
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
    "use_kv_cache_manager_v2",
)
Values = dict[str, Any]


def prepare(settings: Settings, values: Values) -> tuple[Checkpoint, list[Prompt]]:
    """The model and the prompts.

    Raises:
        Exception: Whatever the tool dies of at this point.
    """
    if values["backend"] == "tensorrt":
        raise ValueError("An engine must be provided for the tensorrt backend.")
    model = read_checkpoint(_checkpoint_folder(values))
    prompts = read_dataset(Path(values["dataset"]), model.vocab, values["num_requests"])
    lengths = [(len(prompt.input_ids), prompt.output_tokens) for prompt in prompts]
    log(settings, dataset_table(dataset_statistics(lengths, values["dataset"])))
    if values["model_path"] is None:
        raise ValueError(f"Repo id must be in the form 'repo_name' or 'namespace/repo_name': '{values['model']}'.")
    _batch_settings(settings, values)
    longest = max(sum(pair) for pair in lengths)
    values["max_seq_len"] = values["max_seq_len"] or longest
    log(settings, f"Setting PyTorch max sequence length to {values['max_seq_len']}")
    return model, prompts


def apply_options_file(settings: Settings, values: Values, prompts: Sequence[Prompt]) -> None:
    """Set what the options file sets, and check that the requests fit.

    Raises:
        ValueError: The file has a key that the engine does not know, or a request is too long.
    """
    _api_options(settings, values)
    lengths = [(len(prompt.input_ids), prompt.output_tokens) for prompt in prompts]
    longest = max(sum(pair) for pair in lengths)
    if longest > values["max_seq_len"]:
        raise ValueError(f"a request of {longest} tokens exceeds max_seq_len {values['max_seq_len']}")
    if not values["enable_chunked_context"] and max(length for length, _ in lengths) > values["max_num_tokens"]:
        raise ValueError(f"a prompt exceeds max_num_tokens {values['max_num_tokens']}, and chunked context is off")


def read_dataset(path: Path, vocab: int, count: int) -> list[Prompt]:
    """The dataset, read as the tool reads it: line by line to the end, so that a blank last line is an error.

    Raises:
        ValueError: A line is not valid JSON, or an id is beyond the vocabulary.
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


def _checkpoint_folder(values: Values) -> Path:
    """The folder of `--model_path`, else of `--model`; a name that is no folder would be downloaded."""
    if values["model_path"] is None and not Path(values["model"]).is_dir():
        raise OSError(f"huggingface_hub: cannot download {values['model']}: no network, HF_HUB_OFFLINE=1 or not")
    return Path(values["model_path"] or values["model"])


def _batch_settings(settings: Settings, values: Values) -> None:
    """Batch size and tokens a step; without both the tool asks NVML for the memory size. Of YAML, JSON is read."""
    name = values["extra_llm_api_options"]
    values["options_file"] = json.loads(Path(name).read_text()) if name else {}
    batch, tokens = values["max_batch_size"], values["max_num_tokens"]
    if not (batch and tokens):
        gpu.memory_size()
    if settings.minor >= INITIAL_SETTINGS_SINCE:
        log(
            settings,
            f"Initial settings: max_batch_size={batch} (user-provided), max_num_tokens={tokens} (user-provided).",
        )
    else:
        log(settings, "Use user-provided max batch size and max num tokens.")


def _api_options(settings: Settings, values: Values) -> None:
    content = values["options_file"]
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
        warning = f"Explicit CLI flag(s) {twice} override the value(s) set in the YAML config; CLI takes precedence."
        log(settings, warning, "W", module="llmapi")
        given = {key: value for key, value in given.items() if key not in twice}
    values.update(given)
    values["kv_max_tokens"] = (kv_cache or {}).get("max_tokens")
    values["kv_manager_v2"] = (kv_cache or {}).get("use_kv_cache_manager_v2", True) is not False
