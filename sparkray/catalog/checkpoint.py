"""Hugging Face checkpoints: identity of `config.json` against a model card, hash, and files without weights.

Pure and the same for every engine that reads such a folder.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from sparkray.config.model import ModelCard, quantisation_mismatch
from sparkray.errors import ModelFileError

_CONFIG_KEYS = (
    ("num_hidden_layers", "layers"),
    ("hidden_size", "hidden"),
    ("num_attention_heads", "heads"),
    ("num_key_value_heads", "kv_heads"),
    ("vocab_size", "vocab"),
    ("num_local_experts", "experts"),
    ("num_experts_per_tok", "experts_per_token"),
)


def checkpoint_identity(config: bytes, card: ModelCard, *, exported: bytes | None = None) -> tuple[str, ...]:
    """Mismatches between a checkpoint's `config.json` and its card: architecture, dtype, shape, quantisation.

    Args:
        config: `config.json`. The language model of a multimodal one stands under `text_config`.
        card: What it should be.
        exported: `hf_quant_config.json`, in which ModelOpt names the algorithm; some of its exports have it there alone.

    Raises:
        ModelFileError: One of them is not a JSON object.
    """
    document = _json_object(config)
    if isinstance(document.get("text_config"), dict):
        document = {**document["text_config"], **document}
    mismatches = []
    architectures = document.get("architectures")
    if card.engine_architecture and architectures != [card.engine_architecture]:
        mismatches.append(f"architectures: {card.engine_architecture} in the card, {architectures!r} in config.json")
    for theirs, ours in _CONFIG_KEYS:
        value = document.get(theirs)
        if card.shape is not None and value is not None and value != getattr(card.shape, ours):
            mismatches.append(f"{theirs}: {getattr(card.shape, ours)} in the card, {value!r} in config.json")
    dtype = document.get("torch_dtype", document.get("dtype"))
    if dtype is not None and str(dtype).removeprefix("torch.").casefold() != card.dtype.casefold():
        mismatches.append(f"dtype: {card.dtype} in the card, {dtype!r} in config.json")
    method = _method(document, None if exported is None else _json_object(exported, "hf_quant_config.json"))
    if card.quantisation is not None and method is None:
        mismatches.append(f"quantisation: {card.quantisation} in the card, no quantization_config in config.json")
    return (*mismatches, *quantisation_mismatch(card, method))


def _method(config: Mapping[str, Any], exported: Mapping[str, Any] | None) -> object:
    """The method of quantisation. ModelOpt calls itself the method and names the algorithm beside it."""
    own = exported.get("quantization") if exported else None
    if isinstance(own, dict) and own.get("quant_algo"):
        return own["quant_algo"]
    packed = config.get("quantization_config")
    if not isinstance(packed, dict):
        return None
    return packed.get("quant_algo") or packed.get("quant_method")


def _json_object(config: bytes, name: str = "config.json") -> dict[str, Any]:
    """One file, parsed. Raises ModelFileError."""
    try:
        document = json.loads(config)
    except (ValueError, RecursionError) as error:
        raise ModelFileError(f"{name} is not valid JSON ({len(config)} bytes): {str(error)[:200]}") from None
    if not isinstance(document, dict):
        raise ModelFileError(f"{name} must hold a JSON object, not {type(document).__name__}")
    return document


def checkpoint_sha256(config: bytes, index: bytes | None) -> str:
    """One hash of `config.json` and, where there is one, the index of the weights."""
    parts = {"config": config, "index": index or b""}
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in parts.items()}
    return hashlib.sha256(json.dumps(digests, sort_keys=True).encode()).hexdigest()


def config_of(card: ModelCard) -> dict[str, Any]:
    """The content of a `config.json` as far as the card has it.

    Raises:
        ValueError: The card has no shape.
    """
    shape = card.shape
    if shape is None:
        raise ValueError(f"model card {card.name} has no shape")
    moe = {"num_local_experts": shape.experts, "num_experts_per_tok": shape.experts_per_token}
    return {
        "architectures": [card.engine_architecture],
        "num_hidden_layers": shape.layers,
        "hidden_size": shape.hidden,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "intermediate_size": shape.intermediate,
        "vocab_size": shape.vocab,
        "max_position_embeddings": shape.context,
        "tie_word_embeddings": shape.tied_embeddings,
        "torch_dtype": card.dtype,
        **(moe if shape.experts > 1 else {}),
        **({"quantization_config": {"quant_method": card.quantisation.lower()}} if card.quantisation else {}),
    }


def checkpoint_files(card: ModelCard) -> dict[str, bytes]:
    """A checkpoint without weights, for simulated sites: `config.json`, and an index with the size of the card's weights.

    Raises:
        ValueError: The card has no shape.
    """
    config = config_of(card)
    size = card.shape.weight_bytes if card.shape else 0
    index = {"metadata": {"total_size": size}, "weight_map": {}}
    return {
        "config.json": json.dumps(config, indent=2).encode(),
        "model.safetensors.index.json": json.dumps(index, indent=2).encode(),
    }
