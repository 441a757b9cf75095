"""Did the model that was meant run, as it was meant? The tool's report and the checkpoint's files, against the card.

Pure: each function returns the mismatches in words, none when all is as it should be. What was not reported is not held
against a run, apart from the model's name, which every version reports.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sparkray.config.model import ModelCard
from sparkray.engines import Job
from sparkray.engines._trtllm.command import model_name
from sparkray.engines._trtllm.features import minor_of
from sparkray.engines._trtllm.options import TOOL_FRACTION, TrtllmOptions, batch_size, concurrency, tokens_per_step
from sparkray.engines._trtllm.report import read_json
from sparkray.errors import EngineOutputError

_MORE = 1.05
"""The report's mean concurrency is a quotient of measured times."""
_NO_QUANTISATION = ("", "no_quant", "none")
_CONFIG_KEYS = (
    ("num_hidden_layers", "layers"),
    ("hidden_size", "hidden"),
    ("num_attention_heads", "heads"),
    ("num_key_value_heads", "kv_heads"),
    ("vocab_size", "vocab"),
    ("num_local_experts", "experts"),
    ("num_experts_per_tok", "experts_per_token"),
)


def identity(
    reported: Mapping[str, Any], job: Job, *, options: TrtllmOptions, model_path: str | None = None
) -> tuple[str, ...]:
    """Where what the tool reports departs from what was asked.

    Args:
        reported: `EngineFacts.reported`.
        job: What was asked; its card says what the model is.
        options: The engine's options, with the card's own.
        model_path: What `--model_path` was given; None does not ask.
    """
    load, card = job.workload, job.card
    lengths = load.lengths(job.seed)
    wanted = {
        "model": model_name(job),
        "model_path": model_path,
        "backend": "pytorch",
        "dtype": card.dtype,
        "version": job.tool.get("version"),
        "world_size": options.tp * options.pp,
        "max_batch_size": batch_size(options, card),
        "max_num_tokens": tokens_per_step(options, card, load),
        "kv_fraction": options.kv_fraction or TOOL_FRACTION,
        "num_requests": load.requests,
        "mean_input_tokens": sum(length for length, _ in lengths) / len(lengths),
        "mean_output_tokens": sum(length for _, length in lengths) / len(lengths),
    }
    found = [
        f"{name}: asked for {value!r}, reported {reported.get(name)!r}"
        for name, value in wanted.items()
        if value is not None and not _same(name, value, reported.get(name))
    ]
    limit, seen = concurrency(options, card, load), reported.get("mean_concurrency")
    if isinstance(seen, float) and seen > _MORE * limit:
        found.append(f"mean_concurrency: asked for at most {limit}, reported {seen!r}")
    return (*found, *_quantisation(card.quantisation, reported.get("quantization")))


def checkpoint_identity(config: bytes, card: ModelCard) -> tuple[str, ...]:
    """Where a checkpoint's `config.json` departs from the card: architecture, dtype, shape, quantisation.

    Raises:
        EngineOutputError: It is no JSON object.
    """
    document = read_json(config, "config.json")
    if not isinstance(document, dict):
        raise EngineOutputError(f"config.json holds {type(document).__name__}, no object")
    found = []
    architectures = document.get("architectures")
    if card.engine_architecture and architectures != [card.engine_architecture]:
        found.append(f"architectures: card says {card.engine_architecture}, config.json says {architectures!r}")
    for theirs, ours in _CONFIG_KEYS:
        value = document.get(theirs)
        if card.shape is not None and value is not None and value != getattr(card.shape, ours):
            found.append(f"{theirs}: card says {getattr(card.shape, ours)}, config.json says {value!r}")
    dtype = document.get("torch_dtype", document.get("dtype"))
    if dtype is not None and not _same("dtype", card.dtype, dtype):
        found.append(f"dtype: card says {card.dtype}, config.json says {dtype!r}")
    packed = document.get("quantization_config")
    method = packed.get("quant_method") if isinstance(packed, dict) else None
    if card.quantisation is not None and method is None:
        found.append(f"quantisation: card says {card.quantisation}, config.json has no quantization_config")
    return (*found, *_quantisation(card.quantisation, method))


def checkpoint_sha256(config: bytes, index: bytes | None) -> str:
    """One hash for what the checkpoint is: `config.json` and, where there is one, the index of its weights."""
    parts = {"config": config, "index": index or b""}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def _same(name: str, wanted: object, said: object) -> bool:
    if said is None:
        return name != "model"
    if isinstance(wanted, float) or isinstance(said, float):
        return isinstance(said, int | float) and isinstance(wanted, int | float) and abs(said - wanted) < 1e-6  # noqa: PLR2004
    if name == "version":
        return isinstance(said, str) and minor_of(said) == minor_of(str(wanted))
    if name in ("dtype", "backend"):
        return str(said).removeprefix("torch.").casefold() == str(wanted).casefold()
    return said == wanted


def _quantisation(card: str | None, said: object) -> tuple[str, ...]:
    """The tool names the method in full (`W4A8_MXFP4_MXFP8`), the card its family (`MXFP4`)."""
    told = str(said or "").casefold()
    fits = told in _NO_QUANTISATION or (card is not None and card.casefold() in told)
    return () if fits else (f"quantisation: card says {card or 'none'}, found {said!r}",)
