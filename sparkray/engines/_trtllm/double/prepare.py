"""What `throughput` does before the benchmark starts: model, dataset, settings and options file."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from . import gpu
from .checkpoint import Checkpoint, read_checkpoint
from .console import log, record
from .report import dataset_statistics
from .schedule import Prompt
from .settings import Settings
from .summary import dataset_table
from .versions import table, text

Values = dict[str, Any]


def prepare(settings: Settings, values: Values) -> tuple[Checkpoint, list[Prompt]]:
    """The model and the prompts.

    Raises:
        Exception: Whatever the tool dies of at this point.
    """
    if values["backend"] == "tensorrt":
        raise ValueError(text("no_engine"))
    model = read_checkpoint(_checkpoint_folder(values))
    prompts = read_dataset(Path(values["dataset"]), model.vocab, values["num_requests"])
    lengths = [(len(prompt.input_ids), prompt.output_tokens) for prompt in prompts]
    record(settings, dataset_table(dataset_statistics(lengths, values["dataset"])))
    if values["model_path"] is None:
        raise ValueError(text("bad_repository", model=values["model"]))
    _batch_settings(settings, values)
    longest = max(sum(pair) for pair in lengths)
    values["max_seq_len"] = values["max_seq_len"] or longest
    log(settings, "sequence_length", length=values["max_seq_len"])
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
        raise ValueError(text("request_too_long", longest=longest, limit=values["max_seq_len"]))
    if not values["enable_chunked_context"] and max(length for length, _ in lengths) > values["max_num_tokens"]:
        raise ValueError(text("prompt_too_long", limit=values["max_num_tokens"]))


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
                raise ValueError(text("bad_token_ids", task=entry["task_id"], vocab=vocab))
            prompts.append(Prompt(int(entry["task_id"]), ids, int(entry["output_tokens"])))
    return prompts[:count] if count else prompts


def _checkpoint_folder(values: Values) -> Path:
    """The folder of `--model_path`, else of `--model`; a name that is no folder would be downloaded."""
    if values["model_path"] is None and not Path(values["model"]).is_dir():
        raise OSError(text("no_download", model=values["model"]))
    return Path(values["model_path"] or values["model"])


def _batch_settings(settings: Settings, values: Values) -> None:
    """Batch size and tokens a step; without both the tool asks NVML for the memory size. Of YAML, JSON is read."""
    name = values["extra_llm_api_options"]
    values["options_file"] = json.loads(Path(name).read_text()) if name else {}
    batch, tokens = values["max_batch_size"], values["max_num_tokens"]
    if not (batch and tokens):
        gpu.memory_size()
    log(settings, "batch_settings", batch=batch, tokens=tokens)


def _api_options(settings: Settings, values: Values) -> None:
    content = values["options_file"]
    known = table()["options_file"]
    unknown = [key for key in content if key not in known[""]]
    of_kv_cache = content.get("kv_cache_config", {})
    unknown += [f"kv_cache_config.{key}" for key in of_kv_cache if key not in known["kv_cache_config"]]
    if unknown:
        raise ValueError(text("unknown_key", key=unknown[0]))
    kv_cache = content.get("kv_cache_config")
    given = {key: content[key] for key in ("max_batch_size", "max_num_tokens", "max_seq_len") if key in content}
    if kv_cache is not None and ("free_gpu_memory_fraction" in kv_cache or not settings.has("merged_kv_cache_config")):
        given["kv_cache_free_gpu_mem_fraction"] = kv_cache.get("free_gpu_memory_fraction")
    twice = [key for key in given if key in values["explicit"]]
    if twice and settings.has("command_line_wins"):
        log(settings, "override", "W", module="llmapi", flags=twice)
        given = {key: value for key, value in given.items() if key not in twice}
    values.update(given)
    values["kv_max_tokens"] = (kv_cache or {}).get("max_tokens")
    values["kv_manager_v2"] = (kv_cache or {}).get("use_kv_cache_manager_v2", True) is not False
